/* What numeric.h takes from the C library, for modules that are linked without one. Adding and taking away the number
 * above which there are no fractions rounds to the nearest even integer. */
#ifndef WR_AOT_ROUNDING_H
#define WR_AOT_ROUNDING_H

#define memcpy __builtin_memcpy
#if defined(__SSE4_1__) || defined(__aarch64__)
#define ceilf __builtin_ceilf
#define floorf __builtin_floorf
#define truncf __builtin_truncf
#define rintf __builtin_rintf
#define ceil __builtin_ceil
#define floor __builtin_floor
#define trunc __builtin_trunc
#define rint __builtin_rint
#else
#define ROUNDING(T, WHOLE, ABS, COPYSIGN, NEAREST, FLOOR, CEIL, TRUNC)                 \
    static inline T NEAREST(T a) {                                                     \
        const T size = ABS(a), rounded = (size + (WHOLE)) - (WHOLE);                   \
        return COPYSIGN(size < (WHOLE) ? rounded : size, a);                           \
    }                                                                                  \
    static inline T FLOOR(T a) {                                                       \
        const T rounded = NEAREST(a);                                                  \
        return rounded > a ? rounded - 1 : rounded;                                    \
    }                                                                                  \
    static inline T CEIL(T a) { return -FLOOR(-a); }                                   \
    static inline T TRUNC(T a) { return COPYSIGN(FLOOR(ABS(a)), a); }
ROUNDING(float, 0x1p23f, __builtin_fabsf, __builtin_copysignf, wr_rintf, wr_floorf, wr_ceilf, wr_truncf)
ROUNDING(double, 0x1p52, __builtin_fabs, __builtin_copysign, wr_rint, wr_floor, wr_ceil, wr_trunc)
#define ceilf wr_ceilf
#define floorf wr_floorf
#define truncf wr_truncf
#define rintf wr_rintf
#define ceil wr_ceil
#define floor wr_floor
#define trunc wr_trunc
#define rint wr_rint
#endif

#endif
