/* The operand stack: typing and places. */
/* See copy. In front of the headers: what is to be inlined must be compiled alike. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-slp-vectorize", "no-store-merging")
#endif
#include <string.h>

#include "body.h"

enum { PRESERVE_SCAN_MAX = 64 };

static wr_operand *operand_at(const wr_body *body, size_t index) { return (wr_operand *)body->operands.items + index; }

/* Reference types are told apart by heap kind only: enough to find the mistake with a disassembler. */
static const char *type_name(wr_vt type) {
    switch (type) {
    case WR_VT_BOTTOM: return "any";
    case WR_VT_I32: return "i32";
    case WR_VT_I64: return "i64";
    case WR_VT_F32: return "f32";
    case WR_VT_F64: return "f64";
    case WR_VT_V128: return "v128";
    default: break;
    }
    bool nullable = (type & WR_VT_NULLABLE) != 0;
    switch (type & WR_VT_HEAP) {
    case WR_HEAP_FUNC: return nullable ? "funcref" : "(ref func)";
    case WR_HEAP_EXTERN: return nullable ? "externref" : "(ref extern)";
    case WR_HEAP_EXN: return nullable ? "exnref" : "(ref exn)";
    default: return nullable ? "(ref null type)" : "(ref type)";
    }
}

wr_status wr_mismatch(wr_body *body, wr_vt expected, wr_vt found) {
    return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "expected %s, found %s", type_name(expected), type_name(found));
}

/* Field by field, as it was written a moment ago: wider loads would wait for the stores. */
static inline void copy(wr_operand *to, const wr_operand *from) {
    to->type = from->type;
    to->place = from->place;
    to->slot = from->slot;
    to->value = from->value;
}

wr_status wr_pop(wr_body *body, wr_vt type, wr_operand *out) {
    const wr_label *label = wr_label_at(body, 0);
    if (body->operands.count == label->height) {
        if (!label->unreachable) {
            return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "expected %s, found nothing", type_name(type));
        }
        *out = (wr_operand){.type = WR_VT_BOTTOM, .slot = (uint16_t)label->slot};
        return WR_OK;
    }
    const wr_operand *top = operand_at(body, body->operands.count - 1);
    copy(out, top);
    if (!wr_vt_matches(out->type, type)) return wr_mismatch(body, type, out->type);
    body->operands.count--;
    if (body->flushed > body->operands.count) body->flushed = (uint32_t)body->operands.count;
    return WR_OK;
}

uint32_t wr_next_slot(const wr_body *body) {
    if (body->operands.count == 0) return body->temp_base;
    const wr_operand *top = operand_at(body, body->operands.count - 1);
    return top->slot + wr_vt_slots(top->type);
}

/* Room for an operand on top, its slot set; the caller sets the rest. */
static wr_operand *push(wr_body *body, wr_vt type) {
    uint32_t slot = wr_next_slot(body), end = slot + wr_vt_slots(type);
    wr_status status = wr_vec_reserve(body->loader->heap, &body->operands, 1, sizeof(wr_operand));
    if (end > WR_FRAME_SLOTS_MAX) status = WR_LIMIT_FRAME;
    if (status != WR_OK) {
        body->status = status;
        return &body->scrap_operand;
    }
    if (end > body->slot_max) body->slot_max = end;
    wr_operand *top = operand_at(body, body->operands.count++);
    top->type = type;
    top->slot = (uint16_t)slot;
    return top;
}

wr_status wr_pop_ref(wr_body *body, wr_operand *out) {
    WR_TRY(wr_pop(body, WR_VT_BOTTOM, out));
    return out->type == WR_VT_BOTTOM || wr_vt_is_ref(out->type) ? WR_OK : wr_mismatch(body, WR_VT_FUNCREF, out->type);
}

void wr_push_back(wr_body *body, const wr_operand *operand) {
    wr_operand *top = push(body, operand->type);
    top->place = operand->place;
    top->value = operand->value;
}

void wr_push_temp(wr_body *body, wr_vt type) { push(body, type)->place = WR_PLACE_TEMP; }

void wr_push_local(wr_body *body, wr_vt type, uint32_t slot) {
    wr_operand *top = push(body, type);
    top->place = WR_PLACE_LOCAL;
    top->local_slot = slot;
}

void wr_push_const(wr_body *body, wr_vt type, uint64_t value) {
    wr_operand *top = push(body, type);
    top->place = WR_PLACE_CONST;
    top->value = value;
}

void wr_push_const128(wr_body *body, const uint8_t *bytes) { wr_push_const(body, WR_VT_V128, (uintptr_t)bytes); }

static void emit_const(wr_body *body, const wr_operand *operand, uint32_t slot) {
    const uint64_t value = operand->value;
#ifndef WR_NO_SIMD
    if (operand->type == WR_VT_V128) {
        wr_emit_def(body, OP_CONST128, slot);
        wr_emit_bytes(body, (const uint8_t *)(uintptr_t)value);
        return;
    }
#endif
    if (value <= UINT32_MAX) {
        wr_emit_def(body, OP_CONST32, slot)->uimm = (uint32_t)value;
        return;
    }
    if ((uint64_t)(int64_t)(int32_t)value == value) {
        wr_emit_def(body, OP_CONST64S, slot)->imm = (int32_t)value;
        return;
    }
    if ((uint32_t)value == 0) {
        wr_emit_def(body, OP_CONST64H, slot)->uimm = (uint32_t)(value >> 32);
        return;
    }
    wr_insn *insn = wr_emit(body, OP_CONST64);
    insn->a = (uint16_t)slot;
    insn->uimm = (uint32_t)value;
    wr_emit(body, OP_DATA)->uimm = (uint32_t)(value >> 32);
}

static void emit_move(wr_body *body, wr_vt type, uint32_t to, uint32_t from) {
    wr_op op = type == WR_VT_V128 ? OP_MOVE128 : type == WR_VT_F32 ? OP_MOVE32 : OP_MOVE;
    wr_emit_def(body, op, to)->b = (uint16_t)from;
}

uint16_t wr_operand_slot(wr_body *body, const wr_operand *operand) {
    if (operand->place == WR_PLACE_LOCAL) return (uint16_t)operand->local_slot;
    if (operand->place == WR_PLACE_CONST) emit_const(body, operand, operand->slot);
    return (uint16_t)operand->slot;
}

void wr_operand_move(wr_body *body, const wr_operand *operand, uint32_t slot) {
    if (operand->place == WR_PLACE_CONST) {
        emit_const(body, operand, slot);
        return;
    }
    uint32_t from = operand->place == WR_PLACE_LOCAL ? operand->local_slot : operand->slot;
    if (from != slot) emit_move(body, operand->type, slot, from);
}

uint16_t wr_index_slot(wr_body *body, const wr_operand *index, bool is64) {
    uint16_t slot = wr_operand_slot(body, index);
#ifndef WR_NO_MEMORY64
    if (is64) {
        wr_emit_def(body, OP_INDEX64, index->slot)->b = slot;
        return (uint16_t)index->slot;
    }
#else
    (void)is64;
#endif
    return slot;
}

static void settle(wr_body *body, wr_operand *operand) {
    wr_operand_move(body, operand, operand->slot);
    operand->place = WR_PLACE_TEMP;
}

void wr_settle_top(wr_body *body, uint32_t count) {
    size_t present = body->operands.count < count ? body->operands.count : count; /* fewer in unreachable code */
    for (size_t i = body->operands.count - present; i < body->operands.count; i++) settle(body, operand_at(body, i));
}

void wr_settle_locals(wr_body *body) {
    for (size_t i = body->flushed; i < body->operands.count; i++) {
        if (operand_at(body, i)->place == WR_PLACE_LOCAL) settle(body, operand_at(body, i));
    }
    body->flushed = (uint32_t)body->operands.count;
}

void wr_preserve_local(wr_body *body, uint32_t slot) {
    if (body->operands.count - body->flushed > PRESERVE_SCAN_MAX) { /* keeps translation linear */
        wr_settle_locals(body);
        return;
    }
    for (size_t i = body->flushed; i < body->operands.count; i++) {
        wr_operand *operand = operand_at(body, i);
        if (operand->place == WR_PLACE_LOCAL && operand->local_slot == slot) settle(body, operand);
    }
}

/* Shifts what is there up and puts temporaries of unreachable code below it. */
static void fill_missing(wr_body *body, const wr_vt *types, uint32_t present, uint32_t missing) {
    wr_status status = wr_vec_reserve(body->loader->heap, &body->operands, missing, sizeof(wr_operand));
    if (status != WR_OK) {
        body->status = status;
        return;
    }
    const uint32_t first = body->operands.count - present;
    memmove(operand_at(body, first + missing), operand_at(body, first), present * sizeof(wr_operand));
    body->operands.count = first;
    body->flushed = body->flushed < first ? body->flushed : first;
    for (uint32_t i = 0; i < missing; i++) wr_push_temp(body, types[i]);
    if (body->status == WR_OK) body->operands.count += present;
}

wr_status wr_check_top(wr_body *body, const wr_vt *types, uint32_t count, bool retype) {
    const wr_label *label = wr_label_at(body, 0);
    size_t above = body->operands.count - label->height;
    uint32_t present = above < count ? (uint32_t)above : count;
    uint32_t missing = count - present;
    if (missing != 0 && !label->unreachable) {
        return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "expected %s, found nothing",
                            type_name(types[missing - 1]));
    }
    for (uint32_t i = 0; i < present; i++) {
        wr_operand *operand = operand_at(body, body->operands.count - present + i);
        if (!wr_vt_matches(operand->type, types[missing + i])) {
            return wr_mismatch(body, types[missing + i], operand->type);
        }
        if (retype) operand->type = types[missing + i];
    }
    if (retype && missing != 0) fill_missing(body, types, present, missing);
    return body->status;
}

bool wr_retarget(wr_body *body, const wr_operand *operand, uint32_t slot) {
    wr_insn *insn = wr_producer(body, operand);
    if (insn == NULL) return false;
    insn->a = (uint16_t)slot;
    body->last = 0;
    return true;
}
