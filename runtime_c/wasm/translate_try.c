/* Exception handling. A try_table costs nothing until something is thrown: its clauses become entries of a table that
 * is searched by instruction. Each clause has a branch of its own in front of the body, which is where control goes on
 * once the values are in their slots. */
#include "body.h"

#ifdef WR_NO_EXCEPTIONS

wr_status wr_translate_try_table(wr_body *body) { return wr_load_fail(body->loader, WR_UNSUPPORTED, "try_table"); }
wr_status wr_translate_throw(wr_body *body, uint8_t opcode) {
    return wr_load_fail(body->loader, WR_UNSUPPORTED, "%s", wr_opcode_name(opcode));
}

#else

static wr_catch *pending_at(const wr_body *body, size_t index) { return (wr_catch *)body->pending.items + index; }

/* The values a clause delivers: those of the tag, then the exception itself. */
static wr_status check_clause(wr_body *body, const wr_catch *clause, const wr_label *label) {
    uint32_t count;
    const wr_vt *types = wr_branch_types(label, &count);
    const wr_type *tag = clause->tag == WR_CATCH_ALL ? NULL : body->loader->module->tags[clause->tag];
    uint32_t values = tag != NULL ? tag->param_count : 0;
    if (count != values + clause->with_ref)
        return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "catch and label differ");
    for (uint32_t i = 0; i < count; i++) {
        wr_vt found = i < values ? tag->values[i] : WR_VT_REF | WR_HEAP_EXN;
        if (!wr_vt_matches(found, types[i])) return wr_mismatch(body, types[i], found);
    }
    return WR_OK;
}

/* Kinds: 0 catch, 1 catch_ref, 2 catch_all, 3 catch_all_ref. */
static wr_status read_clause(wr_body *body) {
    uint8_t kind;
    wr_label *label;
    wr_catch clause = {.tag = WR_CATCH_ALL};
    WR_TRY(wr_read_byte(body->reader, &kind));
    if (kind > 3) return wr_load_fail(body->loader, WR_ILLEGAL_OPCODE, "catch clause %u", kind);
    clause.with_ref = (kind & 1) != 0;
    if (kind < 2) {
        WR_TRY(wr_read_u32(body->reader, &clause.tag));
        if (clause.tag >= body->loader->module->tag_count)
            return wr_load_fail(body->loader, WR_UNKNOWN_TAG, "%u", clause.tag);
    }
    WR_TRY(wr_read_label(body, &label));
    WR_TRY(check_clause(body, &clause, label));
    if (wr_is_dead(body)) return WR_OK;
    clause.slot = (uint16_t)label->slot;
    clause.target = wr_here(body);
    wr_emit(body, OP_BR);
    wr_link_branch(body, label, clause.target);
    uint32_t count;
    const wr_vt *types = wr_branch_types(label, &count);
    uint32_t end = label->slot; /* the values may lie above everything pushed so far */
    for (uint32_t i = 0; i < count; i++) end += wr_vt_slots(types[i]);
    if (end > WR_FRAME_SLOTS_MAX) return WR_LIMIT_FRAME;
    if (end > body->slot_max) body->slot_max = end;
    WR_TRY(wr_vec_reserve(body->loader->heap, &body->pending, 1, sizeof clause));
    ((wr_catch *)body->pending.items)[body->pending.count++] = clause;
    return body->status;
}

wr_status wr_translate_try_table(wr_body *body) {
    wr_block_type type;
    uint32_t count;
    WR_TRY(wr_read_block_type(body, &type));
    WR_TRY(wr_read_count(body->reader, &count));
    WR_TRY(wr_check_top(body, type.values, type.param_count, true));
    wr_settle_locals(body);
    wr_settle_top(body, type.param_count);
    uint32_t first = (uint32_t)body->pending.count;
    bool dead = wr_is_dead(body);
    uint32_t over = wr_here(body);
    if (count != 0) wr_emit(body, OP_BR);
    for (uint32_t i = 0; i < count; i++) WR_TRY(read_clause(body));
    if (count != 0 && !dead) wr_patch_here(body, over + 1);
    WR_TRY(wr_push_label(body, WR_LABEL_TRY, &type));
    wr_label *label = wr_label_at(body, 0);
    label->catches = body->pending.count != first;
    for (uint32_t i = first; i < body->pending.count; i++) pending_at(body, i)->first = label->start;
    return WR_OK;
}

/* Clauses have a branch each, so that blocks which have some do not start at the same instruction. */
wr_status wr_end_try(wr_body *body, const wr_label *label) {
    if (!label->catches) return WR_OK;
    uint32_t first = body->pending.count;
    while (first != 0 && pending_at(body, first - 1)->first == label->start) first--;
    WR_TRY(wr_vec_reserve(body->loader->heap, &body->catches, body->pending.count - first, sizeof(wr_catch)));
    for (uint32_t i = first; i < body->pending.count; i++) {
        wr_catch clause = *pending_at(body, i);
        clause.end = wr_here(body);
        ((wr_catch *)body->catches.items)[body->catches.count++] = clause;
    }
    body->pending.count = first;
    return WR_OK;
}

wr_status wr_translate_throw(wr_body *body, uint8_t opcode) {
    wr_operand ref;
    if (opcode == 0x0A) {
        WR_TRY(wr_pop(body, WR_VT_EXNREF, &ref));
        uint16_t slot = wr_operand_slot(body, &ref);
        wr_emit(body, OP_THROW_REF)->a = slot;
    } else {
        uint32_t index;
        WR_TRY(wr_read_u32(body->reader, &index));
        if (index >= body->loader->module->tag_count) return wr_load_fail(body->loader, WR_UNKNOWN_TAG, "%u", index);
        const wr_type *tag = body->loader->module->tags[index];
        WR_TRY(wr_check_top(body, tag->values, tag->param_count, true));
        wr_settle_top(body, tag->param_count);
        wr_insn *insn = wr_emit(body, OP_THROW);
        insn->a = (uint16_t)(tag->param_count != 0 ? wr_top_operands(body, tag->param_count)->slot : 0);
        insn->uimm = index;
    }
    wr_set_unreachable(body);
    return body->status;
}

#endif
