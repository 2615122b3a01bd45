/* The instruction buffer: emission, fusion of comparisons with branches, branch patching, final form. */
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "interp.h"

enum { MARK_ESCAPE = 255, MARK_MOST = 1 + sizeof(uint32_t), BYTES_PER_INSN = 5, INSNS_LEAST = 4, INSNS_MOST = 1 << 27 };

static wr_insn *insn_at(const wr_body *body, size_t index) { return body->insns + index; }

/* A new buffer fits most bodies of this length; once full, it grows little by little. */
static wr_status grow_code(wr_body *body) {
    const uint32_t fits = body->insn_capacity;
    const size_t ahead = fits == 0 ? wr_reader_left(body->reader) / BYTES_PER_INSN : fits / 32;
    const size_t capacity = fits + ahead + INSNS_LEAST;
    if (capacity > INSNS_MOST) return WR_NO_MEMORY;
    wr_arena_block *block = wr_arena_block_resize(body->loader->engine, body->code, capacity * sizeof(wr_insn));
    if (block == NULL) return WR_NO_MEMORY;
    body->code = block;
    body->insns = wr_arena_block_items(block);
    body->insn_capacity = (uint32_t)capacity;
    return WR_OK;
}

static wr_status grow_marks(wr_body *body) {
    const uint32_t capacity = body->mark_capacity + body->mark_capacity / 8 + MARK_MOST + body->insn_capacity / 4;
    wr_arena_block *block = wr_arena_block_resize(body->loader->engine, body->mark_block, capacity);
    if (block == NULL) return WR_NO_MEMORY;
    body->mark_block = block;
    body->marks = wr_arena_block_items(block);
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
    if (body->insn_count == body->insn_capacity) body->status = grow_code(body);
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
    for (size_t half = 0; half < 2; half++) {
        uint64_t value;
        memcpy(&value, bytes + half * sizeof value, sizeof value);
        wr_emit_wide(body, value);
    }
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

void wr_patch_here(wr_body *body, uint32_t chain) {
    wr_bind_here(body);
    if (body->status != WR_OK) return;
    while (chain != 0) {
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

uint32_t wr_code_offset(const wr_code *code, const wr_insn *insn) {
    uint32_t offset = code->body_offset;
    const uint8_t *at = code->offsets;
    for (ptrdiff_t i = 0; i <= insn - code->insns; i++) {
        uint32_t delta = *at++;
        if (delta == MARK_ESCAPE) {
            memcpy(&delta, at, sizeof delta);
            at += sizeof delta;
        }
        offset += delta;
    }
    return offset;
}

/* What is in the block as part of the module: where it is, cut to size, unless it is so little that a copy is less. */
static void *keep(wr_body *body, wr_arena_block **block, size_t bytes) {
    wr_arena *arena = &body->loader->module->arena;
    if (*block == NULL || !wr_arena_is_large(arena, bytes)) {
        void *copy = wr_arena_take(arena, bytes, 1);
        return copy == NULL || bytes == 0 ? copy : memcpy(copy, wr_arena_block_items(*block), bytes);
    }
    void *kept = wr_arena_adopt(arena, *block, bytes);
    *block = NULL;
    return kept;
}

wr_status wr_finish_code(wr_body *body, wr_code *code) {
    wr_finish_ops(body->insns, body->insn_count, body->module->code_is_checked);
    code->insns = keep(body, &body->code, body->insn_count * sizeof(wr_insn));
    code->offsets = keep(body, &body->mark_block, body->mark_count);
    wr_catch *catches = wr_arena_take(&body->loader->module->arena, body->catches.count, sizeof *catches);
    if (code->insns == NULL || catches == NULL || code->offsets == NULL) return WR_NO_MEMORY;
    if (body->catches.count != 0) memcpy(catches, body->catches.items, body->catches.count * sizeof *catches);
    if (body->code == NULL) body->insn_capacity = 0;
    if (body->mark_block == NULL) body->mark_capacity = 0;
    code->insn_count = body->insn_count;
    code->catches = catches;
    code->catch_count = (uint32_t)body->catches.count;
    code->offsets_size = body->mark_count;
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

static wr_code *make_checked(wr_module *module) {
    uint32_t count = module->func_count - module->func_imports;
    wr_code *codes = wr_arena_zero(&module->arena, count, sizeof *codes);
    if (codes == NULL) return NULL;
    handler_pair pairs[PAIR_COUNT];
    sort_pairs(pairs);
    for (uint32_t i = 0; i < count; i++) {
        codes[i] = module->code[i];
        wr_insn *insns = wr_arena_zero(&module->arena, codes[i].insn_count, sizeof *insns);
        if (insns == NULL) return NULL;
        for (uint32_t k = 0; k < codes[i].insn_count; k++) {
            insns[k] = module->code[i].insns[k];
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
