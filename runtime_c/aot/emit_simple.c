/* Instructions that compute: the expressions of the opcode table with the operands' names put in. */
#include <string.h>

#include "emit.h"

typedef struct simple_row {
    wr_vt result;
    wr_vt operand; /* 0: no such row */
    bool binary;
    const char *check; /* NULL: cannot trap */
    const char *expr;
} simple_row;

enum { ROWS_FC = 256, ROWS_COUNT = ROWS_FC + 8 };
#define ROW_AT(CODE) ((CODE) < 0x100 ? (CODE) : ROWS_FC + ((CODE)&0xFF))
#define BINARY_ROW(C, NAME, TEXT, T, COMM, EXPR) [ROW_AT(C)] = {WR_VT_##T, WR_VT_##T, true, NULL, #EXPR},
#define DIVIDE_ROW(C, NAME, TEXT, T, CHECK, EXPR) [ROW_AT(C)] = {WR_VT_##T, WR_VT_##T, true, #CHECK, #EXPR},
#define FLOAT_ROW(C, NAME, TEXT, T, EXPR) [ROW_AT(C)] = {WR_VT_##T, WR_VT_##T, true, NULL, #EXPR},
#define COMPARE_ROW(C, NAME, TEXT, T, INV, SWAP, EXPR) [ROW_AT(C)] = {WR_VT_I32, WR_VT_##T, true, NULL, #EXPR},
#define FLOAT_COMPARE_ROW(C, NAME, TEXT, T, EXPR) [ROW_AT(C)] = {WR_VT_I32, WR_VT_##T, true, NULL, #EXPR},
#define UNARY_ROW(C, NAME, TEXT, R, A, EXPR) [ROW_AT(C)] = {WR_VT_##R, WR_VT_##A, false, NULL, #EXPR},
#define UNARY_TRAP_ROW(C, NAME, TEXT, R, A, CHECK, EXPR) [ROW_AT(C)] = {WR_VT_##R, WR_VT_##A, false, #CHECK, #EXPR},

static const simple_row rows[ROWS_COUNT] = {
    WR_INT_BINARY(BINARY_ROW) WR_INT_DIVIDE(DIVIDE_ROW) WR_FLOAT_BINARY(FLOAT_ROW) WR_INT_COMPARE(COMPARE_ROW)
        WR_FLOAT_COMPARE(FLOAT_COMPARE_ROW) WR_UNARY(UNARY_ROW)
            WR_UNARY_TRAP(UNARY_TRAP_ROW)[0x45] = {WR_VT_I32, WR_VT_I32, false, NULL, "a == 0"},
    [0x50] = {WR_VT_I32, WR_VT_I64, false, NULL, "a == 0"},
};

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The expression with the words a and b replaced. */
static void put_expression(wr_aot_body *body, const char *expr, const char *a, const char *b) {
    for (const char *at = expr; *at != '\0';) {
        size_t len = 1;
        while (is_word(*at) && is_word(at[len])) len++;
        const char *word = len == 1 && *at == 'a' ? a : len == 1 && *at == 'b' ? b : NULL;
        wr_text_put(&body->text, word != NULL ? word : at, word != NULL ? strlen(word) : len);
        at += len;
    }
}

uint32_t wr_aot_most(const wr_aot_value *value) {
    if (value->type != WR_VT_I32) return UINT32_MAX;
    return value->place == AOT_CONST ? (uint32_t)value->bits : UINT32_MAX - value->spare;
}

/* What the result of an instruction is at most. */
static uint32_t most_of(uint32_t code, const wr_aot_value *left, const wr_aot_value *right) {
    const uint32_t a = wr_aot_most(left), b = wr_aot_most(right);
    const bool is_const = right->place == AOT_CONST;
    const uint64_t sum = (uint64_t)a + b, shifted = (uint64_t)a << (b & 31);
    switch (code) {
    case 0x6A: return sum <= UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
    case 0x70: return is_const && b != 0 ? b - 1 : UINT32_MAX; /* rem_u */
    case 0x71: return a < b ? a : b;
    case 0x74: return is_const && shifted <= UINT32_MAX ? (uint32_t)shifted : UINT32_MAX;
    case 0x76: return is_const ? a >> (b & 31) : a;
    default: return code >= 0x45 && code <= 0x66 ? 1 : UINT32_MAX;
    }
}

uint32_t wr_aot_simple_operands(uint32_t code) {
    const simple_row *row = code < 0x100 || (code >= 0xFC00 && code < 0xFC08) ? &rows[ROW_AT(code)] : NULL;
    return row == NULL || row->operand == 0 ? 0 : row->binary ? 2 : 1;
}

uint8_t wr_aot_loose_of(const char *expr) {
    if (strncmp(expr, "CANON_F", 7) != 0) return 0;
    return expr[7] == '3' ? 32 : 64;
}

uint8_t wr_aot_simple_loose(uint32_t code) {
    return wr_aot_simple_operands(code) != 0 ? wr_aot_loose_of(rows[ROW_AT(code)].expr) : 0;
}

/* Whether an instruction looks at the bits of floats. The absolute value of the canonical NaN is that NaN. */
static bool is_abs(uint32_t code) { return code == 0x8B || code == 0x99; }
static bool sees_bits(uint32_t code) {
    return code == 0x8C || code == 0x9A || code == 0x98 || code == 0xA6 || code == 0xBC || code == 0xBD;
}

wr_status wr_aot_simple(wr_aot_body *body, uint32_t code) {
    const simple_row *row = code < 0x100 || (code >= 0xFC00 && code < 0xFC08) ? &rows[ROW_AT(code)] : NULL;
    if (row == NULL || row->operand == 0) return WR_NOT_FOUND;
    wr_aot_value right = {0};
    if (row->binary) right = wr_aot_pop(body);
    const wr_aot_value left = wr_aot_pop(body);
    wr_aot_name (*const text)(wr_aot_body *, const wr_aot_value *) = sees_bits(code) ? wr_aot_text : wr_aot_number;
    const wr_aot_name a = text(body, &left), b = text(body, &right);
    if (row->check != NULL) {
        EMIT("    CHECK(");
        put_expression(body, row->check, a.text, b.text);
        EMIT(", 0x%x);\n", body->offset);
    }
    const wr_aot_name to = wr_aot_push(body, row->result);
    EMIT("    %s = (%s)(", to.text, wr_aot_ctype(row->result));
    put_expression(body, row->expr, a.text, b.text);
    EMIT(");\n");
    if ((code >= 0x48 && code <= 0x4E && code % 2 == 0) || (code >= 0x53 && code <= 0x59 && code % 2 != 0)) {
        body->compared = (wr_aot_compared){code, left, right, body->text.bytes.count};
    }
    if (row->result == WR_VT_I32) {
        wr_aot_value_at(body, body->stack.count - 1)->spare = UINT32_MAX - most_of(code, &left, &right);
    }
    wr_aot_value_at(body, body->stack.count - 1)->loose = is_abs(code) ? left.loose : wr_aot_loose_of(row->expr);
    return body->status;
}
