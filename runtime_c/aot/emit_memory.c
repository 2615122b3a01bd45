/* Loads, stores, and what works on whole memories. */
#include <inttypes.h>
#include <stdio.h>

#include "emit.h"

typedef struct access {
    wr_vt type;
    const char *ctype; /* in memory */
    const char *cast;
    uint32_t bytes;
} access;

enum { FIRST_ACCESS = 0x28, FIRST_STORE = 0x36 };
/* Floats move as floats: from memory to a vector register at once. */
#define LOAD_ROW(C, NAME, TEXT, V, S, M, ALIGN, CAST) \
    [(C)-FIRST_ACCESS] = {WR_VT_##V, WR_VT_##V == WR_VT_F32 ? "float" : WR_VT_##V == WR_VT_F64 ? "double" : #M, \
                          WR_VT_##V == WR_VT_F32 || WR_VT_##V == WR_VT_F64 ? "" : #CAST, sizeof(M)},
#define STORE_ROW(C, NAME, TEXT, V, S, M, ALIGN) \
    [(C)-FIRST_ACCESS] = {WR_VT_##V, WR_VT_##V == WR_VT_F32 ? "float" : WR_VT_##V == WR_VT_F64 ? "double" : #M, "", \
                          sizeof(M)},
static const access accesses[] = {WR_LOAD(LOAD_ROW) WR_STORE(STORE_ROW)};

uint32_t wr_aot_access_bytes(uint32_t code) { return accesses[code - FIRST_ACCESS].bytes; }

wr_status wr_aot_read_memarg(wr_aot_body *body, wr_aot_memarg *out) {
    uint32_t align;
    WR_TRY(wr_read_u32(&body->reader, &align));
    out->memory = 0;
    if ((align & 0x40) != 0) WR_TRY(wr_read_u32(&body->reader, &out->memory));
    wr_aot_outermost(body)->memories |= UINT32_C(1) << out->memory;
    return wr_read_u64(&body->reader, &out->offset);
}

wr_aot_name wr_aot_address(wr_aot_body *body, const wr_aot_value *address, const wr_aot_memarg *arg) {
    const wr_aot_name base = wr_aot_text(body, address);
    wr_aot_name out;
    if (body->module->memories[arg->memory].is64) {
        EMIT("    ADDRESS64(%s, 0x%" PRIx64 "ull, 0x%x);\n", base.text, arg->offset, body->offset);
        snprintf(out.text, sizeof out.text, "%.24s + 0x%" PRIx64 "ull", base.text, arg->offset);
    } else {
        snprintf(out.text, sizeof out.text, "(uint64_t)%.24s + 0x%" PRIx64 "ull", base.text, arg->offset);
    }
    return out;
}

/* An unsigned load of few bytes is small. */
static void put_most(wr_aot_body *body, const access *row) {
    if (row->type != WR_VT_I32 || row->bytes == 4 || row->ctype[0] != 'u') return;
    wr_aot_value_at(body, body->stack.count - 1)->spare = UINT32_MAX - (row->bytes == 1 ? 0xFFu : 0xFFFFu);
}

static wr_status do_load(wr_aot_body *body, const access *row) {
    wr_aot_memarg arg;
    WR_TRY(wr_aot_read_memarg(body, &arg));
    const wr_aot_value address = wr_aot_pop(body);
    wr_aot_name proven;
    if (wr_aot_proven(body, &address, &arg, row->bytes, &proven)) {
        EMIT("    %s = %s AT(%s, %u, %s);\n", wr_aot_push(body, row->type).text, row->cast, row->ctype, arg.memory,
             proven.text);
        put_most(body, row);
        return body->status;
    }
    const wr_aot_name at = wr_aot_address(body, &address, &arg), to = wr_aot_push(body, row->type);
    const bool is_float = row->type == WR_VT_F32 || row->type == WR_VT_F64;
    EMIT("    LOAD(%s, %u, %s, %s, %s, %s, 0x%x);\n", is_float ? "FLOAT" : "INT", arg.memory, to.text, row->cast,
         row->ctype, at.text, body->offset);
    put_most(body, row);
    return body->status;
}

static wr_status do_store(wr_aot_body *body, const access *row) {
    wr_aot_memarg arg;
    WR_TRY(wr_aot_read_memarg(body, &arg));
    const wr_aot_value value = wr_aot_pop(body), address = wr_aot_pop(body);
    wr_aot_name proven;
    if (wr_aot_proven(body, &address, &arg, row->bytes, &proven)) {
        EMIT("    AT(%s, %u, %s) = (%s)%s;\n", row->ctype, arg.memory, proven.text, row->ctype,
             wr_aot_text(body, &value).text);
        return body->status;
    }
    const wr_aot_name from = wr_aot_text(body, &value), at = wr_aot_address(body, &address, &arg);
    EMIT("    STORE(%u, %s, %s, %s, 0x%x);\n", arg.memory, row->ctype, at.text, from.text, body->offset);
    return body->status;
}

static wr_vt address_type(const wr_aot_body *body, uint32_t memory) {
    return body->module->memories[memory].is64 ? WR_VT_I64 : WR_VT_I32;
}

static wr_status do_size(wr_aot_body *body, uint32_t code) {
    uint32_t memory;
    WR_TRY(wr_read_u32(&body->reader, &memory));
    const wr_vt type = address_type(body, memory);
    if (code == 0x3F) {
        EMIT("    %s = (%s)x->rt->memory_size(x, %u);\n", wr_aot_push(body, type).text, wr_aot_ctype(type), memory);
        return body->status;
    }
    const wr_aot_value delta = wr_aot_pop(body);
    const wr_aot_name by = wr_aot_text(body, &delta), to = wr_aot_push(body, type);
    EMIT("    SITE(0x%x);\n    %s = (%s)x->rt->memory_grow(x, %u, %s);\n    COUNT_AGAIN();\n", body->offset, to.text,
         wr_aot_ctype(type), memory, by.text);
    return body->status;
}

/* The three operands of a bulk instruction, behind what comes first in the call. */
static void bulk(wr_aot_body *body, const char *function, uint32_t first, uint32_t second, bool has_second) {
    const wr_aot_value c = wr_aot_pop(body), b = wr_aot_pop(body), a = wr_aot_pop(body);
    EMIT("    SITE(0x%x);\n    x->rt->%s(x, %u", body->offset, function, first);
    if (has_second) EMIT(", %u", second);
    EMIT(", %s, %s, %s);\n    COUNT_AGAIN();\n", wr_aot_text(body, &a).text, wr_aot_text(body, &b).text,
         wr_aot_text(body, &c).text);
}

static wr_status do_bulk(wr_aot_body *body, uint32_t code) {
    uint32_t first, second = 0;
    WR_TRY(wr_read_u32(&body->reader, &first));
    if (code == 0xFC08 || code == 0xFC0A) WR_TRY(wr_read_u32(&body->reader, &second));
    switch (code) {
    case 0xFC08: bulk(body, "memory_init", second, first, true); break;
    case 0xFC0A: bulk(body, "memory_copy", first, second, true); break;
    case 0xFC0B: bulk(body, "memory_fill", first, 0, false); break;
    default: EMIT("    x->rt->data_drop(x, %u);\n", first); break;
    }
    return body->status;
}

wr_status wr_aot_memory(wr_aot_body *body, uint32_t code) {
    if (code >= FIRST_ACCESS && code < FIRST_STORE) return do_load(body, &accesses[code - FIRST_ACCESS]);
    if (code >= FIRST_STORE && code <= 0x3E) return do_store(body, &accesses[code - FIRST_ACCESS]);
    if (code == 0x3F || code == 0x40) return do_size(body, code);
    return code >= 0xFC08 && code <= 0xFC0B ? do_bulk(body, code) : WR_NOT_FOUND;
}
