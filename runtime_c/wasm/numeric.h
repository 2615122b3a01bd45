/* Scalar numerics of the specification that C does not give directly (4.3.2 integers, 4.3.3 floats). */
#ifndef WR_NUMERIC_H
#define WR_NUMERIC_H
#include <math.h>
#include <string.h>

#include "wr.h"

static inline uint32_t wr_bits_f32(float a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
static inline uint64_t wr_bits_f64(double a) {
    uint64_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
static inline float wr_from_bits_f32(uint32_t bits) {
    float a;
    memcpy(&a, &bits, sizeof a);
    return a;
}
static inline double wr_from_bits_f64(uint64_t bits) {
    double a;
    memcpy(&a, &bits, sizeof a);
    return a;
}

static inline uint32_t wr_rotl32(uint32_t a, uint32_t b) { return a << (b & 31) | a >> (-b & 31); }
static inline uint32_t wr_rotr32(uint32_t a, uint32_t b) { return a >> (b & 31) | a << (-b & 31); }
static inline uint64_t wr_rotl64(uint64_t a, uint64_t b) { return a << (b & 63) | a >> (-b & 63); }
static inline uint64_t wr_rotr64(uint64_t a, uint64_t b) { return a >> (b & 63) | a << (-b & 63); }
static inline uint32_t wr_clz32(uint32_t a) { return a == 0 ? 32 : (uint32_t)__builtin_clz(a); }
static inline uint32_t wr_ctz32(uint32_t a) { return a == 0 ? 32 : (uint32_t)__builtin_ctz(a); }
static inline uint64_t wr_clz64(uint64_t a) { return a == 0 ? 64 : (uint64_t)__builtin_clzll(a); }
static inline uint64_t wr_ctz64(uint64_t a) { return a == 0 ? 64 : (uint64_t)__builtin_ctzll(a); }

static inline wr_status wr_check_zero(bool zero) { return zero ? WR_TRAP_DIV_ZERO : WR_OK; }
static inline wr_status wr_check_div32(uint32_t a, uint32_t b) {
    if (b == 0) return WR_TRAP_DIV_ZERO;
    return a == 0x80000000u && b == UINT32_MAX ? WR_TRAP_INT_OVERFLOW : WR_OK;
}
static inline wr_status wr_check_div64(uint64_t a, uint64_t b) {
    if (b == 0) return WR_TRAP_DIV_ZERO;
    return a == UINT64_C(1) << 63 && b == UINT64_MAX ? WR_TRAP_INT_OVERFLOW : WR_OK;
}
/* The remainder by -1 is 0 for every dividend; the C operation would overflow for the smallest. */
static inline uint32_t wr_rem32(uint32_t a, uint32_t b) {
    return b == UINT32_MAX ? 0 : (uint32_t)((int32_t)a % (int32_t)b);
}
static inline uint64_t wr_rem64(uint64_t a, uint64_t b) {
    return b == UINT64_MAX ? 0 : (uint64_t)((int64_t)a % (int64_t)b);
}

/* low and high are the nearest representable values outside of the range. */
static inline wr_status wr_check_range(double a, double low, double high) {
    if (a > low && a < high) return WR_OK;
    return a != a ? WR_TRAP_INT_CONVERSION : WR_TRAP_INT_OVERFLOW;
}

static inline uint32_t wr_sat_i32_f64(double a) {
    if (a != a) return 0;
    if (a <= -2147483648.0) return 0x80000000u;
    return a >= 2147483647.0 ? 0x7FFFFFFFu : (uint32_t)(int32_t)a;
}
static inline uint32_t wr_sat_u32_f64(double a) {
    if (!(a > -1.0)) return 0;
    return a >= 4294967295.0 ? UINT32_MAX : (uint32_t)a;
}
static inline uint64_t wr_sat_i64_f64(double a) {
    if (a != a) return 0;
    if (a <= -9223372036854775808.0) return UINT64_C(1) << 63;
    return a >= 9223372036854775808.0 ? (UINT64_C(1) << 63) - 1 : (uint64_t)(int64_t)a;
}
static inline uint64_t wr_sat_u64_f64(double a) {
    if (!(a > -1.0)) return 0;
    return a >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)a;
}
static inline uint32_t wr_sat_i32_f32(float a) { return wr_sat_i32_f64((double)a); }
static inline uint32_t wr_sat_u32_f32(float a) { return wr_sat_u32_f64((double)a); }
static inline uint64_t wr_sat_i64_f32(float a) { return wr_sat_i64_f64((double)a); }
static inline uint64_t wr_sat_u64_f32(float a) { return wr_sat_u64_f64((double)a); }

/* Sign operations work on bits: they must keep a NaN's payload and not quieten it. */
static inline float wr_abs_f32(float a) { return wr_from_bits_f32(wr_bits_f32(a) & 0x7FFFFFFFu); }
static inline float wr_neg_f32(float a) { return wr_from_bits_f32(wr_bits_f32(a) ^ 0x80000000u); }
static inline float wr_copysign_f32(float a, float b) {
    return wr_from_bits_f32((wr_bits_f32(a) & 0x7FFFFFFFu) | (wr_bits_f32(b) & 0x80000000u));
}
#define WR_F64_SIGN (UINT64_C(1) << 63)
static inline double wr_abs_f64(double a) { return wr_from_bits_f64(wr_bits_f64(a) & ~WR_F64_SIGN); }
static inline double wr_neg_f64(double a) { return wr_from_bits_f64(wr_bits_f64(a) ^ WR_F64_SIGN); }
static inline double wr_copysign_f64(double a, double b) {
    return wr_from_bits_f64((wr_bits_f64(a) & ~WR_F64_SIGN) | (wr_bits_f64(b) & WR_F64_SIGN));
}

/* ---- NaN ----
 *
 * Which bits a NaN has that arithmetic makes is the processor's choice: of a quiet one by default, of one like an
 * operand, of the first or the second. Here it is always the positive one without payload, as in the deterministic
 * profile of the specification (4.3.3, nans_N), so results are the same everywhere. Instructions that only move bits
 * keep those of a NaN.
 *
 * Rows whose result still has to be put right have CANON around their expression. */
#define WR_INLINE static inline __attribute__((always_inline))
#define WR_NAN_F32 wr_from_bits_f32(0x7FC00000u)
#define WR_NAN_F64 wr_from_bits_f64(UINT64_C(0x7FF8000000000000))
#define WR_IS_NAN(A) __builtin_expect_with_probability((A) != (A), 0, 1.0) /* a jump that is never taken */
WR_INLINE float wr_canon_f32(float a) { return WR_IS_NAN(a) ? WR_NAN_F32 : a; }
WR_INLINE double wr_canon_f64(double a) { return WR_IS_NAN(a) ? WR_NAN_F64 : a; }
#define CANON_F32(EXPR) wr_canon_f32(EXPR)
#define CANON_F64(EXPR) wr_canon_f64(EXPR)

/* Registers of floats. */
#if defined(__x86_64__)
#define WR_FLOAT_CLASS "x"
#elif defined(__riscv)
#define WR_FLOAT_CLASS "f"
#else
#define WR_FLOAT_CLASS "w"
#endif
/* clang takes the NaN of a square root for as good as the one that is put in its place, and leaves that out. */
#if defined(__clang__)
#define WR_HIDE_FLOAT(VALUE) __asm__("" : "+" WR_FLOAT_CLASS(VALUE))
#else
#define WR_HIDE_FLOAT(VALUE)
#endif
WR_INLINE float wr_sqrt_f32(float a) {
    float root = __builtin_sqrtf(a);
    WR_HIDE_FLOAT(root);
    return root;
}
WR_INLINE double wr_sqrt_f64(double a) {
    double root = __builtin_sqrt(a);
    WR_HIDE_FLOAT(root);
    return root;
}

/* Equal operands may still differ in the sign of zero. */
static inline float wr_min_f32(float a, float b) {
    if (WR_IS_NAN(a) || WR_IS_NAN(b)) return WR_NAN_F32;
    if (a == b) return wr_from_bits_f32(wr_bits_f32(a) | wr_bits_f32(b));
    return a < b ? a : b;
}
static inline float wr_max_f32(float a, float b) {
    if (WR_IS_NAN(a) || WR_IS_NAN(b)) return WR_NAN_F32;
    if (a == b) return wr_from_bits_f32(wr_bits_f32(a) & wr_bits_f32(b));
    return a > b ? a : b;
}
static inline double wr_min_f64(double a, double b) {
    if (WR_IS_NAN(a) || WR_IS_NAN(b)) return WR_NAN_F64;
    if (a == b) return wr_from_bits_f64(wr_bits_f64(a) | wr_bits_f64(b));
    return a < b ? a : b;
}
static inline double wr_max_f64(double a, double b) {
    if (WR_IS_NAN(a) || WR_IS_NAN(b)) return WR_NAN_F64;
    if (a == b) return wr_from_bits_f64(wr_bits_f64(a) & wr_bits_f64(b));
    return a > b ? a : b;
}

static inline float wr_ceil_f32(float a) { return WR_IS_NAN(a) ? WR_NAN_F32 : ceilf(a); }
static inline float wr_floor_f32(float a) { return WR_IS_NAN(a) ? WR_NAN_F32 : floorf(a); }
static inline float wr_trunc_f32(float a) { return WR_IS_NAN(a) ? WR_NAN_F32 : truncf(a); }
static inline float wr_nearest_f32(float a) { return WR_IS_NAN(a) ? WR_NAN_F32 : rintf(a); }
static inline double wr_ceil_f64(double a) { return WR_IS_NAN(a) ? WR_NAN_F64 : ceil(a); }
static inline double wr_floor_f64(double a) { return WR_IS_NAN(a) ? WR_NAN_F64 : floor(a); }
static inline double wr_trunc_f64(double a) { return WR_IS_NAN(a) ? WR_NAN_F64 : trunc(a); }
static inline double wr_nearest_f64(double a) { return WR_IS_NAN(a) ? WR_NAN_F64 : rint(a); }

#endif
