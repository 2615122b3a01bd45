/* Tables and references. */
#include <stdio.h>

#include "emit.h"

/* ---- tables that nobody writes to ---- */

/* An element's function, if it is one of the module's own. */
static bool is_own(const wr_module *module, uint32_t item) {
    return item < WR_ELEM_GLOBAL && item >= module->func_imports;
}

static bool is_reached_from_outside(const wr_module *module, uint32_t table) {
    if (table < module->table_imports) return true;
    for (uint32_t i = 0; i < module->export_count; i++) {
        if (module->exports[i].kind == WR_EXTERN_TABLE && module->exports[i].index == table) return true;
    }
    const wr_const_expr *init = &module->table_inits[table - module->table_imports];
    return init->kind != WR_CONST_VALUE; /* not nulls */
}

bool wr_aot_is_fixed(const wr_aot_emit *emit, uint32_t table, const wr_type *type, uint32_t *slots) {
    const wr_module *module = emit->module;
    uint32_t most = 0, least = UINT32_MAX;
    if (emit->writes_tables || is_reached_from_outside(module, table)) return false;
    for (uint32_t i = 0; i < module->elem_count; i++) {
        const wr_elem *elem = &module->elems[i];
        for (uint32_t k = 0; elem->mode == WR_SEGMENT_ACTIVE && elem->table == table && k < elem->count; k++) {
            const uint32_t index = elem->items[k];
            if (!is_own(module, index)) return false;
            if (wr_type_of_func(module, index) != type) continue;
            const uint32_t frame = module->code[index - module->func_imports].frame_slots;
            most = frame > most ? frame : most;
            least = frame < least ? frame : least;
        }
    }
    *slots = most == least ? most : UINT32_MAX;
    return true;
}

/* ---- instructions ---- */

/* A table index in 32 bits. */
static wr_aot_name index_text(wr_aot_body *body, const wr_aot_value *value) {
    const wr_aot_name name = wr_aot_text(body, value);
    wr_aot_name out = name;
    if (value->type == WR_VT_I64) snprintf(out.text, sizeof out.text, "index64(%.48s)", name.text);
    return out;
}

static wr_vt index_type(const wr_aot_body *body, uint32_t table) {
    return body->module->tables[table].limits.is64 ? WR_VT_I64 : WR_VT_I32;
}

static wr_status do_get(wr_aot_body *body) {
    uint32_t table;
    WR_TRY(wr_read_u32(&body->reader, &table));
    const wr_aot_value index = wr_aot_pop(body);
    const wr_aot_name at = index_text(body, &index), to = wr_aot_push(body, body->module->tables[table].elem);
    wr_aot_use_of(body, false, table);
    EMIT("    {\n    TABLE_AT(%u, %s, 0x%x);\n    %s = table_->elems[index_];\n    }\n", table, at.text, body->offset,
         to.text);
    return body->status;
}

static wr_status do_set(wr_aot_body *body) {
    uint32_t table;
    WR_TRY(wr_read_u32(&body->reader, &table));
    const wr_aot_value value = wr_aot_pop(body), index = wr_aot_pop(body);
    const wr_aot_name at = index_text(body, &index);
    wr_aot_use_of(body, false, table);
    EMIT("    {\n    TABLE_AT(%u, %s, 0x%x);\n    table_->elems[index_] = %s;\n    }\n", table, at.text, body->offset,
         wr_aot_text(body, &value).text);
    return body->status;
}

static wr_status do_grow(wr_aot_body *body, uint32_t table) {
    const wr_aot_value count = wr_aot_pop(body), value = wr_aot_pop(body);
    const wr_aot_name by = index_text(body, &count), from = wr_aot_text(body, &value);
    const wr_vt type = index_type(body, table);
    const wr_aot_name to = wr_aot_push(body, type);
    EMIT("    SITE(0x%x);\n    %s = (%s)x->rt->table_grow(x, %u, %s, %s);\n    COUNT_AGAIN();\n", body->offset, to.text,
         wr_aot_ctype(type), table, from.text, by.text);
    return body->status;
}

static void bulk(wr_aot_body *body, const char *function, uint32_t first, const uint32_t *second) {
    const wr_aot_value c = wr_aot_pop(body), b = wr_aot_pop(body), a = wr_aot_pop(body);
    const bool fills = second == NULL; /* then b is a reference */
    EMIT("    SITE(0x%x);\n    x->rt->%s(x, %u", body->offset, function, first);
    if (!fills) EMIT(", %u", *second);
    const wr_aot_name middle = fills ? wr_aot_text(body, &b) : index_text(body, &b);
    EMIT(", %s, %s, %s);\n    COUNT_AGAIN();\n", index_text(body, &a).text, middle.text, index_text(body, &c).text);
}

static wr_status do_prefixed(wr_aot_body *body, uint32_t code) {
    uint32_t first, second = 0;
    WR_TRY(wr_read_u32(&body->reader, &first));
    if (code == 0xFC0C || code == 0xFC0E) WR_TRY(wr_read_u32(&body->reader, &second));
    switch (code) {
    case 0xFC0C: bulk(body, "table_init", second, &first); break;
    case 0xFC0D: EMIT("    x->rt->elem_drop(x, %u);\n", first); break;
    case 0xFC0E: bulk(body, "table_copy", first, &second); break;
    case 0xFC0F: return do_grow(body, first);
    case 0xFC10: {
        const wr_aot_name to = wr_aot_push(body, index_type(body, first));
        EMIT("    %s = x->self->tables[%u]->size;\n", to.text, first);
        break;
    }
    default: bulk(body, "table_fill", first, NULL); break;
    }
    return body->status;
}

static wr_status do_ref(wr_aot_body *body, uint32_t code) {
    uint32_t index;
    wr_aot_value value;
    switch (code) {
    case 0xD0: {
        int64_t heap;
        WR_TRY(wr_read_s33(&body->reader, &heap));
        const uint32_t kind = heap < 0 ? WR_HEAP_ABSTRACT | (uint32_t)(heap & 0x7F) : body->module->types[heap]->id;
        value = (wr_aot_value){.type = WR_VT_REF | WR_VT_NULLABLE | kind, .place = AOT_CONST};
        wr_aot_push_value(body, &value);
        return body->status;
    }
    case 0xD1: {
        value = wr_aot_pop(body);
        const wr_aot_name from = wr_aot_text(body, &value);
        EMIT("    %s = %s == 0;\n", wr_aot_push(body, WR_VT_I32).text, from.text);
        return body->status;
    }
    case 0xD2:
        WR_TRY(wr_read_u32(&body->reader, &index));
        EMIT("    %s = (uintptr_t)x->self->funcs[%u];\n",
             wr_aot_push(body, WR_VT_REF | wr_type_of_func(body->module, index)->id).text, index);
        return body->status;
    default:
        value = wr_aot_pop(body);
        EMIT("    if (unlikely(%s == 0)) TRAP(0x%x, WR_TRAP_NULL_REF);\n", wr_aot_text(body, &value).text,
             body->offset);
        value.type &= ~WR_VT_NULLABLE;
        wr_aot_push_value(body, &value);
        return body->status;
    }
}

wr_status wr_aot_table(wr_aot_body *body, uint32_t code) {
    if (code == 0x25) return do_get(body);
    if (code == 0x26) return do_set(body);
    if (code >= 0xFC0C && code <= 0xFC11) return do_prefixed(body, code);
    return code >= 0xD0 && code <= 0xD4 && code != 0xD3 ? do_ref(body, code) : WR_NOT_FOUND;
}
