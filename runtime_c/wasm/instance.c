/* Instantiation (4.5.4): link imports, make what the module defines, copy active segments, run the start function. */
#include <stdio.h>
#include <string.h>

#include "../aot/aot.h"
#include "interp.h"
#include "reader.h"

/* ---- linking ---- */

static bool limits_fit(const wr_limit_pair *wanted, uint64_t size, const wr_limit_pair *declared) {
    return size >= wanted->min && (wanted->max == UINT64_MAX || declared->max <= wanted->max) &&
           wanted->is64 == declared->is64 && wanted->shared == declared->shared;
}

static bool import_fits(const wr_module *module, const wr_import *import, const wr_extern *given) {
    if (given->kind != import->kind || given->of.any == NULL) return false;
    switch (import->kind) {
    case WR_EXTERN_FUNC: return given->of.func->type == wr_type_of_func(module, import->index);
    case WR_EXTERN_TAG: return given->of.tag->type == module->tags[import->index];
    case WR_EXTERN_TABLE:
        return given->of.table->type.elem == module->tables[import->index].elem &&
               limits_fit(&module->tables[import->index].limits, given->of.table->size, &given->of.table->type.limits);
    case WR_EXTERN_MEMORY:
        return limits_fit(&module->memories[import->index], wr_memory_size(given->of.memory) >> 16,
                          &given->of.memory->declared);
    default: {
        const wr_global_type *wanted = &module->globals[import->index], *got = &given->of.global->type;
        return wanted->is_mutable == got->is_mutable &&
               (wanted->is_mutable ? wanted->type == got->type : wr_vt_matches(got->type, wanted->type));
    }
    }
}

static void bind_import(wr_instance *instance, const wr_import *import, const wr_extern *given) {
    switch (import->kind) {
    case WR_EXTERN_FUNC: instance->funcs[import->index] = given->of.func; break;
    case WR_EXTERN_TABLE: instance->tables[import->index] = given->of.table; break;
    case WR_EXTERN_MEMORY: instance->memories[import->index] = given->of.memory; break;
    case WR_EXTERN_TAG: instance->tags[import->index] = given->of.tag; break;
    default: instance->globals[import->index] = given->of.global; break;
    }
}

static wr_status link_imports(wr_instance *instance, const wr_extern *imports, uint32_t count, wr_error *error) {
    const wr_module *module = instance->module;
    if (count != module->import_count) {
        return wr_error_set(error, WR_BAD_ARGUMENT, 0, "%u imports given, %u needed", count, module->import_count);
    }
    for (uint32_t i = 0; i < count; i++) {
        const wr_import *import = &module->imports[i];
        if (!import_fits(module, import, &imports[i])) {
            wr_status status = imports[i].of.any == NULL ? WR_UNKNOWN_IMPORT : WR_IMPORT_TYPE;
            return wr_error_set(error, status, 0, "%.60s.%.60s", import->module, import->name);
        }
        bind_import(instance, import, &imports[i]);
    }
    return WR_OK;
}

/* ---- constant expressions ---- */

static uint64_t const_arith(wr_const_kind kind, uint64_t a, uint64_t b) {
    switch (kind) {
    case WR_CONST_ADD32: return (uint32_t)(a + b);
    case WR_CONST_SUB32: return (uint32_t)(a - b);
    case WR_CONST_MUL32: return (uint32_t)((uint32_t)a * (uint32_t)b);
    case WR_CONST_ADD64: return a + b;
    case WR_CONST_SUB64: return a - b;
    default: return a * b;
    }
}

/* The upper half of a 32-bit value that the host set may hold anything. */
static uint64_t global_value(const wr_global *global) {
    return global->type.type == WR_VT_I32 ? global->value[0].u32 : global->value[0].u64;
}

static uint64_t evaluate(const wr_instance *instance, const wr_const_expr *expr) {
    uint64_t stack[64]; /* const_expr.c bounds the depth */
    uint32_t depth = 0, count;
    const wr_const_op *ops = wr_const_ops(expr, &count);
    for (uint32_t i = 0; i < count; i++) {
        const wr_const_op *op = &ops[i];
        switch (op->kind) {
        case WR_CONST_VALUE: stack[depth++] = op->value; break;
        case WR_CONST_GLOBAL: stack[depth++] = global_value(instance->globals[op->value]); break;
        case WR_CONST_FUNC: stack[depth++] = (uintptr_t)instance->funcs[op->value]; break;
        default:
            depth--;
            stack[depth - 1] = const_arith(op->kind, stack[depth - 1], stack[depth]);
            break;
        }
    }
    return stack[0];
}

static uint64_t element(const wr_instance *instance, uint32_t item) {
    if (item == WR_ELEM_NULL) return 0;
    if ((item & WR_ELEM_GLOBAL) != 0) return global_value(instance->globals[item & ~WR_ELEM_GLOBAL]);
    return (uintptr_t)instance->funcs[item];
}

/* ---- making what the module defines ---- */

static void make_funcs(wr_instance *instance) {
    const wr_module *module = instance->module;
    for (uint32_t i = module->func_imports; i < module->func_count; i++) {
        wr_func *func = &instance->own_funcs[i - module->func_imports];
        *func = (wr_func){.type = wr_type_of_func(module, i), .instance = instance, .index = i};
        instance->funcs[i] = func;
    }
}

/* The allocator's refusal looks the same as that of mmap, whose usual reason is worth a hint. */
static wr_status memory_error(wr_error *error, wr_status status, uint32_t memory, uint64_t pages) {
    const char *hint = status == WR_NO_MEMORY ? "; each memory takes two mappings: vm.max_map_count, ulimit -v" : "";
    return wr_error_set(error, status, 0, "memory %u needs %u pages%s", memory, (uint32_t)pages, hint);
}

static wr_status make_memories(wr_instance *instance, const wr_instance_limits *limits, wr_error *error) {
    const wr_module *module = instance->module;
    bool guarded = true;
    for (uint32_t i = 0; i < module->memory_count; i++) {
        if (i >= module->memory_imports) {
            wr_status status = wr_memory_make(instance->store, &module->memories[i], limits, &instance->memories[i]);
            if (status != WR_OK) return memory_error(error, status, i, module->memories[i].min);
        }
        guarded = guarded && instance->memories[i]->guarded;
    }
    instance->codes = wr_module_code((wr_module *)(uintptr_t)module, guarded);
    if (instance->codes == NULL && module->func_count != module->func_imports) {
        return wr_error_set(error, WR_NO_MEMORY, 0, "%s", "code");
    }
    for (uint32_t i = 0; i < module->func_count - module->func_imports; i++) {
        instance->own_funcs[i].code = &instance->codes[i];
        instance->own_funcs[i].frame_slots = instance->codes[i].frame_slots;
    }
    wr_aot_bind(instance, guarded);
    return WR_OK;
}

static void make_tags(wr_instance *instance, wr_tag *tags) {
    const wr_module *module = instance->module;
    for (uint32_t i = module->tag_imports; i < module->tag_count; i++) {
        tags[i - module->tag_imports].type = module->tags[i];
        instance->tags[i] = &tags[i - module->tag_imports];
    }
}

static void set_global(const wr_instance *instance, wr_global *cell, const wr_const_expr *init) {
    if (cell->type.type != WR_VT_V128) {
        cell->value[0].u64 = evaluate(instance, init);
    } else if (init->kind == WR_CONST_GLOBAL) {
        memcpy(cell->value, instance->globals[init->value]->value, sizeof cell->value);
    } else { /* v128.const: its halves */
        cell->value[0].u64 = init->ops[0].value;
        cell->value[1].u64 = init->ops[1].value;
    }
}

static void make_globals(wr_instance *instance, wr_global *cells) {
    const wr_module *module = instance->module;
    for (uint32_t i = module->global_imports; i < module->global_count; i++) {
        wr_global *cell = &cells[i - module->global_imports];
        cell->type = module->globals[i];
        set_global(instance, cell, &module->global_inits[i - module->global_imports]);
        instance->globals[i] = cell;
    }
}

static wr_status make_tables(wr_instance *instance, wr_error *error) {
    const wr_module *module = instance->module;
    for (uint32_t i = module->table_imports; i < module->table_count; i++) {
        const wr_const_expr *init = &module->table_inits[i - module->table_imports];
        wr_status status =
            wr_table_make(instance->store, &module->tables[i], evaluate(instance, init), &instance->tables[i]);
        if (status != WR_OK) {
            return wr_error_set(error, status, 0, "table %u needs %u elements", i,
                                (uint32_t)module->tables[i].limits.min);
        }
    }
    return WR_OK;
}

static void make_elems(wr_instance *instance, uint64_t *items) {
    const wr_module *module = instance->module;
    for (uint32_t i = 0; i < module->elem_count; i++) {
        instance->elems[i] = items;
        for (uint32_t k = 0; k < module->elems[i].count; k++) *items++ = element(instance, module->elems[i].items[k]);
    }
}

/* ---- active segments ---- */

static wr_status copy_segments(wr_instance *instance) {
    const wr_module *module = instance->module;
    for (uint32_t i = 0; i < module->elem_count; i++) {
        const wr_elem *elem = &module->elems[i];
        if (elem->mode == WR_SEGMENT_ACTIVE) {
            uint64_t at = evaluate(instance, &elem->offset);
            WR_TRY(wr_table_init(NULL, instance, elem->table, i, at, 0, elem->count));
        }
        if (elem->mode != WR_SEGMENT_PASSIVE) instance->elem_dropped[i] = true;
    }
    for (uint32_t i = 0; i < module->data_count; i++) {
        const wr_data *data = &module->datas[i];
        if (data->mode != WR_SEGMENT_ACTIVE) continue;
        WR_TRY(wr_memory_init(NULL, instance, data->memory, i, evaluate(instance, &data->offset), 0, data->size));
        instance->data_dropped[i] = true;
    }
    return WR_OK;
}

/* ---- the instance ---- */

static void instance_destroy(wr_object *object) {
    wr_module_release((wr_module *)(uintptr_t)((wr_instance *)object)->module);
}

static void instance_visit(wr_object *object, struct wr_visitor *visitor) {
    const wr_instance *instance = (const wr_instance *)object;
    for (uint32_t i = 0; i < instance->module->global_count - instance->module->global_imports; i++) {
        wr_visit_slots(visitor, instance->own_globals[i].value, 1);
    }
    for (uint32_t i = 0; i < instance->module->elem_count; i++) {
        if (instance->elems[i] == NULL) return; /* instantiation failed before */
        wr_visit_slots(visitor, (const wr_slot *)instance->elems[i], instance->module->elems[i].count);
    }
}

/* Everything an instance owns but memories and tables is one block, carved up here. */
typedef struct wr_carver {
    uint8_t *at; /* NULL while measuring */
    size_t size;
} wr_carver;

static void *carve(wr_carver *carver, size_t count, size_t size) {
    void *result = carver->at == NULL ? NULL : carver->at + carver->size;
    carver->size += (count * size + 15) & ~(size_t)15;
    return result;
}

typedef struct wr_parts {
    wr_global *globals;
    wr_tag *tags;
    uint64_t *elems;
} wr_parts;

static wr_parts carve_instance(wr_instance *instance, wr_carver *carver, const wr_module *module, size_t elem_items) {
    uint32_t own_funcs = module->func_count - module->func_imports;
    wr_parts result;
    wr_instance layout;
    layout.own_funcs = carve(carver, own_funcs, sizeof(wr_func));
    layout.funcs = carve(carver, module->func_count, sizeof(wr_func *));
    layout.memories = carve(carver, module->memory_count, sizeof(wr_memory *));
    layout.tables = carve(carver, module->table_count, sizeof(wr_table *));
    layout.tags = carve(carver, module->tag_count, sizeof(wr_tag *));
    layout.globals = carve(carver, module->global_count, sizeof(wr_global *));
    layout.data_dropped = carve(carver, module->data_count, sizeof(bool));
    layout.elem_dropped = carve(carver, module->elem_count, sizeof(bool));
    layout.elems = carve(carver, module->elem_count, sizeof(uint64_t *));
    result.globals = carve(carver, module->global_count - module->global_imports, sizeof(wr_global));
    result.tags = carve(carver, module->tag_count - module->tag_imports, sizeof(wr_tag));
    result.elems = carve(carver, elem_items, sizeof(uint64_t));
    if (instance != NULL) {
        instance->own_funcs = layout.own_funcs;
        instance->funcs = layout.funcs;
        instance->memories = layout.memories;
        instance->tables = layout.tables;
        instance->globals = layout.globals;
        instance->tags = layout.tags;
        instance->own_globals = result.globals;
        instance->data_dropped = layout.data_dropped;
        instance->elem_dropped = layout.elem_dropped;
        instance->elems = layout.elems;
    }
    return result;
}

static wr_instance *instance_alloc(wr_store *store, wr_module *module, wr_parts *out) {
    size_t elem_items = 0;
    for (uint32_t i = 0; i < module->elem_count; i++) elem_items += module->elems[i].count;
    size_t head = (sizeof(wr_instance) + 15) & ~(size_t)15;
    wr_carver measure = {NULL, head};
    (void)carve_instance(NULL, &measure, module, elem_items);
    wr_instance *instance = wr_store_object(store, measure.size, instance_destroy);
    if (instance == NULL) return NULL;
    wr_carver carver = {(uint8_t *)instance, head};
    *out = carve_instance(instance, &carver, module, elem_items);
    instance->object.visit = instance_visit;
    instance->store = store;
    instance->module = wr_module_retain(module);
    return instance;
}

static wr_status trap_error(wr_exec *exec, wr_status status, const char *where, wr_error *error) {
    const wr_trap *trap = wr_exec_trap(exec);
    return wr_error_set(error, status, trap->frame_count != 0 ? trap->frames[0].offset : 0, "in %s %s", where,
                        trap->frame_count != 0 ? trap->frames[0].name : "");
}

wr_status wr_instance_new(wr_store *store, const wr_module *module, const wr_extern *imports, uint32_t import_count,
                          const wr_instance_limits *limits, wr_exec *exec, wr_instance **out, wr_error *error) {
    wr_parts parts;
    wr_instance *instance = instance_alloc(store, (wr_module *)(uintptr_t)module, &parts);
    if (instance == NULL) return wr_error_set(error, WR_NO_MEMORY, 0, "%s", "instance");
    WR_TRY(link_imports(instance, imports, import_count, error));
    make_funcs(instance);
    WR_TRY(make_memories(instance, limits, error));
    make_tags(instance, parts.tags);
    make_globals(instance, parts.globals);
    WR_TRY(make_tables(instance, error));
    make_elems(instance, parts.elems);
    wr_status status = copy_segments(instance);
    if (status != WR_OK) {
        wr_trap_record(exec, status);
        return wr_error_set(error, status, 0, "%s", "active segment");
    }
    if (module->start != UINT32_MAX) {
        wr_slot none = {0};
        status = wr_call(exec, instance->funcs[module->start], &none, &none);
        if (status != WR_OK) return trap_error(exec, status, "start function", error);
    }
    *out = instance;
    return WR_OK;
}

/* ---- looking in ---- */

wr_status wr_instance_export(wr_instance *instance, const char *name, size_t name_len, wr_extern *out) {
    const wr_module *module = instance->module;
    for (uint32_t i = 0; i < module->export_count; i++) {
        const wr_export *export = &module->exports[i];
        if (export->name_len != name_len || memcmp(wr_export_name(module, export), name, name_len) != 0) continue;
        out->kind = export->kind;
        switch (export->kind) {
        case WR_EXTERN_FUNC: out->of.func = instance->funcs[export->index]; break;
        case WR_EXTERN_TABLE: out->of.table = instance->tables[export->index]; break;
        case WR_EXTERN_MEMORY: out->of.memory = instance->memories[export->index]; break;
        case WR_EXTERN_TAG: out->of.tag = instance->tags[export->index]; break;
        default: out->of.global = instance->globals[export->index]; break;
        }
        return WR_OK;
    }
    return WR_NOT_FOUND;
}

wr_memory *wr_instance_memory(wr_instance *instance, uint32_t index) {
    return index < instance->module->memory_count ? instance->memories[index] : NULL;
}

void *wr_instance_user(const wr_instance *instance) { return instance->user; }
void wr_instance_set_user(wr_instance *instance, void *user) { instance->user = user; }
