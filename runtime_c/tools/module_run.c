/* Runs whole modules and writes down all that can be seen of it, to be compared with what another engine does
 * (tests/runtime_c/differential.py).
 *
 *     module_run [--bounds guard|checked] [--aot MODULES.so] FILE...
 *
 * With --aot, modules that the artefact holds run compiled.
 *
 * Imported functions log their arguments and answer zeros. Exported functions are called in order, with arguments that
 * depend on their place, after hangLimitInitializer if there is one. Output lines:
 *
 *     module FILE                     then for each, until it is refused or traps while it starts:
 *     compiled                        it is in the artefact
 *     refused STATUS | unlinked STATUS | starts STATUS
 *     log TYPE:VALUE...               an imported function without vectors was called
 *     call NAME TYPE:VALUE...         results, or
 *     call NAME trap STATUS
 *     memory NAME PAGES HASH          exported memories, globals and tables, as they are at the end
 *     global NAME TYPE:VALUE
 *     table NAME SIZE
 *
 * VALUE is hexadecimal bits, null or ref; NAME is hexadecimal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "read_file.h"
#include "wr.h"

enum { SLOTS_MAX = 256, IMPORTS_MAX = 256, STACK_BYTES = 1 << 20, FUEL = 1000000, MEMORY_MAX = 64 << 20 };

/* What binaryen's generator calls the function that lets loops and recursion run again for a while: () -> (). */
#define RESET "hangLimitInitializer"

typedef struct host_env {
    wr_func_type type;
} host_env;

static void print_value(uint8_t type, const wr_slot *slot) {
    switch (type) {
    case WR_TYPE_I32: printf(" i32:%08" PRIx32, slot->u32); return;
    case WR_TYPE_I64: printf(" i64:%016" PRIx64, slot->u64); return;
    case WR_TYPE_F32: printf(" f32:%08" PRIx32, slot->u32); return;
    case WR_TYPE_F64: printf(" f64:%016" PRIx64, slot->u64); return;
    case WR_TYPE_V128: printf(" v128:%016" PRIx64 "%016" PRIx64, slot[1].u64, slot[0].u64); return;
    default: printf(" ref:%s", slot->u64 != 0 ? "ref" : "null"); return;
    }
}

static void print_values(const uint8_t *types, uint32_t count, const wr_slot *slots) {
    for (uint32_t i = 0; i < count; i++) {
        print_value(types[i], slots);
        slots += types[i] == WR_TYPE_V128 ? 2 : 1;
    }
    printf("\n");
}

static void print_name(const char *what, const wr_export_desc *export) {
    printf("%s ", what);
    for (uint32_t i = 0; i < export->name_len; i++) printf("%02x", (uint8_t)export->name[i]);
    if (export->name_len == 0) printf("-");
}

static uint32_t slot_count(const uint8_t *types, uint32_t count) {
    uint32_t slots = count;
    for (uint32_t i = 0; i < count; i++) slots += types[i] == WR_TYPE_V128;
    return slots;
}

static bool has_room(const wr_func_type *type) {
    return slot_count(type->params, type->param_count) <= SLOTS_MAX &&
           slot_count(type->results, type->result_count) <= SLOTS_MAX;
}

/* Floats are numbers: modules make their NaNs by themselves. */
static void put_argument(uint8_t type, uint32_t export, uint32_t place, wr_slot *slot) {
    uint64_t mixed = ((uint64_t)export * 31 + place + 1) * UINT64_C(0x9E3779B97F4A7C15);
    int8_t small = (int8_t)(mixed >> 56);
    slot->u64 = 0;
    switch (type) {
    case WR_TYPE_I32: slot->u32 = (mixed & 1) != 0 ? (uint32_t)(int32_t)small : (uint32_t)(mixed >> 32); break;
    case WR_TYPE_I64: slot->u64 = (mixed & 1) != 0 ? (uint64_t)(int64_t)small : mixed; break;
    case WR_TYPE_F32: slot->f32 = (float)small / 4; break;
    case WR_TYPE_F64: slot->f64 = (double)small / 4; break;
    case WR_TYPE_V128:
        slot[0].u64 = mixed & UINT64_C(0x3F3F3F3F3F3F3F3F); /* no NaN in any lane */
        slot[1].u64 = mixed >> 8 & UINT64_C(0x3F3F3F3F3F3F3F3F);
        break;
    default: break;
    }
}

static void put_arguments(const wr_func_type *type, uint32_t export, wr_slot *slots) {
    for (uint32_t i = 0; i < type->param_count; i++) {
        put_argument(type->params[i], export, i, slots);
        slots += type->params[i] == WR_TYPE_V128 ? 2 : 1;
    }
}

static bool has_vectors(const wr_func_type *type) {
    return slot_count(type->params, type->param_count) != type->param_count ||
           slot_count(type->results, type->result_count) != type->result_count;
}

static wr_status log_call(wr_exec *exec, void *user, wr_slot *slots) {
    const host_env *env = user;
    (void)exec;
    if (!has_vectors(&env->type)) {
        printf("log");
        print_values(env->type.params, env->type.param_count, slots);
    }
    memset(slots, 0, slot_count(env->type.results, env->type.result_count) * sizeof *slots);
    return WR_OK;
}

static wr_status offer(wr_store *store, const wr_module *module, wr_extern *imports, host_env *envs) {
    for (uint32_t i = 0; i < wr_module_import_count(module); i++) {
        wr_import_desc want = wr_module_import(module, i);
        if (i == IMPORTS_MAX) return WR_LIMIT_IMPORTS;
        if (want.kind != WR_EXTERN_FUNC || !has_room(&want.func_type)) return WR_UNKNOWN_IMPORT;
        envs[i].type = want.func_type;
        imports[i].kind = WR_EXTERN_FUNC;
        wr_status status = wr_func_new(store, &envs[i].type, log_call, &envs[i], &imports[i].of.func);
        if (status != WR_OK) return status;
    }
    return WR_OK;
}

/* CRC-32 as of zlib. */
static uint32_t hash_memory(const uint8_t *bytes, uint64_t size) {
    uint32_t table[256];
    uint32_t hash = UINT32_MAX;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = (value & 1) != 0 ? UINT32_C(0xEDB88320) ^ value >> 1 : value >> 1;
        table[i] = value;
    }
    for (uint64_t at = 0; at < size; at++) hash = table[(hash ^ bytes[at]) & 0xFF] ^ hash >> 8;
    return ~hash;
}

static void call_export(wr_exec *exec, const wr_export_desc *export, const wr_func *func, uint32_t index,
                        const wr_func *before) {
    wr_slot slots[SLOTS_MAX];
    wr_func_type type = wr_func_type_of(func);
    if (!has_room(&type)) return;
    wr_exec_set_limits(exec, 0, FUEL);
    if (before != NULL) (void)wr_call(exec, before, slots, slots);
    put_arguments(&type, index, slots);
    wr_exec_set_limits(exec, 0, FUEL);
    wr_status status = wr_call(exec, func, slots, slots);
    print_name("call", export);
    if (status == WR_OK)
        print_values(type.results, type.result_count, slots);
    else
        printf(" trap %s\n", wr_status_name(status));
}

static void show_export(const wr_export_desc *export, const wr_extern *found) {
    wr_slot value[2] = {{0}};
    bool is_mutable = false;
    switch (export->kind) {
    case WR_EXTERN_MEMORY: {
        uint64_t size = wr_memory_size(found->of.memory);
        print_name("memory", export);
        printf(" %" PRIu64 " %08" PRIx32 "\n", size >> 16, hash_memory(wr_memory_data(found->of.memory), size));
        return;
    }
    case WR_EXTERN_GLOBAL: {
        uint8_t type = wr_global_type_of(found->of.global, &is_mutable);
        value[0] = wr_global_get(found->of.global);
        if (type == WR_TYPE_V128) (void)wr_global_get_v128(found->of.global, value);
        print_name("global", export);
        print_values(&type, 1, value);
        return;
    }
    case WR_EXTERN_TABLE:
        print_name("table", export);
        printf(" %" PRIu32 "\n", wr_table_size(found->of.table));
        return;
    default: return;
    }
}

static void use_instance(wr_exec *exec, const wr_module *module, wr_instance *instance) {
    uint32_t count = wr_module_export_count(module);
    wr_extern before = {WR_EXTERN_FUNC, {NULL}};
    (void)wr_instance_export(instance, RESET, strlen(RESET), &before);
    for (int shows = 0; shows < 2; shows++) {
        for (uint32_t i = 0; i < count; i++) {
            wr_export_desc export = wr_module_export(module, i);
            wr_extern found;
            if (wr_instance_export(instance, export.name, export.name_len, &found) != WR_OK) continue;
            if (shows)
                show_export(&export, &found);
            else if (export.kind == WR_EXTERN_FUNC)
                call_export(exec, &export, found.of.func, i, before.of.func);
        }
    }
}

static void run_module(wr_engine *engine, wr_exec *exec, const wr_module *module) {
    wr_extern imports[IMPORTS_MAX];
    host_env envs[IMPORTS_MAX];
    const wr_instance_limits limits = {.memory_bytes_max = MEMORY_MAX};
    wr_store *store = NULL;
    wr_instance *instance = NULL;
    wr_error error;
    wr_status status = wr_store_new(engine, &store);
    if (status != WR_OK) {
        printf("unlinked %s\n", wr_status_name(status));
        return;
    }
    status = offer(store, module, imports, envs);
    if (status == WR_OK) {
        wr_exec_set_limits(exec, 0, FUEL);
        status =
            wr_instance_new(store, module, imports, wr_module_import_count(module), &limits, exec, &instance, &error);
    }
    printf("%s %s\n", wr_status_class_of(status) == WR_CLASS_UNLINKABLE ? "unlinked" : "starts",
           wr_status_name(status));
    if (status == WR_OK) use_instance(exec, module, instance);
    wr_store_free(store);
}

typedef struct runner {
    wr_engine *engine;
    wr_exec *exec;
    const char *artefact; /* NULL: interpret */
} runner;

static bool run_file(runner *run, const char *path) {
    size_t len = 0;
    uint8_t *bytes = read_file(path, &len);
    wr_module *module = NULL;
    if (bytes == NULL) {
        fprintf(stderr, "module_run: %s: cannot be read\n", path);
        return false;
    }
    printf("module %s\n", path);
    fflush(stdout); /* a crash belongs to the last one named */
    wr_status status = wr_module_load(run->engine, bytes, len, &module, NULL);
    if (status != WR_OK) {
        printf("refused %s\n", wr_status_name(status));
    } else {
        if (run->artefact != NULL && wr_aot_attach(module, bytes, len, run->artefact, NULL) == WR_OK) {
            printf("compiled\n");
        }
        run_module(run->engine, run->exec, module);
        wr_module_release(module);
    }
    free(bytes);
    return true;
}

int main(int argc, char **argv) {
    wr_engine_config config = {.bounds = WR_BOUNDS_GUARD};
    runner run = {.artefact = NULL};
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--aot") == 0) {
            run.artefact = argv[at + 1];
        } else if (strcmp(argv[at], "--bounds") == 0 && strcmp(argv[at + 1], "checked") == 0) {
            config.bounds = WR_BOUNDS_CHECKED;
        }
    }
    if (wr_engine_new(&config, &run.engine) != WR_OK || wr_exec_new(run.engine, STACK_BYTES, &run.exec) != WR_OK)
        return 2;
    bool complete = true;
    for (; at < argc && complete; at++) complete = run_file(&run, argv[at]);
    wr_exec_free(run.exec);
    wr_engine_free(run.engine);
    return complete ? 0 : 2;
}
