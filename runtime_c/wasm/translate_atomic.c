/* Atomic accesses, wait and notify, fences (threads proposal). */
#include "body.h"

#ifdef WR_NO_THREADS

wr_status wr_translate_atomic(wr_body *body) { return wr_load_fail(body->loader, WR_UNSUPPORTED, "opcode 0xfe"); }

#else

typedef struct wr_atomic {
    uint16_t op;
    uint8_t type;   /* of the values; 0: no such instruction */
    uint8_t values; /* behind the address */
    uint8_t align;
    bool result;
} wr_atomic;

enum { ATOMIC_COUNT = 0x4F, ATOMIC_NOTIFY = 0, ATOMIC_WAIT32 = 1, ATOMIC_WAIT64 = 2, ATOMIC_FENCE = 3 };
#define LOAD_ROW(C, NAME, TEXT, T, M, ALIGN) [(C)&0xFF] = {OP_##NAME, WR_VT_##T, 0, ALIGN, true},
#define STORE_ROW(C, NAME, TEXT, T, M, ALIGN) [(C)&0xFF] = {OP_##NAME, WR_VT_##T, 1, ALIGN, false},
#define RMW_ROW(C, NAME, TEXT, T, M, ALIGN, FN) [(C)&0xFF] = {OP_##NAME, WR_VT_##T, 1, ALIGN, true},
#define CMPXCHG_ROW(C, NAME, TEXT, T, M, ALIGN) [(C)&0xFF] = {OP_##NAME, WR_VT_##T, 2, ALIGN, true},
#define WAIT_ROW(C, NAME, TEXT, T, M, ALIGN) \
    [(C)&0xFF] = {OP_##NAME, WR_VT_##T, (C) == 0xFE00 ? 1 : 2, ALIGN, true},
static const wr_atomic atomics[ATOMIC_COUNT] = {WR_ATOMIC_LOAD(LOAD_ROW) WR_ATOMIC_STORE(STORE_ROW) WR_ATOMIC_RMW(
    RMW_ROW) WR_ATOMIC_CMPXCHG(CMPXCHG_ROW) WR_ATOMIC_WAIT(WAIT_ROW)};

static wr_status translate_fence(wr_body *body) {
    uint8_t zero;
    WR_TRY(wr_read_byte(body->reader, &zero));
    if (zero != 0) return WR_ZERO_EXPECTED;
    wr_emit(body, OP_FENCE);
    return body->status;
}

/* Values from the top: the second of cmpxchg and the timeout of wait lie above the first. */
static wr_status pop_values(wr_body *body, const wr_atomic *row, uint32_t sub, wr_operand *first, wr_operand *second) {
    bool waits = sub == ATOMIC_WAIT32 || sub == ATOMIC_WAIT64;
    if (row->values == 2) WR_TRY(wr_pop(body, waits ? WR_VT_I64 : row->type, second));
    if (row->values >= 1) WR_TRY(wr_pop(body, row->type, first));
    return WR_OK;
}

wr_status wr_translate_atomic(wr_body *body) {
    uint32_t sub;
    wr_memarg arg = {0};
    wr_operand address, first = {0}, second = {0};
    WR_TRY(wr_read_u32(body->reader, &sub));
    if (sub == ATOMIC_FENCE) return translate_fence(body);
    const wr_atomic *row = sub < ATOMIC_COUNT ? &atomics[sub] : NULL;
    if (row == NULL || row->type == 0) return wr_load_fail(body->loader, WR_ILLEGAL_OPCODE, "fe %02x", sub);
    WR_TRY(wr_read_memarg(body, row->align, true, &arg));
    WR_TRY(pop_values(body, row, sub, &first, &second));
    WR_TRY(wr_pop(body, wr_address_type(body, arg.memory), &address));
    uint16_t c = row->values >= 1 ? wr_operand_slot(body, &first) : 0;
    uint16_t d = row->values == 2 ? wr_operand_slot(body, &second) : 0;
    uint16_t at = wr_address_slot(body, &address, &arg);
    if (arg.memory != 0) wr_emit(body, OP_USE_MEMORY)->uimm = arg.memory;
    wr_insn *insn = wr_emit(body, row->op);
    insn->a = (uint16_t)address.slot;
    insn->b = at;
    insn->c = c;
    insn->d = d;
    wr_insn *data = wr_emit(body, OP_DATA);
    data->a = (uint16_t)arg.memory;
    data->uimm = (uint32_t)arg.offset;
    if (arg.memory != 0) wr_emit(body, OP_USE_MEMORY)->uimm = 0;
    bool waits = sub <= ATOMIC_WAIT64;
    if (row->result) wr_push_temp(body, waits ? WR_VT_I32 : row->type);
    return body->status;
}

#endif
