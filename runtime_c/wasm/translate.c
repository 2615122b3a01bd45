/* From bytes to register code: one pass over a function body (body.h). Instructions that compute come straight from
 * the opcode table; control is in control.c, memory and tables in translate_memory.c. */
#include "body.h"

/* ---- instructions that compute ---- */

enum {
    WEIGHED_INSNS = 64,
    WORK_PER_INSN = 32, /* as long as filling so many bytes, about */
    DIVISION_INSNS = 8, /* as long as so many others */
    LOCALS_PER_INSN = 4 /* where there are WEIGHED_INSNS times as many, or more */
};

typedef enum wr_shape {
    SHAPE_NONE,
    SHAPE_BINARY,      /* op with slots; op_const with a constant on the right, 0: none */
    SHAPE_COMMUTATIVE, /* ditto, operands may be swapped */
    SHAPE_COMPARE,     /* ditto, op_swapped is the constant form with operands swapped */
    SHAPE_FLOAT,       /* op with slots, op_const with a constant of its full width on the right */
    SHAPE_UNARY
} wr_shape;

typedef struct wr_simple {
    uint8_t shape;
    uint8_t result;
    uint8_t operand;
    uint16_t op;
    uint16_t op_const;
    uint16_t op_swapped;
} wr_simple;

enum { SIMPLE_FC = 256, SIMPLE_COUNT = SIMPLE_FC + 8 };
#define SIMPLE_AT(CODE) ((CODE) < 0x100 ? (CODE) : SIMPLE_FC + ((CODE)&0xFF))
#define INT_BINARY_ROW(C, NAME, TEXT, T, COMM, EXPR)                                                            \
    [SIMPLE_AT(C)] = {(COMM) ? SHAPE_COMMUTATIVE : SHAPE_BINARY, WR_VT_##T, WR_VT_##T, OP_##NAME##_RR,          \
                      OP_##NAME##_RI, 0},
#define INT_DIVIDE_ROW(C, NAME, TEXT, T, CHECK, EXPR) \
    [SIMPLE_AT(C)] = {SHAPE_BINARY, WR_VT_##T, WR_VT_##T, OP_##NAME##_RR, OP_##NAME##_RI, 0},
#define FLOAT_BINARY_ROW(C, NAME, TEXT, T, EXPR) \
    [SIMPLE_AT(C)] = {SHAPE_FLOAT, WR_VT_##T, WR_VT_##T, OP_##NAME##_RR, OP_##NAME##_RK, 0},
#define INT_COMPARE_ROW(C, NAME, TEXT, T, INV, SWAP, EXPR) \
    [SIMPLE_AT(C)] = {SHAPE_COMPARE, WR_VT_I32, WR_VT_##T, OP_##NAME##_RR, OP_##NAME##_RI, OP_##SWAP##_RI},
#define FLOAT_COMPARE_ROW(C, NAME, TEXT, T, EXPR) \
    [SIMPLE_AT(C)] = {SHAPE_FLOAT, WR_VT_I32, WR_VT_##T, OP_##NAME##_RR, OP_##NAME##_RK, 0},
#define UNARY_ROW(C, NAME, TEXT, R, A, EXPR) [SIMPLE_AT(C)] = {SHAPE_UNARY, WR_VT_##R, WR_VT_##A, OP_##NAME, 0, 0},
#define UNARY_TRAP_ROW(C, NAME, TEXT, R, A, CHECK, EXPR) UNARY_ROW(C, NAME, TEXT, R, A, EXPR)

static const wr_simple simple_ops[SIMPLE_COUNT] = {WR_INT_BINARY(INT_BINARY_ROW) WR_INT_DIVIDE(INT_DIVIDE_ROW)
                                                       WR_FLOAT_BINARY(FLOAT_BINARY_ROW) WR_INT_COMPARE(INT_COMPARE_ROW)
                                                           WR_FLOAT_COMPARE(FLOAT_COMPARE_ROW) WR_UNARY(UNARY_ROW)
                                                               WR_UNARY_TRAP(UNARY_TRAP_ROW)};

/* Constants fit an instruction when sign extension of 32 bits gives them back. */
static bool fits_imm(const wr_operand *operand, wr_vt type) {
    if (operand->place != WR_PLACE_CONST) return false;
    return type == WR_VT_I32 || operand->value == (uint64_t)(int64_t)(int32_t)operand->value;
}

static void emit_with_const(wr_body *body, wr_op op, uint32_t dst, const wr_operand *operand, uint64_t value) {
    uint16_t slot = wr_operand_slot(body, operand);
    wr_insn *insn = wr_emit_def(body, op, dst);
    insn->b = slot;
    insn->uimm = (uint32_t)value;
}

static void emit_with_slots(wr_body *body, wr_op op, uint32_t dst, const wr_operand *a, const wr_operand *b) {
    uint16_t left = wr_operand_slot(body, a), right = wr_operand_slot(body, b);
    wr_insn *insn = wr_emit_def(body, op, dst);
    insn->b = left;
    insn->c = right;
}

static wr_status translate_binary(wr_body *body, const wr_simple *row) {
    wr_operand a, b;
    WR_TRY(wr_pop(body, row->operand, &b));
    WR_TRY(wr_pop(body, row->operand, &a));
    uint32_t dst = a.slot;
    if (row->shape == SHAPE_FLOAT && b.place == WR_PLACE_CONST) {
        emit_with_const(body, row->op_const, dst, &a, 0);
        wr_emit_wide(body, b.value);
    } else if (row->shape == SHAPE_FLOAT) {
        emit_with_slots(body, row->op, dst, &a, &b);
    } else if (row->op == OP_I32_SUB_RR && fits_imm(&a, WR_VT_I32)) {
        emit_with_const(body, OP_RSUB_I32, dst, &b, a.value);
    } else if (row->op == OP_I64_SUB_RR && fits_imm(&a, WR_VT_I64)) {
        emit_with_const(body, OP_RSUB_I64, dst, &b, a.value);
    } else if (row->op == OP_I64_AND_RR && b.place == WR_PLACE_CONST && b.value == UINT32_MAX) {
        emit_with_const(body, OP_I64_EXTEND_I32_U, dst, &a, 0);
    } else if (row->op_const != 0 && fits_imm(&b, row->operand)) {
        emit_with_const(body, row->op_const, dst, &a, b.value);
    } else if (row->shape == SHAPE_COMMUTATIVE && fits_imm(&a, row->operand)) {
        emit_with_const(body, row->op_const, dst, &b, a.value);
    } else if (row->shape == SHAPE_COMPARE && fits_imm(&a, row->operand)) {
        emit_with_const(body, row->op_swapped, dst, &b, a.value);
    } else {
        emit_with_slots(body, row->op, dst, &a, &b);
    }
    wr_push_temp(body, row->result);
    return body->status;
}

static wr_status translate_unary(wr_body *body, const wr_simple *row) {
    wr_operand a;
    WR_TRY(wr_pop(body, row->operand, &a));
    uint16_t slot = wr_operand_slot(body, &a);
    wr_emit_def(body, row->op, a.slot)->b = slot;
    wr_push_temp(body, row->result);
    return body->status;
}

static wr_status translate_simple(wr_body *body, const wr_simple *row) {
    return row->shape == SHAPE_UNARY ? translate_unary(body, row) : translate_binary(body, row);
}

static wr_status translate_eqz(wr_body *body, wr_vt type, wr_op equals) {
    wr_operand a;
    WR_TRY(wr_pop(body, type, &a));
    wr_emit_not(body, &a, equals);
    wr_push_temp(body, WR_VT_I32);
    return body->status;
}

static wr_status translate_const(wr_body *body, uint8_t opcode) {
    int32_t i32;
    int64_t i64;
    uint32_t f32;
    uint64_t f64;
    switch (opcode) {
    case 0x41:
        WR_TRY(wr_read_s32(body->reader, &i32));
        wr_push_const(body, WR_VT_I32, (uint32_t)i32);
        break;
    case 0x42:
        WR_TRY(wr_read_s64(body->reader, &i64));
        wr_push_const(body, WR_VT_I64, (uint64_t)i64);
        break;
    case 0x43:
        WR_TRY(wr_read_fixed32(body->reader, &f32));
        wr_push_const(body, WR_VT_F32, f32);
        break;
    default:
        WR_TRY(wr_read_fixed64(body->reader, &f64));
        wr_push_const(body, WR_VT_F64, f64);
        break;
    }
    return body->status;
}

/* ---- parametric ---- */

static wr_status emit_select(wr_body *body, const wr_operand *a, const wr_operand *b, const wr_operand *condition,
                             wr_vt type) {
    uint16_t first = wr_operand_slot(body, a), second = wr_operand_slot(body, b);
    uint16_t chooser = wr_operand_slot(body, condition);
    wr_op op = type == WR_VT_V128 ? OP_SELECT128 : type == WR_VT_F32 ? OP_SELECT32 : OP_SELECT;
    wr_insn *insn = wr_emit_def(body, op, a->slot);
    insn->b = first;
    insn->c = second;
    insn->d = chooser;
    wr_push_temp(body, type);
    return body->status;
}

static wr_status translate_select(wr_body *body) {
    wr_operand condition, a, b;
    WR_TRY(wr_pop(body, WR_VT_I32, &condition));
    WR_TRY(wr_pop(body, WR_VT_BOTTOM, &b));
    WR_TRY(wr_pop(body, WR_VT_BOTTOM, &a));
    wr_vt type = a.type == WR_VT_BOTTOM ? b.type : a.type;
    if (!wr_vt_matches(b.type, type)) return wr_mismatch(body, type, b.type);
    if (wr_vt_is_ref(type)) return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "select of references needs a type");
    return emit_select(body, &a, &b, &condition, type);
}

static wr_status translate_select_typed(wr_body *body) {
    wr_operand condition, a, b;
    uint32_t count;
    wr_vt type;
    WR_TRY(wr_read_count(body->reader, &count));
    if (count != 1) return wr_load_fail(body->loader, WR_INVALID_ARITY, "%u", count);
    WR_TRY(wr_load_value_type(body->loader, &type));
    WR_TRY(wr_pop(body, WR_VT_I32, &condition));
    WR_TRY(wr_pop(body, type, &b));
    WR_TRY(wr_pop(body, type, &a));
    return emit_select(body, &a, &b, &condition, type);
}

#define MAY_TRAP_DIVIDE(C, NAME, TEXT, T, CHECK, EXPR) case OP_##NAME##_RR: case OP_##NAME##_RI:
#define MAY_TRAP_UNARY(C, NAME, TEXT, R, A, CHECK, EXPR) case OP_##NAME:

static bool only_computes(uintptr_t op) {
    switch (op) {
        WR_INT_DIVIDE(MAY_TRAP_DIVIDE)
        WR_UNARY_TRAP(MAY_TRAP_UNARY)
        return false;
    default: return op < OP_MEMORY_FIRST;
    }
}

/* What only computes is not done for nothing. */
static wr_status translate_drop(wr_body *body) {
    wr_operand dropped;
    WR_TRY(wr_pop(body, WR_VT_BOTTOM, &dropped));
    const wr_insn *producer = wr_producer(body, &dropped);
    if (producer != NULL && only_computes(producer->op)) wr_unemit(body);
    return WR_OK;
}

/* ---- variables ---- */

static wr_status read_local(wr_body *body, uint8_t opcode, wr_local *out) {
    uint32_t index;
    WR_TRY(wr_read_u32(body->reader, &index));
    if (index >= body->locals.count) return wr_load_fail(body->loader, WR_UNKNOWN_LOCAL, "%u", index);
    wr_local *local = (wr_local *)body->locals.items + index;
    *out = *local;
    if (!local->unset) return WR_OK;
    if (opcode == 0x20) return wr_load_fail(body->loader, WR_UNINIT_LOCAL, "%u", index);
    WR_TRY(wr_vec_reserve(body->loader->heap, &body->inits, 1, sizeof index));
    ((uint32_t *)body->inits.items)[body->inits.count++] = index;
    local->unset = false;
    return WR_OK;
}

static wr_status translate_local(wr_body *body, uint8_t opcode) {
    wr_local local = {0};
    wr_operand value;
    WR_TRY(read_local(body, opcode, &local));
    if (opcode == 0x20) {
        wr_push_local(body, local.type, local.slot);
        return body->status;
    }
    WR_TRY(wr_pop(body, local.type, &value));
    bool itself = value.place == WR_PLACE_LOCAL && value.local_slot == local.slot;
    if (!itself) {
        wr_preserve_local(body, local.slot);
        if (!wr_retarget(body, &value, local.slot)) {
            wr_operand_move(body, &value, local.slot);
            wr_bind_here(body); /* the local's value: not to be renamed */
        }
    }
    if (opcode == 0x22) wr_push_local(body, local.type, local.slot);
    return body->status;
}

static wr_status translate_global(wr_body *body, uint8_t opcode) {
    uint32_t index;
    WR_TRY(wr_read_u32(body->reader, &index));
    if (index >= body->loader->module->global_count) return wr_load_fail(body->loader, WR_UNKNOWN_GLOBAL, "%u", index);
    const wr_global_type *global = &body->loader->module->globals[index];
    bool wide = global->type == WR_VT_V128;
    if (opcode == 0x23) {
        wr_emit_def(body, wide ? OP_GLOBAL_GET128 : OP_GLOBAL_GET, wr_next_slot(body))->uimm = index;
        wr_push_temp(body, global->type);
        return body->status;
    }
    wr_operand value;
    if (!global->is_mutable) return wr_load_fail(body->loader, WR_IMMUTABLE_GLOBAL, "%u", index);
    WR_TRY(wr_pop(body, global->type, &value));
    uint16_t slot = wr_operand_slot(body, &value);
    wr_insn *insn = wr_emit(body, wide ? OP_GLOBAL_SET128 : OP_GLOBAL_SET);
    insn->a = slot;
    insn->uimm = index;
    return body->status;
}

/* ---- references ---- */

static wr_status translate_ref(wr_body *body, uint8_t opcode) {
    uint32_t index;
    wr_operand value;
    uint32_t heap;
    switch (opcode) {
    case 0xD0:
        WR_TRY(wr_load_heap_type(body->loader, &heap));
        wr_push_const(body, WR_VT_REF | WR_VT_NULLABLE | heap, 0);
        return body->status;
    case 0xD4: {
        WR_TRY(wr_pop_ref(body, &value));
        uint16_t slot = wr_operand_slot(body, &value);
        wr_emit(body, OP_CHECK_NULL)->a = slot;
        if (value.place == WR_PLACE_CONST) value.place = WR_PLACE_TEMP;
        value.type = value.type == WR_VT_BOTTOM ? WR_VT_REF | WR_HEAP_BOTTOM : value.type & ~WR_VT_NULLABLE;
        wr_push_back(body, &value);
        return body->status;
    }
    case 0xD1:
        WR_TRY(wr_pop_ref(body, &value));
        emit_with_const(body, OP_I64_EQ_RI, value.slot, &value, 0);
        wr_push_temp(body, WR_VT_I32);
        return body->status;
    default:
        WR_TRY(wr_read_u32(body->reader, &index));
        if (index >= body->loader->module->func_count) return wr_load_fail(body->loader, WR_UNKNOWN_FUNC, "%u", index);
        if (!wr_load_is_declared(body->loader, index))
            return wr_load_fail(body->loader, WR_UNDECLARED_FUNC_REF, "%u", index);
        wr_emit_def(body, OP_REF_FUNC, wr_next_slot(body))->uimm = index;
        wr_push_temp(body, WR_VT_REF | wr_type_of_func(body->loader->module, index)->id);
        return body->status;
    }
}

/* ---- dispatch ---- */

static wr_status translate_prefixed(wr_body *body) {
    uint32_t sub;
    WR_TRY(wr_read_u32(body->reader, &sub));
    if (sub < 8) return translate_simple(body, &simple_ops[SIMPLE_FC + sub]);
    if (sub <= 0x11) return wr_translate_bulk(body, 0xFC00 + sub);
    return wr_load_fail(body->loader, WR_ILLEGAL_OPCODE, "fc %02x", sub);
}

/* One jump by the opcode: a chain of conditions would miss the branch predictor several times per instruction. */
static wr_status translate_opcode(wr_body *body, uint8_t opcode) {
    switch (opcode) {
    case 0x00 ... 0x0F:
    case 0x1F: return wr_translate_control(body, opcode);
    case 0x10 ... 0x15: return wr_translate_call(body, opcode);
    case 0x28 ... 0x3E: return wr_translate_access(body, opcode);
    case 0x46 ... 0x4F:
    case 0x51 ... 0xC4: return translate_simple(body, &simple_ops[opcode]);
    case 0x1A: return translate_drop(body);
    case 0x1B: return translate_select(body);
    case 0x1C: return translate_select_typed(body);
    case 0x20:
    case 0x21:
    case 0x22: return translate_local(body, opcode);
    case 0x23:
    case 0x24: return translate_global(body, opcode);
    case 0x25:
    case 0x26: return wr_translate_table_access(body, opcode);
    case 0x3F:
    case 0x40: return wr_translate_memory_size(body, opcode);
    case 0x41:
    case 0x42:
    case 0x43:
    case 0x44: return translate_const(body, opcode);
    case 0x45: return translate_eqz(body, WR_VT_I32, OP_I32_EQ_RI);
    case 0x50: return translate_eqz(body, WR_VT_I64, OP_I64_EQ_RI);
    case 0xD0:
    case 0xD1:
    case 0xD2:
    case 0xD4: return translate_ref(body, opcode);
    case 0xD5:
    case 0xD6: return wr_translate_control(body, opcode);
    case 0xFC: return translate_prefixed(body);
    case 0xFD: return wr_translate_simd(body);
    case 0xFE: return wr_translate_atomic(body);
    case 0xD3:
    case 0xFB: return wr_load_fail(body->loader, WR_UNSUPPORTED, "opcode 0x%02x", opcode);
    default: return wr_load_fail(body->loader, WR_ILLEGAL_OPCODE, "0x%02x", opcode);
    }
}

/* ---- functions ---- */

/* Slots that do not fit are refused once all are counted. */
static wr_status add_locals(wr_body *body, wr_vt type, bool unset, uint32_t count, uint32_t *slot) {
    WR_TRY(wr_vec_reserve(body->loader->heap, &body->locals, count, sizeof(wr_local)));
    for (uint32_t i = 0; i < count; i++) {
        ((wr_local *)body->locals.items)[body->locals.count++] = (wr_local){type, (uint16_t)*slot, unset};
        *slot += wr_vt_slots(type);
    }
    return WR_OK;
}

static wr_status read_locals(wr_body *body, uint32_t *slot) {
    uint32_t runs, count;
    uint64_t total = body->locals.count;
    WR_TRY(wr_read_u32(body->reader, &runs));
    const uint32_t max = body->loader->engine->config.limits.locals_max;
    for (uint32_t i = 0; i < runs; i++) {
        wr_vt type;
        WR_TRY(wr_read_u32(body->reader, &count));
        WR_TRY(wr_load_value_type(body->loader, &type));
        total += count;
        if (total > UINT32_MAX) return WR_TOO_MANY_LOCALS;
        if (total > max) continue; /* the rest may still be malformed */
        WR_TRY(add_locals(body, type, !wr_vt_has_default(type), count, slot));
    }
    if (total > max) return wr_load_fail(body->loader, WR_LIMIT_LOCALS, "%u, at most %u", (uint32_t)total, max);
    return WR_OK;
}

static wr_status begin_function(wr_body *body, const wr_type *type, wr_code *code) {
    uint32_t slot = 0;
    body->operands.count = body->labels.count = body->locals.count = 0;
    body->stubs.count = body->inits.count = body->pending.count = body->catches.count = 0;
    body->insn_count = body->mark_count = body->last = body->flushed = body->barrier = body->weighed = 0;
    body->status = WR_OK;
    WR_TRY(wr_vec_reserve(body->loader->heap, &body->operands, 1, sizeof(wr_operand))); /* never NULL */
    for (uint32_t i = 0; i < type->param_count; i++) WR_TRY(add_locals(body, type->values[i], false, 1, &slot));
    code->param_slots = (uint16_t)slot;
    WR_TRY(read_locals(body, &slot));
    body->temp_base = slot + WR_INFO_SLOTS;
    body->slot_max = body->temp_base > type->result_slots ? body->temp_base : type->result_slots;
    if (body->slot_max > WR_FRAME_SLOTS_MAX) return WR_LIMIT_FRAME;
    code->local_slots = (uint16_t)(slot - code->param_slots);
    code->info_slot = (uint16_t)slot;
    body->extra = code->local_slots / LOCALS_PER_INSN;
    if (body->extra < WEIGHED_INSNS) body->extra = 0;
    code->body_offset = body->marked = wr_reader_offset(body->reader);
    const wr_block_type results = {type->values + type->param_count, 0, type->result_count, 0};
    return wr_push_label(body, WR_LABEL_FUNC, &results);
}

/* Long stretches without a jump count as work: however long the body of a loop is, the clock is looked at in time. */
static void weigh(wr_body *body, uint8_t opcode) {
    if (wr_is_dead(body)) return;
    const uint32_t insns = wr_here(body) - body->weighed + body->extra;
    if (insns >= WEIGHED_INSNS) {
        wr_emit(body, OP_WORK)->uimm = insns * WORK_PER_INSN;
        body->weighed = wr_here(body);
        body->extra = 0;
    }
    if (wr_opcode_divides(opcode)) body->extra += DIVISION_INSNS - 1;
}

static wr_status translate_body(wr_body *body) {
    while (body->labels.count != 0) {
        uint8_t opcode;
        body->offset = wr_reader_offset(body->reader);
        if (wr_read_byte(body->reader, &opcode) != WR_OK) return WR_END_EXPECTED;
        weigh(body, opcode);
        wr_status status = translate_opcode(body, opcode);
        if (status != WR_OK) {
            if (wr_status_class_of(status) != WR_CLASS_MALFORMED) body->loader->fail_offset = body->offset;
            return status;
        }
    }
    return body->reader->at == body->reader->end ? WR_OK : WR_END_EXPECTED;
}

wr_status wr_translate_function(wr_loader *loader, uint32_t func_index, wr_body *body) {
    wr_code *code = &loader->module->code[func_index - loader->module->func_imports];
    WR_TRY(begin_function(body, wr_type_of_func(loader->module, func_index), code));
    WR_TRY(translate_body(body));
    code->frame_slots = (uint16_t)body->slot_max;
    return wr_finish_code(body, code);
}

wr_body *wr_body_new(wr_loader *loader) {
    wr_body *body = wr_mem_zero(loader->heap, sizeof *body);
    if (body == NULL) return NULL;
    body->loader = loader;
    body->reader = &loader->reader;
    return body;
}

void wr_body_free(wr_body *body) {
    if (body == NULL) return;
    const wr_heap *heap = body->loader->heap;
    wr_vec_free(heap, &body->operands, sizeof(wr_operand));
    wr_vec_free(heap, &body->labels, sizeof(wr_label));
    wr_vec_free(heap, &body->stubs, sizeof(wr_stub));
    wr_vec_free(heap, &body->locals, sizeof(wr_local));
    wr_vec_free(heap, &body->inits, sizeof(uint32_t));
    wr_vec_free(heap, &body->pending, sizeof(wr_catch));
    wr_vec_free(heap, &body->catches, sizeof(wr_catch));
    wr_arena_block_free(heap, body->code);
    wr_mem_free(heap, body->marks, body->mark_capacity);
    wr_mem_free(heap, body, sizeof *body);
}
