/* The opcode table: one row per instruction, everything else is generated from it (decoding, typing of simple
 * instructions, handlers, fusion, names; the C emitter reads the same rows).
 *
 * Rows are grouped by shape. `a` and `b` in an expression are the operands as unsigned integers or floats of the
 * operand type; S32/S64 reinterpret as signed. Functions named wr_ are in numeric.h.
 * Sources: WebAssembly core specification 3.0, 4.3 (numerics), 5.4 (binary instructions). */
#ifndef WR_OPCODE_H
#define WR_OPCODE_H

#define S32(x) ((int32_t)(x))
#define S64(x) ((int64_t)(x))

/* X(code, NAME, "text", type, commutative, expression) : [t t] -> [t], integer */
#define WR_INT_BINARY(X)                                             \
    X(0x6A, I32_ADD, "i32.add", I32, 1, a + b)                       \
    X(0x6B, I32_SUB, "i32.sub", I32, 0, a - b)                       \
    X(0x6C, I32_MUL, "i32.mul", I32, 1, a * b)                       \
    X(0x71, I32_AND, "i32.and", I32, 1, a & b)                       \
    X(0x72, I32_OR, "i32.or", I32, 1, a | b)                         \
    X(0x73, I32_XOR, "i32.xor", I32, 1, a ^ b)                       \
    X(0x74, I32_SHL, "i32.shl", I32, 0, a << (b & 31))               \
    X(0x75, I32_SHR_S, "i32.shr_s", I32, 0, S32(a) >> (b & 31))      \
    X(0x76, I32_SHR_U, "i32.shr_u", I32, 0, a >> (b & 31))           \
    X(0x77, I32_ROTL, "i32.rotl", I32, 0, wr_rotl32(a, b))           \
    X(0x78, I32_ROTR, "i32.rotr", I32, 0, wr_rotr32(a, b))           \
    X(0x7C, I64_ADD, "i64.add", I64, 1, a + b)                       \
    X(0x7D, I64_SUB, "i64.sub", I64, 0, a - b)                       \
    X(0x7E, I64_MUL, "i64.mul", I64, 1, a * b)                       \
    X(0x83, I64_AND, "i64.and", I64, 1, a & b)                       \
    X(0x84, I64_OR, "i64.or", I64, 1, a | b)                         \
    X(0x85, I64_XOR, "i64.xor", I64, 1, a ^ b)                       \
    X(0x86, I64_SHL, "i64.shl", I64, 0, a << (b & 63))               \
    X(0x87, I64_SHR_S, "i64.shr_s", I64, 0, S64(a) >> (b & 63))      \
    X(0x88, I64_SHR_U, "i64.shr_u", I64, 0, a >> (b & 63))           \
    X(0x89, I64_ROTL, "i64.rotl", I64, 0, wr_rotl64(a, b))           \
    X(0x8A, I64_ROTR, "i64.rotr", I64, 0, wr_rotr64(a, b))

/* X(code, NAME, "text", type, check, expression) : [t t] -> [t]; check is WR_OK or the trap */
#define WR_INT_DIVIDE(X)                                                                          \
    X(0x6D, I32_DIV_S, "i32.div_s", I32, wr_check_div32(a, b), S32(a) / S32(b))                   \
    X(0x6E, I32_DIV_U, "i32.div_u", I32, wr_check_zero(b == 0), a / b)                            \
    X(0x6F, I32_REM_S, "i32.rem_s", I32, wr_check_zero(b == 0), wr_rem32(a, b))                   \
    X(0x70, I32_REM_U, "i32.rem_u", I32, wr_check_zero(b == 0), a % b)                            \
    X(0x7F, I64_DIV_S, "i64.div_s", I64, wr_check_div64(a, b), S64(a) / S64(b))                   \
    X(0x80, I64_DIV_U, "i64.div_u", I64, wr_check_zero(b == 0), a / b)                            \
    X(0x81, I64_REM_S, "i64.rem_s", I64, wr_check_zero(b == 0), wr_rem64(a, b))                   \
    X(0x82, I64_REM_U, "i64.rem_u", I64, wr_check_zero(b == 0), a % b)

/* X(code, NAME, "text", type, expression) : [t t] -> [t], float */
#define WR_FLOAT_BINARY(X)                                            \
    X(0x92, F32_ADD, "f32.add", F32, CANON_F32(a + b))                \
    X(0x93, F32_SUB, "f32.sub", F32, CANON_F32(a - b))                \
    X(0x94, F32_MUL, "f32.mul", F32, CANON_F32(a * b))                \
    X(0x95, F32_DIV, "f32.div", F32, CANON_F32(a / b))                \
    X(0x96, F32_MIN, "f32.min", F32, wr_min_f32(a, b))                \
    X(0x97, F32_MAX, "f32.max", F32, wr_max_f32(a, b))                \
    X(0x98, F32_COPYSIGN, "f32.copysign", F32, wr_copysign_f32(a, b)) \
    X(0xA0, F64_ADD, "f64.add", F64, CANON_F64(a + b))                \
    X(0xA1, F64_SUB, "f64.sub", F64, CANON_F64(a - b))                \
    X(0xA2, F64_MUL, "f64.mul", F64, CANON_F64(a * b))                \
    X(0xA3, F64_DIV, "f64.div", F64, CANON_F64(a / b))                \
    X(0xA4, F64_MIN, "f64.min", F64, wr_min_f64(a, b))                \
    X(0xA5, F64_MAX, "f64.max", F64, wr_max_f64(a, b))                \
    X(0xA6, F64_COPYSIGN, "f64.copysign", F64, wr_copysign_f64(a, b))

/* X(code, NAME, "text", type, INVERSE, SWAPPED, expression) : [t t] -> [i32], integer */
#define WR_INT_COMPARE(X)                                                        \
    X(0x46, I32_EQ, "i32.eq", I32, I32_NE, I32_EQ, a == b)                       \
    X(0x47, I32_NE, "i32.ne", I32, I32_EQ, I32_NE, a != b)                       \
    X(0x48, I32_LT_S, "i32.lt_s", I32, I32_GE_S, I32_GT_S, S32(a) < S32(b))      \
    X(0x49, I32_LT_U, "i32.lt_u", I32, I32_GE_U, I32_GT_U, a < b)                \
    X(0x4A, I32_GT_S, "i32.gt_s", I32, I32_LE_S, I32_LT_S, S32(a) > S32(b))      \
    X(0x4B, I32_GT_U, "i32.gt_u", I32, I32_LE_U, I32_LT_U, a > b)                \
    X(0x4C, I32_LE_S, "i32.le_s", I32, I32_GT_S, I32_GE_S, S32(a) <= S32(b))     \
    X(0x4D, I32_LE_U, "i32.le_u", I32, I32_GT_U, I32_GE_U, a <= b)               \
    X(0x4E, I32_GE_S, "i32.ge_s", I32, I32_LT_S, I32_LE_S, S32(a) >= S32(b))     \
    X(0x4F, I32_GE_U, "i32.ge_u", I32, I32_LT_U, I32_LE_U, a >= b)               \
    X(0x51, I64_EQ, "i64.eq", I64, I64_NE, I64_EQ, a == b)                       \
    X(0x52, I64_NE, "i64.ne", I64, I64_EQ, I64_NE, a != b)                       \
    X(0x53, I64_LT_S, "i64.lt_s", I64, I64_GE_S, I64_GT_S, S64(a) < S64(b))      \
    X(0x54, I64_LT_U, "i64.lt_u", I64, I64_GE_U, I64_GT_U, a < b)                \
    X(0x55, I64_GT_S, "i64.gt_s", I64, I64_LE_S, I64_LT_S, S64(a) > S64(b))      \
    X(0x56, I64_GT_U, "i64.gt_u", I64, I64_LE_U, I64_LT_U, a > b)                \
    X(0x57, I64_LE_S, "i64.le_s", I64, I64_GT_S, I64_GE_S, S64(a) <= S64(b))     \
    X(0x58, I64_LE_U, "i64.le_u", I64, I64_GT_U, I64_GE_U, a <= b)               \
    X(0x59, I64_GE_S, "i64.ge_s", I64, I64_LT_S, I64_LE_S, S64(a) >= S64(b))     \
    X(0x5A, I64_GE_U, "i64.ge_u", I64, I64_LT_U, I64_LE_U, a >= b)

/* X(code, NAME, "text", type, expression) : [t t] -> [i32], float. The negation is no comparison (NaN). */
#define WR_FLOAT_COMPARE(X)                                          \
    X(0x5B, F32_EQ, "f32.eq", F32, a == b)                           \
    X(0x5C, F32_NE, "f32.ne", F32, a != b)                           \
    X(0x5D, F32_LT, "f32.lt", F32, a < b)                            \
    X(0x5E, F32_GT, "f32.gt", F32, a > b)                            \
    X(0x5F, F32_LE, "f32.le", F32, a <= b)                           \
    X(0x60, F32_GE, "f32.ge", F32, a >= b)                           \
    X(0x61, F64_EQ, "f64.eq", F64, a == b)                           \
    X(0x62, F64_NE, "f64.ne", F64, a != b)                           \
    X(0x63, F64_LT, "f64.lt", F64, a < b)                            \
    X(0x64, F64_GT, "f64.gt", F64, a > b)                            \
    X(0x65, F64_LE, "f64.le", F64, a <= b)                           \
    X(0x66, F64_GE, "f64.ge", F64, a >= b)

/* X(code, NAME, "text", result, operand, expression) : [t] -> [r]. FC codes are 0xFC00 + sub-opcode. */
#define WR_UNARY(X)                                                                    \
    X(0x67, I32_CLZ, "i32.clz", I32, I32, wr_clz32(a))                                 \
    X(0x68, I32_CTZ, "i32.ctz", I32, I32, wr_ctz32(a))                                 \
    X(0x69, I32_POPCNT, "i32.popcnt", I32, I32, (uint32_t)__builtin_popcount(a))       \
    X(0x79, I64_CLZ, "i64.clz", I64, I64, wr_clz64(a))                                 \
    X(0x7A, I64_CTZ, "i64.ctz", I64, I64, wr_ctz64(a))                                 \
    X(0x7B, I64_POPCNT, "i64.popcnt", I64, I64, (uint64_t)__builtin_popcountll(a))     \
    X(0x8B, F32_ABS, "f32.abs", F32, F32, wr_abs_f32(a))                               \
    X(0x8C, F32_NEG, "f32.neg", F32, F32, wr_neg_f32(a))                               \
    X(0x8D, F32_CEIL, "f32.ceil", F32, F32, wr_ceil_f32(a))                            \
    X(0x8E, F32_FLOOR, "f32.floor", F32, F32, wr_floor_f32(a))                         \
    X(0x8F, F32_TRUNC, "f32.trunc", F32, F32, wr_trunc_f32(a))                         \
    X(0x90, F32_NEAREST, "f32.nearest", F32, F32, wr_nearest_f32(a))                   \
    X(0x91, F32_SQRT, "f32.sqrt", F32, F32, CANON_F32(wr_sqrt_f32(a)))                 \
    X(0x99, F64_ABS, "f64.abs", F64, F64, wr_abs_f64(a))                               \
    X(0x9A, F64_NEG, "f64.neg", F64, F64, wr_neg_f64(a))                               \
    X(0x9B, F64_CEIL, "f64.ceil", F64, F64, wr_ceil_f64(a))                            \
    X(0x9C, F64_FLOOR, "f64.floor", F64, F64, wr_floor_f64(a))                         \
    X(0x9D, F64_TRUNC, "f64.trunc", F64, F64, wr_trunc_f64(a))                         \
    X(0x9E, F64_NEAREST, "f64.nearest", F64, F64, wr_nearest_f64(a))                   \
    X(0x9F, F64_SQRT, "f64.sqrt", F64, F64, CANON_F64(wr_sqrt_f64(a)))                 \
    X(0xA7, I32_WRAP_I64, "i32.wrap_i64", I32, I64, (uint32_t)a)                       \
    X(0xAC, I64_EXTEND_I32_S, "i64.extend_i32_s", I64, I32, (uint64_t)(int64_t)S32(a)) \
    X(0xAD, I64_EXTEND_I32_U, "i64.extend_i32_u", I64, I32, (uint64_t)a)               \
    X(0xB2, F32_CONVERT_I32_S, "f32.convert_i32_s", F32, I32, (float)S32(a))           \
    X(0xB3, F32_CONVERT_I32_U, "f32.convert_i32_u", F32, I32, (float)a)                \
    X(0xB4, F32_CONVERT_I64_S, "f32.convert_i64_s", F32, I64, (float)S64(a))           \
    X(0xB5, F32_CONVERT_I64_U, "f32.convert_i64_u", F32, I64, (float)a)                \
    X(0xB6, F32_DEMOTE_F64, "f32.demote_f64", F32, F64, CANON_F32((float)a))           \
    X(0xB7, F64_CONVERT_I32_S, "f64.convert_i32_s", F64, I32, (double)S32(a))          \
    X(0xB8, F64_CONVERT_I32_U, "f64.convert_i32_u", F64, I32, (double)a)               \
    X(0xB9, F64_CONVERT_I64_S, "f64.convert_i64_s", F64, I64, (double)S64(a))          \
    X(0xBA, F64_CONVERT_I64_U, "f64.convert_i64_u", F64, I64, (double)a)               \
    X(0xBB, F64_PROMOTE_F32, "f64.promote_f32", F64, F32, CANON_F64((double)a))        \
    X(0xBC, I32_REINTERPRET_F32, "i32.reinterpret_f32", I32, F32, wr_bits_f32(a))      \
    X(0xBD, I64_REINTERPRET_F64, "i64.reinterpret_f64", I64, F64, wr_bits_f64(a))      \
    X(0xBE, F32_REINTERPRET_I32, "f32.reinterpret_i32", F32, I32, wr_from_bits_f32(a)) \
    X(0xBF, F64_REINTERPRET_I64, "f64.reinterpret_i64", F64, I64, wr_from_bits_f64(a)) \
    X(0xC0, I32_EXTEND8_S, "i32.extend8_s", I32, I32, (uint32_t)(int32_t)(int8_t)a)    \
    X(0xC1, I32_EXTEND16_S, "i32.extend16_s", I32, I32, (uint32_t)(int32_t)(int16_t)a) \
    X(0xC2, I64_EXTEND8_S, "i64.extend8_s", I64, I64, (uint64_t)(int8_t)a)             \
    X(0xC3, I64_EXTEND16_S, "i64.extend16_s", I64, I64, (uint64_t)(int16_t)a)          \
    X(0xC4, I64_EXTEND32_S, "i64.extend32_s", I64, I64, (uint64_t)(int32_t)a)          \
    X(0xFC00, I32_TRUNC_SAT_F32_S, "i32.trunc_sat_f32_s", I32, F32, wr_sat_i32_f32(a)) \
    X(0xFC01, I32_TRUNC_SAT_F32_U, "i32.trunc_sat_f32_u", I32, F32, wr_sat_u32_f32(a)) \
    X(0xFC02, I32_TRUNC_SAT_F64_S, "i32.trunc_sat_f64_s", I32, F64, wr_sat_i32_f64(a)) \
    X(0xFC03, I32_TRUNC_SAT_F64_U, "i32.trunc_sat_f64_u", I32, F64, wr_sat_u32_f64(a)) \
    X(0xFC04, I64_TRUNC_SAT_F32_S, "i64.trunc_sat_f32_s", I64, F32, wr_sat_i64_f32(a)) \
    X(0xFC05, I64_TRUNC_SAT_F32_U, "i64.trunc_sat_f32_u", I64, F32, wr_sat_u64_f32(a)) \
    X(0xFC06, I64_TRUNC_SAT_F64_S, "i64.trunc_sat_f64_s", I64, F64, wr_sat_i64_f64(a)) \
    X(0xFC07, I64_TRUNC_SAT_F64_U, "i64.trunc_sat_f64_u", I64, F64, wr_sat_u64_f64(a))

/* X(code, NAME, "text", result, operand, check, expression) : [t] -> [r], may trap. Ranges are exclusive bounds. */
#define WR_UNARY_TRAP(X)                                                                                          \
    X(0xA8, I32_TRUNC_F32_S, "i32.trunc_f32_s", I32, F32, wr_check_range(a, -2147483904.0, 2147483648.0),          \
      (uint32_t)(int32_t)a)                                                                                       \
    X(0xA9, I32_TRUNC_F32_U, "i32.trunc_f32_u", I32, F32, wr_check_range(a, -1.0, 4294967296.0), (uint32_t)a)      \
    X(0xAA, I32_TRUNC_F64_S, "i32.trunc_f64_s", I32, F64, wr_check_range(a, -2147483649.0, 2147483648.0),          \
      (uint32_t)(int32_t)a)                                                                                       \
    X(0xAB, I32_TRUNC_F64_U, "i32.trunc_f64_u", I32, F64, wr_check_range(a, -1.0, 4294967296.0), (uint32_t)a)      \
    X(0xAE, I64_TRUNC_F32_S, "i64.trunc_f32_s", I64, F32,                                                         \
      wr_check_range(a, -9223373136366403584.0, 9223372036854775808.0), (uint64_t)(int64_t)a)                     \
    X(0xAF, I64_TRUNC_F32_U, "i64.trunc_f32_u", I64, F32, wr_check_range(a, -1.0, 18446744073709551616.0),         \
      (uint64_t)a)                                                                                                \
    X(0xB0, I64_TRUNC_F64_S, "i64.trunc_f64_s", I64, F64,                                                         \
      wr_check_range(a, -9223372036854777856.0, 9223372036854775808.0), (uint64_t)(int64_t)a)                     \
    X(0xB1, I64_TRUNC_F64_U, "i64.trunc_f64_u", I64, F64, wr_check_range(a, -1.0, 18446744073709551616.0),         \
      (uint64_t)a)

/* X(code, NAME, "text", value type, slot type, memory C type, log2 of natural alignment, cast of the loaded value) */
#define WR_LOAD(X)                                                                          \
    X(0x28, I32_LOAD, "i32.load", I32, I32, uint32_t, 2, (uint32_t))                             \
    X(0x29, I64_LOAD, "i64.load", I64, I64, uint64_t, 3, (uint64_t))                             \
    X(0x2A, F32_LOAD, "f32.load", F32, I32, uint32_t, 2, (uint32_t))                             \
    X(0x2B, F64_LOAD, "f64.load", F64, I64, uint64_t, 3, (uint64_t))                             \
    X(0x2C, I32_LOAD8_S, "i32.load8_s", I32, I32, int8_t, 0, (uint32_t))                         \
    X(0x2D, I32_LOAD8_U, "i32.load8_u", I32, I32, uint8_t, 0, (uint32_t))                        \
    X(0x2E, I32_LOAD16_S, "i32.load16_s", I32, I32, int16_t, 1, (uint32_t))                      \
    X(0x2F, I32_LOAD16_U, "i32.load16_u", I32, I32, uint16_t, 1, (uint32_t))                     \
    X(0x30, I64_LOAD8_S, "i64.load8_s", I64, I64, int8_t, 0, (uint64_t))                         \
    X(0x31, I64_LOAD8_U, "i64.load8_u", I64, I64, uint8_t, 0, (uint64_t))                        \
    X(0x32, I64_LOAD16_S, "i64.load16_s", I64, I64, int16_t, 1, (uint64_t))                      \
    X(0x33, I64_LOAD16_U, "i64.load16_u", I64, I64, uint16_t, 1, (uint64_t))                     \
    X(0x34, I64_LOAD32_S, "i64.load32_s", I64, I64, int32_t, 2, (uint64_t))                      \
    X(0x35, I64_LOAD32_U, "i64.load32_u", I64, I64, uint32_t, 2, (uint64_t))

/* X(code, NAME, "text", value type, slot type, memory C type, log2 of natural alignment) */
#define WR_STORE(X)                                                 \
    X(0x36, I32_STORE, "i32.store", I32, I32, uint32_t, 2)          \
    X(0x37, I64_STORE, "i64.store", I64, I64, uint64_t, 3)          \
    X(0x38, F32_STORE, "f32.store", F32, I32, uint32_t, 2)          \
    X(0x39, F64_STORE, "f64.store", F64, I64, uint64_t, 3)          \
    X(0x3A, I32_STORE8, "i32.store8", I32, I32, uint8_t, 0)         \
    X(0x3B, I32_STORE16, "i32.store16", I32, I32, uint16_t, 1)      \
    X(0x3C, I64_STORE8, "i64.store8", I64, I64, uint8_t, 0)         \
    X(0x3D, I64_STORE16, "i64.store16", I64, I64, uint16_t, 1)      \
    X(0x3E, I64_STORE32, "i64.store32", I64, I64, uint32_t, 2)

/* X(code, NAME, "text"): instructions whose typing and translation are written by hand (translate.c) */
#define WR_STRUCTURED(X)                              \
    X(0x00, UNREACHABLE, "unreachable")               \
    X(0x01, NOP, "nop")                               \
    X(0x02, BLOCK, "block")                           \
    X(0x03, LOOP, "loop")                             \
    X(0x04, IF, "if")                                 \
    X(0x05, ELSE, "else")                             \
    X(0x0B, END, "end")                               \
    X(0x0C, BR, "br")                                 \
    X(0x0D, BR_IF, "br_if")                           \
    X(0x0E, BR_TABLE, "br_table")                     \
    X(0x0F, RETURN, "return")                         \
    X(0x10, CALL, "call")                             \
    X(0x11, CALL_INDIRECT, "call_indirect")           \
    X(0x08, THROW, "throw")                           \
    X(0x0A, THROW_REF, "throw_ref")                   \
    X(0x12, RETURN_CALL, "return_call")               \
    X(0x13, RETURN_CALL_INDIRECT, "return_call_indirect") \
    X(0x14, CALL_REF, "call_ref")                     \
    X(0x15, RETURN_CALL_REF, "return_call_ref")       \
    X(0x1F, TRY_TABLE, "try_table")                   \
    X(0x1A, DROP, "drop")                             \
    X(0x1B, SELECT, "select")                         \
    X(0x1C, SELECT_T, "select t")                     \
    X(0x20, LOCAL_GET, "local.get")                   \
    X(0x21, LOCAL_SET, "local.set")                   \
    X(0x22, LOCAL_TEE, "local.tee")                   \
    X(0x23, GLOBAL_GET, "global.get")                 \
    X(0x24, GLOBAL_SET, "global.set")                 \
    X(0x25, TABLE_GET, "table.get")                   \
    X(0x26, TABLE_SET, "table.set")                   \
    X(0x3F, MEMORY_SIZE, "memory.size")               \
    X(0x40, MEMORY_GROW, "memory.grow")               \
    X(0x45, I32_EQZ, "i32.eqz")                       \
    X(0x50, I64_EQZ, "i64.eqz")                       \
    X(0x41, I32_CONST, "i32.const")                   \
    X(0x42, I64_CONST, "i64.const")                   \
    X(0x43, F32_CONST, "f32.const")                   \
    X(0x44, F64_CONST, "f64.const")                   \
    X(0xD0, REF_NULL, "ref.null")                     \
    X(0xD1, REF_IS_NULL, "ref.is_null")               \
    X(0xD2, REF_FUNC, "ref.func")                     \
    X(0xD4, REF_AS_NON_NULL, "ref.as_non_null")       \
    X(0xD5, BR_ON_NULL, "br_on_null")                 \
    X(0xD6, BR_ON_NON_NULL, "br_on_non_null")         \
    X(0xFC08, MEMORY_INIT, "memory.init")             \
    X(0xFC09, DATA_DROP, "data.drop")                 \
    X(0xFC0A, MEMORY_COPY, "memory.copy")             \
    X(0xFC0B, MEMORY_FILL, "memory.fill")             \
    X(0xFC0C, TABLE_INIT, "table.init")               \
    X(0xFC0D, ELEM_DROP, "elem.drop")                 \
    X(0xFC0E, TABLE_COPY, "table.copy")               \
    X(0xFC0F, TABLE_GROW, "table.grow")               \
    X(0xFC10, TABLE_SIZE, "table.size")               \
    X(0xFC11, TABLE_FILL, "table.fill")

#endif
