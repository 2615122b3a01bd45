/* Custom sections and the function names in the one called "name" (appendix 7.4). */
#include <string.h>

#include "loader.h"

wr_status wr_load_custom(wr_loader *loader) {
    wr_module *module = loader->module;
    wr_custom custom = {0};
    WR_TRY(wr_load_name(loader, &custom.name));
    custom.size = (uint32_t)wr_reader_left(&loader->reader);
    custom.bytes = wr_arena_copy(&module->arena, loader->reader.at, custom.size);
    if (custom.bytes == NULL) return WR_NO_MEMORY;
    loader->reader.at = loader->reader.end;
    if ((module->custom_count & (module->custom_count + 1)) == 0) { /* full at 0, 1, 3, 7, ... */
        wr_custom *grown = WR_LOAD_ALLOC(loader, 2 * (size_t)module->custom_count + 1, wr_custom);
        if (grown == NULL) return WR_NO_MEMORY;
        if (module->custom_count != 0) memcpy(grown, module->customs, module->custom_count * sizeof *grown);
        module->customs = grown;
    }
    module->customs[module->custom_count++] = custom;
    return WR_OK;
}

const uint8_t *wr_module_custom(const wr_module *module, const char *name, size_t *len) {
    size_t name_len = strlen(name);
    for (uint32_t i = 0; i < module->custom_count; i++) {
        const wr_custom *custom = &module->customs[i];
        if (custom->name.len == name_len && memcmp(custom->name.bytes, name, name_len) == 0) {
            *len = custom->size;
            return custom->bytes;
        }
    }
    return NULL;
}

/* Names point into the kept section; they are not NUL-terminated. */
static wr_status read_name_map(wr_module *module, wr_reader *reader) {
    uint32_t count;
    WR_TRY(wr_read_count(reader, &count));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index, len;
        const uint8_t *bytes;
        WR_TRY(wr_read_u32(reader, &index));
        WR_TRY(wr_read_u32(reader, &len));
        WR_TRY(wr_read_bytes(reader, len, &bytes));
        if (index < module->func_count && wr_utf8_valid(bytes, len)) {
            module->func_names[index] = (wr_name){(const char *)bytes, len};
        }
    }
    return WR_OK;
}

/* The name section is advice: what is wrong with it is ignored. */
wr_status wr_load_function_names(wr_module *module) {
    size_t size = 0;
    const uint8_t *bytes = wr_module_custom(module, "name", &size);
    if (bytes == NULL) return WR_OK;
    module->func_names = wr_arena_zero(&module->arena, (size_t)module->func_count + 1, sizeof *module->func_names);
    if (module->func_names == NULL) return WR_NO_MEMORY;
    wr_reader reader = {bytes, bytes, bytes + size, 0};
    while (reader.at != reader.end) {
        uint8_t id;
        uint32_t len;
        const uint8_t *start;
        if (wr_read_byte(&reader, &id) != WR_OK || wr_read_u32(&reader, &len) != WR_OK ||
            wr_read_bytes(&reader, len, &start) != WR_OK) {
            break;
        }
        wr_reader map = {bytes, start, start + len, 0};
        if (id == 1) (void)read_name_map(module, &map);
    }
    return WR_OK;
}

const char *wr_module_func_name(const wr_module *module, uint32_t func_index, uint32_t *len) {
    if (func_index >= module->func_count) return NULL;
    if (module->func_names != NULL && module->func_names[func_index].bytes != NULL) {
        *len = module->func_names[func_index].len;
        return module->func_names[func_index].bytes;
    }
    for (uint32_t i = 0; i < module->export_count; i++) {
        const wr_export *export = &module->exports[i];
        if (export->kind == WR_EXTERN_FUNC && export->index == func_index) {
            *len = export->name.len;
            return export->name.bytes;
        }
    }
    return NULL;
}
