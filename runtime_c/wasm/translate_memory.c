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
    return index < body->loader->module->memory_count ? WR_OK
                                                      : wr_load_fail(body->loader, WR_UNKNOWN_MEMORY, "%u", index);
}

static wr_status check_table(wr_body *body, uint32_t index) {
    return index < body->loader->module->table_count ? WR_OK
                                                     : wr_load_fail(body->loader, WR_UNKNOWN_TABLE, "%u", index);
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
wr_status wr_read_memarg(wr_body *body, uint8_t align_max, bool exact, wr_memarg *out) {
    uint32_t align;
    WR_TRY(wr_read_u32(body->reader, &align));
    if (align >= 0x80) return wr_load_fail(body->loader, WR_BAD_MEMOP_FLAGS, "0x%x", align);
    out->memory = 0;
    if ((align & 0x40) != 0) WR_TRY(wr_read_u32(body->reader, &out->memory));
    align &= 0x3F;
    WR_TRY(wr_read_u64(body->reader, &out->offset));
    WR_TRY(check_memory(body, out->memory));
    if (align > align_max || (exact && align != align_max))
        return wr_load_fail(body->loader, WR_ALIGNMENT, "2^%u", align);
    return out->offset > UINT32_MAX && !body->loader->module->memories[out->memory].is64 ? WR_OFFSET_RANGE : WR_OK;
}

static void use_memory(wr_body *body, uint32_t memory) { wr_emit(body, OP_USE_MEMORY)->uimm = memory; }

wr_vt wr_address_type(const wr_body *body, uint32_t memory) {
    return body->loader->module->memories[memory].is64 ? WR_VT_I64 : WR_VT_I32;
}

static wr_vt index_type(const wr_body *body, uint32_t table) {
    return body->loader->module->tables[table].limits.is64 ? WR_VT_I64 : WR_VT_I32;
}

#ifndef WR_NO_MEMORY64
static void emit_address64(wr_body *body, uint16_t to, uint16_t from, uint32_t offset) {
    wr_insn *insn = wr_emit(body, OP_ADDRESS64);
    insn->a = to;
    insn->b = from;
    insn->uimm = offset;
}
#endif

/* Slot of the address. No memory is larger than 4 GiB, so a 64-bit address and its offset become a 32-bit address in
 * the operand's temporary, or trap; then every access is the same. */
uint16_t wr_address_slot(wr_body *body, const wr_operand *address, wr_memarg *arg) {
    uint16_t slot = wr_operand_slot(body, address);
#ifndef WR_NO_MEMORY64
    const bool is_short = address->place == WR_PLACE_CONST && address->value <= UINT32_MAX && arg->offset <= UINT32_MAX;
    if (body->loader->module->memories[arg->memory].is64 && !is_short) {
        const bool is_near = arg->offset <= UINT32_MAX;
        emit_address64(body, address->slot, slot, is_near ? (uint32_t)arg->offset : UINT32_MAX);
        if (!is_near) emit_address64(body, address->slot, address->slot, UINT32_MAX); /* one of both traps */
        arg->offset = 0;
        return address->slot;
    }
#else
    (void)arg;
#endif
    return slot;
}

/* How an access forms its address. The forms of an access follow each other in pairs (code.h). */
typedef struct wr_address {
    uint16_t form; /* added to the operation */
    uint16_t slot;
    uint16_t index;  /* form X */
    uint32_t offset; /* form A: the constant */
} wr_address;
enum { FORM_PLAIN = 0, FORM_SUM = 2, FORM_CONST = 4 };

/* An addition made just for this access joins it. Sums wrap as the addition did; offsets come on top. A constant that
 * is to be stored goes to its own slot first, which must not be one the addition read. */
static wr_address form_address(wr_body *body, const wr_operand *operand, const wr_operand *value, wr_memarg arg) {
    const wr_insn *add = body->loader->module->memories[arg.memory].is64 ? NULL : wr_producer(body, operand);
    if (add != NULL && value->place == WR_PLACE_CONST && (add->b == value->slot || add->c == value->slot)) add = NULL;
    if (add != NULL && add->op == OP_I32_ADD_RR && arg.offset <= UINT16_MAX) {
        wr_address sum = {FORM_SUM, add->b, add->c, (uint32_t)arg.offset};
        wr_unemit(body);
        return sum;
    }
    if (add != NULL && add->op == OP_I32_ADD_RI && arg.offset == 0) {
        wr_address constant = {FORM_CONST, add->b, 0, add->uimm};
        wr_unemit(body);
        return constant;
    }
    uint16_t slot = wr_address_slot(body, operand, &arg);
    return (wr_address){FORM_PLAIN, slot, 0, (uint32_t)arg.offset};
}

static void set_address(wr_insn *insn, const wr_address *address) {
    if (address->form != FORM_SUM) {
        insn->uimm = address->offset;
        return;
    }
    insn->c = address->index;
    insn->d = (uint16_t)address->offset;
}

void wr_emit_load(wr_body *body, wr_op op, const wr_memarg *arg, const wr_operand *address, uint32_t dst) {
    static const wr_operand no_value = {.place = WR_PLACE_TEMP};
    wr_address form = form_address(body, address, &no_value, *arg);
    if (arg->memory != 0) use_memory(body, arg->memory);
    wr_insn *insn = wr_emit_def(body, (wr_op)(op + form.form), dst);
    insn->b = form.slot;
    set_address(insn, &form);
    if (arg->memory != 0) use_memory(body, 0);
}

/* The address first, while what computed it is the last instruction; a constant is loaded after it. */
void wr_emit_store(wr_body *body, wr_op op, const wr_memarg *arg, const wr_operand *address, const wr_operand *value) {
    wr_address form = form_address(body, address, value, *arg);
    uint16_t from = wr_operand_slot(body, value);
    if (arg->memory != 0) use_memory(body, arg->memory);
    wr_insn *insn = wr_emit(body, (wr_op)(op + form.form));
    insn->a = form.slot;
    insn->b = from;
    set_address(insn, &form);
    if (arg->memory != 0) use_memory(body, 0);
}

wr_status wr_translate_load(wr_body *body, wr_op op, wr_vt type, uint8_t align_max) {
    wr_memarg arg = {0};
    wr_operand address;
    WR_TRY(wr_read_memarg(body, align_max, false, &arg));
    WR_TRY(wr_pop(body, wr_address_type(body, arg.memory), &address));
    wr_emit_load(body, op, &arg, &address, address.slot);
    wr_push_temp(body, type);
    return body->status;
}

wr_status wr_translate_store(wr_body *body, wr_op op, wr_vt type, uint8_t align_max) {
    wr_memarg arg = {0};
    wr_operand address, value;
    WR_TRY(wr_read_memarg(body, align_max, false, &arg));
    WR_TRY(wr_pop(body, type, &value));
    WR_TRY(wr_pop(body, wr_address_type(body, arg.memory), &address));
    wr_emit_store(body, op, &arg, &address, &value);
    return body->status;
}

wr_status wr_translate_access(wr_body *body, uint8_t opcode) {
    const wr_access *row = &accesses[opcode - FIRST_ACCESS];
    return opcode < FIRST_STORE ? wr_translate_load(body, row->op, row->type, row->align_max)
                                : wr_translate_store(body, row->op, row->type, row->align_max);
}

wr_status wr_translate_memory_size(wr_body *body, uint8_t opcode) {
    uint32_t memory;
    WR_TRY(read_memory(body, &memory));
    if (opcode == 0x3F) {
        wr_emit_def(body, OP_MEMORY_SIZE, wr_next_slot(body))->uimm = memory;
    } else {
        wr_operand delta;
        WR_TRY(wr_pop(body, wr_address_type(body, memory), &delta));
        uint16_t slot = wr_operand_slot(body, &delta);
        wr_insn *insn = wr_emit_def(body, OP_MEMORY_GROW, delta.slot);
        insn->b = slot;
        insn->uimm = memory;
    }
    wr_push_temp(body, wr_address_type(body, memory));
    return body->status;
}

wr_status wr_translate_table_access(wr_body *body, uint8_t opcode) {
    uint32_t table;
    wr_operand index, value = {0};
    WR_TRY(read_table(body, &table));
    wr_vt type = body->loader->module->tables[table].elem;
    bool set = opcode == 0x26;
    if (set) WR_TRY(wr_pop(body, type, &value));
    WR_TRY(wr_pop(body, index_type(body, table), &index));
    uint16_t at = wr_index_slot(body, &index, body->loader->module->tables[table].limits.is64);
    uint16_t from = set ? wr_operand_slot(body, &value) : 0;
    wr_insn *insn = set ? wr_emit(body, OP_TABLE_SET) : wr_emit_def(body, OP_TABLE_GET, index.slot);
    if (set) insn->a = at;
    insn->b = set ? from : at;
    insn->uimm = table;
    if (!set) wr_push_temp(body, type);
    return body->status;
}

/* ---- bulk ---- */

/* Types of the three operands of a bulk instruction, bottom first. */
typedef struct wr_three {
    wr_vt a, b, c;
    bool clamp; /* 64-bit operands are table indices: clamp them into 32 bits */
} wr_three;

static uint16_t three_slot(wr_body *body, const wr_operand *operand, wr_vt type, bool clamp) {
    return wr_index_slot(body, operand, clamp && type == WR_VT_I64);
}

static wr_status emit_three(wr_body *body, wr_op op, const wr_three *types, uint32_t index, const uint32_t *segment) {
    wr_operand a, b, c;
    WR_TRY(wr_pop(body, types->c, &c));
    WR_TRY(wr_pop(body, types->b, &b));
    WR_TRY(wr_pop(body, types->a, &a));
    uint16_t sa = three_slot(body, &a, types->a, types->clamp), sb = three_slot(body, &b, types->b, types->clamp);
    uint16_t sc = three_slot(body, &c, types->c, types->clamp);
    wr_insn *insn = wr_emit(body, op);
    insn->a = sa;
    insn->b = sb;
    insn->c = sc;
    insn->d = (uint16_t)index;
    if (segment != NULL) wr_emit(body, OP_DATA)->uimm = *segment;
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
    if (*index >= body->loader->module->elem_count) return wr_load_fail(body->loader, WR_UNKNOWN_ELEM, "%u", *index);
    return WR_OK;
}

static wr_status translate_memory_init(wr_body *body) {
    uint32_t segment, memory;
    WR_TRY(wr_read_u32(body->reader, &segment));
    WR_TRY(wr_read_u32(body->reader, &memory));
    if (!body->loader->has_data_count) return WR_DATA_COUNT_REQUIRED;
    WR_TRY(check_memory(body, memory));
    if (segment >= body->loader->data_declared) return wr_load_fail(body->loader, WR_UNKNOWN_DATA, "%u", segment);
    wr_three types = {wr_address_type(body, memory), WR_VT_I32, WR_VT_I32, false};
    return emit_three(body, OP_MEMORY_INIT, &types, memory, &segment);
}

static wr_status translate_table_init(wr_body *body) {
    uint32_t segment, table;
    WR_TRY(wr_read_u32(body->reader, &segment));
    WR_TRY(read_table(body, &table));
    if (segment >= body->loader->module->elem_count) return wr_load_fail(body->loader, WR_UNKNOWN_ELEM, "%u", segment);
    wr_vt from = body->loader->module->elems[segment].type, to = body->loader->module->tables[table].elem;
    if (!wr_vt_matches(from, to)) return wr_mismatch(body, to, from);
    wr_three types = {index_type(body, table), WR_VT_I32, WR_VT_I32, true};
    return emit_three(body, OP_TABLE_INIT, &types, table, &segment);
}

static wr_status translate_copy(wr_body *body, bool memory) {
    uint32_t to, from;
    WR_TRY(memory ? read_memory(body, &to) : read_table(body, &to));
    WR_TRY(memory ? read_memory(body, &from) : read_table(body, &from));
    if (!memory && !wr_vt_matches(body->loader->module->tables[from].elem, body->loader->module->tables[to].elem)) {
        return wr_mismatch(body, body->loader->module->tables[to].elem, body->loader->module->tables[from].elem);
    }
    wr_vt to_type = memory ? wr_address_type(body, to) : index_type(body, to);
    wr_vt from_type = memory ? wr_address_type(body, from) : index_type(body, from);
    wr_vt len_type = to_type == WR_VT_I64 && from_type == WR_VT_I64 ? WR_VT_I64 : WR_VT_I32;
    wr_three types = {to_type, from_type, len_type, !memory};
    return emit_three(body, memory ? OP_MEMORY_COPY : OP_TABLE_COPY, &types, to | from << 8, NULL);
}

static wr_status translate_drop_segment(wr_body *body, bool data) {
    uint32_t segment;
    WR_TRY(data ? read_data_index(body, &segment) : read_elem_index(body, &segment));
    wr_emit(body, data ? OP_DATA_DROP : OP_ELEM_DROP)->uimm = segment;
    return body->status;
}

static wr_status translate_table_grow(wr_body *body, uint32_t table) {
    wr_operand value, delta;
    bool is64 = body->loader->module->tables[table].limits.is64;
    WR_TRY(wr_pop(body, index_type(body, table), &delta));
    WR_TRY(wr_pop(body, body->loader->module->tables[table].elem, &value));
    uint16_t from = wr_operand_slot(body, &value), count = wr_index_slot(body, &delta, is64);
    wr_insn *insn = wr_emit_def(body, OP_TABLE_GROW, value.slot);
    insn->b = from;
    insn->c = count;
    insn->d = (uint16_t)table;
    wr_push_temp(body, index_type(body, table));
    return body->status;
}

static wr_status translate_memory_fill(wr_body *body) {
    uint32_t memory = 0;
    WR_TRY(read_memory(body, &memory));
    wr_vt address = wr_address_type(body, memory);
    return emit_three(body, OP_MEMORY_FILL, &(wr_three){address, WR_VT_I32, address, false}, memory, NULL);
}

static wr_status translate_table_whole(wr_body *body, uint32_t code) {
    uint32_t table = 0;
    WR_TRY(read_table(body, &table));
    wr_vt index = index_type(body, table);
    if (code == 0xFC0F) return translate_table_grow(body, table);
    if (code == 0xFC11) {
        wr_three types = {index, body->loader->module->tables[table].elem, index, true};
        return emit_three(body, OP_TABLE_FILL, &types, table, NULL);
    }
    wr_emit_def(body, OP_TABLE_SIZE, wr_next_slot(body))->uimm = table;
    wr_push_temp(body, index);
    return body->status;
}

wr_status wr_translate_bulk(wr_body *body, uint32_t code) {
    switch (code) {
    case 0xFC08: return translate_memory_init(body);
    case 0xFC09: return translate_drop_segment(body, true);
    case 0xFC0A: return translate_copy(body, true);
    case 0xFC0B: return translate_memory_fill(body);
    case 0xFC0C: return translate_table_init(body);
    case 0xFC0D: return translate_drop_segment(body, false);
    case 0xFC0E: return translate_copy(body, false);
    default: return translate_table_whole(body, code);
    }
}
