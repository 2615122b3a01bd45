/* Vector instructions. Those that are rows of the table become inline functions, written out when a module uses them;
 * lanes and immediates are written in place. */
#include <stdio.h>
#include <string.h>

#include "emit.h"

#ifdef WR_NO_SIMD

void wr_aot_simd_functions(const wr_aot_emit *emit, wr_text *out) { (void)emit, (void)out; }

wr_status wr_aot_simd(wr_aot_body *body, uint32_t code) {
    (void)body, (void)code;
    return WR_NOT_FOUND;
}

uint8_t wr_aot_simd_loose(uint32_t code) {
    (void)code;
    return 0;
}

#else

/* ---- functions ---- */

#define NAME_UNARY(C, NAME, ...) FN_##NAME,
#define NAME_BINARY NAME_UNARY
#define NAME_TERNARY NAME_UNARY
#define NAME_SHIFT NAME_UNARY
#define NAME_TEST NAME_UNARY
#define NAME_SPLAT NAME_UNARY
#define NAME_EXTRACT NAME_UNARY
#define NAME_REPLACE NAME_UNARY
#define NAME_LOAD NAME_UNARY
#define NAME_STORE NAME_UNARY
#define NAME_SPECIAL(NAME)
enum { WR_SIMD_COMPUTING(NAME) WR_SIMD_ACCESSING(NAME) FN_COUNT };

#define OPERAND(LANES, NAME) "    const V_" #LANES " " NAME " = (V_" #LANES ")" NAME "_;\n"
#define RETURN(EXPR) "    return (v128)(" #EXPR ");\n}\n"
#define TEXT_UNARY(C, NAME, TEXT, LANES, EXPR) \
    [FN_##NAME] = {#NAME, "v128", "v128 a_", OPERAND(LANES, "a") RETURN(EXPR), #LANES, #EXPR},
#define TEXT_BINARY(C, NAME, TEXT, LANES, EXPR)                                                                 \
    [FN_##NAME] = {#NAME, "v128", "v128 a_, v128 b_", OPERAND(LANES, "a") OPERAND(LANES, "b") RETURN(EXPR), #LANES, \
                   #EXPR},
#define TEXT_TERNARY(C, NAME, TEXT, LANES, LANES_C, EXPR)    \
    [FN_##NAME] = {#NAME, "v128", "v128 a_, v128 b_, v128 c_", \
                   OPERAND(LANES, "a") OPERAND(LANES, "b") OPERAND(LANES_C, "c") RETURN(EXPR), #LANES, #EXPR},
#define TEXT_SHIFT(C, NAME, TEXT, LANES, EXPR)               \
    [FN_##NAME] = {#NAME, "v128", "v128 a_, uint32_t count", \
                   OPERAND(LANES, "a") "    const LANE_" #LANES " n = (LANE_" #LANES \
                                       ")(count & (8 * sizeof(LANE_" #LANES ") - 1));\n" RETURN(EXPR), NULL, NULL},
#define TEXT_TEST(C, NAME, TEXT, LANES, EXPR) \
    [FN_##NAME] = {#NAME, "uint32_t", "v128 a_", OPERAND(LANES, "a") "    return (uint32_t)(" #EXPR ");\n}\n", NULL, \
                   NULL},
#define IN_PLACE \
    { NULL, NULL, NULL, NULL, NULL, NULL }
#define TEXT_SPLAT(C, NAME, TEXT, T, LANES) [FN_##NAME] = IN_PLACE,
#define TEXT_EXTRACT(C, NAME, TEXT, T, COUNT, M, CAST) [FN_##NAME] = IN_PLACE,
#define TEXT_REPLACE(C, NAME, TEXT, T, COUNT, LANES) [FN_##NAME] = IN_PLACE,
#define TEXT_SPECIAL(NAME)
#define TEXT_LOAD(C, NAME, TEXT, M, ALIGN, EXPR) [FN_##NAME] = {#NAME, "v128", #M " m", RETURN(EXPR), NULL, NULL},
#define TEXT_STORE(C, NAME, TEXT, ALIGN) [FN_##NAME] = IN_PLACE,

typedef struct function_text {
    const char *name; /* NULL: written in place */
    const char *result, *params, *body;
    const char *lanes; /* of its vectors. If floats, it does not see bits of NaNs: rows that do have integer lanes */
    const char *expr;
} function_text;
static const function_text functions[] = {WR_SIMD_COMPUTING(TEXT) WR_SIMD_ACCESSING(TEXT)};

void wr_aot_simd_functions(const wr_aot_emit *emit, wr_text *out) {
    for (size_t i = 0; i < FN_COUNT; i++) {
        if (!emit->uses_simd[i] || functions[i].name == NULL) continue;
        wr_text_add(out, "WR_VECTOR %s simd_%s(%s) {\n", functions[i].result, functions[i].name, functions[i].params);
        wr_text_put(out, functions[i].body, strlen(functions[i].body));
    }
}

/* ---- instructions ---- */

typedef enum simd_shape {
    SHAPE_NONE,
    SHAPE_CALL,
    SHAPE_SWAPPED,
    SHAPE_SPLAT,
    SHAPE_EXTRACT,
    SHAPE_REPLACE,
    SHAPE_LOAD,
    SHAPE_STORE,
    SHAPE_LOAD_LANE,
    SHAPE_STORE_LANE,
    SHAPE_V128_CONST,
    SHAPE_I8X16_SHUFFLE
} simd_shape;

typedef struct simd_row {
    simd_shape shape;
    uint8_t count; /* operands */
    uint16_t function;
    wr_vt result;
    const char *detail; /* SPLAT, EXTRACT, REPLACE: name of the instruction; LOAD: type in memory; lanes: their type */
} simd_row;

#define V WR_VT_V128
#define ROW_UNARY(C, NAME, TEXT, L, EXPR) [C] = {SHAPE_CALL, 1, FN_##NAME, V, NULL},
#define ROW_UNARY_AS(C, NAME, TEXT) [C] = {SHAPE_CALL, 1, FN_##NAME, V, NULL},
#define ROW_BINARY(C, NAME, TEXT, L, EXPR) [C] = {SHAPE_CALL, 2, FN_##NAME, V, NULL},
#define ROW_BINARY_AS(C, NAME, TEXT) [C] = {SHAPE_CALL, 2, FN_##NAME, V, NULL},
#define ROW_SWAPPED(C, NAME, TEXT) [C] = {SHAPE_SWAPPED, 2, FN_##NAME, V, NULL},
#define ROW_TERNARY(C, NAME, TEXT, L, LC, EXPR) [C] = {SHAPE_CALL, 3, FN_##NAME, V, NULL},
#define ROW_TERNARY_AS(C, NAME, TEXT) [C] = {SHAPE_CALL, 3, FN_##NAME, V, NULL},
#define ROW_SHIFT(C, NAME, TEXT, L, EXPR) [C] = {SHAPE_CALL, 2, FN_##NAME, V, NULL},
#define ROW_TEST(C, NAME, TEXT, L, EXPR) [C] = {SHAPE_CALL, 1, FN_##NAME, WR_VT_I32, NULL},
#define ROW_SPLAT(C, NAME, TEXT, T, L) [C] = {SHAPE_SPLAT, 1, 0, V, TEXT},
#define ROW_SPLAT_AS(C, NAME, TEXT, T) [C] = {SHAPE_SPLAT, 1, 0, V, TEXT},
#define ROW_EXTRACT(C, NAME, TEXT, T, LANES, M, CAST) [C] = {SHAPE_EXTRACT, 1, 0, WR_VT_##T, TEXT},
#define ROW_EXTRACT_AS(C, NAME, TEXT, T, LANES) [C] = {SHAPE_EXTRACT, 1, 0, WR_VT_##T, TEXT},
#define ROW_REPLACE(C, NAME, TEXT, T, LANES, L) [C] = {SHAPE_REPLACE, 2, 0, V, TEXT},
#define ROW_REPLACE_AS(C, NAME, TEXT, T, LANES) [C] = {SHAPE_REPLACE, 2, 0, V, TEXT},
#define ROW_LOAD(C, NAME, TEXT, M, ALIGN, EXPR) [C] = {SHAPE_LOAD, 1, FN_##NAME, V, #M},
#define ROW_STORE(C, NAME, TEXT, ALIGN) [C] = {SHAPE_STORE, 2, 0, 0, NULL},
#define LANE_SUFFIX(ALIGN) ((ALIGN) == 0 ? "8x16" : (ALIGN) == 1 ? "16x8" : (ALIGN) == 2 ? "32x4" : "64x2")
#define ROW_LOAD_LANE(C, NAME, TEXT, LANES, ALIGN, LOAD, REPLACE) [C] = {SHAPE_LOAD_LANE, 2, 0, V, LANE_SUFFIX(ALIGN)},
#define ROW_STORE_LANE(C, NAME, TEXT, LANES, ALIGN, STORE, EXTRACT) \
    [C] = {SHAPE_STORE_LANE, 2, 0, 0, LANE_SUFFIX(ALIGN)},
#define ROW_STRUCTURED(C, NAME, TEXT) [C] = {SHAPE_##NAME, 0, 0, V, NULL},
#define ROW_SPECIAL(NAME)

static const simd_row rows[] = {WR_SIMD_COMPUTING(ROW) WR_SIMD_ACCESSING(ROW) WR_SIMD_DERIVED(ROW)};
enum { ROW_COUNT = sizeof rows / sizeof *rows };

/* Vector type of an instruction such as i8x16.extract_lane_s: wr_s8x16. */
static wr_aot_name vector_type(const char *instruction) {
    wr_aot_name out;
    const size_t len = strcspn(instruction, ".");
    const bool is_signed = instruction[strlen(instruction) - 1] == 's' && strchr(instruction, '_') != NULL;
    const char letter = instruction[0] == 'f' ? 'f' : is_signed ? 's' : 'u';
    snprintf(out.text, sizeof out.text, "wr_%c%.*s", letter, (int)len - 1, instruction + 1);
    return out;
}

/* Bits of the lanes if they are floats. */
static uint8_t float_bits(const char *lanes) {
    if (lanes == NULL || lanes[0] != 'F') return 0;
    return lanes[1] == '3' ? 32 : 64;
}

uint8_t wr_aot_simd_loose(uint32_t code) {
    if (code < WR_CODE_SIMD || code - WR_CODE_SIMD >= ROW_COUNT) return 0;
    const simd_row *row = &rows[code - WR_CODE_SIMD];
    const char *expr = row->shape == SHAPE_CALL ? functions[row->function].expr : NULL;
    return expr != NULL ? wr_aot_loose_of(expr) : 0;
}

static wr_status do_call(wr_aot_body *body, const simd_row *row) {
    wr_aot_name names[3];
    const function_text *function = &functions[row->function];
    for (uint32_t i = row->count; i-- > 0;) {
        const wr_aot_value value = wr_aot_pop(body);
        const bool is_number = value.loose == float_bits(function->lanes);
        names[row->shape == SHAPE_SWAPPED ? 1 - i : i] = (is_number ? wr_aot_number : wr_aot_text)(body, &value);
    }
    const wr_aot_name to = wr_aot_push(body, row->result);
    if (function->expr != NULL) wr_aot_value_at(body, body->stack.count - 1)->loose = wr_aot_loose_of(function->expr);
    EMIT("    %s = simd_%s(%s", to.text, function->name, names[0].text);
    for (uint32_t i = 1; i < row->count; i++) EMIT(", %s", names[i].text);
    EMIT(");\n");
    body->emit->uses_simd[row->function] = true;
    return body->status;
}

static wr_status do_lane(wr_aot_body *body, const simd_row *row) {
    uint8_t lane = 0;
    wr_aot_value scalar = {0};
    const wr_aot_name type = vector_type(row->detail);
    if (row->shape != SHAPE_SPLAT) WR_TRY(wr_read_byte(&body->reader, &lane));
    if (row->shape == SHAPE_REPLACE) scalar = wr_aot_pop(body);
    const wr_aot_value value = wr_aot_pop(body);
    const wr_aot_name from = wr_aot_text(body, &value), put = wr_aot_text(body, &scalar);
    const wr_aot_name to = wr_aot_push(body, row->result);
    if (row->shape == SHAPE_SPLAT) {
        EMIT("    %s = SPLAT(%s, %s);\n", to.text, type.text, from.text);
    } else if (row->shape == SHAPE_EXTRACT) {
        EMIT("    %s = EXTRACT(%s, %s, %u);\n", to.text, type.text, from.text, lane);
    } else {
        EMIT("    %s = REPLACE(%s, %s, %u, %s);\n", to.text, type.text, from.text, lane, put.text);
    }
    return body->status;
}

/* ---- memory ---- */

static wr_status do_load(wr_aot_body *body, const simd_row *row) {
    wr_aot_memarg arg;
    WR_TRY(wr_aot_read_memarg(body, &arg));
    const wr_aot_value address = wr_aot_pop(body);
    const wr_aot_name at = wr_aot_address(body, &address, &arg), to = wr_aot_push(body, V);
    EMIT("    {\n    %s m;\n    LOAD(%s, %u, m, , %s, %s, 0x%x);\n    %s = simd_%s(m);\n    }\n", row->detail,
         strcmp(row->detail, "wr_u64x2") == 0 ? "VECTOR" : "INT", arg.memory, row->detail, at.text, body->offset,
         to.text, functions[row->function].name);
    body->emit->uses_simd[row->function] = true;
    return body->status;
}

static wr_status do_store(wr_aot_body *body) {
    wr_aot_memarg arg;
    WR_TRY(wr_aot_read_memarg(body, &arg));
    const wr_aot_value value = wr_aot_pop(body), address = wr_aot_pop(body);
    const wr_aot_name from = wr_aot_text(body, &value), at = wr_aot_address(body, &address, &arg);
    EMIT("    STORE(%u, wr_u64x2, %s, %s, 0x%x);\n", arg.memory, at.text, from.text, body->offset);
    return body->status;
}

static wr_status do_lane_access(wr_aot_body *body, const simd_row *row) {
    wr_aot_memarg arg;
    uint8_t lane;
    WR_TRY(wr_aot_read_memarg(body, &arg));
    WR_TRY(wr_read_byte(&body->reader, &lane));
    const wr_aot_value vector = wr_aot_pop(body), address = wr_aot_pop(body);
    const wr_aot_name from = wr_aot_text(body, &vector), at = wr_aot_address(body, &address, &arg);
    const int bits = (int)strcspn(row->detail, "x");
    if (row->shape == SHAPE_STORE_LANE) {
        EMIT("    STORE(%u, uint%.*s_t, %s, EXTRACT(wr_u%s, %s, %u), 0x%x);\n", arg.memory, bits, row->detail, at.text,
             row->detail, from.text, lane, body->offset);
        return body->status;
    }
    const wr_aot_name to = wr_aot_push(body, V);
    EMIT("    {\n    uint%.*s_t m;\n    LOAD(INT, %u, m, , uint%.*s_t, %s, 0x%x);\n", bits, row->detail, arg.memory,
         bits, row->detail, at.text, body->offset);
    EMIT("    %s = REPLACE(wr_u%s, %s, %u, m);\n    }\n", to.text, row->detail, from.text, lane);
    return body->status;
}

/* ---- immediates of 16 bytes ---- */

static wr_status put_bytes(wr_aot_body *body) {
    const uint8_t *bytes;
    WR_TRY(wr_read_bytes(&body->reader, 16, &bytes));
    for (uint32_t i = 0; i < 16; i++) EMIT("%s%u", i == 0 ? "" : ", ", bytes[i]);
    return WR_OK;
}

static wr_status do_immediate(wr_aot_body *body, const simd_row *row) {
    if (row->shape == SHAPE_V128_CONST) {
        EMIT("    %s = (v128)(wr_u8x16){", wr_aot_push(body, V).text);
        WR_TRY(put_bytes(body));
        EMIT("};\n");
        return body->status;
    }
    const wr_aot_value b = wr_aot_pop(body), a = wr_aot_pop(body);
    const wr_aot_name left = wr_aot_text(body, &a), right = wr_aot_text(body, &b);
    EMIT("    %s = (v128)SHUFFLE(wr_u8x16, %s, %s, ", wr_aot_push(body, V).text, left.text, right.text);
    WR_TRY(put_bytes(body));
    EMIT(");\n");
    return body->status;
}

wr_status wr_aot_simd(wr_aot_body *body, uint32_t code) {
    if (code < WR_CODE_SIMD || code - WR_CODE_SIMD >= ROW_COUNT) return WR_NOT_FOUND;
    const simd_row *row = &rows[code - WR_CODE_SIMD];
    body->emit->has_vectors = true;
    switch (row->shape) {
    case SHAPE_CALL:
    case SHAPE_SWAPPED: return do_call(body, row);
    case SHAPE_SPLAT:
    case SHAPE_EXTRACT:
    case SHAPE_REPLACE: return do_lane(body, row);
    case SHAPE_LOAD: return do_load(body, row);
    case SHAPE_STORE: return do_store(body);
    case SHAPE_LOAD_LANE:
    case SHAPE_STORE_LANE: return do_lane_access(body, row);
    case SHAPE_V128_CONST:
    case SHAPE_I8X16_SHUFFLE: return do_immediate(body, row);
    default: return WR_NOT_FOUND;
    }
}

#endif
