/* Blocks, branches, returns, calls. */
#include <string.h>

#include "body.h"

/* Above this, values settle first and move as one block: keeps code size linear. Where they stay on the stack, two are
 * too many already: the next branch would move them again. */
enum { MOVES_MAX = 4, MOVES_MAX_KEPT = 1 };

static const wr_vt *block_results(const wr_block_type *type) {
    return type->values == NULL ? &type->single : type->values + type->param_count;
}

const wr_vt *wr_branch_types(const wr_label *label, uint32_t *count) {
    bool loop = label->kind == WR_LABEL_LOOP;
    *count = loop ? label->type.param_count : label->type.result_count;
    return loop ? label->type.values : block_results(&label->type);
}

void wr_drop_to(wr_body *body, uint32_t height) {
    body->operands.count = height;
    if (body->flushed > height) body->flushed = height;
}

void wr_set_unreachable(wr_body *body) {
    wr_label *label = wr_label_at(body, 0);
    wr_drop_to(body, label->height);
    label->unreachable = true;
}

void wr_push_temps(wr_body *body, const wr_vt *types, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) wr_push_temp(body, types[i]);
}

/* ---- moving branch values ---- */

wr_operand *wr_top_operands(const wr_body *body, uint32_t count) {
    return (wr_operand *)body->operands.items + (body->operands.count - count);
}

static bool are_settled(const wr_operand *operands, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (operands[i].place != WR_PLACE_TEMP) return false;
    }
    return true;
}

static bool moves_needed(const wr_body *body, const wr_label *label, uint32_t count) {
    const wr_operand *operands = wr_top_operands(body, count);
    return count != 0 && (operands[0].slot != label->slot || !are_settled(operands, count));
}

/* Destinations lie at or below every temporary that is still to be moved, so going upwards nothing is overwritten. */
static void emit_moves(wr_body *body, const wr_label *label, uint32_t count) {
    const wr_operand *operands = wr_top_operands(body, count);
    uint32_t slot = label->slot;
    if (count > 1 && are_settled(operands, count)) {
        if (operands[0].slot == slot) return;
        wr_insn *insn = wr_emit(body, OP_COPY);
        insn->a = (uint16_t)slot;
        insn->b = (uint16_t)operands[0].slot;
        insn->uimm = wr_next_slot(body) - operands[0].slot;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        wr_operand_move(body, &operands[i], slot);
        slot += wr_vt_slots(operands[i].type);
    }
}

static void emit_return(wr_body *body) {
    uint32_t count = ((wr_label *)body->labels.items)->type.result_count;
    if (wr_is_dead(body) || body->status != WR_OK) return;
    uint32_t info = body->temp_base - WR_INFO_SLOTS;
    if (count == 0) {
        wr_emit(body, OP_RETURN)->uimm = info;
        return;
    }
    if (count == 1 && wr_top_operands(body, 1)->type != WR_VT_V128) {
        wr_operand *value = wr_top_operands(body, 1);
        if (value->place == WR_PLACE_CONST && value->value <= UINT32_MAX) {
            wr_insn *insn = wr_emit(body, OP_RETURN1K);
            insn->a = (uint16_t)info;
            insn->uimm = (uint32_t)value->value;
            return;
        }
        uint16_t slot = wr_operand_slot(body, value);
        wr_insn *insn = wr_emit(body, OP_RETURN1);
        insn->a = slot;
        insn->uimm = info;
        return;
    }
    wr_settle_top(body, count);
    wr_insn *insn = wr_emit(body, OP_RETURN_N);
    insn->a = (uint16_t)wr_top_operands(body, count)->slot;
    insn->b = (uint16_t)(wr_next_slot(body) - insn->a);
    insn->uimm = info;
}

void wr_emit_branch(wr_body *body, wr_label *label, uint32_t count) {
    if (wr_is_dead(body)) return;
    if (label->kind == WR_LABEL_FUNC) {
        emit_return(body);
        return;
    }
    if (count > MOVES_MAX) wr_settle_top(body, count);
    emit_moves(body, label, count);
    wr_emit(body, OP_BR);
    wr_link_branch(body, label, wr_here(body) - 1);
}

/* ---- blocks ---- */

wr_status wr_push_label(wr_body *body, wr_label_kind kind, const wr_block_type *type) {
    wr_loader *loader = body->loader;
    if (body->labels.count >= loader->engine->config.limits.nesting_max) return WR_LIMIT_NESTING;
    WR_TRY(wr_vec_reserve(loader->heap, &body->labels, 1, sizeof(wr_label)));
    wr_label label = {.kind = (uint8_t)kind, .type = *type, .inits = (uint16_t)body->inits.count};
    if (kind == WR_LABEL_FUNC) {
        label.slot = (uint16_t)body->temp_base;
    } else {
        WR_TRY(wr_check_top(body, type->values, type->param_count, true));
        wr_settle_locals(body);
        wr_settle_top(body, type->param_count);
        label.dead_entry = wr_is_dead(body);
        label.height = (uint16_t)(body->operands.count - type->param_count);
        label.slot =
            type->param_count != 0 ? wr_top_operands(body, type->param_count)->slot : (uint16_t)wr_next_slot(body);
    }
    wr_bind_here(body);
    label.start = wr_here(body);
    ((wr_label *)body->labels.items)[body->labels.count++] = label;
    return body->status;
}

wr_status wr_read_block_type(wr_body *body, wr_block_type *out) {
    *out = (wr_block_type){0};
    wr_reader *reader = body->reader;
    if (reader->at == reader->end) return WR_UNEXPECTED_END;
    if (*reader->at == 0x40) {
        reader->at++;
        return WR_OK;
    }
    if ((*reader->at & 0xC0) == 0x40) { /* a negative number of one byte: a value type */
        out->result_count = 1;
        return wr_load_value_type(body->loader, &out->single);
    }
    int64_t index;
    WR_TRY(wr_read_s33(reader, &index));
    if (index < 0) return WR_BAD_VALUE_TYPE;
    if (index >= body->loader->module->type_count)
        return wr_load_fail(body->loader, WR_UNKNOWN_TYPE, "%u", (uint32_t)index);
    const wr_type *type = body->loader->module->types[index];
    *out = (wr_block_type){type->values, type->param_count, type->result_count, 0};
    return WR_OK;
}

static wr_status translate_block(wr_body *body, wr_label_kind kind) {
    wr_block_type type;
    WR_TRY(wr_read_block_type(body, &type));
    return wr_push_label(body, kind, &type);
}

static wr_status translate_if(wr_body *body) {
    wr_block_type type;
    wr_operand condition;
    WR_TRY(wr_read_block_type(body, &type));
    WR_TRY(wr_pop(body, WR_VT_I32, &condition));
    WR_TRY(wr_check_top(body, type.values, type.param_count, true));
    bool dead = wr_is_dead(body);
    wr_settle_locals(body);
    wr_settle_top(body, type.param_count);
    uint32_t branch = wr_emit_condition(body, &condition, false);
    WR_TRY(wr_push_label(body, WR_LABEL_IF, &type));
    wr_label_at(body, 0)->else_fixup = dead || body->status != WR_OK ? 0 : branch + 1;
    return WR_OK;
}

/* The block's results, and nothing else, must be on the stack. */
static wr_status check_block_end(wr_body *body, const wr_label *label) {
    uint32_t count = label->type.result_count;
    WR_TRY(wr_check_top(body, block_results(&label->type), count, true));
    if (body->operands.count != label->height + count) {
        return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "values remain at the end of the block");
    }
    if (!wr_is_dead(body)) wr_settle_top(body, count);
    return body->status;
}

static wr_status translate_else(wr_body *body) {
    wr_label *label = wr_label_at(body, 0);
    if (label->kind != WR_LABEL_IF) return wr_load_fail(body->loader, WR_END_EXPECTED, "found else");
    WR_TRY(check_block_end(body, label));
    if (!wr_is_dead(body)) {
        wr_emit(body, OP_BR);
        wr_link_branch(body, label, wr_here(body) - 1);
    }
    label->kind = WR_LABEL_ELSE;
    label->unreachable = false;
    wr_forget_inits(body, label);
    wr_patch_here(body, label->else_fixup);
    wr_drop_to(body, label->height);
    wr_push_temps(body, label->type.values, label->type.param_count);
    return body->status;
}

static wr_status end_function(wr_body *body) {
    wr_label *label = wr_label_at(body, 0);
    uint32_t count = label->type.result_count;
    const wr_vt *results = block_results(&label->type);
    WR_TRY(wr_check_top(body, results, count, true));
    if (body->operands.count != count) {
        return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "values remain at the end of the function");
    }
    if (label->fixups != 0) {
        if (!wr_is_dead(body)) wr_settle_top(body, count);
        label->unreachable = false;
        wr_drop_to(body, 0);
        wr_push_temps(body, results, count);
        wr_patch_here(body, label->fixups);
    }
    emit_return(body);
    body->labels.count = 0;
    return body->status;
}

static wr_status translate_end(wr_body *body) {
    wr_label label = *wr_label_at(body, 0);
    if (label.kind == WR_LABEL_FUNC) return end_function(body);
    WR_TRY(check_block_end(body, wr_label_at(body, 0)));
    if (label.kind == WR_LABEL_IF) { /* no else: the parameters are the results */
        const wr_vt *results = block_results(&label.type);
        if (label.type.param_count != label.type.result_count) return WR_TYPE_MISMATCH;
        for (uint32_t i = 0; i < label.type.param_count; i++) {
            if (!wr_vt_matches(label.type.values[i], results[i])) {
                return wr_mismatch(body, results[i], label.type.values[i]);
            }
        }
        wr_patch_here(body, label.else_fixup);
    }
#ifndef WR_NO_EXCEPTIONS
    if (label.kind == WR_LABEL_TRY) WR_TRY(wr_end_try(body, &label));
#endif
    wr_forget_inits(body, &label);
    wr_patch_here(body, wr_label_at(body, 0)->fixups);
    body->labels.count--;
    wr_drop_to(body, label.height);
    wr_push_temps(body, block_results(&label.type), label.type.result_count);
    return body->status;
}

void wr_forget_inits(wr_body *body, const wr_label *label) {
    while (body->inits.count > label->inits) {
        uint32_t local = ((const uint32_t *)body->inits.items)[--body->inits.count];
        ((wr_local *)body->locals.items)[local].unset = true;
    }
}

/* ---- branches ---- */

wr_status wr_read_label(wr_body *body, wr_label **out) {
    uint32_t depth;
    WR_TRY(wr_read_u32(body->reader, &depth));
    if (depth >= body->labels.count) return wr_load_fail(body->loader, WR_UNKNOWN_LABEL, "%u", depth);
    *out = wr_label_at(body, depth);
    return WR_OK;
}

static wr_status translate_br(wr_body *body) {
    wr_label *label = NULL;
    uint32_t count;
    WR_TRY(wr_read_label(body, &label));
    const wr_vt *types = wr_branch_types(label, &count);
    WR_TRY(wr_check_top(body, types, count, false));
    wr_emit_branch(body, label, count);
    wr_set_unreachable(body);
    return body->status;
}

static wr_status translate_br_if(wr_body *body) {
    wr_label *label = NULL;
    uint32_t count;
    wr_operand condition;
    WR_TRY(wr_read_label(body, &label));
    WR_TRY(wr_pop(body, WR_VT_I32, &condition));
    const wr_vt *types = wr_branch_types(label, &count);
    WR_TRY(wr_check_top(body, types, count, true));
    if (wr_is_dead(body)) return WR_OK;
    if (count > MOVES_MAX_KEPT) wr_settle_top(body, count);
    if (!moves_needed(body, label, count)) {
        wr_link_branch(body, label, wr_emit_condition(body, &condition, true));
        return body->status;
    }
    uint32_t skip = wr_emit_condition(body, &condition, false);
    emit_moves(body, label, count);
    wr_emit(body, OP_BR);
    wr_link_branch(body, label, wr_here(body) - 1);
    wr_patch_here(body, skip + 1);
    return body->status;
}

/* The label's, zeroed for the function's first table that asks. NULL: out of memory. */
static wr_stub *stub_of(wr_body *body, const wr_label *label) {
    const uint32_t had = body->stubs.count, open = body->labels.count;
    if (had < open) {
        if (wr_vec_reserve(body->loader->heap, &body->stubs, open - had, sizeof(wr_stub)) != WR_OK) return NULL;
        memset((wr_stub *)body->stubs.items + had, 0, (open - had) * sizeof(wr_stub));
        body->stubs.count = open;
    }
    return (wr_stub *)body->stubs.items + (label - (const wr_label *)body->labels.items);
}

/* Stubs behind the table for targets whose values must move; `entry` is the first instruction of the targets. */
static wr_status emit_table_stubs(wr_body *body, const uint8_t *targets, uint32_t count, uint32_t entry) {
    const uint8_t *after = body->reader->at;
    body->reader->at = targets;
    for (uint32_t i = 0; i <= count && body->status == WR_OK; i++) {
        wr_label *label = NULL;
        uint32_t arity;
        WR_TRY(wr_read_label(body, &label));
        (void)wr_branch_types(label, &arity);
        if (!moves_needed(body, label, arity)) continue;
        wr_stub *stub = stub_of(body, label);
        if (stub == NULL) return WR_NO_MEMORY;
        if (stub->table != entry + 1) {
            *stub = (wr_stub){wr_here(body), entry + 1};
            emit_moves(body, label, arity);
            wr_emit(body, OP_BR);
            wr_link_branch(body, label, wr_here(body) - 1);
        }
        wr_set_target(body, entry * WR_TARGETS_PER_INSN + i, stub->insn);
    }
    body->reader->at = after;
    return body->status;
}

static wr_status translate_br_table(wr_body *body) {
    uint32_t count, arity, first_arity = 0;
    wr_operand index;
    WR_TRY(wr_read_count(body->reader, &count));
    WR_TRY(wr_pop(body, WR_VT_I32, &index));
    bool dead = wr_is_dead(body);
    const uint8_t *targets = body->reader->at;
    uint32_t entry = 0;
    for (uint32_t i = 0; i <= count; i++) {
        wr_label *label = NULL;
        WR_TRY(wr_read_label(body, &label));
        const wr_vt *types = wr_branch_types(label, &arity);
        if (i != 0 && arity != first_arity) return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "label arities differ");
        WR_TRY(wr_check_top(body, types, arity, false));
        if (dead) {
            first_arity = arity;
            continue;
        }
        if (i == 0) {
            first_arity = arity;
            wr_settle_top(body, arity); /* each label may need a move */
            uint16_t slot = wr_operand_slot(body, &index);
            wr_insn *insn = wr_emit(body, OP_BR_TABLE);
            insn->a = slot;
            insn->uimm = count;
            entry = wr_here(body);
        }
        if (i % WR_TARGETS_PER_INSN == 0) wr_emit(body, OP_DATA);
        if (!moves_needed(body, label, arity)) wr_link_target(body, label, entry * WR_TARGETS_PER_INSN + i);
    }
    if (!dead) WR_TRY(emit_table_stubs(body, targets, count, entry));
    wr_set_unreachable(body);
    return body->status;
}

/* br_on_null drops a null and keeps the rest as non-null; br_on_non_null carries a non-null as the last value. */
static wr_status translate_br_null(wr_body *body, bool on_null) {
    wr_label *label = NULL;
    uint32_t count;
    wr_operand value;
    WR_TRY(wr_read_label(body, &label));
    WR_TRY(wr_pop_ref(body, &value));
    const wr_vt *types = wr_branch_types(label, &count);
    wr_vt found = value.type == WR_VT_BOTTOM ? WR_VT_REF | WR_HEAP_BOTTOM : value.type & ~WR_VT_NULLABLE;
    if (!on_null) {
        if (count == 0) return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "the label takes no value");
        if (!wr_vt_matches(found, types[count - 1])) return wr_mismatch(body, types[count - 1], found);
    }
    uint32_t rest = on_null ? count : count - 1;
    WR_TRY(wr_check_top(body, types, rest, true));
    if (count > MOVES_MAX_KEPT) wr_settle_top(body, rest); /* before the paths part */
    uint16_t slot = wr_operand_slot(body, &value);
    wr_emit(body, on_null ? OP_BR_NON_NULL : OP_BR_NULL)->a = slot;
    uint32_t skip = wr_here(body);
    bool dead = wr_is_dead(body);
    if (value.place != WR_PLACE_LOCAL) value.place = WR_PLACE_TEMP; /* a null constant is in its slot now */
    value.type = found;
    if (!on_null) wr_push_back(body, &value);
    if (!on_null && count > MOVES_MAX_KEPT) wr_settle_top(body, 1);
    wr_emit_branch(body, label, count);
    if (!dead) wr_patch_here(body, skip);
    if (on_null) {
        wr_push_back(body, &value);
    } else {
        WR_TRY(wr_pop(body, WR_VT_BOTTOM, &value));
    }
    return body->status;
}

static wr_status translate_return(wr_body *body) {
    const wr_label *label = body->labels.items;
    WR_TRY(wr_check_top(body, block_results(&label->type), label->type.result_count, false));
    emit_return(body);
    wr_set_unreachable(body);
    return body->status;
}

static wr_status translate_unreachable(wr_body *body) {
    wr_emit(body, OP_UNREACHABLE);
    wr_set_unreachable(body);
    return body->status;
}

wr_status wr_translate_control(wr_body *body, uint8_t opcode) {
    switch (opcode) {
    case 0x00: return translate_unreachable(body);
    case 0x01: return WR_OK;
    case 0x02: return translate_block(body, WR_LABEL_BLOCK);
    case 0x03: return translate_block(body, WR_LABEL_LOOP);
    case 0x04: return translate_if(body);
    case 0x05: return translate_else(body);
    case 0x0B: return translate_end(body);
    case 0x0C: return translate_br(body);
    case 0x0D: return translate_br_if(body);
    case 0x0E: return translate_br_table(body);
    case 0x0F: return translate_return(body);
    case 0x08:
    case 0x0A: return wr_translate_throw(body, opcode);
    case 0x1F: return wr_translate_try_table(body);
    case 0xD5: return translate_br_null(body, true);
    case 0xD6: return translate_br_null(body, false);
    default: return wr_load_fail(body->loader, WR_ILLEGAL_OPCODE, "0x%02x", opcode);
    }
}
