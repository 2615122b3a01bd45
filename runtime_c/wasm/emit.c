/* The instruction buffer: emission, fusion of comparisons with branches, branch patching, final form. */
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "interp.h"

enum { MARK_ESCAPE = 255, MARK_MOST = 1 + sizeof(uint32_t), MARKS_LEAST = 8 };
enum { CODE_RATIO = 2, INSNS_LEAST = 2, INSNS_MOST = 1 << 27, CODE_ALIGN = 8 };

/* Branches that wait for their target are a chain of numbers: 0 at its end, an instruction's index + 1, or this and the
 * number of the word that is a target of a BR_TABLE. */
#define CHAIN_TARGET 0x80000000u

static wr_insn *insn_at(const wr_body *body, size_t index) { return body->insns + index; }
static uint32_t *word_at(const wr_body *body, size_t number) { return (uint32_t *)(void *)body->insns + number; }

/* Bytes there is room for behind the finished functions. */
static size_t code_left(const wr_body *body) {
    return body->code == NULL ? 0 : wr_arena_block_bytes(body->code) - body->code_used;
}

/* The next function's instructions. */
static void place_insns(wr_body *body) {
    const size_t capacity = code_left(body) / sizeof(wr_insn);
    body->insns = (wr_insn *)(void *)((uint8_t *)wr_arena_block_items(body->code) + body->code_used);
    body->insn_capacity = capacity < INSNS_MOST ? (uint32_t)capacity : INSNS_MOST;
}

/* Room for `more` bytes behind the finished functions. While much of the section is still to come, room for some of
 * it, too: the code is some four times as long, or more. */
static wr_status grow_code(wr_body *body, size_t more) {
    const uint32_t left = body->loader->code_end - wr_reader_offset(body->reader);
    const size_t needed = body->code_used + more;
    size_t ahead = (size_t)left * CODE_RATIO;
    if (ahead > needed / 4 && body->code != NULL) ahead = needed / 4;
    wr_arena_block *block = wr_arena_block_resize(body->loader->heap, body->code, needed + ahead);
    if (block == NULL) return WR_NO_MEMORY;
    body->code = block;
    place_insns(body);
    return WR_OK;
}

static wr_status grow_insns(wr_body *body) {
    if (body->insn_count == INSNS_MOST) return WR_NO_MEMORY;
    return grow_code(body, ((size_t)body->insn_count + INSNS_LEAST) * sizeof(wr_insn));
}

static wr_status grow_marks(wr_body *body) {
    const uint32_t capacity = body->mark_capacity + body->mark_capacity / 8 + MARKS_LEAST;
    uint8_t *marks = wr_mem_resize(body->loader->heap, body->marks, body->mark_capacity, capacity);
    if (marks == NULL) return WR_NO_MEMORY;
    body->marks = marks;
    body->mark_capacity = capacity;
    return WR_OK;
}

/* How far the instruction lies behind the one before, in the module's bytes: one byte, five from 255 on. */
static void mark(wr_body *body) {
    uint8_t *at = body->marks + body->mark_count;
    const uint32_t delta = body->offset - body->marked;
    body->marked = body->offset;
    if (__builtin_expect(delta < MARK_ESCAPE, 1)) {
        *at = (uint8_t)delta;
        body->mark_count += 1;
    } else {
        *at = MARK_ESCAPE;
        memcpy(at + 1, &delta, sizeof delta);
        body->mark_count += MARK_MOST;
    }
}

wr_insn *wr_emit(wr_body *body, wr_op op) {
    if (wr_is_dead(body) || body->status != WR_OK) return &body->scrap;
    if (body->insn_count == body->insn_capacity) body->status = grow_insns(body);
    if (body->status == WR_OK && body->mark_capacity - body->mark_count < MARK_MOST) body->status = grow_marks(body);
    if (body->status != WR_OK) return &body->scrap;
    mark(body);
    wr_insn *insn = insn_at(body, body->insn_count++);
    *insn = (wr_insn){.op = op};
    body->last = 0;
    return insn;
}

wr_insn *wr_emit_def(wr_body *body, wr_op op, uint32_t dst) {
    const uint32_t marked = body->marked, marks = body->mark_count;
    wr_insn *insn = wr_emit(body, op);
    insn->a = (uint16_t)dst;
    if (insn == &body->scrap) return insn;
    body->last = body->insn_count;
    body->last_marked = marked;
    body->last_marks = marks;
    return insn;
}

void wr_emit_wide(wr_body *body, uint64_t value) {
    uint32_t last = body->last;
    wr_insn *insn = wr_emit(body, OP_DATA);
    wr_insn_set_wide(insn, value);
    if (insn != &body->scrap) body->last = last;
}

void wr_emit_bytes(wr_body *body, const uint8_t bytes[16]) {
    const uint32_t last = body->last, first = body->insn_count;
    for (size_t i = 0; i < WR_BYTES_INSNS; i++) (void)wr_emit(body, OP_DATA);
    if (body->insn_count != first + WR_BYTES_INSNS) return; /* not to be emitted */
    memcpy(insn_at(body, first), bytes, 16);
    body->last = last;
}

wr_insn *wr_producer(const wr_body *body, const wr_operand *operand) {
    if (operand->place != WR_PLACE_TEMP || body->last == 0) return NULL;
    wr_insn *insn = insn_at(body, body->last - 1);
    return insn->a == operand->slot ? insn : NULL;
}

void wr_unemit(wr_body *body) {
    body->insn_count = body->last - 1;
    body->mark_count = body->last_marks;
    body->marked = body->last_marked;
    body->last = 0;
}

uint32_t wr_here(const wr_body *body) { return body->insn_count; }

void wr_bind_here(wr_body *body) {
    body->last = 0;
    body->barrier = wr_here(body);
}

void wr_link_branch(wr_body *body, wr_label *label, uint32_t insn) {
    if (wr_is_dead(body) || body->status != WR_OK) return;
    if (label->kind == WR_LABEL_LOOP) {
        insn_at(body, insn)->imm = (int32_t)(label->start - insn);
    } else {
        insn_at(body, insn)->uimm = label->fixups;
        label->fixups = insn + 1;
    }
}

void wr_set_target(wr_body *body, uint32_t word, uint32_t insn) {
    if (body->status == WR_OK) *word_at(body, word) = insn * WR_TARGETS_PER_INSN - word;
}

void wr_link_target(wr_body *body, wr_label *label, uint32_t word) {
    if (wr_is_dead(body) || body->status != WR_OK) return;
    if (label->kind == WR_LABEL_LOOP) {
        wr_set_target(body, word, label->start);
    } else {
        *word_at(body, word) = label->fixups;
        label->fixups = CHAIN_TARGET | word;
    }
}

void wr_patch_here(wr_body *body, uint32_t chain) {
    wr_bind_here(body);
    if (body->status != WR_OK) return;
    while (chain != 0) {
        if ((chain & CHAIN_TARGET) != 0) {
            const uint32_t word = chain & ~CHAIN_TARGET;
            chain = *word_at(body, word);
            wr_set_target(body, word, wr_here(body));
            continue;
        }
        uint32_t insn = chain - 1;
        chain = insn_at(body, insn)->uimm;
        insn_at(body, insn)->imm = (int32_t)(wr_here(body) - insn);
    }
}

/* ---- conditions ---- */

#define INVERSE_CASE(C, NAME, TEXT, T, INV, SWAP, EXPR) \
    case OP_##NAME##_RR: return OP_##INV##_RR;          \
    case OP_##NAME##_RI: return OP_##INV##_RI;

static wr_op inverse(wr_op op) {
    switch ((int)op) {
        WR_INT_COMPARE(INVERSE_CASE)
    default: return OP_NONE;
    }
}

#define BRANCH_CASE(C, NAME, TEXT, T, INV, SWAP, EXPR)                              \
    case OP_##NAME##_RR: return sense ? OP_BR_##NAME##_RR : OP_BR_##INV##_RR;       \
    case OP_##NAME##_RI: return sense ? OP_BR_##NAME##_RI : OP_BR_##INV##_RI;
#define BRANCH_FLOAT_CASE(C, NAME, TEXT, T, EXPR)                                   \
    case OP_##NAME##_RR: return sense ? OP_BR_##NAME##_RR : OP_BRN_##NAME##_RR;     \
    case OP_##NAME##_RK: return sense ? OP_BR_##NAME##_RK : OP_BRN_##NAME##_RK;
#define CONSTANT_CASE(C, NAME, TEXT, T, INV, SWAP, EXPR) case OP_BR_##NAME##_RI:
#define WIDE_FLOAT_CASE(C, NAME, TEXT, T, EXPR) case OP_BR_##NAME##_RK: case OP_BRN_##NAME##_RK:

static wr_op branch_on(wr_op compare, bool sense) {
    switch ((int)compare) {
        WR_INT_COMPARE(BRANCH_CASE)
        WR_FLOAT_COMPARE(BRANCH_FLOAT_CASE)
    case OP_I32_AND_RI: return sense ? OP_BR_AND : OP_BR_NAND;
    default: return OP_NONE;
    }
}

typedef enum wr_right { RIGHT_SLOT, RIGHT_CONST, RIGHT_WIDE } wr_right;

/* Where a compare-and-branch has its right operand. */
static wr_right right_of(wr_op branch) {
    switch ((int)branch) {
        WR_INT_COMPARE(CONSTANT_CASE)
    case OP_BR_AND:
    case OP_BR_NAND:
        return RIGHT_CONST;
        WR_FLOAT_COMPARE(WIDE_FLOAT_CASE)
        return RIGHT_WIDE;
    default: return RIGHT_SLOT;
    }
}

/* A counter's `add` in front of its comparison: both and the branch become one instruction. */
static wr_op step_on(wr_op branch) {
    switch ((int)branch) {
    case OP_BR_I32_NE_RI: return OP_LOOP_NE_I;
    case OP_BR_I32_LT_S_RI: return OP_LOOP_LT_S_I;
    case OP_BR_I32_LT_U_RI: return OP_LOOP_LT_U_I;
    case OP_BR_I32_NE_RR: return OP_LOOP_NE_R;
    case OP_BR_I32_LT_S_RR: return OP_LOOP_LT_S_R;
    case OP_BR_I32_LT_U_RR: return OP_LOOP_LT_U_R;
    default: return OP_NONE;
    }
}

static bool is_step(const wr_body *body, uint32_t slot) {
    if (wr_is_dead(body) || body->insn_count == 0 || body->insn_count <= body->barrier) return false;
    const wr_insn *insn = insn_at(body, body->insn_count - 1);
    return insn->op == OP_I32_ADD_RI && insn->a == slot && insn->b == slot && insn->imm == (int16_t)insn->imm;
}

/* `compare` has been taken back; operands b and c or imm. Returns the branch's index. */
static uint32_t emit_compare_branch(wr_body *body, wr_op op, const wr_insn *compare, uint64_t wide) {
    wr_right right = right_of(op);
    wr_op step = step_on(op);
    uint32_t at = wr_here(body);
    if (step != OP_NONE && is_step(body, compare->b) && !(right == RIGHT_SLOT && compare->c == compare->b)) {
        wr_insn *insn = insn_at(body, --at);
        insn->op = step;
        insn->b = (uint16_t)insn->imm;
        insn->imm = 0; /* the end of a chain of branches to patch */
        wr_insn *data = wr_emit(body, OP_DATA);
        if (right == RIGHT_SLOT)
            data->a = compare->c;
        else
            data->uimm = compare->uimm;
        return at;
    }
    bool narrow = right == RIGHT_CONST && compare->imm == (int16_t)compare->imm;
    wr_insn *insn = wr_emit(body, right == RIGHT_CONST && !narrow ? op + 1 : op); /* _RW follows _RI (code.h) */
    insn->a = compare->b;
    if (right == RIGHT_SLOT) insn->b = compare->c;
    if (narrow) insn->b = (uint16_t)compare->imm;
    if (right == RIGHT_CONST && !narrow) wr_emit(body, OP_DATA)->uimm = compare->uimm;
    if (right == RIGHT_WIDE) wr_insn_set_wide(wr_emit(body, OP_DATA), wide);
    return at;
}

uint32_t wr_emit_condition(wr_body *body, const wr_operand *condition, bool sense) {
    const wr_insn *compare = wr_producer(body, condition);
    wr_op op = compare != NULL ? branch_on((wr_op)compare->op, sense) : OP_NONE;
    bool too_wide = op == OP_BR_AND || op == OP_BR_NAND ? compare->imm != (int16_t)compare->imm : false;
    if (op != OP_NONE && !too_wide) {
        wr_insn old = *compare;
        uint64_t wide = right_of(op) == RIGHT_WIDE ? wr_insn_wide(compare + 1) : 0;
        wr_unemit(body);
        return emit_compare_branch(body, op, &old, wide);
    }
    uint16_t slot = wr_operand_slot(body, condition);
    if (sense && is_step(body, slot)) { /* counts down to zero */
        const wr_insn zero = {.b = slot};
        return emit_compare_branch(body, OP_BR_I32_NE_RI, &zero, 0);
    }
    wr_emit(body, sense ? OP_BR_IF : OP_BR_UNLESS)->a = slot;
    return wr_here(body) - 1;
}

void wr_emit_not(wr_body *body, const wr_operand *operand, wr_op equals_zero) {
    wr_insn *compare = wr_producer(body, operand);
    wr_op inverted = compare != NULL ? inverse((wr_op)compare->op) : OP_NONE;
    if (inverted != OP_NONE) {
        compare->op = inverted;
        return;
    }
    uint16_t slot = wr_operand_slot(body, operand);
    wr_emit_def(body, equals_zero, operand->slot)->b = slot;
}

/* ---- final form ---- */

static const uint8_t *code_marks(const wr_code *code) {
    uint32_t count;
    const wr_catch *catches = wr_code_catches(code, &count);
    return catches != NULL ? (const uint8_t *)(catches + count) : (const uint8_t *)(code->insns + code->insn_count);
}

/* The sum of the next `count` marks; returns where they end. */
static const uint8_t *add_marks(const uint8_t *at, size_t count, uint32_t *sum) {
    while (count-- != 0) {
        uint32_t delta = *at++;
        if (delta == MARK_ESCAPE) {
            memcpy(&delta, at, sizeof delta);
            at += sizeof delta;
        }
        *sum += delta;
    }
    return at;
}

uint32_t wr_code_offset(const wr_code *code, const wr_insn *insn) {
    uint32_t offset = code->body_offset;
    (void)add_marks(code_marks(code), (size_t)(insn - code->insns) + 1, &offset);
    return offset;
}

/* Until all functions are finished, insns tells only how far their code is from the first one's: it may still move. */
wr_status wr_finish_code(wr_body *body, wr_code *code) {
    const size_t insn_bytes = body->insn_count * sizeof(wr_insn), catch_bytes = body->catches.count * sizeof(wr_catch);
    const uint32_t catch_count = body->catches.count;
    const size_t head = catch_count != 0 ? sizeof catch_count : 0, marks_at = insn_bytes + head + catch_bytes;
    const size_t bytes = (marks_at + body->mark_count + CODE_ALIGN - 1) & ~(size_t)(CODE_ALIGN - 1);
    wr_finish_ops(body->insns, body->insn_count, body->loader->module->code_is_checked);
    if (bytes > code_left(body)) WR_TRY(grow_code(body, bytes));
    uint8_t *at = (uint8_t *)body->insns;
    code->insns = (const wr_insn *)body->code_used;
    code->insn_count = body->insn_count & INT32_MAX;
    code->has_catches = catch_count != 0;
    if (catch_count != 0) {
        memcpy(at + insn_bytes, &catch_count, head);
        memcpy(at + insn_bytes + head, body->catches.items, catch_bytes);
    }
    memcpy(at + marks_at, body->marks, body->mark_count);
    body->code_used += bytes;
    place_insns(body);
    return WR_OK;
}

wr_status wr_body_finish(wr_body *body) {
    wr_module *module = body->loader->module;
    if (body->code == NULL) return WR_OK;
    wr_arena_block *exact = wr_arena_block_resize(body->loader->heap, body->code, body->code_used);
    if (exact == NULL) return WR_NO_MEMORY;
    const uint8_t *first = wr_arena_block_items(exact);
    for (uint32_t i = 0; i < body->loader->bodies_seen; i++) {
        module->code[i].insns = (const wr_insn *)(const void *)(first + (uintptr_t)module->code[i].insns);
    }
    wr_arena_adopt(&module->arena, exact);
    body->code = NULL;
    return WR_OK;
}

/* ---- the checked variant ---- */

typedef struct handler_pair {
    uintptr_t guarded, checked;
} handler_pair;
enum { PAIR_COUNT = (OP_MEMORY_LAST - OP_MEMORY_FIRST - 1) / 2 };

static int by_guarded(const void *left, const void *right) {
    const uintptr_t a = ((const handler_pair *)left)->guarded, b = ((const handler_pair *)right)->guarded;
    return a < b ? -1 : a > b;
}

static void sort_pairs(handler_pair *pairs) {
    const uintptr_t *handlers = wr_interp_handlers();
    for (size_t i = 0; i < PAIR_COUNT; i++) {
        const uintptr_t *pair = &handlers[OP_MEMORY_FIRST + 1 + 2 * i];
        pairs[i] = (handler_pair){pair[0], pair[1]};
    }
    qsort(pairs, PAIR_COUNT, sizeof *pairs, by_guarded);
}

static uintptr_t checked_handler(const handler_pair *pairs, uintptr_t handler) {
    const handler_pair key = {handler, 0};
    const handler_pair *pair = bsearch(&key, pairs, PAIR_COUNT, sizeof *pairs, by_guarded);
    return pair != NULL ? pair->checked : handler;
}

/* As wr_raw_insns, of finished code. */
static uint32_t raw_insns(const wr_insn *insn) {
#ifdef WR_NO_SIMD
    static const uint16_t ops[] = {OP_BR_TABLE};
#else
    static const uint16_t ops[] = {OP_BR_TABLE, OP_CONST128, OP_I8X16_SHUFFLE};
#endif
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (insn->op == wr_interp_handlers()[ops[i]]) return wr_raw_insns(ops[i], insn);
    }
    return 0;
}

/* With what lies behind the instructions. */
static size_t code_bytes(const wr_code *code) {
    uint32_t ignored = 0;
    const uint8_t *end = add_marks(code_marks(code), code->insn_count, &ignored);
    return (size_t)(end - (const uint8_t *)code->insns);
}

static wr_code *make_checked(wr_module *module) {
    uint32_t count = module->func_count - module->func_imports;
    const wr_code *last = &module->code[count - 1];
    const uintptr_t first = (uintptr_t)module->code[0].insns;
    const size_t bytes = (uintptr_t)last->insns - first + code_bytes(last);
    wr_code *codes = wr_arena_zero(&module->arena, count, sizeof *codes);
    uint8_t *all = codes != NULL ? wr_arena_take(&module->arena, bytes, 1) : NULL;
    if (all == NULL) return NULL;
    memcpy(all, module->code[0].insns, bytes);
    handler_pair pairs[PAIR_COUNT];
    sort_pairs(pairs);
    for (uint32_t i = 0; i < count; i++) {
        codes[i] = module->code[i];
        wr_insn *insns = (wr_insn *)(void *)(all + ((uintptr_t)codes[i].insns - first));
        for (uint32_t k = 0; k < codes[i].insn_count; k += 1 + raw_insns(&insns[k])) {
            insns[k].op = checked_handler(pairs, insns[k].op);
        }
        codes[i].insns = insns;
    }
    return codes;
}

const wr_code *wr_module_code(wr_module *module, bool guarded) {
    if (guarded || module->code_is_checked || module->memory_count == 0) return module->code;
    wr_code *codes = atomic_load_explicit(&module->code_checked, memory_order_acquire);
    if (codes != NULL || module->func_count == module->func_imports) return codes != NULL ? codes : module->code;
    pthread_mutex_lock(&module->engine->lock);
    codes = atomic_load_explicit(&module->code_checked, memory_order_relaxed);
    if (codes == NULL) codes = make_checked(module);
    atomic_store_explicit(&module->code_checked, codes, memory_order_release);
    pthread_mutex_unlock(&module->engine->lock);
    return codes;
}
