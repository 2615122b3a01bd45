/* The finished code of a function: which neighbours become one (fused.h), and handlers in place of operations. */
#include "body.h"
#include "interp.h"

/* Memory instructions come in pairs, guarded then checked (code.h). */
static uintptr_t checked_op(uintptr_t op) { return op > OP_MEMORY_FIRST && op < OP_MEMORY_LAST ? op + 1 : op; }

#ifdef WR_NO_FUSION

static uint16_t fused_op(wr_insn *insn, size_t left) {
    (void)insn, (void)left;
    return OP_NONE;
}

#else

#define FIRST_ENUM(T, NAME, FORM, ...) FIRST_##NAME##_##FORM,
#define SECOND_ENUM(NAME, FORM) SECOND_##NAME##_##FORM,
enum { FIRST_NONE, WR_FIRSTS(FIRST_ENUM) FIRST_COUNT };
enum { SECOND_NONE, WR_SECONDS(SECOND_ENUM) SECOND_F32_SUB_RC, SECOND_F64_SUB_RC, SECOND_COUNT };

#define FIRST_OF(T, NAME, FORM, ...) [WR_PLAIN_##FORM(NAME)] = FIRST_##NAME##_##FORM,
#define SECOND_OF(NAME, FORM) [WR_PLAIN_##FORM(NAME)] = SECOND_##NAME##_##FORM,
static const uint8_t first_of[OP_COUNT] = {WR_FIRSTS(FIRST_OF)};
static const uint8_t second_of[OP_COUNT] = {WR_SECONDS(SECOND_OF)};

/* The field of the second instruction that is the result of the first. */
typedef enum wr_field { FIELD_NONE, FIELD_A, FIELD_B } wr_field;
#define FIELD_RR(NAME) FIELD_B
#define FIELD_RI(NAME) FIELD_B
#define FIELD_L(NAME) FIELD_B
#define FIELD_LA(NAME) FIELD_B
#define FIELD_S(NAME) FIELD_B
#define FIELD_SA(NAME) FIELD_B
#define FIELD_BR_RR(NAME) FIELD_A
#define FIELD_BR_RI(NAME) FIELD_A
#define FIELD_BR_RW(NAME) FIELD_A
#define FIELD_RK(NAME) FIELD_B
#define FIELD_IF(NAME) FIELD_A
#define FIELD_UNLESS(NAME) FIELD_A
#define FIELD_SELF(NAME) FIELD_OF_##NAME
#define FIELD_OF_RETURN1 FIELD_A
#define FIELD_OF_BR_TABLE FIELD_A
#define FIELD_OF_MOVE FIELD_B
#define FIELD_OF_SELECT FIELD_NONE
#define FIELD_OF_SELECT32 FIELD_NONE
#define FIELD_OF_BR FIELD_NONE
#define FIELD_OF_CALL FIELD_NONE
#define FIELD_OF_LOOP_NE_I FIELD_NONE
#define FIELD_OF_LOOP_NE_R FIELD_NONE
#define FIELD_OF_CONST32 FIELD_NONE
#define SECOND_FIELD(NAME, FORM) [SECOND_##NAME##_##FORM] = FIELD_##FORM(NAME),
static const uint8_t second_field[SECOND_COUNT] = {WR_SECONDS(SECOND_FIELD)};

/* Operations of pairs: with the first's result handed on, and of mere neighbours. Memory access: for guard pages. */
#define FUSED_AT(T1, N1, F1, T2, N2, F2) \
    [FIRST_##N1##_##F1][SECOND_##N2##_##F2] = OP_##N1##_##F1##_TO_##N2##_##F2,
#define FUSED_MEMORY_AT(T1, N1, F1, T2, N2, F2) \
    [FIRST_##N1##_##F1][SECOND_##N2##_##F2] = OP_##N1##_##F1##_TO_##N2##_##F2##_G,
#define PAIRED_AT(T1, N1, F1, T2, N2, F2) \
    [FIRST_##N1##_##F1][SECOND_##N2##_##F2] = OP_##N1##_##F1##_AND_##N2##_##F2,
#define PAIRED_MEMORY_AT(T1, N1, F1, T2, N2, F2) \
    [FIRST_##N1##_##F1][SECOND_##N2##_##F2] = OP_##N1##_##F1##_AND_##N2##_##F2##_G,
static const uint16_t fused[FIRST_COUNT][SECOND_COUNT] = {WR_FUSED(FUSED_AT) WR_FUSED_MEMORY(FUSED_MEMORY_AT)};
static const uint16_t paired[FIRST_COUNT][SECOND_COUNT] = {WR_PAIRED(PAIRED_AT) WR_PAIRED_MEMORY(PAIRED_MEMORY_AT)};

#define COMMUTATIVE_CASE(C, NAME, TEXT, T, COMM, EXPR) \
    case OP_##NAME##_RR: return COMM;

static bool is_commutative(uintptr_t op) {
    switch (op) {
        WR_INT_BINARY(COMMUTATIVE_CASE)
    case OP_F32_ADD_RR:
    case OP_F32_MUL_RR:
    case OP_F64_ADD_RR:
    case OP_F64_MUL_RR: return true;
    default: return false;
    }
}

/* The forms of the loads of a product: plain, then with form A, which code.h has two pairs further on. */
#define PRODUCT_AT(T, NAME, LOAD, F1, F2) \
    {OP_##NAME##_RR, WR_PLAIN_##F1(LOAD), WR_PLAIN_##F2(LOAD), OP_##NAME##_OF_##LOAD##_##F1##_##F2##_G},
static const struct {
    uint16_t product, first, second, op;
} products[] = {WR_PRODUCTS(PRODUCT_AT)};

static uint16_t product_op(const wr_insn *insn) {
    const uint16_t left = insn[0].a, right = insn[1].a;
    const bool straight = insn[2].b == left && insn[2].c == right, crossed = insn[2].b == right && insn[2].c == left;
    if (left == right || (!straight && !crossed)) return OP_NONE;
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        if (insn[2].op == products[i].product && insn[0].op == products[i].first && insn[1].op == products[i].second)
            return products[i].op;
    }
    return OP_NONE;
}

static bool is_product(uintptr_t op) { return op == OP_F64_MUL_RR || op == OP_F32_MUL_RR || op == OP_I32_MUL_RR; }

static uint8_t crossed_second(uintptr_t op) {
    return op == OP_F32_SUB_RR ? SECOND_F32_SUB_RC : op == OP_F64_SUB_RR ? SECOND_F64_SUB_RC : SECOND_NONE;
}

/* Puts the first's result where the second's handler takes it from, if the order of operands does not matter. */
static void turn_operands(wr_insn *next, uint8_t field, uint16_t result) {
    if (field == FIELD_B && next->b != result && next->c == result && is_commutative(next->op)) {
        next->c = next->b;
        next->b = result;
    } else if (field == FIELD_A && next->a != result && next->b == result && next->op == OP_BR_I32_NE_RR) {
        next->b = next->a;
        next->a = result;
    }
}

/* The operation of both, or OP_NONE. */
static uint16_t pair_op(const wr_insn *insn, wr_insn *next) {
    const uint8_t first = first_of[insn->op];
    if (first == FIRST_NONE) return OP_NONE; /* and what follows need not be an instruction */
    const uint8_t second = second_of[next->op];
    if (second == SECOND_NONE) return OP_NONE;
    const uint16_t result = insn->a;
    const uint8_t field = second_field[second];
    uint16_t op = OP_NONE;
    turn_operands(next, field, result);
    if ((field == FIELD_B && next->b == result) || (field == FIELD_A && next->a == result)) op = fused[first][second];
    const uint8_t crossed = crossed_second(next->op);
    if (op == OP_NONE && crossed != SECOND_NONE && next->c == result) op = fused[first][crossed];
    return op != OP_NONE ? op : paired[first][second];
}

static uint16_t fused_op(wr_insn *insn, size_t left) {
    const uint16_t op = left > 2 && is_product(insn[2].op) ? product_op(insn) : OP_NONE;
    return op != OP_NONE ? op : left > 1 ? pair_op(insn, insn + 1) : OP_NONE;
}

#endif

/* Pairs may overlap: whoever jumps to the second instruction finds it, maybe as the first of the next pair. */
void wr_finish_ops(wr_insn *insns, size_t count, bool is_checked) {
    const uintptr_t *handlers = wr_interp_handlers();
    for (size_t i = 0; i < count; i++) {
        const uintptr_t alone = insns[i].op;
        const uint16_t both = fused_op(&insns[i], count - i);
        const uintptr_t op = both != OP_NONE ? both : alone;
        insns[i].op = handlers[is_checked ? checked_op(op) : op];
        if (both == OP_NONE) i += wr_raw_insns(alone, &insns[i]);
    }
}
