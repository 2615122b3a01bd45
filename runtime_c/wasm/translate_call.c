/* Calls and tail calls. Arguments settle in their temporaries, which become the callee's first slots; results appear
 * in their place. */
#include "body.h"

/* How the callee is named, and the pieces that need reading before the arguments can settle. */
typedef struct wr_callee {
    const wr_type *type;
    bool tail;
} wr_callee;

static wr_status settle_call(wr_body *body, const wr_callee *callee, uint32_t *base) {
    const wr_type *type = callee->type;
    if (callee->tail) { /* what the callee returns, this function returns */
        const wr_label *func = body->labels.items;
        uint32_t count;
        const wr_vt *results = wr_branch_types(func, &count);
        if (count != type->result_count) return wr_load_fail(body->loader, WR_TYPE_MISMATCH, "results differ");
        for (uint32_t i = 0; i < count; i++) {
            wr_vt found = type->values[type->param_count + i];
            if (!wr_vt_matches(found, results[i])) return wr_mismatch(body, results[i], found);
        }
    }
    WR_TRY(wr_check_top(body, type->values, type->param_count, true));
    wr_settle_top(body, type->param_count);
    *base = type->param_count != 0 ? wr_top_operands(body, type->param_count)->slot : wr_next_slot(body);
    return body->status;
}

static wr_status finish_call(wr_body *body, const wr_callee *callee) {
    if (callee->tail) {
        wr_set_unreachable(body);
        return body->status;
    }
    const wr_type *type = callee->type;
    wr_drop_to(body, (uint32_t)body->operands.count - type->param_count);
    wr_push_temps(body, type->values + type->param_count, type->result_count);
    return body->status;
}

static uint32_t info_slot(const wr_body *body) { return body->temp_base - WR_INFO_SLOTS; }

static wr_status read_type(wr_body *body, const wr_type **out, uint32_t *index) {
    WR_TRY(wr_read_u32(body->reader, index));
    if (*index >= body->loader->module->type_count) return wr_load_fail(body->loader, WR_UNKNOWN_TYPE, "%u", *index);
    *out = body->loader->module->types[*index];
    return WR_OK;
}

static wr_status translate_direct(wr_body *body, wr_callee callee) {
    uint32_t index, base = 0;
    WR_TRY(wr_read_u32(body->reader, &index));
    if (index >= body->loader->module->func_count) return wr_load_fail(body->loader, WR_UNKNOWN_FUNC, "%u", index);
    callee.type = wr_type_of_func(body->loader->module, index);
    WR_TRY(settle_call(body, &callee, &base));
    bool imported = index < body->loader->module->func_imports;
    static const wr_op ops[2][2] = {{OP_CALL, OP_CALL_IMPORT}, {OP_RETURN_CALL, OP_RETURN_CALL_IMPORT}};
    wr_insn *insn = wr_emit(body, ops[callee.tail][imported]);
    insn->a = (uint16_t)base;
    insn->b = (uint16_t)info_slot(body);
    insn->uimm = imported ? index : (index - body->loader->module->func_imports) * (uint32_t)sizeof(wr_code);
    return finish_call(body, &callee);
}

static wr_status translate_indirect(wr_body *body, wr_callee callee) {
    uint32_t type_index = 0, table, base = 0;
    wr_operand index;
    WR_TRY(wr_read_u32(body->reader, &type_index));
    WR_TRY(wr_read_u32(body->reader, &table));
    if (table >= body->loader->module->table_count) return wr_load_fail(body->loader, WR_UNKNOWN_TABLE, "%u", table);
    if (type_index >= body->loader->module->type_count)
        return wr_load_fail(body->loader, WR_UNKNOWN_TYPE, "%u", type_index);
    const wr_table_type *table_type = &body->loader->module->tables[table];
    if (!wr_vt_matches(table_type->elem, WR_VT_FUNCREF)) return wr_mismatch(body, WR_VT_FUNCREF, table_type->elem);
    WR_TRY(wr_pop(body, table_type->limits.is64 ? WR_VT_I64 : WR_VT_I32, &index));
    callee.type = body->loader->module->types[type_index];
    WR_TRY(settle_call(body, &callee, &base));
    uint16_t slot = wr_index_slot(body, &index, table_type->limits.is64);
    wr_insn *insn = wr_emit(body, callee.tail ? OP_RETURN_CALL_INDIRECT : OP_CALL_INDIRECT);
    insn->a = (uint16_t)base;
    insn->b = slot;
    insn->c = (uint16_t)table;
    insn->d = (uint16_t)type_index;
    if (callee.tail) wr_emit(body, OP_DATA)->uimm = info_slot(body);
    return finish_call(body, &callee);
}

static wr_status translate_ref(wr_body *body, wr_callee callee) {
    uint32_t index, base = 0;
    wr_operand ref;
    WR_TRY(read_type(body, &callee.type, &index));
    WR_TRY(wr_pop(body, WR_VT_REF | WR_VT_NULLABLE | callee.type->id, &ref));
    WR_TRY(settle_call(body, &callee, &base));
    uint16_t slot = wr_operand_slot(body, &ref);
    wr_insn *insn = wr_emit(body, callee.tail ? OP_RETURN_CALL_REF : OP_CALL_REF);
    insn->a = (uint16_t)base;
    insn->b = slot;
    insn->uimm = info_slot(body);
    return finish_call(body, &callee);
}

wr_status wr_translate_call(wr_body *body, uint8_t opcode) {
    wr_callee callee = {.tail = opcode == 0x12 || opcode == 0x13 || opcode == 0x15};
    switch (opcode) {
    case 0x10:
    case 0x12: return translate_direct(body, callee);
    case 0x11:
    case 0x13: return translate_indirect(body, callee);
    default: return translate_ref(body, callee);
    }
}
