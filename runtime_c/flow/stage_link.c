/* From a module to a running instance: imports against the grants, exports against the ABI, rings into the memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "stage.h"

enum { PARAMS_MAX = 4, NAME_SHOWN = 40 };

/* ---- types ---- */

/* A signature in letters (i = i32, l = i64) as a function type; the arrays live in the struct. */
typedef struct signature {
    uint8_t params[PARAMS_MAX], results[1];
    wr_func_type type;
} signature;

static void spell(uint8_t *types, uint32_t *count, const char *letters) {
    for (*count = 0; letters[*count] != '\0'; (*count)++) {
        types[*count] = letters[*count] == 'l' ? WR_TYPE_I64 : WR_TYPE_I32;
    }
}

static void make_signature(signature *out, const char *params, const char *results) {
    spell(out->params, &out->type.param_count, params);
    spell(out->results, &out->type.result_count, results);
    out->type.params = out->params;
    out->type.results = out->results;
}

static bool same_types(const uint8_t *a, uint32_t a_count, const uint8_t *b, uint32_t b_count) {
    return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count) == 0);
}

static bool same_type(const wr_func_type *a, const wr_func_type *b) {
    return same_types(a->params, a->param_count, b->params, b->param_count) &&
           same_types(a->results, a->result_count, b->results, b->result_count);
}

/* ---- imports ---- */

/* "hal.tx", cut where names are long. */
typedef struct shown_name {
    char text[2 * NAME_SHOWN + 2];
} shown_name;

static shown_name show_import(const wr_import_desc *import) {
    shown_name shown;
    int module = import->module_len < NAME_SHOWN ? (int)import->module_len : NAME_SHOWN;
    int name = import->name_len < NAME_SHOWN ? (int)import->name_len : NAME_SHOWN;
    snprintf(shown.text, sizeof shown.text, "%.*s.%.*s", module, import->module, name, import->name);
    return shown;
}

static bool is_named(const char *text, uint32_t len, const char *name) {
    return strlen(name) == len && memcmp(text, name, len) == 0;
}

static wr_status find_hal(const wr_stage *stage, const wr_import_desc *import, wr_hal *out, wr_error *error) {
    shown_name shown = show_import(import);
    if (import->kind != WR_EXTERN_FUNC || !is_named(import->module, import->module_len, "hal")) {
        return wr_fail(error, WR_UNKNOWN_IMPORT,
                       "stage \"%s\": unknown import %s: a plugin imports functions of module hal only", stage->name,
                       shown.text);
    }
    int hal = 0;
    while (hal < WR_HAL_COUNT && !is_named(import->name, import->name_len, wr_hal_import_at((wr_hal)hal)->name)) hal++;
    if (hal == WR_HAL_COUNT) {
        return wr_fail(error, WR_UNKNOWN_IMPORT, "stage \"%s\": unknown import %s: the host has no such function",
                       stage->name, shown.text);
    }
    if ((stage->grants >> hal & 1) == 0) {
        return wr_fail(error, WR_UNKNOWN_IMPORT, "stage \"%s\": import %s is not granted by the manifest", stage->name,
                       shown.text);
    }
    *out = (wr_hal)hal;
    return WR_OK;
}

static wr_status link_import(wr_stage *stage, uint32_t index, wr_extern *out, wr_error *error) {
    wr_import_desc import = wr_module_import(stage->module, index);
    wr_hal hal = WR_HAL_COUNT;
    wr_status status = find_hal(stage, &import, &hal, error);
    if (status != WR_OK) return status;
    const wr_hal_import *host = wr_hal_import_at(hal);
    signature type;
    make_signature(&type, host->params, host->results);
    if (!same_type(&type.type, &import.func_type)) {
        return wr_fail(error, WR_IMPORT_TYPE,
                       "stage \"%s\": import %s has a wrong type: expected (%s) -> (%s), i = i32, l = i64", stage->name,
                       show_import(&import).text, host->params, host->results);
    }
    out->kind = WR_EXTERN_FUNC;
    status = wr_func_new(stage->store, &type.type, host->fn, stage, &out->of.func);
    return status == WR_OK ? status : wr_fail(error, status, "stage \"%s\": out of memory", stage->name);
}

static wr_status link_imports(wr_stage *stage, wr_extern **out, uint32_t *count, wr_error *error) {
    *count = wr_module_import_count(stage->module);
    wr_extern *imports = calloc(*count + 1, sizeof *imports);
    if (imports == NULL) return wr_fail(error, WR_NO_MEMORY, "stage \"%s\": out of memory", stage->name);
    wr_status status = WR_OK;
    for (uint32_t i = 0; i < *count && status == WR_OK; i++) status = link_import(stage, i, &imports[i], error);
    if (status == WR_OK) {
        *out = imports;
    } else {
        free(imports);
    }
    return status;
}

/* ---- exports ---- */

static const struct {
    const char *name, *params, *results;
} ENTRIES[] = {
#define ROW(NAME, EXPORT, PARAMS, RESULTS) {EXPORT, PARAMS, RESULTS},
    WR_ENTRY_TABLE(ROW)
#undef ROW
};

static bool is_required(wr_entry entry) { return entry == WR_ENTRY_ABI || entry == WR_ENTRY_INIT; }

/* Before anything runs: a module that is no plugin should not get to its start function. */
static wr_status check_exports(const wr_stage *stage, wr_error *error) {
    const char *required[] = {ENTRIES[WR_ENTRY_ABI].name, ENTRIES[WR_ENTRY_INIT].name, "memory"};
    for (size_t r = 0; r < sizeof required / sizeof *required; r++) {
        uint32_t i = 0, count = wr_module_export_count(stage->module);
        for (; i < count; i++) {
            wr_export_desc export = wr_module_export(stage->module, i);
            if (is_named(export.name, export.name_len, required[r])) break;
        }
        if (i == count) {
            return wr_fail(error, WR_NOT_FOUND,
                           "stage \"%s\": the module does not export %s, so it is no plugin of ABI 1", stage->name,
                           required[r]);
        }
    }
    return WR_OK;
}

static wr_status bind_entry(wr_stage *stage, wr_instance *instance, wr_entry entry, wr_error *error) {
    wr_extern found;
    const char *name = ENTRIES[entry].name;
    stage->entries[entry] = NULL;
    wr_status status = wr_instance_export(instance, name, strlen(name), &found);
    if (status != WR_OK && !is_required(entry)) return WR_OK;
    signature type;
    make_signature(&type, ENTRIES[entry].params, ENTRIES[entry].results);
    if (status == WR_OK && found.kind == WR_EXTERN_FUNC) {
        wr_func_type actual = wr_func_type_of(found.of.func);
        stage->entries[entry] = same_type(&actual, &type.type) ? found.of.func : NULL;
    }
    if (stage->entries[entry] != NULL) return WR_OK;
    return wr_fail(error, WR_IMPORT_TYPE, "stage \"%s\": export %s must be a function (%s) -> (%s), i = i32",
                   stage->name, name, ENTRIES[entry].params, ENTRIES[entry].results);
}

static wr_status bind_exports(wr_stage *stage, wr_instance *instance, wr_error *error) {
    wr_extern memory;
    wr_status status = wr_instance_export(instance, "memory", strlen("memory"), &memory);
    if (status != WR_OK || memory.kind != WR_EXTERN_MEMORY) {
        return wr_fail(error, WR_IMPORT_TYPE, "stage \"%s\": export memory must be a memory", stage->name);
    }
    stage->memory = memory.of.memory;
    for (int i = 0; i < WR_ENTRY_COUNT; i++) {
        status = bind_entry(stage, instance, (wr_entry)i, error);
        if (status != WR_OK) return status;
    }
    return WR_OK;
}

/* ---- instance ---- */

static uint64_t map_bytes(const wr_stage *stage) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < stage->in_count; i++) bytes += wr_ring_end_map_bytes(&stage->ins[i]);
    for (uint32_t i = 0; i < stage->out_count; i++) bytes += wr_ring_end_map_bytes(&stage->outs[i]);
    return bytes;
}

static wr_status map_rings(wr_stage *stage, wr_error *error) {
    wr_status status = WR_OK;
    uint64_t before = wr_memory_size(stage->memory);
    for (uint32_t i = 0; i < stage->in_count && status == WR_OK; i++) {
        status = wr_ring_end_map(&stage->ins[i], stage->memory);
    }
    for (uint32_t i = 0; i < stage->out_count && status == WR_OK; i++) {
        status = wr_ring_end_map(&stage->outs[i], stage->memory);
    }
    stage->mapped_bytes = wr_memory_size(stage->memory) - before;
    if (status == WR_OK) return WR_OK;
    return wr_fail(error, status, "stage \"%s\": cannot map its rings into its memory: %s", stage->name,
                   wr_status_text(status));
}

static wr_status instantiate(wr_stage *stage, wr_instance **out, wr_error *error) {
    wr_extern *imports = NULL;
    uint32_t count = 0;
    wr_status status = link_imports(stage, &imports, &count, error);
    if (status != WR_OK) return status;
    wr_instance_limits limits = {.memory_bytes_max = stage->memory_bytes_max, .map_bytes = map_bytes(stage)};
    wr_error cause = {.message = ""};
    wr_exec_set_limits(stage->env.exec, stage->deadline_us, stage->fuel);
    status = wr_instance_new(stage->store, stage->module, imports, count, &limits, stage->env.exec, out, &cause);
    free(imports);
    if (status == WR_OK) return WR_OK;
    return wr_fail(error, status, "stage \"%s\": %.150s", stage->name,
                   cause.message[0] != '\0' ? cause.message : wr_status_text(status));
}

wr_status wr_stage_load(wr_stage *stage, wr_error *error) {
    wr_status status = check_exports(stage, error);
    if (status != WR_OK) return status;
    status = wr_store_new(stage->env.engine, &stage->store);
    if (status != WR_OK) return wr_fail(error, status, "stage \"%s\": out of memory", stage->name);
    wr_instance *instance;
    status = instantiate(stage, &instance, error);
    if (status == WR_OK) status = bind_exports(stage, instance, error);
    if (status == WR_OK) status = map_rings(stage, error);
    if (status != WR_OK) wr_stage_unload(stage);
    return status;
}

void wr_stage_unload(wr_stage *stage) {
    if (stage->store != NULL) wr_store_free(stage->store);
    stage->store = NULL;
    stage->memory = NULL;
    stage->mapped_bytes = 0;
    for (uint32_t i = 0; i < stage->in_count; i++) wr_ring_end_unmapped(&stage->ins[i]);
    for (uint32_t i = 0; i < stage->out_count; i++) wr_ring_end_unmapped(&stage->outs[i]);
}
