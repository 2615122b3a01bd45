/* Vector instructions (0xFD), from the rows of opcode_simd.h. */
#include "body.h"

#ifdef WR_NO_SIMD

wr_status wr_translate_simd(wr_body *body) { return wr_load_fail(body->loader, WR_UNSUPPORTED, "opcode 0xfd"); }

#else

typedef enum simd_shape {
    SHAPE_NONE,
    SHAPE_COMPUTE, /* operands in b, c, d; the number of a lane behind them */
    SHAPE_SWAPPED, /* ditto, with the two operands in each other's place */
    SHAPE_LOAD,
    SHAPE_STORE,
    SHAPE_LOAD_LANE,
    SHAPE_STORE_LANE,
    SHAPE_V128_CONST,
    SHAPE_I8X16_SHUFFLE
} simd_shape;

typedef struct simd_row {
    uint8_t shape;
    uint8_t result;
    uint8_t operands[3]; /* types from the bottom; 0: no more */
    uint8_t lanes;       /* limit of the lane immediate; 0: none */
    uint8_t align_max;
    uint16_t op;
    uint16_t lane_op;    /* access to a lane: what replaces or extracts it */
} simd_row;

#define V WR_VT_V128
#define COMPUTE(RESULT, LANES, OP, ...) {SHAPE_COMPUTE, RESULT, {__VA_ARGS__}, LANES, 0, OP, 0}
#define ROW_UNARY(C, NAME, TEXT, L, EXPR) [C] = COMPUTE(V, 0, OP_##NAME, V),
#define ROW_UNARY_AS(C, NAME, TEXT) [C] = COMPUTE(V, 0, OP_##NAME, V),
#define ROW_BINARY(C, NAME, TEXT, L, EXPR) [C] = COMPUTE(V, 0, OP_##NAME, V, V),
#define ROW_BINARY_AS(C, NAME, TEXT) [C] = COMPUTE(V, 0, OP_##NAME, V, V),
#define ROW_SWAPPED(C, NAME, TEXT) [C] = {SHAPE_SWAPPED, V, {V, V}, 0, 0, OP_##NAME, 0},
#define ROW_TERNARY(C, NAME, TEXT, L, LC, EXPR) [C] = COMPUTE(V, 0, OP_##NAME, V, V, V),
#define ROW_TERNARY_AS(C, NAME, TEXT) [C] = COMPUTE(V, 0, OP_##NAME, V, V, V),
#define ROW_SHIFT(C, NAME, TEXT, L, EXPR) [C] = COMPUTE(V, 0, OP_##NAME, V, WR_VT_I32),
#define ROW_TEST(C, NAME, TEXT, L, EXPR) [C] = COMPUTE(WR_VT_I32, 0, OP_##NAME, V),
#define ROW_SPLAT(C, NAME, TEXT, T, L) [C] = COMPUTE(V, 0, OP_##NAME, WR_VT_##T),
#define ROW_SPLAT_AS(C, NAME, TEXT, T) [C] = COMPUTE(V, 0, OP_##NAME, WR_VT_##T),
#define ROW_EXTRACT(C, NAME, TEXT, T, LANES, M, CAST) [C] = COMPUTE(WR_VT_##T, LANES, OP_##NAME, V),
#define ROW_EXTRACT_AS(C, NAME, TEXT, T, LANES) [C] = COMPUTE(WR_VT_##T, LANES, OP_##NAME, V),
#define ROW_REPLACE(C, NAME, TEXT, T, LANES, L) [C] = COMPUTE(V, LANES, OP_##NAME, V, WR_VT_##T),
#define ROW_REPLACE_AS(C, NAME, TEXT, T, LANES) [C] = COMPUTE(V, LANES, OP_##NAME, V, WR_VT_##T),
#define ROW_LOAD(C, NAME, TEXT, M, ALIGN, EXPR) [C] = {SHAPE_LOAD, V, {0}, 0, ALIGN, OP_##NAME##_G, 0},
#define ROW_STORE(C, NAME, TEXT, ALIGN) [C] = {SHAPE_STORE, 0, {V}, 0, ALIGN, OP_##NAME##_G, 0},
#define ROW_LOAD_LANE(C, NAME, TEXT, LANES, ALIGN, LOAD, REPLACE) \
    [C] = {SHAPE_LOAD_LANE, V, {V}, LANES, ALIGN, OP_##LOAD##_G, OP_##REPLACE},
#define ROW_STORE_LANE(C, NAME, TEXT, LANES, ALIGN, STORE, EXTRACT) \
    [C] = {SHAPE_STORE_LANE, 0, {V}, LANES, ALIGN, OP_##STORE##_G, OP_##EXTRACT},
#define ROW_STRUCTURED(C, NAME, TEXT) [C] = {.shape = SHAPE_##NAME},
#define ROW_SPECIAL(NAME)

static const simd_row rows[] = {WR_SIMD_COMPUTING(ROW) WR_SIMD_ACCESSING(ROW) WR_SIMD_DERIVED(ROW)};
enum { ROW_COUNT = sizeof rows / sizeof *rows };

static wr_status read_lane(wr_body *body, uint32_t lanes, uint8_t *out) {
    WR_TRY(wr_read_byte(body->reader, out));
    return *out < lanes ? WR_OK : wr_load_fail(body->loader, WR_INVALID_LANE, "%u of %u", *out, lanes);
}

static wr_status translate_compute(wr_body *body, const simd_row *row) {
    wr_operand operands[3];
    uint16_t fields[4] = {0};
    uint8_t lane = 0;
    uint32_t count = 1;
    while (count < 3 && row->operands[count] != 0) count++;
    if (row->lanes != 0) WR_TRY(read_lane(body, row->lanes, &lane));
    for (uint32_t i = count; i-- > 0;) WR_TRY(wr_pop(body, row->operands[i], &operands[i]));
    for (uint32_t i = 0; i < count; i++) fields[i] = wr_operand_slot(body, &operands[i]);
    fields[count] = lane;
    const bool swapped = row->shape == SHAPE_SWAPPED;
    wr_insn *insn = wr_emit_def(body, row->op, operands[0].slot);
    insn->b = fields[swapped ? 1 : 0];
    insn->c = fields[swapped ? 0 : 1];
    insn->d = fields[2];
    wr_push_temp(body, row->result);
    return body->status;
}

/* ---- one lane and memory ---- */

static void emit_op(wr_body *body, wr_op op, uint32_t dst, uint16_t vector, uint16_t c, uint16_t d) {
    wr_insn *insn = wr_emit_def(body, op, dst);
    insn->b = vector;
    insn->c = c;
    insn->d = d;
}

/* The lane passes through a temporary: of the address when it is loaded, of the vector when it is stored. */
static wr_status translate_lane_access(wr_body *body, const simd_row *row) {
    wr_memarg arg = {0};
    wr_operand vector, address;
    uint8_t lane;
    WR_TRY(wr_read_memarg(body, row->align_max, false, &arg));
    WR_TRY(read_lane(body, row->lanes, &lane));
    WR_TRY(wr_pop(body, V, &vector));
    WR_TRY(wr_pop(body, wr_address_type(body, arg.memory), &address));
    uint16_t from = wr_operand_slot(body, &vector);
    if (row->shape == SHAPE_LOAD_LANE) {
        wr_emit_load(body, row->op, &arg, &address, address.slot);
        emit_op(body, row->lane_op, address.slot, from, (uint16_t)address.slot, lane);
        wr_push_temp(body, V);
    } else {
        const wr_operand extracted = {.place = WR_PLACE_TEMP, .slot = vector.slot};
        emit_op(body, row->lane_op, vector.slot, from, lane, 0);
        wr_emit_store(body, row->op, &arg, &address, &extracted);
    }
    return body->status;
}

/* ---- immediates of 16 bytes ---- */

static wr_status translate_const(wr_body *body) {
    const uint8_t *bytes = body->reader->at;
    if (wr_reader_left(body->reader) < 16) return WR_UNEXPECTED_END;
    body->reader->at += 16;
    wr_push_const128(body, bytes);
    return body->status;
}

/* Whether whole words of four bytes move; their numbers, three bits each. */
static bool moves_words(const uint8_t *lanes, uint16_t *numbers) {
    *numbers = 0;
    for (uint32_t i = 0; i < 16; i++) {
        if (lanes[i] % 4 != i % 4 || lanes[i] / 4 != lanes[i & ~3u] / 4) return false;
        if (i % 4 == 0) *numbers |= (uint16_t)(lanes[i] / 4 << (i / 4 * 3));
    }
    return true;
}

static wr_status translate_shuffle(wr_body *body) {
    uint8_t lanes[16];
    uint16_t numbers;
    wr_operand a, b;
    for (uint32_t i = 0; i < 16; i++) WR_TRY(read_lane(body, 32, &lanes[i]));
    WR_TRY(wr_pop(body, V, &b));
    WR_TRY(wr_pop(body, V, &a));
    uint16_t left = wr_operand_slot(body, &a), right = wr_operand_slot(body, &b);
    if (moves_words(lanes, &numbers)) {
        emit_op(body, OP_I32X4_SHUFFLE, a.slot, left, right, numbers);
    } else {
        emit_op(body, OP_I8X16_SHUFFLE, a.slot, left, right, 0);
        wr_emit_bytes(body, lanes);
    }
    wr_push_temp(body, V);
    return body->status;
}

wr_status wr_translate_simd(wr_body *body) {
    uint32_t number;
    WR_TRY(wr_read_u32(body->reader, &number));
    const simd_row *row = number < ROW_COUNT ? &rows[number] : NULL;
    switch (row != NULL ? row->shape : SHAPE_NONE) {
    case SHAPE_COMPUTE:
    case SHAPE_SWAPPED: return translate_compute(body, row);
    case SHAPE_LOAD: return wr_translate_load(body, row->op, V, row->align_max);
    case SHAPE_STORE: return wr_translate_store(body, row->op, V, row->align_max);
    case SHAPE_LOAD_LANE:
    case SHAPE_STORE_LANE: return translate_lane_access(body, row);
    case SHAPE_V128_CONST: return translate_const(body);
    case SHAPE_I8X16_SHUFFLE: return translate_shuffle(body);
    default: return wr_load_fail(body->loader, WR_ILLEGAL_OPCODE, "fd %02x", number);
    }
}

#endif
