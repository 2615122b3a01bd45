/* Module framing and the sections that declare things (5.5). Structure is checked here; bodies and constant
 * expressions are typed in translate.c and const_expr.c. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../aot/aot.h"
#include "loader.h"

enum { DETAIL_BYTES = 96 };

wr_status wr_load_fail(wr_loader *loader, wr_status status, const char *format, ...) {
    va_list args;
    if (loader->detail == NULL) loader->detail = wr_mem_resize(&loader->engine->heap, NULL, 0, DETAIL_BYTES);
    if (loader->detail == NULL) return status;
    va_start(args, format);
    vsnprintf(loader->detail, DETAIL_BYTES, format, args);
    va_end(args);
    return status;
}

void wr_load_forget(wr_loader *loader) {
    wr_mem_free(&loader->engine->heap, loader->detail, DETAIL_BYTES);
    loader->detail = NULL;
}

/* ---- pieces ---- */

wr_status wr_load_heap_type(wr_loader *loader, uint32_t *out) {
    int64_t heap;
    WR_TRY(wr_read_s33(&loader->reader, &heap));
    if (heap >= 0) {
        if (heap >= loader->module->type_count) return wr_load_fail(loader, WR_UNKNOWN_TYPE, "%u", (uint32_t)heap);
        *out = loader->module->types[heap]->id;
        return WR_OK;
    }
    *out = WR_HEAP_ABSTRACT | (uint32_t)(heap + 0x80);
    switch (*out) {
    case WR_HEAP_EXN:
    case WR_HEAP_EXTERN:
    case WR_HEAP_FUNC:
    case WR_HEAP_NOEXN:
    case WR_HEAP_NOEXTERN:
    case WR_HEAP_NOFUNC: return WR_OK;
    default: break;
    }
    if (heap <= -0x0C && heap >= -0x18) return wr_load_fail(loader, WR_UNSUPPORTED, "heap type %d", (int)heap);
    return WR_BAD_REF_TYPE;
}

/* Whether this build knows the type. */
static wr_status check_known(wr_loader *loader, wr_vt type) {
#ifdef WR_NO_SIMD
    if (type == WR_VT_V128) return wr_load_fail(loader, WR_UNSUPPORTED, "v128");
#endif
#ifdef WR_NO_EXCEPTIONS
    uint32_t heap = type & WR_VT_HEAP;
    if (wr_vt_is_ref(type) && (heap == WR_HEAP_EXN || heap == WR_HEAP_NOEXN)) {
        return wr_load_fail(loader, WR_UNSUPPORTED, "exnref");
    }
#endif
    (void)loader, (void)type;
    return WR_OK;
}

static wr_status load_type_byte(wr_loader *loader, uint8_t byte, wr_vt *out) {
    *out = wr_vt_from_byte(byte);
    if (*out != WR_VT_BOTTOM) return check_known(loader, *out);
    if (byte == 0x63 || byte == 0x64) {
        uint32_t heap = 0;
        WR_TRY(wr_load_heap_type(loader, &heap));
        *out = WR_VT_REF | (byte == 0x63 ? WR_VT_NULLABLE : 0) | heap;
        return check_known(loader, *out);
    }
    if (byte >= 0x68 && byte <= 0x74) return wr_load_fail(loader, WR_UNSUPPORTED, "value type 0x%02x", byte);
    return wr_load_fail(loader, WR_BAD_VALUE_TYPE, "0x%02x", byte);
}

wr_status wr_load_value_type(wr_loader *loader, wr_vt *out) {
    uint8_t byte;
    WR_TRY(wr_read_byte(&loader->reader, &byte));
    return load_type_byte(loader, byte, out);
}

wr_status wr_load_ref_type(wr_loader *loader, wr_vt *out) {
    uint8_t byte;
    WR_TRY(wr_read_byte(&loader->reader, &byte));
    wr_status status = load_type_byte(loader, byte, out);
    if (status == WR_BAD_VALUE_TYPE || (status == WR_OK && !wr_vt_is_ref(*out))) return WR_BAD_REF_TYPE;
    return status;
}

wr_status wr_load_name(wr_loader *loader, const char **out, uint32_t *len) {
    const uint8_t *bytes;
    WR_TRY(wr_read_u32(&loader->reader, len));
    WR_TRY(wr_read_bytes(&loader->reader, *len, &bytes));
    if (!wr_utf8_valid(bytes, *len)) return WR_BAD_UTF8;
    *out = (const char *)bytes;
    return *len > loader->engine->config.limits.name_bytes_max ? WR_LIMIT_NAME_BYTES : WR_OK;
}

wr_status wr_load_copy(wr_loader *loader, const char **bytes, uint32_t len) {
    *bytes = wr_arena_copy(&loader->module->arena, *bytes, len);
    return *bytes != NULL ? WR_OK : WR_NO_MEMORY;
}

wr_status wr_load_count(wr_loader *loader, uint32_t max, wr_status limit, uint32_t *out) {
    WR_TRY(wr_read_count(&loader->reader, out));
    if (*out > max) return wr_load_fail(loader, limit, "%u, at most %u", *out, max);
    return WR_OK;
}

/* Flags: 1 has a maximum, 2 shared, 4 64-bit. */
static wr_status load_limits(wr_loader *loader, uint64_t range, uint64_t range64, wr_status too_large, bool may_share,
                             wr_limit_pair *out) {
    uint8_t flags;
    WR_TRY(wr_read_byte(&loader->reader, &flags));
    if ((flags & ~7u) != 0 || ((flags & 2) != 0 && !may_share))
        return wr_load_fail(loader, WR_BAD_LIMITS_FLAGS, "0x%02x", flags);
#ifdef WR_NO_THREADS
    if ((flags & 2) != 0) return wr_load_fail(loader, WR_UNSUPPORTED, "shared memory");
#endif
#ifdef WR_NO_MEMORY64
    if ((flags & 4) != 0) return wr_load_fail(loader, WR_UNSUPPORTED, "64-bit memory or table");
#endif
    *out = (wr_limit_pair){.max = UINT64_MAX, .is64 = (flags & 4) != 0, .shared = (flags & 2) != 0};
    WR_TRY(wr_read_u64(&loader->reader, &out->min));
    if ((flags & 1) != 0) {
        WR_TRY(wr_read_u64(&loader->reader, &out->max));
        if (out->min > out->max) return WR_LIMITS_ORDER;
    }
    if (out->shared && (flags & 1) == 0) return WR_SHARED_MAXIMUM;
    if (out->is64) range = range64;
    return out->min > range || ((flags & 1) != 0 && out->max > range) ? too_large : WR_OK;
}

static wr_status load_table_type(wr_loader *loader, wr_table_type *out) {
    WR_TRY(wr_load_ref_type(loader, &out->elem));
    return load_limits(loader, UINT32_MAX, UINT64_MAX, WR_TABLE_SIZE, false, &out->limits);
}

static wr_status load_memory_type(wr_loader *loader, wr_limit_pair *out) {
    return load_limits(loader, UINT64_C(1) << 16, UINT64_C(1) << 48, WR_MEMORY_SIZE, true, out);
}

static wr_status load_global_type(wr_loader *loader, wr_global_type *out) {
    WR_TRY(wr_load_value_type(loader, &out->type));
    uint8_t flag;
    WR_TRY(wr_read_byte(&loader->reader, &flag));
    if (flag > 1) return WR_BAD_MUTABILITY;
    out->is_mutable = flag == 1;
    return WR_OK;
}

static wr_status load_type_index(wr_loader *loader, uint32_t *out) {
    WR_TRY(wr_read_u32(&loader->reader, out));
    if (*out >= loader->module->type_count) return wr_load_fail(loader, WR_UNKNOWN_TYPE, "%u", *out);
    return WR_OK;
}

static wr_status load_tag(wr_loader *loader, const wr_type **out) {
#ifdef WR_NO_EXCEPTIONS
    (void)out;
    return wr_load_fail(loader, WR_UNSUPPORTED, "tag");
#else
    uint8_t attribute;
    uint32_t index = 0;
    WR_TRY(wr_read_byte(&loader->reader, &attribute));
    if (attribute != 0) return WR_ZERO_EXPECTED;
    WR_TRY(load_type_index(loader, &index));
    *out = loader->module->types[index];
    return (*out)->result_count != 0 ? WR_NON_EMPTY_TAG : WR_OK;
#endif
}

/* Makes room in an index space for `more` entries behind `count`; arenas cannot resize, so it moves. */
static wr_status extend(wr_loader *loader, void **items, uint32_t count, uint32_t more, size_t size) {
    if (more == 0 && *items != NULL) return WR_OK;
    void *fresh = wr_arena_zero(&loader->module->arena, (size_t)count + more, size);
    if (fresh == NULL) return WR_NO_MEMORY;
    if (count != 0) memcpy(fresh, *items, count * size);
    *items = fresh;
    return WR_OK;
}
#define EXTEND(LOADER, FIELD, COUNT, MORE) \
    extend(LOADER, (void **)&(LOADER)->FIELD, COUNT, MORE, sizeof *(LOADER)->FIELD)

/* ---- sections ---- */

static wr_status load_values(wr_loader *loader, wr_vec *values, uint32_t *count) {
    WR_TRY(wr_load_count(loader, loader->engine->config.limits.params_max, WR_LIMIT_PARAMS, count));
    WR_TRY(wr_vec_reserve(loader->heap, values, *count, sizeof(wr_vt)));
    for (uint32_t i = 0; i < *count; i++) {
        WR_TRY(wr_load_value_type(loader, (wr_vt *)values->items + values->count));
        values->count++;
    }
    return WR_OK;
}

static wr_status load_func_type(wr_loader *loader, wr_vec *values, const wr_type **out) {
    uint8_t form;
    uint32_t params, results;
    WR_TRY(wr_read_byte(&loader->reader, &form));
    if (form == 0x4E || form == 0x4F || form == 0x50 || form == 0x5E || form == 0x5F) {
        return wr_load_fail(loader, WR_UNSUPPORTED, "type form 0x%02x", form);
    }
    if ((form & 0x80) != 0) return WR_INT_TOO_LONG; /* the form is a signed number of one byte */
    if (form != 0x60) return wr_load_fail(loader, WR_BAD_TYPE_FORM, "0x%02x", form);
    values->count = 0;
    WR_TRY(wr_vec_reserve(loader->heap, values, 1, sizeof(wr_vt)));
    WR_TRY(load_values(loader, values, &params));
    WR_TRY(load_values(loader, values, &results));
    return wr_type_intern(loader->engine, loader->heap, values->items, params, results, out);
}

static wr_status load_type_section(wr_loader *loader) {
    uint32_t count;
    WR_TRY(wr_load_count(loader, loader->engine->config.limits.types_max, WR_LIMIT_TYPES, &count));
    loader->module->types = WR_LOAD_ALLOC(loader, count, const wr_type *);
    if (loader->module->types == NULL) return WR_NO_MEMORY;
    wr_vec values = {0};
    wr_status status = WR_OK;
    for (uint32_t i = 0; i < count && status == WR_OK; i++) {
        status = load_func_type(loader, &values, &loader->module->types[i]);
        if (status == WR_OK) loader->module->type_count++;
    }
    wr_vec_free(loader->heap, &values, sizeof(wr_vt));
    return status;
}

/* What is imported, until it has its place in an index space. */
typedef union import_desc {
    uint32_t func;
    wr_table_type table;
    wr_limit_pair memory;
    wr_global_type global;
    const wr_type *tag;
} import_desc;

static wr_status load_import_desc(wr_loader *loader, uint32_t kind, import_desc *out) {
    switch (kind) {
    case WR_EXTERN_FUNC: return load_type_index(loader, &out->func);
    case WR_EXTERN_TABLE: return load_table_type(loader, &out->table);
    case WR_EXTERN_MEMORY: return load_memory_type(loader, &out->memory);
    case WR_EXTERN_GLOBAL: return load_global_type(loader, &out->global);
    default: return load_tag(loader, &out->tag);
    }
}

static uint32_t *import_counter(wr_module *module, uint32_t kind) {
    uint32_t *counters[] = {&module->func_imports, &module->table_imports, &module->memory_imports,
                            &module->global_imports, &module->tag_imports};
    return counters[kind];
}

/* Neighbours often have the same module's name. */
static wr_status load_import(wr_loader *loader, wr_import *import, const wr_import *before) {
    uint8_t kind;
    import_desc desc;
    WR_TRY(wr_load_name(loader, &import->module, &import->module_len));
    WR_TRY(wr_load_name(loader, &import->name, &import->name_len));
    WR_TRY(wr_read_byte(&loader->reader, &kind));
    if (kind > WR_EXTERN_TAG) return wr_load_fail(loader, WR_BAD_IMPORT_KIND, "0x%02x", kind);
    WR_TRY(load_import_desc(loader, kind, &desc));
    import->kind = kind & 7u;
    import->index = (*import_counter(loader->module, kind))++ & WR_INDEX_MOST;
    if (before != NULL && before->module_len == import->module_len &&
        memcmp(before->module, import->module, import->module_len) == 0) {
        import->module = before->module;
    } else {
        WR_TRY(wr_load_copy(loader, &import->module, import->module_len));
    }
    return wr_load_copy(loader, &import->name, import->name_len);
}

/* The second time, when there is room for them: into the index spaces. */
static wr_status place_import(wr_loader *loader, const wr_import *import) {
    wr_module *module = loader->module;
    import_desc desc;
    uint32_t len;
    const char *name;
    uint8_t kind;
    WR_TRY(wr_load_name(loader, &name, &len));
    WR_TRY(wr_load_name(loader, &name, &len));
    WR_TRY(wr_read_byte(&loader->reader, &kind));
    WR_TRY(load_import_desc(loader, import->kind, &desc));
    switch (import->kind) {
    case WR_EXTERN_FUNC: module->func_types[import->index] = (uint16_t)desc.func; break;
    case WR_EXTERN_TABLE: module->tables[import->index] = desc.table; break;
    case WR_EXTERN_MEMORY: module->memories[import->index] = desc.memory; break;
    case WR_EXTERN_GLOBAL: module->globals[import->index] = desc.global; break;
    default: module->tags[import->index] = desc.tag; break;
    }
    return WR_OK;
}

static wr_status load_import_section(wr_loader *loader) {
    wr_module *module = loader->module;
    const wr_limits *limits = &loader->engine->config.limits;
    uint32_t count;
    WR_TRY(wr_load_count(loader, limits->imports_max, WR_LIMIT_IMPORTS, &count));
    WR_TRY(EXTEND(loader, module->imports, 0, count));
    const uint8_t *first = loader->reader.at;
    for (uint32_t i = 0; i < count; i++) {
        WR_TRY(load_import(loader, &module->imports[i], i != 0 ? &module->imports[i - 1] : NULL));
        module->import_count++;
    }
    if (module->table_imports > limits->tables_max) return WR_LIMIT_TABLES;
    if (module->memory_imports > limits->memories_max) return WR_LIMIT_MEMORIES;
    WR_TRY(EXTEND(loader, module->func_types, 0, module->func_imports));
    WR_TRY(EXTEND(loader, module->tables, 0, module->table_imports));
    WR_TRY(EXTEND(loader, module->memories, 0, module->memory_imports));
    WR_TRY(EXTEND(loader, module->globals, 0, module->global_imports));
    WR_TRY(EXTEND(loader, module->tags, 0, module->tag_imports));
    loader->reader.at = first;
    for (uint32_t i = 0; i < count; i++) WR_TRY(place_import(loader, &module->imports[i]));
    module->func_count = module->func_imports;
    module->table_count = module->table_imports;
    module->memory_count = module->memory_imports;
    module->global_count = module->global_imports;
    module->tag_count = module->tag_imports;
    return WR_OK;
}

static wr_status load_function_section(wr_loader *loader) {
    wr_module *module = loader->module;
    uint32_t count;
    uint32_t max = loader->engine->config.limits.functions_max;
    WR_TRY(wr_load_count(loader, max > module->func_count ? max - module->func_count : 0, WR_LIMIT_FUNCTIONS, &count));
    WR_TRY(EXTEND(loader, module->func_types, module->func_count, count));
    module->code = WR_LOAD_ALLOC(loader, count, wr_code);
    if (module->code == NULL) return WR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index;
        WR_TRY(load_type_index(loader, &index));
        module->func_types[module->func_count++] = (uint16_t)index;
    }
    return WR_OK;
}

/* 0x40 0x00 introduces a table with an initialiser. */
static wr_status load_table(wr_loader *loader, wr_table_type *type, wr_const_expr *init) {
    bool has_init = wr_reader_left(&loader->reader) != 0 && *loader->reader.at == 0x40;
    if (has_init) {
        uint8_t zero;
        loader->reader.at++;
        WR_TRY(wr_read_byte(&loader->reader, &zero));
        if (zero != 0) return WR_ZERO_EXPECTED;
    }
    WR_TRY(load_table_type(loader, type));
    if (!has_init) return wr_vt_has_default(type->elem) ? WR_OK : WR_TYPE_MISMATCH;
    return wr_load_const_expr(loader, type->elem, init);
}

static wr_status load_table_section(wr_loader *loader) {
    wr_module *module = loader->module;
    uint32_t count;
    uint32_t max = loader->engine->config.limits.tables_max - module->table_count;
    WR_TRY(wr_load_count(loader, max, WR_LIMIT_TABLES, &count));
    WR_TRY(EXTEND(loader, module->tables, module->table_count, count));
    module->table_inits = WR_LOAD_ALLOC(loader, count, wr_const_expr);
    if (module->table_inits == NULL) return WR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        WR_TRY(load_table(loader, &module->tables[module->table_count], &module->table_inits[i]));
        module->table_count++;
    }
    return WR_OK;
}

static wr_status load_memory_section(wr_loader *loader) {
    wr_module *module = loader->module;
    uint32_t count;
    uint32_t max = loader->engine->config.limits.memories_max - module->memory_count;
    WR_TRY(wr_load_count(loader, max, WR_LIMIT_MEMORIES, &count));
    WR_TRY(EXTEND(loader, module->memories, module->memory_count, count));
    for (uint32_t i = 0; i < count; i++) WR_TRY(load_memory_type(loader, &module->memories[module->memory_count++]));
    return WR_OK;
}

static wr_status load_global_section(wr_loader *loader) {
    wr_module *module = loader->module;
    uint32_t count;
    WR_TRY(wr_load_count(loader, loader->engine->config.limits.globals_max, WR_LIMIT_GLOBALS, &count));
    WR_TRY(EXTEND(loader, module->globals, module->global_count, count));
    module->global_inits = WR_LOAD_ALLOC(loader, count, wr_const_expr);
    if (module->global_inits == NULL) return WR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        wr_global_type *type = &module->globals[module->global_count];
        WR_TRY(load_global_type(loader, type));
        /* The expression sees the globals before this one only. */
        WR_TRY(wr_load_const_expr(loader, type->type, &module->global_inits[i]));
        module->global_count++;
    }
    return WR_OK;
}

/* Names as they come, of which no more than `size` bytes can be left when every export has its other bytes. */
static wr_status load_export(wr_loader *loader, wr_export *export, uint32_t at, size_t size) {
    const wr_module *module = loader->module;
    const char *name;
    uint8_t kind;
    uint32_t index, len;
    WR_TRY(wr_load_name(loader, &name, &len));
    WR_TRY(wr_read_byte(&loader->reader, &kind));
    if (kind > WR_EXTERN_TAG) return wr_load_fail(loader, WR_BAD_EXPORT_KIND, "0x%02x", kind);
    WR_TRY(wr_read_u32(&loader->reader, &index));
    static const wr_status unknown[] = {WR_UNKNOWN_FUNC, WR_UNKNOWN_TABLE, WR_UNKNOWN_MEMORY, WR_UNKNOWN_GLOBAL,
                                        WR_UNKNOWN_TAG};
    const uint32_t counts[] = {module->func_count, module->table_count, module->memory_count, module->global_count,
                               module->tag_count};
    if (index >= counts[kind]) return wr_load_fail(loader, unknown[kind], "%u", index);
    if (len >= size - at) return WR_UNEXPECTED_END;
    *export = (wr_export){.name_at = at, .name_len = len, .kind = kind & 7u, .index = index & WR_INDEX_MOST};
    memcpy(module->export_names + at, name, len);
    if (kind == WR_EXTERN_FUNC) wr_load_declare(loader, index);
    return WR_OK;
}

/* Open-addressed set of export names seen so far: quadratic checking would be an easy attack. */
static bool export_is_new(uint32_t *set, size_t mask, const wr_module *module, uint32_t index) {
    const wr_export *export = &module->exports[index];
    const char *name = wr_export_name(module, export);
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < export->name_len; i++) hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        if (set[at] == 0) {
            set[at] = index + 1;
            return true;
        }
        const wr_export *other = &module->exports[set[at] - 1];
        if (other->name_len == export->name_len && memcmp(wr_export_name(module, other), name, other->name_len) == 0)
            return false;
    }
}

static wr_status load_exports(wr_loader *loader, uint32_t count, size_t names_size, uint32_t *set, size_t mask) {
    wr_module *module = loader->module;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        const wr_export *export = &module->exports[i];
        WR_TRY(load_export(loader, &module->exports[i], at, names_size));
        if (!export_is_new(set, mask, module, i))
            return wr_load_fail(loader, WR_DUPLICATE_EXPORT, "\"%.60s\"", wr_export_name(module, export));
        at += export->name_len + 1;
        module->export_count++;
    }
    return WR_OK;
}

static wr_status load_export_section(wr_loader *loader) {
    wr_module *module = loader->module;
    uint32_t count;
    WR_TRY(wr_load_count(loader, loader->engine->config.limits.exports_max, WR_LIMIT_EXPORTS, &count));
    const size_t left = wr_reader_left(&loader->reader), others = 2 * (size_t)count; /* three for each, less the zero */
    const size_t names_size = left > others ? left - others : 0;
    module->exports = WR_LOAD_ALLOC(loader, count, wr_export);
    module->export_names = WR_LOAD_ALLOC(loader, names_size, char);
    size_t size = 16;
    while (size < 2 * (size_t)count) size *= 2;
    uint32_t *set = wr_mem_zero(loader->heap, size * sizeof *set);
    wr_status status = module->exports == NULL || module->export_names == NULL || set == NULL ? WR_NO_MEMORY : WR_OK;
    if (status == WR_OK) status = load_exports(loader, count, names_size, set, size - 1);
    wr_mem_free(loader->heap, set, size * sizeof *set);
    return status;
}

static wr_status load_start_section(wr_loader *loader) {
    wr_module *module = loader->module;
    WR_TRY(wr_read_u32(&loader->reader, &module->start));
    if (module->start >= module->func_count) return wr_load_fail(loader, WR_UNKNOWN_FUNC, "%u", module->start);
    const wr_type *type = wr_type_of_func(module, module->start);
    return type->param_count + type->result_count != 0 ? WR_START_FUNCTION : WR_OK;
}

static wr_status load_data_count_section(wr_loader *loader) {
    WR_TRY(wr_read_u32(&loader->reader, &loader->data_declared));
    loader->has_data_count = true;
    return WR_OK;
}

wr_status wr_load_code_count(wr_loader *loader, uint64_t left) {
    const wr_module *module = loader->module;
    loader->code_end = wr_reader_offset(&loader->reader) + (uint32_t)left;
    WR_TRY(wr_read_u32(&loader->reader, &loader->body_count));
    if (loader->body_count > left) return WR_UNEXPECTED_END; /* each is at least one byte long */
    return loader->body_count > module->func_count - module->func_imports ? WR_FUNC_CODE_MISMATCH : WR_OK;
}

wr_status wr_load_code_entry(wr_loader *loader, uint32_t size, wr_body *body) {
    const uint32_t func_index = loader->module->func_imports + loader->bodies_seen;
    if (size > loader->engine->config.limits.body_bytes_max) {
        return wr_load_fail(loader, WR_LIMIT_BODY_BYTES, "function %u has %u", func_index, size);
    }
    const uint8_t *end = loader->reader.end;
    loader->reader.end = loader->reader.at + size;
    wr_status status = wr_translate_function(loader, func_index, body);
    if (status == WR_OK && loader->reader.at != loader->reader.end) status = WR_SECTION_SIZE;
    loader->reader.end = end;
    loader->bodies_seen += status == WR_OK;
    return status;
}

/* ---- framing ---- */

typedef struct section {
    uint8_t rank; /* order in which sections must come; 0: any */
    wr_status (*load)(wr_loader *loader); /* NULL: code, which comes in pieces (stream.c) */
} section;

static wr_status load_tag_section(wr_loader *loader) {
    wr_module *module = loader->module;
    uint32_t count;
    WR_TRY(wr_load_count(loader, loader->engine->config.limits.types_max, WR_LIMIT_TYPES, &count));
    WR_TRY(EXTEND(loader, module->tags, module->tag_count, count));
    for (uint32_t i = 0; i < count; i++) WR_TRY(load_tag(loader, &module->tags[module->tag_count++]));
    return WR_OK;
}

static const section sections[] = {
    {0, wr_load_custom},
    {1, load_type_section},
    {2, load_import_section},
    {3, load_function_section},
    {4, load_table_section},
    {5, load_memory_section},
    {7, load_global_section},
    {8, load_export_section},
    {9, load_start_section},
    {10, wr_load_element_section},
    {12, NULL},
    {13, wr_load_data_section},
    {11, load_data_count_section},
    {6, load_tag_section},
};

/* Function bodies may name functions only after the sections that declare them; allocated once they are counted. */
static wr_status prepare_declared(wr_loader *loader) {
    if (loader->declared != NULL) return WR_OK;
    loader->declared = WR_LOAD_ALLOC(loader, (size_t)loader->module->func_count / 8 + 1, uint8_t);
    return loader->declared == NULL ? WR_NO_MEMORY : WR_OK;
}

bool wr_load_is_section(uint8_t id) { return id < sizeof sections / sizeof *sections; }

wr_status wr_load_section_begin(wr_loader *loader, uint8_t id) {
    if (id == 0) return WR_OK;
    if (sections[id].rank <= loader->last_rank) return wr_load_fail(loader, WR_SECTION_ORDER, "section %u", id);
    loader->last_rank = sections[id].rank;
    return sections[id].rank > 3 ? prepare_declared(loader) : WR_OK;
}

wr_status wr_load_section(wr_loader *loader, uint8_t id, uint32_t size) {
    const uint8_t *end = loader->reader.end;
    loader->reader.end = loader->reader.at + size;
    WR_TRY(sections[id].load(loader));
    if (loader->reader.at != loader->reader.end) return wr_load_fail(loader, WR_SECTION_SIZE, "section %u", id);
    loader->reader.end = end;
    return WR_OK;
}

/* ---- life of a module ---- */

wr_module *wr_module_new(wr_engine *engine, const wr_heap *heap) {
    wr_module *module = wr_mem_zero(heap, sizeof *module);
    if (module == NULL) return NULL;
    module->engine = engine;
    atomic_init(&module->refs, 1);
    module->start = UINT32_MAX;
    module->code_is_checked = engine->config.bounds == WR_BOUNDS_CHECKED;
    wr_arena_init(&module->arena, heap);
    return module;
}

static void module_free(wr_module *module) {
    wr_engine *engine = module->engine;
    for (uint32_t i = 0; i < module->type_count; i++) wr_type_release(engine, module->types[i]);
    wr_aot_unload(module);
    wr_arena_free(&module->arena);
    wr_mem_free(&engine->heap, module, sizeof *module);
}

wr_module *wr_module_retain(wr_module *module) {
    atomic_fetch_add_explicit(&module->refs, 1, memory_order_relaxed);
    return module;
}

void wr_module_release(wr_module *module) {
    if (module == NULL) return;
    if (atomic_fetch_sub_explicit(&module->refs, 1, memory_order_acq_rel) == 1) module_free(module);
}
