/* Vector numerics of the specification (4.3.4), in vector types that gcc and clang compile for every target: SSE2,
 * NEON, or word by word where the processor has no vectors. Lanes are in memory order, which on the little-endian hosts
 * that the engine runs on is the specification's.
 *
 * What the rows of opcode_simd.h are made of is in capitals where it is generic over vector types. Everything here is
 * inlined: no vector crosses a call, whose convention would depend on the processor. */
#ifndef WR_SIMD_H
#define WR_SIMD_H
#include "numeric.h"

#if defined(__aarch64__) /* table look-up, in tens of instructions from portable code */
#include <arm_neon.h>
#endif

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF /* a * b + c rounds twice on every target */
#endif

typedef uint8_t wr_u8x16 __attribute__((vector_size(16)));
typedef int8_t wr_s8x16 __attribute__((vector_size(16)));
typedef uint16_t wr_u16x8 __attribute__((vector_size(16)));
typedef int16_t wr_s16x8 __attribute__((vector_size(16)));
typedef uint32_t wr_u32x4 __attribute__((vector_size(16)));
typedef int32_t wr_s32x4 __attribute__((vector_size(16)));
typedef uint64_t wr_u64x2 __attribute__((vector_size(16)));
typedef int64_t wr_s64x2 __attribute__((vector_size(16)));
typedef float wr_f32x4 __attribute__((vector_size(16)));
typedef double wr_f64x2 __attribute__((vector_size(16)));

/* Types by the names that the table gives to lanes. */
#define V_I8X16 wr_u8x16
#define V_I16X8 wr_u16x8
#define V_I32X4 wr_u32x4
#define V_I64X2 wr_u64x2
#define V_F32X4 wr_f32x4
#define V_F64X2 wr_f64x2
#define LANE_I8X16 uint8_t
#define LANE_I16X8 uint16_t
#define LANE_I32X4 uint32_t
#define LANE_I64X2 uint64_t

/* The same bits as other lanes. */
#define U8X16(V) ((wr_u8x16)(V))
#define S8X16(V) ((wr_s8x16)(V))
#define U16X8(V) ((wr_u16x8)(V))
#define S16X8(V) ((wr_s16x8)(V))
#define U32X4(V) ((wr_u32x4)(V))
#define S32X4(V) ((wr_s32x4)(V))
#define U64X2(V) ((wr_u64x2)(V))
#define S64X2(V) ((wr_s64x2)(V))
#define F32X4(V) ((wr_f32x4)(V))
#define F64X2(V) ((wr_f64x2)(V))

#define SPLAT_I8X16(X) ((wr_u8x16){0} + (uint8_t)(X))
#define SPLAT_I16X8(X) ((wr_u16x8){0} + (uint16_t)(X))
#define SPLAT_I32X4(X) ((wr_u32x4){0} + (uint32_t)(X))
#define SPLAT_I64X2(X) ((wr_u64x2){0} + (uint64_t)(X))
#define NUMBERS_I8X16 ((wr_u8x16){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#define NUMBERS_I16X8 ((wr_u16x8){0, 1, 2, 3, 4, 5, 6, 7})
#define NUMBERS_I32X4 ((wr_u32x4){0, 1, 2, 3})
#define NUMBERS_I64X2 ((wr_u64x2){0, 1})

#define WR_VECTOR static inline __attribute__((always_inline))

/* ---- bits ---- */

/* Bits of a where the mask has ones, else of b. */
#define PICK(MASK, A, B) ((U64X2(A) & U64X2(MASK)) | (U64X2(B) & ~U64X2(MASK)))
/* -a where the mask (of a's type) has ones, else a. */
#define NEGATE_IF(MASK, A) (((A) ^ (MASK)) - (MASK))
/* Copies the bit TOP into those above it, which are zero in A. */
#define SIGN_EXTEND(A, TOP) (((A) ^ (TOP)) - (TOP))
#define NO_BIT(V) ((U64X2(V)[0] | U64X2(V)[1]) == 0)

/* Bytes have no shifts of their own on most processors. */
#define SHIFT_LEFT_8(A, N) (U8X16(U16X8(A) << (N)) & SPLAT_I8X16(0xFF << (N)))
#define SHIFT_RIGHT_8(A, N) (U8X16(U16X8(A) >> (N)) & SPLAT_I8X16(0xFF >> (N)))
#define HALF8(A) SHIFT_RIGHT_8(A, 1)
#define HALF16(A) ((A) >> 1)

/* The top bits of the lanes of eight bytes, gathered by a product whose partial sums do not meet. */
#define TOP_BITS_8(X) ((((X) >> 7 & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080)) >> 56)
#define TOP_BITS_16(X) ((((X) >> 15 & UINT64_C(0x0001000100010001)) * UINT64_C(0x0001000200040008)) >> 48 & 15)
#define TOP_BITS_32(X) (((X) >> 31 & 1) | ((X) >> 62 & 2))
#define BITMASK_I8X16(A) (uint32_t)(TOP_BITS_8((A)[0]) | TOP_BITS_8((A)[1]) << 8)
#define BITMASK_I16X8(A) (uint32_t)(TOP_BITS_16((A)[0]) | TOP_BITS_16((A)[1]) << 4)
#define BITMASK_I32X4(A) (uint32_t)(TOP_BITS_32((A)[0]) | TOP_BITS_32((A)[1]) << 2)
#define BITMASK_I64X2(A) (uint32_t)((A)[0] >> 63 | (A)[1] >> 63 << 1)

WR_VECTOR wr_u8x16 wr_popcnt_i8x16(wr_u8x16 a) {
    a -= HALF8(a) & 0x55;
    a = (a & 0x33) + (SHIFT_RIGHT_8(a, 2) & 0x33);
    return (a + SHIFT_RIGHT_8(a, 4)) & 0x0F;
}

/* ---- lanes to other places and widths ---- */

/* SHUFFLE: lanes of A, then of B, by their numbers. */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(V, A, B, ...) __builtin_shufflevector((V)(A), (V)(B), __VA_ARGS__)
#else
#define SHUFFLE(V, A, B, ...) __builtin_shuffle((V)(A), (V)(B), (V){__VA_ARGS__})
#endif
#define ZIP_LOW_8(A, B) SHUFFLE(wr_u8x16, A, B, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH_8(A, B) SHUFFLE(wr_u8x16, A, B, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define ZIP_LOW_16(A, B) SHUFFLE(wr_u16x8, A, B, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH_16(A, B) SHUFFLE(wr_u16x8, A, B, 4, 12, 5, 13, 6, 14, 7, 15)
#define ZIP_LOW_32(A, B) SHUFFLE(wr_u32x4, A, B, 0, 4, 1, 5)
#define ZIP_HIGH_32(A, B) SHUFFLE(wr_u32x4, A, B, 2, 6, 3, 7)
#define UNZIP_8(A, B) SHUFFLE(wr_u8x16, A, B, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define UNZIP_16(A, B) SHUFFLE(wr_u16x8, A, B, 0, 2, 4, 6, 8, 10, 12, 14)

#define EXTEND_LOW_S8(A) U16X8(ZIP_LOW_8(A, S8X16(A) < 0))
#define EXTEND_HIGH_S8(A) U16X8(ZIP_HIGH_8(A, S8X16(A) < 0))
#define EXTEND_LOW_U8(A) U16X8(ZIP_LOW_8(A, (wr_u8x16){0}))
#define EXTEND_HIGH_U8(A) U16X8(ZIP_HIGH_8(A, (wr_u8x16){0}))
#define EXTEND_LOW_S16(A) U32X4(ZIP_LOW_16(A, S16X8(A) < 0))
#define EXTEND_HIGH_S16(A) U32X4(ZIP_HIGH_16(A, S16X8(A) < 0))
#define EXTEND_LOW_U16(A) U32X4(ZIP_LOW_16(A, (wr_u16x8){0}))
#define EXTEND_HIGH_U16(A) U32X4(ZIP_HIGH_16(A, (wr_u16x8){0}))
#define EXTEND_LOW_S32(A) U64X2(ZIP_LOW_32(A, S32X4(A) < 0))
#define EXTEND_HIGH_S32(A) U64X2(ZIP_HIGH_32(A, S32X4(A) < 0))
#define EXTEND_LOW_U32(A) U64X2(ZIP_LOW_32(A, (wr_u32x4){0}))
#define EXTEND_HIGH_U32(A) U64X2(ZIP_HIGH_32(A, (wr_u32x4){0}))

/* Lanes of even and odd numbers, extended in place. */
#define EVEN_S8(A) U16X8(S16X8(U16X8(A) << 8) >> 8)
#define ODD_S8(A) U16X8(S16X8(A) >> 8)
#define EVEN_U8(A) (U16X8(A) & 0xFF)
#define ODD_U8(A) (U16X8(A) >> 8)
#define EVEN_S16(A) U32X4(S32X4(U32X4(A) << 16) >> 16)
#define ODD_S16(A) U32X4(S32X4(A) >> 16)
#define EVEN_U16(A) (U32X4(A) & 0xFFFF)
#define ODD_U16(A) (U32X4(A) >> 16)
#define PAIRS_S8(A) (EVEN_S8(A) + ODD_S8(A))
#define PAIRS_U8(A) (EVEN_U8(A) + ODD_U8(A))
#define PAIRS_S16(A) (EVEN_S16(A) + ODD_S16(A))
#define PAIRS_U16(A) (EVEN_U16(A) + ODD_U16(A))
#define DOT_S8(A, B) (EVEN_S8(A) * EVEN_S8(B) + ODD_S8(A) * ODD_S8(B))

#define AT_MOST(A, X) PICK((A) > (X), (__typeof__(A)){0} + (X), A)
#define AT_LEAST(A, X) PICK((A) < (X), (__typeof__(A)){0} + (X), A)
#define CLAMP_16(A, LOW, HIGH) AT_LEAST(S16X8(AT_MOST(S16X8(A), HIGH)), LOW)
#define CLAMP_32(A, LOW, HIGH) AT_LEAST(S32X4(AT_MOST(S32X4(A), HIGH)), LOW)
#define NARROW_S8(A, B) UNZIP_8(CLAMP_16(A, INT8_MIN, INT8_MAX), CLAMP_16(B, INT8_MIN, INT8_MAX))
#define NARROW_U8(A, B) UNZIP_8(CLAMP_16(A, 0, UINT8_MAX), CLAMP_16(B, 0, UINT8_MAX))
#define NARROW_S16(A, B) UNZIP_16(CLAMP_32(A, INT16_MIN, INT16_MAX), CLAMP_32(B, INT16_MIN, INT16_MAX))
#define NARROW_U16(A, B) UNZIP_16(CLAMP_32(A, 0, UINT16_MAX), CLAMP_32(B, 0, UINT16_MAX))

/* Bytes of a, then of b, by their numbers, which are below 32. */
WR_VECTOR wr_u8x16 wr_shuffle(wr_u8x16 a, wr_u8x16 b, wr_u8x16 numbers) {
#if defined(__aarch64__)
    return (wr_u8x16)vqtbl2q_u8((uint8x16x2_t){{a, b}}, numbers);
#else
    uint8_t from[32], at[16], to[16];
    memcpy(from, &a, 16);
    memcpy(from + 16, &b, 16);
    memcpy(at, &numbers, 16);
    for (int i = 0; i < 16; i++) to[i] = from[at[i]];
    memcpy(&a, to, 16);
    return a;
#endif
}

/* Numbers above 15 give 0. */
WR_VECTOR wr_u8x16 wr_swizzle(wr_u8x16 a, wr_u8x16 numbers) {
#if defined(__aarch64__)
    return (wr_u8x16)vqtbl1q_u8(a, numbers);
#else
    return wr_shuffle(a, (wr_u8x16){0}, U8X16(PICK(numbers < 16, numbers, SPLAT_I8X16(16))));
#endif
}

/* ---- integers ---- */

/* A sum overflows where both operands have a sign that it has not; a difference where the signs differ and its is not
 * a's. The result is then the limit on a's side. */
#define SATURATING(V, S, LIMIT, NAME)                                             \
    WR_VECTOR V wr_limit_##NAME(V a, V overflow, V value) {                       \
        const V limit = (V)((S)a < 0) ^ (LIMIT);                                  \
        return (V)PICK((S)overflow < 0, limit, value);                            \
    }                                                                             \
    WR_VECTOR V wr_add_sat_##NAME(V a, V b) {                                     \
        return wr_limit_##NAME(a, (a ^ (a + b)) & (b ^ (a + b)), a + b);          \
    }                                                                             \
    WR_VECTOR V wr_sub_sat_##NAME(V a, V b) {                                     \
        return wr_limit_##NAME(a, (a ^ b) & (a ^ (a - b)), a - b);                \
    }
SATURATING(wr_u8x16, wr_s8x16, INT8_MAX, s8)
SATURATING(wr_u16x8, wr_s16x8, INT16_MAX, s16)

/* (a * b + 2^14) / 2^15; only -1 * -1 is too large. */
WR_VECTOR wr_u16x8 wr_q15mulr(wr_u16x8 a, wr_u16x8 b) {
    const wr_s32x4 low = S32X4(EXTEND_LOW_S16(a) * EXTEND_LOW_S16(b) + 0x4000) >> 15;
    const wr_s32x4 high = S32X4(EXTEND_HIGH_S16(a) * EXTEND_HIGH_S16(b) + 0x4000) >> 15;
    return U16X8(NARROW_S16(low, high));
}

/* ---- floats ---- */

#define SIGN_F32X4 SPLAT_I32X4(0x80000000u)
#define SIGN_F64X2 SPLAT_I64X2(WR_F64_SIGN)

/* NaN as in numeric.h. */
#define CANON_F32X4(EXPR) wr_canon_f32x4(EXPR)
#define CANON_F64X2(EXPR) wr_canon_f64x2(EXPR)
#define NANS_F32X4 ((wr_u32x4){0x7FC00000u, 0x7FC00000u, 0x7FC00000u, 0x7FC00000u})
#define NANS_F64X2 ((wr_u64x2){UINT64_C(0x7FF8000000000000), UINT64_C(0x7FF8000000000000)})
WR_VECTOR wr_f32x4 wr_canon_f32x4(wr_f32x4 a) { return (wr_f32x4)PICK(a == a, a, NANS_F32X4); }
WR_VECTOR wr_f64x2 wr_canon_f64x2(wr_f64x2 a) { return (wr_f64x2)PICK(a == a, a, NANS_F64X2); }

/* Rounding: adding and taking away the number above which there are no fractions rounds to the nearest even integer.
 * Comparisons with NaN are false, so it takes the way that adds it up and stays one. min and max as in numeric.h. */
#define FLOATS(V, U, SIGN, WHOLE, ONE, SQRT, LANES, NAME)                                    \
    WR_VECTOR V wr_nearest_##NAME(V a) {                                                     \
        const U sign = (U)a & SIGN;                                                          \
        const V size = (V)((U)a ^ sign);                                                     \
        const V rounded = (size + (WHOLE)) - (WHOLE);                                        \
        return (V)((U)PICK(size >= (WHOLE), size, rounded) | sign);                          \
    }                                                                                        \
    WR_VECTOR V wr_floor_##NAME(V a) {                                                       \
        const V rounded = wr_nearest_##NAME(a);                                              \
        return rounded - (V)((U)(rounded > a) & (U)((V){0} + (ONE)));                        \
    }                                                                                        \
    WR_VECTOR V wr_ceil_##NAME(V a) { return (V)((U)wr_floor_##NAME((V)((U)a ^ SIGN)) ^ SIGN); } \
    WR_VECTOR V wr_trunc_##NAME(V a) {                                                       \
        const U sign = (U)a & SIGN;                                                          \
        return (V)((U)wr_floor_##NAME((V)((U)a ^ sign)) | sign);                             \
    }                                                                                        \
    WR_VECTOR V wr_sqrt_##NAME(V a) {                                                        \
        for (int i = 0; i < LANES; i++) a[i] = SQRT(a[i]);                                   \
        return a;                                                                            \
    }                                                                                        \
    WR_VECTOR V wr_min_##NAME(V a, V b) {                                                    \
        const U same = (U)PICK(a == b, (U)a | (U)b, a + b);                                     \
        return (V)PICK(a < b, a, PICK(b < a, b, same));                                      \
    }                                                                                        \
    WR_VECTOR V wr_max_##NAME(V a, V b) {                                                    \
        const U same = (U)PICK(a == b, (U)a & (U)b, a + b);                                     \
        return (V)PICK(a > b, a, PICK(b > a, b, same));                                      \
    }                                                                                        \
    WR_VECTOR V wr_madd_##NAME(V a, V b, V c) {                                              \
        const V product = a * b;                                                             \
        return product + c;                                                                  \
    }                                                                                        \
    WR_VECTOR V wr_nmadd_##NAME(V a, V b, V c) {                                             \
        const V product = a * b;                                                             \
        return c - product;                                                                  \
    }
FLOATS(wr_f32x4, wr_u32x4, SIGN_F32X4, 0x1p23f, 1.0f, wr_sqrt_f32, 4, f32x4)
FLOATS(wr_f64x2, wr_u64x2, SIGN_F64X2, 0x1p52, 1.0, wr_sqrt_f64, 2, f64x2)

/* Conversion to an integer is defined for what fits only, so other lanes are 0 while it happens. */
WR_VECTOR wr_u32x4 wr_sat_s32_f32x4(wr_f32x4 a) {
    const wr_s32x4 above = a >= 0x1p31f, below = a < -0x1p31f;
    const wr_f32x4 fits = (wr_f32x4)((wr_s32x4)a & (a == a) & ~above & ~below);
    const wr_s32x4 limits = (above & INT32_MAX) | (below & INT32_MIN);
    return U32X4(__builtin_convertvector(fits, wr_s32x4) | limits);
}
WR_VECTOR wr_u32x4 wr_sat_u32_f32x4(wr_f32x4 a) {
    const wr_s32x4 above = a >= 0x1p32f;
    const wr_f32x4 fits = (wr_f32x4)((wr_s32x4)a & (a > 0.0f) & ~above);
    return __builtin_convertvector(fits, wr_u32x4) | U32X4(above);
}
WR_VECTOR wr_u32x4 wr_sat_s32_f64x2(wr_f64x2 a) { return (wr_u32x4){wr_sat_i32_f64(a[0]), wr_sat_i32_f64(a[1])}; }
WR_VECTOR wr_u32x4 wr_sat_u32_f64x2(wr_f64x2 a) { return (wr_u32x4){wr_sat_u32_f64(a[0]), wr_sat_u32_f64(a[1])}; }
WR_VECTOR wr_f32x4 wr_convert_s32(wr_u32x4 a) { return __builtin_convertvector(S32X4(a), wr_f32x4); }
WR_VECTOR wr_f32x4 wr_convert_u32(wr_u32x4 a) { return __builtin_convertvector(a, wr_f32x4); }
WR_VECTOR wr_f64x2 wr_convert_low_s32(wr_u32x4 a) { return (wr_f64x2){(double)S32(a[0]), (double)S32(a[1])}; }
WR_VECTOR wr_f64x2 wr_convert_low_u32(wr_u32x4 a) { return (wr_f64x2){(double)a[0], (double)a[1]}; }
WR_VECTOR wr_f64x2 wr_promote_low_f32x4(wr_f32x4 a) { return (wr_f64x2){(double)a[0], (double)a[1]}; }
WR_VECTOR wr_f32x4 wr_demote_f64x2(wr_f64x2 a) { return (wr_f32x4){(float)a[0], (float)a[1]}; }

#endif
