/* Loads, stores, bulk operations, tables. */
#include "body.h"

typedef struct wr_access {
    uint8_t type;
    uint8_t align_max;
    uint16_t op;
} wr_access;

#define LOAD_ROW(C, NAME, TEXT, V, S, M, ALIGN, CAST) [(C) - 0x28] = {WR_VT_##V, ALIGN, OP_##NAME##_G},
#define STORE_ROW(C, NAME, TEXT, V, S, M, ALIGN) [(C) - 0x28] = {WR_VT_##V, ALIGN, OP_##NAME##_G},
static const wr_access accesses[] = {WR_LOAD(LOAD_ROW) WR_STORE(STORE_ROW)};
enum { FIRST_ACCESS = 0x28, FIRST_STORE = 0x36 };

static wr_status check_memory(wr_body *body, uint32_t index) {
    return index < body->module->memory_count ? WR_OK : wr_load_fail(body->loader, WR_UNKNOWN_MEMORY, "%u", index);
}

static wr_status check_table(wr_body *body, uint32_t index) {
    return index < body->module->table_count ? WR_OK : wr_load_fail(body->loader, WR_UNKNOWN_TABLE, "%u", index);
}

static wr_status read_memory(wr_body *body, uint32_t *index) {
    WR_TRY(wr_read_u32(body->reader, index));
    return check_memory(body, *index);
}

static wr_status read_table(wr_body *body, uint32_t *index) {
    WR_TRY(wr_read_u32(body->reader, index));
    return check_table(body, *index);
}

/* Alignment exponent, with bit 6: an explicit memory follows; then the offset (5.4.7). */
static wr_status read_memarg(wr_body *body, uint8_t align_max, uint32_t *memory, uint32_t *offset) {
    uint32_t align;
    uint64_t wide;
    WR_TRY(wr_read_u32(body->reader, &align));
    if (align >= 0x80) return wr_load_fail(body->loader, WR_BAD_MEMOP_FLAGS, "0x%x", align);
    *memory = 0;
    if ((align & 0x40) != 0) WR_TRY(wr_read_u32(body->reader, memory));
    align &= 0x3F;
    WR_TRY(wr_read_u64(body->reader, &wide));
    WR_TRY(check_memory(body, *memory));
    if (align > align_max) return wr_load_fail(body->loader, WR_ALIGNMENT, "2^%u", align);
    if (wide > UINT32_MAX) return WR_OFFSET_RANGE;
    *offset = (uint32_t)wide;
    return WR_OK;
}

static void use_memory(wr_body *body, uint32_t memory) {
    wr_emit(body, OP_USE_MEMORY)->uimm = memory;
}

wr_status wr_translate_access(wr_body *body, uint8_t opcode) {
    const wr_access *row = &accesses[opcode - FIRST_ACCESS];
    uint32_t memory = 0, offset = 0;
    wr_operand address, value = {0};
    bool store = opcode >= FIRST_STORE;
    WR_TRY(read_memarg(body, row->align_max, &memory, &offset));
    if (store) WR_TRY(wr_pop(body, row->type, &value));
    WR_TRY(wr_pop(body, WR_VT_I32, &address));
    uint16_t at = wr_operand_slot(body, &address);
    uint16_t from = store ? wr_operand_slot(body, &value) : 0;
    if (memory != 0) use_memory(body, memory);
    wr_insn *insn = store ? wr_emit(body, row->op) : wr_emit_def(body, row->op, address.slot);
    if (store) insn->a = at;
    insn->b = store ? from : at;
    insn->uimm = offset;
    if (memory != 0) use_memory(body, 0);
    if (!store) wr_push_temp(body, row->type);
    return body->status;
}

wr_status wr_translate_memory_size(wr_body *body, uint8_t opcode) {
    uint32_t memory;
    WR_TRY(read_memory(body, &memory));
    if (opcode == 0x3F) {
        wr_emit_def(body, OP_MEMORY_SIZE, wr_next_slot(body))->uimm = memory;
    } else {
        wr_operand delta;
        WR_TRY(wr_pop(body, WR_VT_I32, &delta));
        uint16_t slot = wr_operand_slot(body, &delta);
        wr_insn *insn = wr_emit_def(body, OP_MEMORY_GROW, delta.slot);
        insn->b = slot;
        insn->uimm = memory;
    }
    wr_push_temp(body, WR_VT_I32);
    return body->status;
}

wr_status wr_translate_table_access(wr_body *body, uint8_t opcode) {
    uint32_t table;
    wr_operand index, value = {0};
    WR_TRY(read_table(body, &table));
    wr_vt type = body->module->tables[table].elem;
    bool set = opcode == 0x26;
    if (set) WR_TRY(wr_pop(body, type, &value));
    WR_TRY(wr_pop(body, WR_VT_I32, &index));
    uint16_t at = wr_operand_slot(body, &index);
    uint16_t from = set ? wr_operand_slot(body, &value) : 0;
    wr_insn *insn = set ? wr_emit(body, OP_TABLE_SET) : wr_emit_def(body, OP_TABLE_GET, index.slot);
    if (set) insn->a = at;
    insn->b = set ? from : at;
    insn->uimm = table;
    if (!set) wr_push_temp(body, type);
    return body->status;
}

/* ---- bulk ---- */

/* Three operands into a, b, c; the third from the top has type `first`, the second `second`. */
static wr_status emit_three(wr_body *body, wr_op op, wr_vt first, wr_vt second, uint32_t index, bool has_segment,
                            uint32_t segment) {
    wr_operand a, b, c;
    WR_TRY(wr_pop(body, WR_VT_I32, &c));
    WR_TRY(wr_pop(body, second, &b));
    WR_TRY(wr_pop(body, first, &a));
    uint16_t sa = wr_operand_slot(body, &a), sb = wr_operand_slot(body, &b), sc = wr_operand_slot(body, &c);
    wr_insn *insn = wr_emit(body, op);
    insn->a = sa;
    insn->b = sb;
    insn->c = sc;
    insn->d = (uint16_t)index;
    if (has_segment) wr_emit(body, OP_DATA)->uimm = segment;
    return body->status;
}

static wr_status read_data_index(wr_body *body, uint32_t *index) {
    WR_TRY(wr_read_u32(body->reader, index));
    if (!body->loader->has_data_count) return WR_DATA_COUNT_REQUIRED;
    if (*index >= body->loader->data_declared) return wr_load_fail(body->loader, WR_UNKNOWN_DATA, "%u", *index);
    return WR_OK;
}

static wr_status read_elem_index(wr_body *body, uint32_t *index) {
    WR_TRY(wr_read_u32(body->reader, index));
    if (*index >= body->module->elem_count) return wr_load_fail(body->loader, WR_UNKNOWN_ELEM, "%u", *index);
    return WR_OK;
}

static wr_status translate_memory_init(wr_body *body) {
    uint32_t segment, memory;
    WR_TRY(wr_read_u32(body->reader, &segment));
    WR_TRY(wr_read_u32(body->reader, &memory));
    if (!body->loader->has_data_count) return WR_DATA_COUNT_REQUIRED;
    WR_TRY(check_memory(body, memory));
    if (segment >= body->loader->data_declared) return wr_load_fail(body->loader, WR_UNKNOWN_DATA, "%u", segment);
    return emit_three(body, OP_MEMORY_INIT, WR_VT_I32, WR_VT_I32, memory, true, segment);
}

static wr_status translate_table_init(wr_body *body) {
    uint32_t segment, table;
    WR_TRY(wr_read_u32(body->reader, &segment));
    WR_TRY(read_table(body, &table));
    if (segment >= body->module->elem_count) return wr_load_fail(body->loader, WR_UNKNOWN_ELEM, "%u", segment);
    wr_vt from = body->module->elems[segment].type, to = body->module->tables[table].elem;
    if (!wr_vt_matches(from, to)) return wr_mismatch(body, to, from);
    return emit_three(body, OP_TABLE_INIT, WR_VT_I32, WR_VT_I32, table, true, segment);
}

static wr_status translate_copy(wr_body *body, bool memory) {
    uint32_t to, from;
    WR_TRY(memory ? read_memory(body, &to) : read_table(body, &to));
    WR_TRY(memory ? read_memory(body, &from) : read_table(body, &from));
    if (!memory && !wr_vt_matches(body->module->tables[from].elem, body->module->tables[to].elem)) {
        return wr_mismatch(body, body->module->tables[to].elem, body->module->tables[from].elem);
    }
    return emit_three(body, memory ? OP_MEMORY_COPY : OP_TABLE_COPY, WR_VT_I32, WR_VT_I32, to | from << 8, false, 0);
}

static wr_status translate_drop_segment(wr_body *body, bool data) {
    uint32_t segment;
    WR_TRY(data ? read_data_index(body, &segment) : read_elem_index(body, &segment));
    wr_emit(body, data ? OP_DATA_DROP : OP_ELEM_DROP)->uimm = segment;
    return body->status;
}

static wr_status translate_table_grow(wr_body *body, uint32_t table) {
    wr_operand value, delta;
    WR_TRY(wr_pop(body, WR_VT_I32, &delta));
    WR_TRY(wr_pop(body, body->module->tables[table].elem, &value));
    uint16_t from = wr_operand_slot(body, &value), count = wr_operand_slot(body, &delta);
    wr_insn *insn = wr_emit_def(body, OP_TABLE_GROW, value.slot);
    insn->b = from;
    insn->c = count;
    insn->d = (uint16_t)table;
    wr_push_temp(body, WR_VT_I32);
    return body->status;
}

wr_status wr_translate_bulk(wr_body *body, uint32_t code) {
    uint32_t index;
    switch (code) {
    case 0xFC08: return translate_memory_init(body);
    case 0xFC09: return translate_drop_segment(body, true);
    case 0xFC0A: return translate_copy(body, true);
    case 0xFC0B:
        WR_TRY(read_memory(body, &index));
        return emit_three(body, OP_MEMORY_FILL, WR_VT_I32, WR_VT_I32, index, false, 0);
    case 0xFC0C: return translate_table_init(body);
    case 0xFC0D: return translate_drop_segment(body, false);
    case 0xFC0E: return translate_copy(body, false);
    default: break;
    }
    WR_TRY(read_table(body, &index));
    if (code == 0xFC0F) return translate_table_grow(body, index);
    if (code == 0xFC11) {
        return emit_three(body, OP_TABLE_FILL, WR_VT_I32, body->module->tables[index].elem, index, false, 0);
    }
    wr_emit_def(body, OP_TABLE_SIZE, wr_next_slot(body))->uimm = index;
    wr_push_temp(body, WR_VT_I32);
    return body->status;
}
