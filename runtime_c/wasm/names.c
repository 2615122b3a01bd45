/* Custom sections and the function names in the one called "name" (appendix 7.4). */
#include <string.h>

#include "loader.h"

static const char *custom_name(const wr_custom *custom) { return (const char *)(custom + 1); }

static const uint8_t *custom_bytes(const wr_custom *custom) {
    return (const uint8_t *)custom_name(custom) + custom->name_len;
}

wr_status wr_load_custom(wr_loader *loader) {
    const char *name;
    uint32_t name_len;
    WR_TRY(wr_load_name(loader, &name, &name_len));
    const size_t size = wr_reader_left(&loader->reader);
    wr_custom *custom = wr_arena_take(&loader->module->arena, sizeof *custom + name_len + size, 1);
    if (custom == NULL) return WR_NO_MEMORY;
    *custom = (wr_custom){.name_len = name_len, .size = (uint32_t)size};
    memcpy(custom + 1, name, name_len + size); /* the rest of the section follows the name there, too */
    loader->reader.at = loader->reader.end;
    *loader->customs = custom;
    loader->customs = &custom->next;
    return WR_OK;
}

static const wr_custom *find_custom(const wr_module *module, const char *name) {
    const size_t len = strlen(name);
    const wr_custom *custom = module->customs;
    while (custom != NULL && (custom->name_len != len || memcmp(custom_name(custom), name, len) != 0)) {
        custom = custom->next;
    }
    return custom;
}

const uint8_t *wr_module_custom(const wr_module *module, const char *name, size_t *len) {
    const wr_custom *custom = find_custom(module, name);
    if (custom == NULL) return NULL;
    *len = custom->size;
    return custom_bytes(custom);
}

/* The section from `at` on. */
static wr_reader read_custom(const wr_custom *custom, uint32_t at) {
    const uint8_t *bytes = custom_bytes(custom);
    return (wr_reader){bytes, bytes + at, bytes + custom->size, 0};
}

static wr_status read_name_map(wr_module *module, wr_reader *reader) {
    uint32_t count;
    WR_TRY(wr_read_count(reader, &count));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index, len;
        const uint8_t *bytes;
        WR_TRY(wr_read_u32(reader, &index));
        const uint32_t at = wr_reader_offset(reader);
        WR_TRY(wr_read_u32(reader, &len));
        WR_TRY(wr_read_bytes(reader, len, &bytes));
        if (index < module->func_count && wr_utf8_valid(bytes, len)) module->func_names_at[index] = at;
    }
    return WR_OK;
}

/* The name section is advice: what is wrong with it is ignored. */
wr_status wr_load_function_names(wr_module *module) {
    module->names = find_custom(module, "name");
    if (module->names == NULL) return WR_OK;
    module->func_names_at = wr_arena_zero(&module->arena, module->func_count, sizeof *module->func_names_at);
    if (module->func_names_at == NULL) return WR_NO_MEMORY;
    wr_reader reader = read_custom(module->names, 0);
    while (reader.at != reader.end) {
        uint8_t id;
        uint32_t len;
        const uint8_t *start;
        if (wr_read_byte(&reader, &id) != WR_OK || wr_read_u32(&reader, &len) != WR_OK ||
            wr_read_bytes(&reader, len, &start) != WR_OK) {
            break;
        }
        wr_reader map = {reader.base, start, start + len, 0};
        if (id == 1) (void)read_name_map(module, &map);
    }
    return WR_OK;
}

const char *wr_module_func_name(const wr_module *module, uint32_t func_index, uint32_t *len) {
    if (func_index >= module->func_count) return NULL;
    const uint32_t at = module->func_names_at != NULL ? module->func_names_at[func_index] : 0;
    if (at != 0) {
        wr_reader reader = read_custom(module->names, at);
        return wr_read_u32(&reader, len) == WR_OK ? (const char *)reader.at : NULL;
    }
    for (uint32_t i = 0; i < module->export_count; i++) {
        const wr_export *export = &module->exports[i];
        if (export->kind == WR_EXTERN_FUNC && export->index == func_index) {
            *len = export->name_len;
            return wr_export_name(module, export);
        }
    }
    return NULL;
}
