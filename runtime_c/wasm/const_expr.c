/* Constant expressions (3.4.13): typed here, evaluated in instance.c. */
#include <string.h>

#include "loader.h"

enum { CONST_DEPTH = 64 }; /* operands waiting at once; far above what any compiler emits */

typedef struct const_typing {
    wr_vt stack[CONST_DEPTH];
    uint32_t depth;
} const_typing;

static wr_status const_push(const_typing *typing, wr_vt type) {
    if (typing->depth == CONST_DEPTH) return WR_LIMIT_NESTING;
    typing->stack[typing->depth++] = type;
    return WR_OK;
}

static wr_status const_emit(wr_loader *loader, wr_const_kind kind, uint64_t value) {
    WR_TRY(wr_vec_reserve(loader->heap, &loader->scratch, 1, sizeof(wr_const_op)));
    ((wr_const_op *)loader->scratch.items)[loader->scratch.count++] = (wr_const_op){.kind = kind, .value = value};
    return WR_OK;
}

static wr_status const_value(wr_loader *loader, const_typing *typing, wr_vt type, uint64_t value) {
    WR_TRY(const_emit(loader, WR_CONST_VALUE, value));
    return const_push(typing, type);
}

static wr_status const_arith(wr_loader *loader, const_typing *typing, wr_vt type, wr_const_kind kind) {
    if (typing->depth < 2 || typing->stack[typing->depth - 1] != type || typing->stack[typing->depth - 2] != type) {
        return WR_TYPE_MISMATCH;
    }
    typing->depth--;
    return const_emit(loader, kind, 0);
}

static wr_status const_global(wr_loader *loader, const_typing *typing) {
    uint32_t index;
    WR_TRY(wr_read_u32(&loader->reader, &index));
    if (index >= loader->module->global_count) return wr_load_fail(loader, WR_UNKNOWN_GLOBAL, "%u", index);
    const wr_global_type *global = &loader->module->globals[index];
    if (global->is_mutable) return WR_CONST_REQUIRED;
    WR_TRY(const_emit(loader, WR_CONST_GLOBAL, index));
    return const_push(typing, global->type);
}

static wr_status const_func(wr_loader *loader, const_typing *typing) {
    uint32_t index;
    WR_TRY(wr_read_u32(&loader->reader, &index));
    if (index >= loader->module->func_count) return wr_load_fail(loader, WR_UNKNOWN_FUNC, "%u", index);
    wr_load_declare(loader, index);
    WR_TRY(const_emit(loader, WR_CONST_FUNC, index));
    return const_push(typing, WR_VT_REF | wr_type_of_func(loader->module, index)->id);
}

static wr_status const_number(wr_loader *loader, const_typing *typing, uint8_t opcode) {
    wr_reader *reader = &loader->reader;
    int32_t i32;
    int64_t i64;
    uint32_t f32;
    uint64_t f64;
    switch (opcode) {
    case 0x41: WR_TRY(wr_read_s32(reader, &i32)); return const_value(loader, typing, WR_VT_I32, (uint32_t)i32);
    case 0x42: WR_TRY(wr_read_s64(reader, &i64)); return const_value(loader, typing, WR_VT_I64, (uint64_t)i64);
    case 0x43: WR_TRY(wr_read_fixed32(reader, &f32)); return const_value(loader, typing, WR_VT_F32, f32);
    default: WR_TRY(wr_read_fixed64(reader, &f64)); return const_value(loader, typing, WR_VT_F64, f64);
    }
}

/* v128.const is two operations in the list; nothing computes with it. */
static wr_status const_vector(wr_loader *loader, const_typing *typing) {
#ifdef WR_NO_SIMD
    (void)typing;
    return wr_load_fail(loader, WR_UNSUPPORTED, "opcode 0xfd");
#else
    uint32_t number;
    uint64_t low, high;
    WR_TRY(wr_read_u32(&loader->reader, &number));
    const char *name = wr_opcode_name(WR_CODE_SIMD + number);
    if (name == NULL) return wr_load_fail(loader, WR_ILLEGAL_OPCODE, "fd %02x", number);
    if (number != 0x0C) return wr_load_fail(loader, WR_CONST_REQUIRED, "%s", name);
    WR_TRY(wr_read_fixed64(&loader->reader, &low));
    WR_TRY(wr_read_fixed64(&loader->reader, &high));
    WR_TRY(const_emit(loader, WR_CONST_VALUE, low));
    WR_TRY(const_emit(loader, WR_CONST_VALUE, high));
    return const_push(typing, WR_VT_V128);
#endif
}

static wr_status const_null(wr_loader *loader, const_typing *typing) {
    uint32_t heap;
    WR_TRY(wr_load_heap_type(loader, &heap));
    return const_value(loader, typing, WR_VT_REF | WR_VT_NULLABLE | heap, 0);
}

static wr_status const_step(wr_loader *loader, const_typing *typing, uint8_t opcode) {
    switch (opcode) {
    case 0x23: return const_global(loader, typing);
    case 0x41:
    case 0x42:
    case 0x43:
    case 0x44: return const_number(loader, typing, opcode);
    case 0x6A: return const_arith(loader, typing, WR_VT_I32, WR_CONST_ADD32);
    case 0x6B: return const_arith(loader, typing, WR_VT_I32, WR_CONST_SUB32);
    case 0x6C: return const_arith(loader, typing, WR_VT_I32, WR_CONST_MUL32);
    case 0x7C: return const_arith(loader, typing, WR_VT_I64, WR_CONST_ADD64);
    case 0x7D: return const_arith(loader, typing, WR_VT_I64, WR_CONST_SUB64);
    case 0x7E: return const_arith(loader, typing, WR_VT_I64, WR_CONST_MUL64);
    case 0xD0: return const_null(loader, typing);
    case 0xD2: return const_func(loader, typing);
    case 0xFD: return const_vector(loader, typing);
    case 0xFB:
    case 0xFC:
    case 0xFE: return wr_load_fail(loader, WR_UNSUPPORTED, "opcode 0x%02x", opcode);
    default:
        if (wr_opcode_name(opcode) == NULL) return wr_load_fail(loader, WR_ILLEGAL_OPCODE, "0x%02x", opcode);
        return wr_load_fail(loader, WR_CONST_REQUIRED, "%s", wr_opcode_name(opcode));
    }
}

static wr_status const_body(wr_loader *loader, const_typing *typing) {
    for (;;) {
        uint8_t opcode;
        WR_TRY(wr_read_byte(&loader->reader, &opcode));
        if (opcode == 0x0B) return WR_OK;
        WR_TRY(const_step(loader, typing, opcode));
    }
}

wr_status wr_load_const_expr(wr_loader *loader, wr_vt type, wr_const_expr *out) {
    const_typing typing = {.depth = 0};
    loader->scratch.count = 0;
    WR_TRY(const_body(loader, &typing));
    if (typing.depth != 1 || !wr_vt_matches(typing.stack[0], type)) return WR_TYPE_MISMATCH;
    const uint32_t count = loader->scratch.count;
    if (count == 1) {
        *out = *(const wr_const_op *)loader->scratch.items;
        return WR_OK;
    }
    wr_const_op *ops = wr_arena_take(&loader->module->arena, count, sizeof *ops);
    if (ops == NULL) return WR_NO_MEMORY;
    memcpy(ops, loader->scratch.items, count * sizeof *ops);
    *out = (wr_const_expr){.kind = WR_CONST_LIST, .count = count, .ops = ops};
    return WR_OK;
}
