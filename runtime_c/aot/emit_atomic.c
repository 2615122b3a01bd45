/* Atomic accesses, wait and notify, fences. Bounds are compared in both variants, as in the interpreter. */
#include <stdio.h>

#include "emit.h"

#ifdef WR_NO_THREADS

wr_status wr_aot_atomic(wr_aot_body *body, uint32_t code) {
    (void)body, (void)code;
    return WR_NOT_FOUND;
}

#else

typedef enum atomic_shape {
    ATOMIC_NONE,
    ATOMIC_LOAD,
    ATOMIC_STORE,
    ATOMIC_RMW,
    ATOMIC_CMPXCHG,
    ATOMIC_WAIT
} atomic_shape;

typedef struct atomic_row {
    atomic_shape shape;
    wr_vt type;
    const char *ctype; /* in memory */
    const char *function;
} atomic_row;

#define LOAD_ROW(C, NAME, TEXT, T, M, ALIGN) [(C)&0xFF] = {ATOMIC_LOAD, WR_VT_##T, #M, NULL},
#define STORE_ROW(C, NAME, TEXT, T, M, ALIGN) [(C)&0xFF] = {ATOMIC_STORE, WR_VT_##T, #M, NULL},
#define RMW_ROW(C, NAME, TEXT, T, M, ALIGN, FN) [(C)&0xFF] = {ATOMIC_RMW, WR_VT_##T, #M, #FN},
#define CMPXCHG_ROW(C, NAME, TEXT, T, M, ALIGN) [(C)&0xFF] = {ATOMIC_CMPXCHG, WR_VT_##T, #M, NULL},
#define WAIT_ROW(C, NAME, TEXT, T, M, ALIGN) [(C)&0xFF] = {ATOMIC_WAIT, WR_VT_##T, #M, NULL},
static const atomic_row rows[] = {WR_ATOMIC_LOAD(LOAD_ROW) WR_ATOMIC_STORE(STORE_ROW) WR_ATOMIC_RMW(RMW_ROW)
                                      WR_ATOMIC_CMPXCHG(CMPXCHG_ROW) WR_ATOMIC_WAIT(WAIT_ROW)};
enum { NOTIFY = 0, FENCE = 3 };

/* The operands behind the address, and the address. */
static wr_aot_name take(wr_aot_body *body, const atomic_row *row, wr_aot_memarg *arg, wr_aot_name values[2]) {
    const uint32_t count = row->shape == ATOMIC_LOAD                                                             ? 0
                           : row->shape == ATOMIC_CMPXCHG || (row->shape == ATOMIC_WAIT && row != &rows[NOTIFY]) ? 2
                                                                                                                 : 1;
    for (uint32_t i = count; i-- > 0;) {
        const wr_aot_value value = wr_aot_pop(body);
        values[i] = wr_aot_text(body, &value);
    }
    const wr_aot_value address = wr_aot_pop(body);
    const wr_aot_name at = wr_aot_address(body, &address, arg);
    EMIT("    {\n    CELL_AT(%u, %s, %s, 0x%x);\n", arg->memory, row->ctype, at.text, body->offset);
    return at;
}

static void put_wait(wr_aot_body *body, uint32_t number, const wr_aot_memarg *arg, const wr_aot_name values[2]) {
    const wr_aot_name to = wr_aot_push(body, WR_VT_I32);
    if (number == NOTIFY) {
        EMIT("    SITE(0x%x);\n    %s = x->rt->notify(x, %u, at_, %s);\n    COUNT_AGAIN();\n", body->offset, to.text,
             arg->memory, values[0].text);
    } else {
        EMIT("    SITE(0x%x);\n    %s = x->rt->wait(x, %u, at_, %s, sizeof *cell, (int64_t)%s);\n    COUNT_AGAIN();\n",
             body->offset, to.text, arg->memory, values[0].text, values[1].text);
    }
}

wr_status wr_aot_atomic(wr_aot_body *body, uint32_t code) {
    uint8_t zero;
    wr_aot_memarg arg;
    wr_aot_name values[2] = {{""}, {""}};
    const uint32_t number = code & 0xFF;
    if (code < 0xFE00 || code >= WR_CODE_SIMD) return WR_NOT_FOUND;
    if (number == FENCE) {
        EMIT("    __atomic_thread_fence(__ATOMIC_SEQ_CST);\n");
        return wr_read_byte(&body->reader, &zero);
    }
    const atomic_row *row = &rows[number];
    WR_TRY(wr_aot_read_memarg(body, &arg));
    (void)take(body, row, &arg, values);
    const char *type = row->ctype;
    switch (row->shape) {
    case ATOMIC_LOAD: {
        const wr_aot_name to = wr_aot_push(body, row->type);
        EMIT("    SITE(0x%x);\n    %s = __atomic_load_n(cell, __ATOMIC_SEQ_CST);\n", body->offset, to.text);
        break;
    }
    case ATOMIC_STORE:
        EMIT("    SITE(0x%x);\n    __atomic_store_n(cell, (%s)%s, __ATOMIC_SEQ_CST);\n", body->offset, type,
             values[0].text);
        break;
    case ATOMIC_RMW:
        EMIT("    SITE(0x%x);\n    %s = %s(cell, (%s)%s, __ATOMIC_SEQ_CST);\n", body->offset,
             wr_aot_push(body, row->type).text, row->function, type, values[0].text);
        break;
    case ATOMIC_CMPXCHG:
        EMIT("    %s found = (%s)%s;\n    SITE(0x%x);\n", type, type, values[0].text, body->offset);
        EMIT("    (void)__atomic_compare_exchange_n(cell, &found, (%s)%s, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);\n",
             type, values[1].text);
        EMIT("    %s = found;\n", wr_aot_push(body, row->type).text);
        break;
    default: put_wait(body, number, &arg, values); break;
    }
    EMIT("    }\n");
    return body->status;
}

#endif
