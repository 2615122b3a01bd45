/* Element and data sections (5.5.12, 5.5.14). */
#include <string.h>

#include "loader.h"

static wr_status load_func_index(wr_loader *loader, uint32_t *out) {
    WR_TRY(wr_read_u32(&loader->reader, out));
    if (*out >= loader->module->func_count) return wr_load_fail(loader, WR_UNKNOWN_FUNC, "%u", *out);
    wr_load_declare(loader, *out);
    return WR_OK;
}

static wr_status load_item(wr_loader *loader, wr_vt type, uint32_t *out) {
    wr_const_expr expr;
    WR_TRY(wr_load_const_expr(loader, type, &expr)); /* of a reference: one operation */
    *out = expr.kind == WR_CONST_VALUE ? WR_ELEM_NULL : (uint32_t)expr.value;
    if (expr.kind == WR_CONST_GLOBAL) *out |= WR_ELEM_GLOBAL;
    return WR_OK;
}

static wr_status load_elem_offset(wr_loader *loader, wr_elem *elem, bool has_table) {
    const wr_module *module = loader->module;
    uint32_t table = 0;
    if (has_table) WR_TRY(wr_read_u32(&loader->reader, &table));
    if (table >= module->table_count) return wr_load_fail(loader, WR_UNKNOWN_TABLE, "%u", table);
    elem->table = table & WR_INDEX_MOST;
    return wr_load_const_expr(loader, module->tables[table].limits.is64 ? WR_VT_I64 : WR_VT_I32, &elem->offset);
}

/* Flags: 1 not active, 2 explicit table or declarative, 4 expressions instead of function indices. */
static wr_status load_elem(wr_loader *loader, wr_elem *elem) {
    uint32_t flags;
    WR_TRY(wr_read_u32(&loader->reader, &flags));
    if (flags > 7) return wr_load_fail(loader, WR_BAD_SEGMENT_KIND, "%u", flags);
    bool has_table = (flags & 3) == 2;
    elem->type = (flags & 4) != 0 ? WR_VT_FUNCREF : (WR_VT_REF | WR_HEAP_FUNC);
    elem->mode = (flags & 1) == 0 ? WR_SEGMENT_ACTIVE : (flags & 2) == 0 ? WR_SEGMENT_PASSIVE : WR_SEGMENT_DECLARATIVE;
    if (elem->mode == WR_SEGMENT_ACTIVE) WR_TRY(load_elem_offset(loader, elem, has_table));
    if ((flags & 3) != 0) {
        uint8_t kind = 0;
        if ((flags & 4) != 0)
            WR_TRY(wr_load_ref_type(loader, &elem->type));
        else
            WR_TRY(wr_read_byte(&loader->reader, &kind));
        if (kind != 0) return wr_load_fail(loader, WR_BAD_SEGMENT_KIND, "element kind %u", kind);
    }
    if (elem->mode == WR_SEGMENT_ACTIVE && !wr_vt_matches(elem->type, loader->module->tables[elem->table].elem)) {
        return WR_TYPE_MISMATCH;
    }
    uint32_t max = loader->engine->config.limits.table_elements_max;
    WR_TRY(wr_load_count(loader, max, WR_LIMIT_TABLE_ELEMENTS, &elem->count));
    elem->items = WR_LOAD_ALLOC(loader, elem->count, uint32_t);
    if (elem->items == NULL) return WR_NO_MEMORY;
    for (uint32_t i = 0; i < elem->count; i++) {
        uint32_t *item = &elem->items[i];
        WR_TRY((flags & 4) != 0 ? load_item(loader, elem->type, item) : load_func_index(loader, item));
    }
    return WR_OK;
}

wr_status wr_load_element_section(wr_loader *loader) {
    wr_module *module = loader->module;
    uint32_t count;
    WR_TRY(wr_load_count(loader, loader->engine->config.limits.segments_max, WR_LIMIT_SEGMENTS, &count));
    module->elems = WR_LOAD_ALLOC(loader, count, wr_elem);
    if (module->elems == NULL) return WR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        WR_TRY(load_elem(loader, &module->elems[i]));
        module->elem_count++;
    }
    return WR_OK;
}

static wr_status load_data(wr_loader *loader, wr_data *data) {
    uint32_t flags, memory = 0;
    WR_TRY(wr_read_u32(&loader->reader, &flags));
    if (flags > 2) return wr_load_fail(loader, WR_BAD_SEGMENT_KIND, "%u", flags);
    data->mode = flags == 1 ? WR_SEGMENT_PASSIVE : WR_SEGMENT_ACTIVE;
    if (flags == 2) WR_TRY(wr_read_u32(&loader->reader, &memory));
    if (data->mode == WR_SEGMENT_ACTIVE) {
        if (memory >= loader->module->memory_count) return wr_load_fail(loader, WR_UNKNOWN_MEMORY, "%u", memory);
        data->memory = memory & WR_INDEX_MOST;
        bool is64 = loader->module->memories[memory].is64;
        WR_TRY(wr_load_const_expr(loader, is64 ? WR_VT_I64 : WR_VT_I32, &data->offset));
    }
    const uint8_t *bytes;
    WR_TRY(wr_read_u32(&loader->reader, &data->size));
    if (wr_read_bytes(&loader->reader, data->size, &bytes) != WR_OK) return WR_UNEXPECTED_END;
    data->bytes = wr_arena_copy(&loader->module->arena, bytes, data->size);
    return data->bytes != NULL ? WR_OK : WR_NO_MEMORY;
}

wr_status wr_load_data_section(wr_loader *loader) {
    wr_module *module = loader->module;
    uint32_t count;
    WR_TRY(wr_load_count(loader, loader->engine->config.limits.segments_max, WR_LIMIT_SEGMENTS, &count));
    if (loader->has_data_count && count != loader->data_declared) return WR_DATA_COUNT_MISMATCH;
    module->datas = WR_LOAD_ALLOC(loader, count, wr_data);
    if (module->datas == NULL) return WR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        WR_TRY(load_data(loader, &module->datas[i]));
        module->data_count++;
    }
    return WR_OK;
}
