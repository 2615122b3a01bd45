/* What a module imports, exports and contains, for whoever looks at it from outside. */
#include "module.h"

uint32_t wr_module_import_count(const wr_module *module) { return module->import_count; }
uint32_t wr_module_export_count(const wr_module *module) { return module->export_count; }
size_t wr_module_footprint(const wr_module *module) { return sizeof *module + wr_arena_total(&module->arena); }

wr_import_desc wr_module_import(const wr_module *module, uint32_t index) {
    const wr_import *import = &module->imports[index];
    return (wr_import_desc){
        .module = import->module,
        .name = import->name,
        .module_len = import->module_len,
        .name_len = import->name_len,
        .kind = (wr_extern_kind)import->kind,
        .index = import->index,
        .func_type = wr_module_type(module, (wr_extern_kind)import->kind, import->index).func,
    };
}

wr_export_desc wr_module_export(const wr_module *module, uint32_t index) {
    const wr_export *export = &module->exports[index];
    return (wr_export_desc){wr_export_name(module, export), export->name_len, (wr_extern_kind)export->kind,
                            export->index};
}

uint32_t wr_module_count(const wr_module *module, wr_extern_kind kind) {
    switch (kind) {
    case WR_EXTERN_FUNC: return module->func_count;
    case WR_EXTERN_TABLE: return module->table_count;
    case WR_EXTERN_MEMORY: return module->memory_count;
    case WR_EXTERN_GLOBAL: return module->global_count;
    default: return module->tag_count;
    }
}

static void describe_limits(wr_extern_type *type, const wr_limit_pair *limits) {
    type->min = limits->min;
    type->max = limits->max;
    type->is64 = limits->is64;
    type->is_shared = limits->shared;
}

wr_extern_type wr_module_type(const wr_module *module, wr_extern_kind kind, uint32_t index) {
    wr_extern_type type = {.kind = kind};
    switch (kind) {
    case WR_EXTERN_FUNC: type.func = wr_type_public(wr_type_of_func(module, index)); break;
    case WR_EXTERN_TAG: type.func = wr_type_public(module->tags[index]); break;
    case WR_EXTERN_MEMORY: describe_limits(&type, &module->memories[index]); break;
    case WR_EXTERN_TABLE:
        type.value = wr_vt_to_byte(module->tables[index].elem);
        describe_limits(&type, &module->tables[index].limits);
        break;
    case WR_EXTERN_GLOBAL:
        type.value = wr_vt_to_byte(module->globals[index].type);
        type.is_mutable = module->globals[index].is_mutable;
        break;
    }
    return type;
}
