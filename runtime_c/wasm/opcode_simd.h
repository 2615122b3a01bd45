/* The SIMD part of the opcode table (opcode.h): fixed-width and relaxed. One row per instruction; the opcode is the
 * number behind the prefix 0xFD.
 *
 * `a`, `b` and `c` in an expression are the operands as vectors of the lanes the row names, unsigned or floats; `n` is
 * a shift count. Expressions may give any vector type: only the bits count. What they are made of is in simd.h.
 * Rows "_AS" are instructions that do exactly what another one does: they have no code of their own. That is where
 * the one choice made for each relaxed instruction shows; docs/engine-relaxed-simd.md tells why.
 * Sources: WebAssembly core specification 3.0, 4.3.4 (vectors), 4.3.5 (relaxed operations), 5.4.9 (opcodes). */
#ifndef WR_OPCODE_SIMD_H
#define WR_OPCODE_SIMD_H

/* X(code, NAME, "text", lanes, expression) : [v128] -> [v128] */
#define WR_SIMD_UNARY(X)                                                                                     \
    X(0x4D, V128_NOT, "v128.not", I64X2, ~a)                                                                 \
    X(0x5E, F32X4_DEMOTE_F64X2_ZERO, "f32x4.demote_f64x2_zero", F64X2, CANON_F32X4(wr_demote_f64x2(a)))      \
    X(0x5F, F64X2_PROMOTE_LOW_F32X4, "f64x2.promote_low_f32x4", F32X4, CANON_F64X2(wr_promote_low_f32x4(a))) \
    X(0x60, I8X16_ABS, "i8x16.abs", I8X16, NEGATE_IF(U8X16(S8X16(a) < 0), a))                                \
    X(0x61, I8X16_NEG, "i8x16.neg", I8X16, -a)                                                               \
    X(0x62, I8X16_POPCNT, "i8x16.popcnt", I8X16, wr_popcnt_i8x16(a))                                         \
    X(0x67, F32X4_CEIL, "f32x4.ceil", F32X4, CANON_F32X4(wr_ceil_f32x4(a)))                                  \
    X(0x68, F32X4_FLOOR, "f32x4.floor", F32X4, CANON_F32X4(wr_floor_f32x4(a)))                               \
    X(0x69, F32X4_TRUNC, "f32x4.trunc", F32X4, CANON_F32X4(wr_trunc_f32x4(a)))                               \
    X(0x6A, F32X4_NEAREST, "f32x4.nearest", F32X4, CANON_F32X4(wr_nearest_f32x4(a)))                         \
    X(0x74, F64X2_CEIL, "f64x2.ceil", F64X2, CANON_F64X2(wr_ceil_f64x2(a)))                                  \
    X(0x75, F64X2_FLOOR, "f64x2.floor", F64X2, CANON_F64X2(wr_floor_f64x2(a)))                               \
    X(0x7A, F64X2_TRUNC, "f64x2.trunc", F64X2, CANON_F64X2(wr_trunc_f64x2(a)))                               \
    X(0x7C, I16X8_EXTADD_PAIRWISE_I8X16_S, "i16x8.extadd_pairwise_i8x16_s", I8X16, PAIRS_S8(a))              \
    X(0x7D, I16X8_EXTADD_PAIRWISE_I8X16_U, "i16x8.extadd_pairwise_i8x16_u", I8X16, PAIRS_U8(a))              \
    X(0x7E, I32X4_EXTADD_PAIRWISE_I16X8_S, "i32x4.extadd_pairwise_i16x8_s", I16X8, PAIRS_S16(a))             \
    X(0x7F, I32X4_EXTADD_PAIRWISE_I16X8_U, "i32x4.extadd_pairwise_i16x8_u", I16X8, PAIRS_U16(a))             \
    X(0x80, I16X8_ABS, "i16x8.abs", I16X8, NEGATE_IF(U16X8(S16X8(a) < 0), a))                                \
    X(0x81, I16X8_NEG, "i16x8.neg", I16X8, -a)                                                               \
    X(0x87, I16X8_EXTEND_LOW_I8X16_S, "i16x8.extend_low_i8x16_s", I8X16, EXTEND_LOW_S8(a))                   \
    X(0x88, I16X8_EXTEND_HIGH_I8X16_S, "i16x8.extend_high_i8x16_s", I8X16, EXTEND_HIGH_S8(a))                \
    X(0x89, I16X8_EXTEND_LOW_I8X16_U, "i16x8.extend_low_i8x16_u", I8X16, EXTEND_LOW_U8(a))                   \
    X(0x8A, I16X8_EXTEND_HIGH_I8X16_U, "i16x8.extend_high_i8x16_u", I8X16, EXTEND_HIGH_U8(a))                \
    X(0x94, F64X2_NEAREST, "f64x2.nearest", F64X2, CANON_F64X2(wr_nearest_f64x2(a)))                         \
    X(0xA0, I32X4_ABS, "i32x4.abs", I32X4, NEGATE_IF(U32X4(S32X4(a) < 0), a))                                \
    X(0xA1, I32X4_NEG, "i32x4.neg", I32X4, -a)                                                               \
    X(0xA7, I32X4_EXTEND_LOW_I16X8_S, "i32x4.extend_low_i16x8_s", I16X8, EXTEND_LOW_S16(a))                  \
    X(0xA8, I32X4_EXTEND_HIGH_I16X8_S, "i32x4.extend_high_i16x8_s", I16X8, EXTEND_HIGH_S16(a))               \
    X(0xA9, I32X4_EXTEND_LOW_I16X8_U, "i32x4.extend_low_i16x8_u", I16X8, EXTEND_LOW_U16(a))                  \
    X(0xAA, I32X4_EXTEND_HIGH_I16X8_U, "i32x4.extend_high_i16x8_u", I16X8, EXTEND_HIGH_U16(a))               \
    X(0xC0, I64X2_ABS, "i64x2.abs", I64X2, NEGATE_IF(U64X2(S64X2(a) < 0), a))                                \
    X(0xC1, I64X2_NEG, "i64x2.neg", I64X2, -a)                                                               \
    X(0xC7, I64X2_EXTEND_LOW_I32X4_S, "i64x2.extend_low_i32x4_s", I32X4, EXTEND_LOW_S32(a))                  \
    X(0xC8, I64X2_EXTEND_HIGH_I32X4_S, "i64x2.extend_high_i32x4_s", I32X4, EXTEND_HIGH_S32(a))               \
    X(0xC9, I64X2_EXTEND_LOW_I32X4_U, "i64x2.extend_low_i32x4_u", I32X4, EXTEND_LOW_U32(a))                  \
    X(0xCA, I64X2_EXTEND_HIGH_I32X4_U, "i64x2.extend_high_i32x4_u", I32X4, EXTEND_HIGH_U32(a))               \
    X(0xE0, F32X4_ABS, "f32x4.abs", I32X4, a & ~SIGN_F32X4)                                                  \
    X(0xE1, F32X4_NEG, "f32x4.neg", I32X4, a ^ SIGN_F32X4)                                                   \
    X(0xE3, F32X4_SQRT, "f32x4.sqrt", F32X4, CANON_F32X4(wr_sqrt_f32x4(a)))                                  \
    X(0xEC, F64X2_ABS, "f64x2.abs", I64X2, a & ~SIGN_F64X2)                                                  \
    X(0xED, F64X2_NEG, "f64x2.neg", I64X2, a ^ SIGN_F64X2)                                                   \
    X(0xEF, F64X2_SQRT, "f64x2.sqrt", F64X2, CANON_F64X2(wr_sqrt_f64x2(a)))                                  \
    X(0xF8, I32X4_TRUNC_SAT_F32X4_S, "i32x4.trunc_sat_f32x4_s", F32X4, wr_sat_s32_f32x4(a))                  \
    X(0xF9, I32X4_TRUNC_SAT_F32X4_U, "i32x4.trunc_sat_f32x4_u", F32X4, wr_sat_u32_f32x4(a))                  \
    X(0xFA, F32X4_CONVERT_I32X4_S, "f32x4.convert_i32x4_s", I32X4, wr_convert_s32(a))                        \
    X(0xFB, F32X4_CONVERT_I32X4_U, "f32x4.convert_i32x4_u", I32X4, wr_convert_u32(a))                        \
    X(0xFC, I32X4_TRUNC_SAT_F64X2_S_ZERO, "i32x4.trunc_sat_f64x2_s_zero", F64X2, wr_sat_s32_f64x2(a))        \
    X(0xFD, I32X4_TRUNC_SAT_F64X2_U_ZERO, "i32x4.trunc_sat_f64x2_u_zero", F64X2, wr_sat_u32_f64x2(a))        \
    X(0xFE, F64X2_CONVERT_LOW_I32X4_S, "f64x2.convert_low_i32x4_s", I32X4, wr_convert_low_s32(a))            \
    X(0xFF, F64X2_CONVERT_LOW_I32X4_U, "f64x2.convert_low_i32x4_u", I32X4, wr_convert_low_u32(a))

/* X(code, NAME of the equal one, "text") */
#define WR_SIMD_UNARY_AS(X)                                                    \
    X(0x101, I32X4_TRUNC_SAT_F32X4_S, "i32x4.relaxed_trunc_f32x4_s")           \
    X(0x102, I32X4_TRUNC_SAT_F32X4_U, "i32x4.relaxed_trunc_f32x4_u")           \
    X(0x103, I32X4_TRUNC_SAT_F64X2_S_ZERO, "i32x4.relaxed_trunc_f64x2_s_zero") \
    X(0x104, I32X4_TRUNC_SAT_F64X2_U_ZERO, "i32x4.relaxed_trunc_f64x2_u_zero")

/* X(code, NAME, "text", lanes, expression) : [v128 v128] -> [v128] */
#define WR_SIMD_BINARY(X)                                                                                           \
    X(0x0E, I8X16_SWIZZLE, "i8x16.swizzle", I8X16, wr_swizzle(a, b))                                                \
    X(0x23, I8X16_EQ, "i8x16.eq", I8X16, a == b)                                                                    \
    X(0x24, I8X16_NE, "i8x16.ne", I8X16, a != b)                                                                    \
    X(0x25, I8X16_LT_S, "i8x16.lt_s", I8X16, S8X16(a) < S8X16(b))                                                   \
    X(0x26, I8X16_LT_U, "i8x16.lt_u", I8X16, a < b)                                                                 \
    X(0x29, I8X16_LE_S, "i8x16.le_s", I8X16, S8X16(a) <= S8X16(b))                                                  \
    X(0x2A, I8X16_LE_U, "i8x16.le_u", I8X16, a <= b)                                                                \
    X(0x2D, I16X8_EQ, "i16x8.eq", I16X8, a == b)                                                                    \
    X(0x2E, I16X8_NE, "i16x8.ne", I16X8, a != b)                                                                    \
    X(0x2F, I16X8_LT_S, "i16x8.lt_s", I16X8, S16X8(a) < S16X8(b))                                                   \
    X(0x30, I16X8_LT_U, "i16x8.lt_u", I16X8, a < b)                                                                 \
    X(0x33, I16X8_LE_S, "i16x8.le_s", I16X8, S16X8(a) <= S16X8(b))                                                  \
    X(0x34, I16X8_LE_U, "i16x8.le_u", I16X8, a <= b)                                                                \
    X(0x37, I32X4_EQ, "i32x4.eq", I32X4, a == b)                                                                    \
    X(0x38, I32X4_NE, "i32x4.ne", I32X4, a != b)                                                                    \
    X(0x39, I32X4_LT_S, "i32x4.lt_s", I32X4, S32X4(a) < S32X4(b))                                                   \
    X(0x3A, I32X4_LT_U, "i32x4.lt_u", I32X4, a < b)                                                                 \
    X(0x3D, I32X4_LE_S, "i32x4.le_s", I32X4, S32X4(a) <= S32X4(b))                                                  \
    X(0x3E, I32X4_LE_U, "i32x4.le_u", I32X4, a <= b)                                                                \
    X(0x41, F32X4_EQ, "f32x4.eq", F32X4, a == b)                                                                    \
    X(0x42, F32X4_NE, "f32x4.ne", F32X4, a != b)                                                                    \
    X(0x43, F32X4_LT, "f32x4.lt", F32X4, a < b)                                                                     \
    X(0x45, F32X4_LE, "f32x4.le", F32X4, a <= b)                                                                    \
    X(0x47, F64X2_EQ, "f64x2.eq", F64X2, a == b)                                                                    \
    X(0x48, F64X2_NE, "f64x2.ne", F64X2, a != b)                                                                    \
    X(0x49, F64X2_LT, "f64x2.lt", F64X2, a < b)                                                                     \
    X(0x4B, F64X2_LE, "f64x2.le", F64X2, a <= b)                                                                    \
    X(0x4E, V128_AND, "v128.and", I64X2, a & b)                                                                     \
    X(0x4F, V128_ANDNOT, "v128.andnot", I64X2, a & ~b)                                                              \
    X(0x50, V128_OR, "v128.or", I64X2, a | b)                                                                       \
    X(0x51, V128_XOR, "v128.xor", I64X2, a ^ b)                                                                     \
    X(0x65, I8X16_NARROW_I16X8_S, "i8x16.narrow_i16x8_s", I16X8, NARROW_S8(a, b))                                   \
    X(0x66, I8X16_NARROW_I16X8_U, "i8x16.narrow_i16x8_u", I16X8, NARROW_U8(a, b))                                   \
    X(0x6E, I8X16_ADD, "i8x16.add", I8X16, a + b)                                                                   \
    X(0x6F, I8X16_ADD_SAT_S, "i8x16.add_sat_s", I8X16, wr_add_sat_s8(a, b))                                         \
    X(0x70, I8X16_ADD_SAT_U, "i8x16.add_sat_u", I8X16, (a + b) | U8X16(a + b < a))                                  \
    X(0x71, I8X16_SUB, "i8x16.sub", I8X16, a - b)                                                                   \
    X(0x72, I8X16_SUB_SAT_S, "i8x16.sub_sat_s", I8X16, wr_sub_sat_s8(a, b))                                         \
    X(0x73, I8X16_SUB_SAT_U, "i8x16.sub_sat_u", I8X16, (a - b) & U8X16(a >= b))                                     \
    X(0x76, I8X16_MIN_S, "i8x16.min_s", I8X16, PICK(S8X16(a) < S8X16(b), a, b))                                     \
    X(0x77, I8X16_MIN_U, "i8x16.min_u", I8X16, PICK(a < b, a, b))                                                   \
    X(0x78, I8X16_MAX_S, "i8x16.max_s", I8X16, PICK(S8X16(a) > S8X16(b), a, b))                                     \
    X(0x79, I8X16_MAX_U, "i8x16.max_u", I8X16, PICK(a > b, a, b))                                                   \
    X(0x7B, I8X16_AVGR_U, "i8x16.avgr_u", I8X16, (a | b) - HALF8(a ^ b))                                            \
    X(0x82, I16X8_Q15MULR_SAT_S, "i16x8.q15mulr_sat_s", I16X8, wr_q15mulr(a, b))                                    \
    X(0x85, I16X8_NARROW_I32X4_S, "i16x8.narrow_i32x4_s", I32X4, NARROW_S16(a, b))                                  \
    X(0x86, I16X8_NARROW_I32X4_U, "i16x8.narrow_i32x4_u", I32X4, NARROW_U16(a, b))                                  \
    X(0x8E, I16X8_ADD, "i16x8.add", I16X8, a + b)                                                                   \
    X(0x8F, I16X8_ADD_SAT_S, "i16x8.add_sat_s", I16X8, wr_add_sat_s16(a, b))                                        \
    X(0x90, I16X8_ADD_SAT_U, "i16x8.add_sat_u", I16X8, (a + b) | U16X8(a + b < a))                                  \
    X(0x91, I16X8_SUB, "i16x8.sub", I16X8, a - b)                                                                   \
    X(0x92, I16X8_SUB_SAT_S, "i16x8.sub_sat_s", I16X8, wr_sub_sat_s16(a, b))                                        \
    X(0x93, I16X8_SUB_SAT_U, "i16x8.sub_sat_u", I16X8, (a - b) & U16X8(a >= b))                                     \
    X(0x95, I16X8_MUL, "i16x8.mul", I16X8, a * b)                                                                   \
    X(0x96, I16X8_MIN_S, "i16x8.min_s", I16X8, PICK(S16X8(a) < S16X8(b), a, b))                                     \
    X(0x97, I16X8_MIN_U, "i16x8.min_u", I16X8, PICK(a < b, a, b))                                                   \
    X(0x98, I16X8_MAX_S, "i16x8.max_s", I16X8, PICK(S16X8(a) > S16X8(b), a, b))                                     \
    X(0x99, I16X8_MAX_U, "i16x8.max_u", I16X8, PICK(a > b, a, b))                                                   \
    X(0x9B, I16X8_AVGR_U, "i16x8.avgr_u", I16X8, (a | b) - HALF16(a ^ b))                                           \
    X(0x9C, I16X8_EXTMUL_LOW_I8X16_S, "i16x8.extmul_low_i8x16_s", I8X16, EXTEND_LOW_S8(a) * EXTEND_LOW_S8(b))       \
    X(0x9D, I16X8_EXTMUL_HIGH_I8X16_S, "i16x8.extmul_high_i8x16_s", I8X16, EXTEND_HIGH_S8(a) * EXTEND_HIGH_S8(b))   \
    X(0x9E, I16X8_EXTMUL_LOW_I8X16_U, "i16x8.extmul_low_i8x16_u", I8X16, EXTEND_LOW_U8(a) * EXTEND_LOW_U8(b))       \
    X(0x9F, I16X8_EXTMUL_HIGH_I8X16_U, "i16x8.extmul_high_i8x16_u", I8X16, EXTEND_HIGH_U8(a) * EXTEND_HIGH_U8(b))   \
    X(0xAE, I32X4_ADD, "i32x4.add", I32X4, a + b)                                                                   \
    X(0xB1, I32X4_SUB, "i32x4.sub", I32X4, a - b)                                                                   \
    X(0xB5, I32X4_MUL, "i32x4.mul", I32X4, a * b)                                                                   \
    X(0xB6, I32X4_MIN_S, "i32x4.min_s", I32X4, PICK(S32X4(a) < S32X4(b), a, b))                                     \
    X(0xB7, I32X4_MIN_U, "i32x4.min_u", I32X4, PICK(a < b, a, b))                                                   \
    X(0xB8, I32X4_MAX_S, "i32x4.max_s", I32X4, PICK(S32X4(a) > S32X4(b), a, b))                                     \
    X(0xB9, I32X4_MAX_U, "i32x4.max_u", I32X4, PICK(a > b, a, b))                                                   \
    X(0xBA, I32X4_DOT_I16X8_S, "i32x4.dot_i16x8_s", I16X8, EVEN_S16(a) * EVEN_S16(b) + ODD_S16(a) * ODD_S16(b))     \
    X(0xBC, I32X4_EXTMUL_LOW_I16X8_S, "i32x4.extmul_low_i16x8_s", I16X8, EXTEND_LOW_S16(a) * EXTEND_LOW_S16(b))     \
    X(0xBD, I32X4_EXTMUL_HIGH_I16X8_S, "i32x4.extmul_high_i16x8_s", I16X8, EXTEND_HIGH_S16(a) * EXTEND_HIGH_S16(b)) \
    X(0xBE, I32X4_EXTMUL_LOW_I16X8_U, "i32x4.extmul_low_i16x8_u", I16X8, EXTEND_LOW_U16(a) * EXTEND_LOW_U16(b))     \
    X(0xBF, I32X4_EXTMUL_HIGH_I16X8_U, "i32x4.extmul_high_i16x8_u", I16X8, EXTEND_HIGH_U16(a) * EXTEND_HIGH_U16(b)) \
    X(0xCE, I64X2_ADD, "i64x2.add", I64X2, a + b)                                                                   \
    X(0xD1, I64X2_SUB, "i64x2.sub", I64X2, a - b)                                                                   \
    X(0xD5, I64X2_MUL, "i64x2.mul", I64X2, a * b)                                                                   \
    X(0xD6, I64X2_EQ, "i64x2.eq", I64X2, a == b)                                                                    \
    X(0xD7, I64X2_NE, "i64x2.ne", I64X2, a != b)                                                                    \
    X(0xD8, I64X2_LT_S, "i64x2.lt_s", I64X2, S64X2(a) < S64X2(b))                                                   \
    X(0xDA, I64X2_LE_S, "i64x2.le_s", I64X2, S64X2(a) <= S64X2(b))                                                  \
    X(0xDC, I64X2_EXTMUL_LOW_I32X4_S, "i64x2.extmul_low_i32x4_s", I32X4, EXTEND_LOW_S32(a) * EXTEND_LOW_S32(b))     \
    X(0xDD, I64X2_EXTMUL_HIGH_I32X4_S, "i64x2.extmul_high_i32x4_s", I32X4, EXTEND_HIGH_S32(a) * EXTEND_HIGH_S32(b)) \
    X(0xDE, I64X2_EXTMUL_LOW_I32X4_U, "i64x2.extmul_low_i32x4_u", I32X4, EXTEND_LOW_U32(a) * EXTEND_LOW_U32(b))     \
    X(0xDF, I64X2_EXTMUL_HIGH_I32X4_U, "i64x2.extmul_high_i32x4_u", I32X4, EXTEND_HIGH_U32(a) * EXTEND_HIGH_U32(b)) \
    X(0xE4, F32X4_ADD, "f32x4.add", F32X4, CANON_F32X4(a + b))                                                      \
    X(0xE5, F32X4_SUB, "f32x4.sub", F32X4, CANON_F32X4(a - b))                                                      \
    X(0xE6, F32X4_MUL, "f32x4.mul", F32X4, CANON_F32X4(a * b))                                                      \
    X(0xE7, F32X4_DIV, "f32x4.div", F32X4, CANON_F32X4(a / b))                                                      \
    X(0xE8, F32X4_MIN, "f32x4.min", F32X4, CANON_F32X4(wr_min_f32x4(a, b)))                                         \
    X(0xE9, F32X4_MAX, "f32x4.max", F32X4, CANON_F32X4(wr_max_f32x4(a, b)))                                         \
    X(0xEA, F32X4_PMIN, "f32x4.pmin", I32X4, PICK(F32X4(b) < F32X4(a), b, a))                                       \
    X(0xEB, F32X4_PMAX, "f32x4.pmax", I32X4, PICK(F32X4(a) < F32X4(b), b, a))                                       \
    X(0xF0, F64X2_ADD, "f64x2.add", F64X2, CANON_F64X2(a + b))                                                      \
    X(0xF1, F64X2_SUB, "f64x2.sub", F64X2, CANON_F64X2(a - b))                                                      \
    X(0xF2, F64X2_MUL, "f64x2.mul", F64X2, CANON_F64X2(a * b))                                                      \
    X(0xF3, F64X2_DIV, "f64x2.div", F64X2, CANON_F64X2(a / b))                                                      \
    X(0xF4, F64X2_MIN, "f64x2.min", F64X2, CANON_F64X2(wr_min_f64x2(a, b)))                                         \
    X(0xF5, F64X2_MAX, "f64x2.max", F64X2, CANON_F64X2(wr_max_f64x2(a, b)))                                         \
    X(0xF6, F64X2_PMIN, "f64x2.pmin", I64X2, PICK(F64X2(b) < F64X2(a), b, a))                                       \
    X(0xF7, F64X2_PMAX, "f64x2.pmax", I64X2, PICK(F64X2(a) < F64X2(b), b, a))                                       \
    X(0x112, I16X8_RELAXED_DOT_I8X16_I7X16_S, "i16x8.relaxed_dot_i8x16_i7x16_s", I8X16, DOT_S8(a, b))

/* X(code, NAME of the equal one, "text") */
#define WR_SIMD_BINARY_AS(X)                                 \
    X(0x100, I8X16_SWIZZLE, "i8x16.relaxed_swizzle")         \
    X(0x10D, F32X4_PMIN, "f32x4.relaxed_min")                \
    X(0x10E, F32X4_PMAX, "f32x4.relaxed_max")                \
    X(0x10F, F64X2_PMIN, "f64x2.relaxed_min")                \
    X(0x110, F64X2_PMAX, "f64x2.relaxed_max")                \
    X(0x111, I16X8_Q15MULR_SAT_S, "i16x8.relaxed_q15mulr_s")

/* X(code, NAME of the one that is equal when its operands change places, "text") */
#define WR_SIMD_BINARY_SWAPPED(X)     \
    X(0x27, I8X16_LT_S, "i8x16.gt_s") \
    X(0x28, I8X16_LT_U, "i8x16.gt_u") \
    X(0x2B, I8X16_LE_S, "i8x16.ge_s") \
    X(0x2C, I8X16_LE_U, "i8x16.ge_u") \
    X(0x31, I16X8_LT_S, "i16x8.gt_s") \
    X(0x32, I16X8_LT_U, "i16x8.gt_u") \
    X(0x35, I16X8_LE_S, "i16x8.ge_s") \
    X(0x36, I16X8_LE_U, "i16x8.ge_u") \
    X(0x3B, I32X4_LT_S, "i32x4.gt_s") \
    X(0x3C, I32X4_LT_U, "i32x4.gt_u") \
    X(0x3F, I32X4_LE_S, "i32x4.ge_s") \
    X(0x40, I32X4_LE_U, "i32x4.ge_u") \
    X(0x44, F32X4_LT, "f32x4.gt")     \
    X(0x46, F32X4_LE, "f32x4.ge")     \
    X(0x4A, F64X2_LT, "f64x2.gt")     \
    X(0x4C, F64X2_LE, "f64x2.ge")     \
    X(0xD9, I64X2_LT_S, "i64x2.gt_s") \
    X(0xDB, I64X2_LE_S, "i64x2.ge_s")

/* X(code, NAME, "text", lanes of a and b, lanes of c, expression) : [v128 v128 v128] -> [v128] */
#define WR_SIMD_TERNARY(X)                                                                                   \
    X(0x52, V128_BITSELECT, "v128.bitselect", I64X2, I64X2, PICK(c, a, b))                                   \
    X(0x105, F32X4_RELAXED_MADD, "f32x4.relaxed_madd", F32X4, F32X4, CANON_F32X4(wr_madd_f32x4(a, b, c)))    \
    X(0x106, F32X4_RELAXED_NMADD, "f32x4.relaxed_nmadd", F32X4, F32X4, CANON_F32X4(wr_nmadd_f32x4(a, b, c))) \
    X(0x107, F64X2_RELAXED_MADD, "f64x2.relaxed_madd", F64X2, F64X2, CANON_F64X2(wr_madd_f64x2(a, b, c)))    \
    X(0x108, F64X2_RELAXED_NMADD, "f64x2.relaxed_nmadd", F64X2, F64X2, CANON_F64X2(wr_nmadd_f64x2(a, b, c))) \
    X(0x113, I32X4_RELAXED_DOT_I8X16_I7X16_ADD_S, "i32x4.relaxed_dot_i8x16_i7x16_add_s", I8X16, I32X4,       \
      PAIRS_S16(DOT_S8(a, b)) + c)

/* X(code, NAME of the equal one, "text") */
#define WR_SIMD_TERNARY_AS(X)                            \
    X(0x109, V128_BITSELECT, "i8x16.relaxed_laneselect") \
    X(0x10A, V128_BITSELECT, "i16x8.relaxed_laneselect") \
    X(0x10B, V128_BITSELECT, "i32x4.relaxed_laneselect") \
    X(0x10C, V128_BITSELECT, "i64x2.relaxed_laneselect")

/* X(code, NAME, "text", lanes, expression) : [v128 i32] -> [v128]; n is below the width of a lane */
#define WR_SIMD_SHIFT(X)                                                                                  \
    X(0x6B, I8X16_SHL, "i8x16.shl", I8X16, SHIFT_LEFT_8(a, n))                                            \
    X(0x6C, I8X16_SHR_S, "i8x16.shr_s", I8X16, SIGN_EXTEND(SHIFT_RIGHT_8(a, n), SPLAT_I8X16(0x80 >> n)))  \
    X(0x6D, I8X16_SHR_U, "i8x16.shr_u", I8X16, SHIFT_RIGHT_8(a, n))                                       \
    X(0x8B, I16X8_SHL, "i16x8.shl", I16X8, a << n)                                                        \
    X(0x8C, I16X8_SHR_S, "i16x8.shr_s", I16X8, S16X8(a) >> n)                                             \
    X(0x8D, I16X8_SHR_U, "i16x8.shr_u", I16X8, a >> n)                                                    \
    X(0xAB, I32X4_SHL, "i32x4.shl", I32X4, a << n)                                                        \
    X(0xAC, I32X4_SHR_S, "i32x4.shr_s", I32X4, S32X4(a) >> n)                                             \
    X(0xAD, I32X4_SHR_U, "i32x4.shr_u", I32X4, a >> n)                                                    \
    X(0xCB, I64X2_SHL, "i64x2.shl", I64X2, a << n)                                                        \
    X(0xCC, I64X2_SHR_S, "i64x2.shr_s", I64X2, SIGN_EXTEND(a >> n, SPLAT_I64X2(UINT64_C(1) << (63 - n)))) \
    X(0xCD, I64X2_SHR_U, "i64x2.shr_u", I64X2, a >> n)

/* X(code, NAME, "text", lanes, expression) : [v128] -> [i32] */
#define WR_SIMD_TEST(X)                                                     \
    X(0x53, V128_ANY_TRUE, "v128.any_true", I64X2, (a[0] | a[1]) != 0)      \
    X(0x63, I8X16_ALL_TRUE, "i8x16.all_true", I8X16, NO_BIT(a == 0))        \
    X(0x64, I8X16_BITMASK, "i8x16.bitmask", I8X16, BITMASK_I8X16(U64X2(a))) \
    X(0x83, I16X8_ALL_TRUE, "i16x8.all_true", I16X8, NO_BIT(a == 0))        \
    X(0x84, I16X8_BITMASK, "i16x8.bitmask", I16X8, BITMASK_I16X8(U64X2(a))) \
    X(0xA3, I32X4_ALL_TRUE, "i32x4.all_true", I32X4, NO_BIT(a == 0))        \
    X(0xA4, I32X4_BITMASK, "i32x4.bitmask", I32X4, BITMASK_I32X4(U64X2(a))) \
    X(0xC3, I64X2_ALL_TRUE, "i64x2.all_true", I64X2, NO_BIT(a == 0))        \
    X(0xC4, I64X2_BITMASK, "i64x2.bitmask", I64X2, BITMASK_I64X2(U64X2(a)))

/* X(code, NAME, "text", operand, lanes) : [t] -> [v128] */
#define WR_SIMD_SPLAT(X)                            \
    X(0x0F, I8X16_SPLAT, "i8x16.splat", I32, I8X16) \
    X(0x10, I16X8_SPLAT, "i16x8.splat", I32, I16X8) \
    X(0x11, I32X4_SPLAT, "i32x4.splat", I32, I32X4) \
    X(0x12, I64X2_SPLAT, "i64x2.splat", I64, I64X2)

/* X(code, NAME of the one with the same bits, "text", operand) */
#define WR_SIMD_SPLAT_AS(X)                  \
    X(0x13, I32X4_SPLAT, "f32x4.splat", F32) \
    X(0x14, I64X2_SPLAT, "f64x2.splat", F64)

/* X(code, NAME, "text", result, lanes, lane C type, cast of the lane) : lane, [v128] -> [t] */
#define WR_SIMD_EXTRACT(X)                                                                      \
    X(0x15, I8X16_EXTRACT_LANE_S, "i8x16.extract_lane_s", I32, 16, int8_t, (uint32_t)(int32_t)) \
    X(0x16, I8X16_EXTRACT_LANE_U, "i8x16.extract_lane_u", I32, 16, uint8_t, (uint32_t))         \
    X(0x18, I16X8_EXTRACT_LANE_S, "i16x8.extract_lane_s", I32, 8, int16_t, (uint32_t)(int32_t)) \
    X(0x19, I16X8_EXTRACT_LANE_U, "i16x8.extract_lane_u", I32, 8, uint16_t, (uint32_t))         \
    X(0x1B, I32X4_EXTRACT_LANE, "i32x4.extract_lane", I32, 4, uint32_t, (uint32_t))             \
    X(0x1D, I64X2_EXTRACT_LANE, "i64x2.extract_lane", I64, 2, uint64_t, (uint64_t))

/* X(code, NAME of the one with the same bits, "text", result, lanes) */
#define WR_SIMD_EXTRACT_AS(X)                                 \
    X(0x1F, I32X4_EXTRACT_LANE, "f32x4.extract_lane", F32, 4) \
    X(0x21, I64X2_EXTRACT_LANE, "f64x2.extract_lane", F64, 2)

/* X(code, NAME, "text", operand, lane count, lanes) : lane, [v128 t] -> [v128] */
#define WR_SIMD_REPLACE(X)                                            \
    X(0x17, I8X16_REPLACE_LANE, "i8x16.replace_lane", I32, 16, I8X16) \
    X(0x1A, I16X8_REPLACE_LANE, "i16x8.replace_lane", I32, 8, I16X8)  \
    X(0x1C, I32X4_REPLACE_LANE, "i32x4.replace_lane", I32, 4, I32X4)  \
    X(0x1E, I64X2_REPLACE_LANE, "i64x2.replace_lane", I64, 2, I64X2)

/* X(code, NAME of the one with the same bits, "text", operand, lanes) */
#define WR_SIMD_REPLACE_AS(X)                                 \
    X(0x20, I32X4_REPLACE_LANE, "f32x4.replace_lane", F32, 4) \
    X(0x22, I64X2_REPLACE_LANE, "f64x2.replace_lane", F64, 2)

/* X(code, NAME, "text", memory C type, log2 of natural alignment, expression) :
 * [address] -> [v128]; m is what was read */
#define WR_SIMD_LOAD(X)                                                                     \
    X(0x00, V128_LOAD, "v128.load", wr_u64x2, 4, m)                                         \
    X(0x01, V128_LOAD8X8_S, "v128.load8x8_s", uint64_t, 3, EXTEND_LOW_S8((wr_u64x2){m}))    \
    X(0x02, V128_LOAD8X8_U, "v128.load8x8_u", uint64_t, 3, EXTEND_LOW_U8((wr_u64x2){m}))    \
    X(0x03, V128_LOAD16X4_S, "v128.load16x4_s", uint64_t, 3, EXTEND_LOW_S16((wr_u64x2){m})) \
    X(0x04, V128_LOAD16X4_U, "v128.load16x4_u", uint64_t, 3, EXTEND_LOW_U16((wr_u64x2){m})) \
    X(0x05, V128_LOAD32X2_S, "v128.load32x2_s", uint64_t, 3, EXTEND_LOW_S32((wr_u64x2){m})) \
    X(0x06, V128_LOAD32X2_U, "v128.load32x2_u", uint64_t, 3, EXTEND_LOW_U32((wr_u64x2){m})) \
    X(0x07, V128_LOAD8_SPLAT, "v128.load8_splat", uint8_t, 0, SPLAT_I8X16(m))               \
    X(0x08, V128_LOAD16_SPLAT, "v128.load16_splat", uint16_t, 1, SPLAT_I16X8(m))            \
    X(0x09, V128_LOAD32_SPLAT, "v128.load32_splat", uint32_t, 2, SPLAT_I32X4(m))            \
    X(0x0A, V128_LOAD64_SPLAT, "v128.load64_splat", uint64_t, 3, SPLAT_I64X2(m))            \
    X(0x5C, V128_LOAD32_ZERO, "v128.load32_zero", uint32_t, 2, (wr_u32x4){m})               \
    X(0x5D, V128_LOAD64_ZERO, "v128.load64_zero", uint64_t, 3, (wr_u64x2){m})

/* X(code, NAME, "text", log2 of natural alignment) : [address v128] -> [] */
#define WR_SIMD_STORE(X)                 \
    X(0x0B, V128_STORE, "v128.store", 4)

/* X(code, NAME, "text", lanes, log2 of natural alignment, LOAD, REPLACE) :
 * lane, [address v128] -> [v128]. Two instructions: a load and a replacement. */
#define WR_SIMD_LOAD_LANE(X)                                                              \
    X(0x54, V128_LOAD8_LANE, "v128.load8_lane", 16, 0, I32_LOAD8_U, I8X16_REPLACE_LANE)   \
    X(0x55, V128_LOAD16_LANE, "v128.load16_lane", 8, 1, I32_LOAD16_U, I16X8_REPLACE_LANE) \
    X(0x56, V128_LOAD32_LANE, "v128.load32_lane", 4, 2, I32_LOAD, I32X4_REPLACE_LANE)     \
    X(0x57, V128_LOAD64_LANE, "v128.load64_lane", 2, 3, I64_LOAD, I64X2_REPLACE_LANE)

/* X(code, NAME, "text", lanes, log2 of natural alignment, STORE, EXTRACT) :
 * lane, [address v128] -> []. Two instructions: an extraction and a store. */
#define WR_SIMD_STORE_LANE(X)                                                                \
    X(0x58, V128_STORE8_LANE, "v128.store8_lane", 16, 0, I32_STORE8, I8X16_EXTRACT_LANE_U)   \
    X(0x59, V128_STORE16_LANE, "v128.store16_lane", 8, 1, I32_STORE16, I16X8_EXTRACT_LANE_U) \
    X(0x5A, V128_STORE32_LANE, "v128.store32_lane", 4, 2, I32_STORE, I32X4_EXTRACT_LANE)     \
    X(0x5B, V128_STORE64_LANE, "v128.store64_lane", 2, 3, I64_STORE, I64X2_EXTRACT_LANE)

/* X(code, NAME, "text"): immediates of 16 bytes, translated by hand (translate_simd.c) */
#define WR_SIMD_STRUCTURED(X)               \
    X(0x0C, V128_CONST, "v128.const")       \
    X(0x0D, I8X16_SHUFFLE, "i8x16.shuffle")

/* Instructions that are not rows. X(NAME): operands. */
#define WR_SIMD_SPECIAL(X)                                                           \
    X(CONST128)      /* a <- the 16 bytes behind it */                               \
    X(I8X16_SHUFFLE) /* a <- lanes of b and c, their numbers in 16 bytes behind it */ \
    X(I32X4_SHUFFLE) /* a <- lanes of b and c, their numbers in d: three bits each */

/* Groups whose rows are instructions of the interpreter, in the order of wr_op. PREFIX_UNARY etc. take a row. */
#ifdef WR_NO_SIMD
#define WR_SIMD_COMPUTING(PREFIX)
#define WR_SIMD_ACCESSING(PREFIX)
#define WR_SIMD_ROWS(X)
#else
#define WR_SIMD_COMPUTING(PREFIX)      \
    WR_SIMD_UNARY(PREFIX##_UNARY)      \
    WR_SIMD_BINARY(PREFIX##_BINARY)    \
    WR_SIMD_TERNARY(PREFIX##_TERNARY)  \
    WR_SIMD_SHIFT(PREFIX##_SHIFT)      \
    WR_SIMD_TEST(PREFIX##_TEST)        \
    WR_SIMD_SPLAT(PREFIX##_SPLAT)      \
    WR_SIMD_EXTRACT(PREFIX##_EXTRACT)  \
    WR_SIMD_REPLACE(PREFIX##_REPLACE)  \
    WR_SIMD_SPECIAL(PREFIX##_SPECIAL)
#define WR_SIMD_ACCESSING(PREFIX)      \
    WR_SIMD_LOAD(PREFIX##_LOAD)        \
    WR_SIMD_STORE(PREFIX##_STORE)
/* Groups without code of their own. */
#define WR_SIMD_DERIVED(PREFIX)                \
    WR_SIMD_UNARY_AS(PREFIX##_UNARY_AS)        \
    WR_SIMD_BINARY_AS(PREFIX##_BINARY_AS)      \
    WR_SIMD_BINARY_SWAPPED(PREFIX##_SWAPPED)   \
    WR_SIMD_TERNARY_AS(PREFIX##_TERNARY_AS)    \
    WR_SIMD_SPLAT_AS(PREFIX##_SPLAT_AS)        \
    WR_SIMD_EXTRACT_AS(PREFIX##_EXTRACT_AS)    \
    WR_SIMD_REPLACE_AS(PREFIX##_REPLACE_AS)    \
    WR_SIMD_LOAD_LANE(PREFIX##_LOAD_LANE)      \
    WR_SIMD_STORE_LANE(PREFIX##_STORE_LANE)    \
    WR_SIMD_STRUCTURED(PREFIX##_STRUCTURED)
/* All rows: X(code, NAME, "text", ...). */
#define WR_SIMD_ROWS(X)                                                                  \
    WR_SIMD_UNARY(X) WR_SIMD_UNARY_AS(X) WR_SIMD_BINARY(X) WR_SIMD_BINARY_AS(X)          \
    WR_SIMD_BINARY_SWAPPED(X) WR_SIMD_TERNARY(X) WR_SIMD_TERNARY_AS(X) WR_SIMD_SHIFT(X)  \
    WR_SIMD_TEST(X) WR_SIMD_SPLAT(X) WR_SIMD_SPLAT_AS(X) WR_SIMD_EXTRACT(X)              \
    WR_SIMD_EXTRACT_AS(X) WR_SIMD_REPLACE(X) WR_SIMD_REPLACE_AS(X) WR_SIMD_LOAD(X)       \
    WR_SIMD_STORE(X) WR_SIMD_LOAD_LANE(X) WR_SIMD_STORE_LANE(X) WR_SIMD_STRUCTURED(X)
#endif

#endif
