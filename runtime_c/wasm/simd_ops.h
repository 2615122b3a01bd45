/* One function per computing row of opcode_simd.h: reads its operands from slots, writes its result to slots, which may
 * be those of an operand. interp.c says whether handlers inline them (WR_SIMD_FUNCTION). */
#ifndef WR_SIMD_OPS_H
#define WR_SIMD_OPS_H
#include "code.h"

#ifndef WR_NO_SIMD
#include "simd.h"

/* Slots are aligned to 8 bytes only. */
#define FROM_SLOTS(LANES, NAME) \
    V_##LANES NAME;             \
    memcpy(&NAME, from_##NAME, sizeof NAME)
#define TO_SLOTS(EXPR)                      \
    const __typeof__(EXPR) result = (EXPR); \
    memcpy(to, &result, sizeof result)

#define FUNCTION_UNARY(C, NAME, TEXT, LANES, EXPR)                            \
    WR_SIMD_FUNCTION void simd_##NAME(wr_slot *to, const wr_slot *from_a) {   \
        FROM_SLOTS(LANES, a);                                                 \
        TO_SLOTS(EXPR);                                                       \
    }
#define FUNCTION_BINARY(C, NAME, TEXT, LANES, EXPR)                                                  \
    WR_SIMD_FUNCTION void simd_##NAME(wr_slot *to, const wr_slot *from_a, const wr_slot *from_b) {   \
        FROM_SLOTS(LANES, a);                                                                        \
        FROM_SLOTS(LANES, b);                                                                        \
        TO_SLOTS(EXPR);                                                                              \
    }
#define FUNCTION_TERNARY(C, NAME, TEXT, LANES, LANES_C, EXPR)                                        \
    WR_SIMD_FUNCTION void simd_##NAME(wr_slot *to, const wr_slot *from_a, const wr_slot *from_b,     \
                                      const wr_slot *from_c) {                                       \
        FROM_SLOTS(LANES, a);                                                                        \
        FROM_SLOTS(LANES, b);                                                                        \
        FROM_SLOTS(LANES_C, c);                                                                      \
        TO_SLOTS(EXPR);                                                                              \
    }
#define FUNCTION_SHIFT(C, NAME, TEXT, LANES, EXPR)                                             \
    WR_SIMD_FUNCTION void simd_##NAME(wr_slot *to, const wr_slot *from_a, uint32_t count) {    \
        FROM_SLOTS(LANES, a);                                                                  \
        const LANE_##LANES n = (LANE_##LANES)(count & (8 * sizeof(LANE_##LANES) - 1));         \
        TO_SLOTS(EXPR);                                                                        \
    }
#define FUNCTION_TEST(C, NAME, TEXT, LANES, EXPR)                   \
    WR_SIMD_FUNCTION uint32_t simd_##NAME(const wr_slot *from_a) {  \
        FROM_SLOTS(LANES, a);                                       \
        return (EXPR);                                              \
    }
#define FUNCTION_SPLAT(C, NAME, TEXT, T, LANES)                      \
    WR_SIMD_FUNCTION void simd_##NAME(wr_slot *to, uint64_t value) { \
        TO_SLOTS(SPLAT_##LANES(value));                              \
    }
#define FUNCTION_EXTRACT(C, NAME, TEXT, T, COUNT, M, CAST)
#define FUNCTION_REPLACE(C, NAME, TEXT, T, COUNT, LANES)                                                       \
    WR_SIMD_FUNCTION void simd_##NAME(wr_slot *to, const wr_slot *from_a, uint64_t value, uint32_t lane) {     \
        FROM_SLOTS(LANES, a);                                                                                  \
        TO_SLOTS(PICK(NUMBERS_##LANES == (LANE_##LANES)lane, SPLAT_##LANES(value), a));                        \
    }
#define FUNCTION_SPECIAL(NAME)
#define FUNCTION_LOAD(C, NAME, TEXT, M, ALIGN, EXPR)                      \
    WR_SIMD_FUNCTION void simd_##NAME(wr_slot *to, const uint8_t *from) { \
        M m;                                                              \
        memcpy(&m, from, sizeof m);                                       \
        TO_SLOTS(EXPR);                                                   \
    }
#define FUNCTION_STORE(C, NAME, TEXT, ALIGN)

WR_SIMD_COMPUTING(FUNCTION)
WR_SIMD_ACCESSING(FUNCTION)

/* Immediates of 16 bytes are behind the instruction. */
WR_VECTOR wr_u8x16 wr_immediate(const wr_insn *insn) {
    wr_u8x16 value;
    memcpy(&value, insn + 1, sizeof value);
    return value;
}
WR_SIMD_FUNCTION void simd_CONST128(wr_slot *to, const wr_insn *insn) { TO_SLOTS(wr_immediate(insn)); }
WR_SIMD_FUNCTION void simd_I8X16_SHUFFLE(wr_slot *to, const wr_slot *from_a, const wr_slot *from_b,
                                         const wr_insn *insn) {
    FROM_SLOTS(I8X16, a);
    FROM_SLOTS(I8X16, b);
    TO_SLOTS(wr_shuffle(a, b, wr_immediate(insn)));
}
WR_SIMD_FUNCTION void simd_I32X4_SHUFFLE(wr_slot *to, const wr_slot *from_a, const wr_slot *from_b, uint32_t numbers) {
    uint32_t from[8];
    memcpy(from, from_a, 16);
    memcpy(from + 4, from_b, 16);
    TO_SLOTS(((wr_u32x4){from[numbers & 7], from[numbers >> 3 & 7], from[numbers >> 6 & 7], from[numbers >> 9 & 7]}));
}
#endif

#endif
