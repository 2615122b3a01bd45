/* Runs modules interpreted and compiled, and compares everything that can be seen: status, results, back-trace, fuel,
 * memories and globals.
 *
 *   aot_compare MODULES.so [--bounds auto|guard|checked] [--fuel N] [--sweep N] [--seeds N] [--again 0|1]
 *               [--stack BYTES] MODULE.wasm...
 *
 * MODULES.so has the code of the modules; those it has not are an error. Each exported function is called with --seeds
 * sets of arguments and --fuel (default 100000); with --sweep once more with each fuel from 1 to N; with --again 1,
 * what ended with fuel left is called again without any. Prints a line per difference, and last `compared CALLS calls
 * of MODULES modules, DIFFERENCES differences`. Exit status 1: some.
 * Imported functions return zeros; memories, tables and globals that are imported are made. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wr.h"

enum { SLOTS_MAX = 64, SEEDS = 3, FUEL = 100000 };

typedef struct compare_options {
    const char *artefact;
    wr_bounds bounds;
    uint64_t fuel, sweep;
    uint32_t seeds, stack_bytes;
    bool again;
} compare_options;

/* One way of running a module. */
typedef struct side {
    wr_module *module;
    wr_store *store;
    wr_exec *exec;
    wr_instance *instance;
    wr_status status;
    wr_slot slots[SLOTS_MAX];
    uint64_t fuel_left;
} side;

typedef struct comparison {
    const compare_options *options;
    const char *name; /* of the module */
    side interpreted, compiled;
    uint64_t calls, differences;
} comparison;

static void die(const char *what, const char *detail) {
    fprintf(stderr, "aot_compare: %s: %s\n", what, detail);
    exit(2);
}

__attribute__((format(printf, 2, 3))) static void differs(comparison *it, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("%s: ", it->name);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    it->differences++;
}

/* ---- making both sides ---- */

/* Zeros; before that it calls "swallowed" of the module that calls it, if there is one, and does not mind its traps. */
static wr_status host_zero(wr_exec *exec, void *env, wr_slot *slots) {
    static const char name[] = "swallowed";
    wr_extern found;
    wr_slot nested[SLOTS_MAX] = {{.u64 = 0}};
    wr_instance *instance = wr_exec_instance(exec);
    if (instance != NULL && wr_instance_export(instance, name, sizeof name - 1, &found) == WR_OK) {
        (void)wr_call(exec, found.of.func, nested, nested);
    }
    memset(slots, 0, *(const uint32_t *)env * sizeof *slots);
    return WR_OK;
}

static wr_extern make_import(wr_store *store, const wr_module *module, const wr_import_desc *import) {
    const wr_extern_type type = wr_module_type(module, import->kind, import->index);
    const uint32_t max = type.max > 65536 ? 65536 : (uint32_t)type.max;
    wr_extern made = {import->kind, {NULL}};
    uint32_t *slots = wr_store_alloc(store, sizeof *slots);
    if (slots == NULL) die("import", "out of memory");
    *slots = 0;
    for (uint32_t i = 0; i < type.func.result_count; i++) *slots += type.func.results[i] == WR_TYPE_V128 ? 2 : 1;
    switch (import->kind) {
    case WR_EXTERN_FUNC: (void)wr_func_new(store, &import->func_type, host_zero, slots, &made.of.func); break;
    case WR_EXTERN_TABLE: (void)wr_table_new(store, type.value, (uint32_t)type.min, max, &made.of.table); break;
    case WR_EXTERN_MEMORY: (void)wr_memory_new(store, (uint32_t)type.min, max, &made.of.memory); break;
    case WR_EXTERN_GLOBAL:
        (void)wr_global_new(store, type.value, type.is_mutable, (wr_slot){.u64 = 0}, &made.of.global);
        break;
    default: break;
    }
    return made;
}

static void make_side(const comparison *it, wr_engine *engine, const uint8_t *bytes, size_t len, side *out,
                      bool compiled) {
    wr_error error = {0};
    wr_status status = wr_module_load(engine, bytes, len, &out->module, &error);
    if (status == WR_OK && compiled) status = wr_aot_attach(out->module, bytes, len, it->options->artefact, &error);
    if (status != WR_OK) die(it->name, error.message);
    if (wr_store_new(engine, &out->store) != WR_OK) die(it->name, "no store");
    if (wr_exec_new(engine, it->options->stack_bytes, &out->exec) != WR_OK) die(it->name, "no stack");
    const uint32_t count = wr_module_import_count(out->module);
    wr_extern *imports = calloc(count + 1, sizeof *imports);
    if (imports == NULL) die(it->name, "out of memory");
    for (uint32_t i = 0; i < count; i++) {
        const wr_import_desc import = wr_module_import(out->module, i);
        imports[i] = make_import(out->store, out->module, &import);
    }
    wr_exec_set_limits(out->exec, 0, it->options->fuel);
    out->status = wr_instance_new(out->store, out->module, imports, count, NULL, out->exec, &out->instance, &error);
    free(imports);
    if (out->status == WR_OK && wr_instance_is_compiled(out->instance) != compiled) die(it->name, "is not compiled");
}

static void free_side(side *it) {
    wr_exec_free(it->exec);
    wr_store_free(it->store);
    wr_module_release(it->module);
}

/* ---- calling ---- */

/* Small numbers, addresses, and any bits: what makes code go different ways. */
static uint64_t argument(uint32_t seed, uint32_t index) {
    const uint64_t mixed = (seed * UINT64_C(0x9E3779B97F4A7C15) + index * UINT64_C(0xBF58476D1CE4E5B9)) ^ (seed << 7);
    return seed % 3 == 0 ? (seed + index) % 8 : seed % 3 == 1 ? mixed % 70000 : mixed;
}

static void call(side *it, const wr_extern *func, const wr_slot *args, uint64_t fuel) {
    memcpy(it->slots, args, sizeof it->slots);
    wr_exec_set_limits(it->exec, 0, fuel);
    it->status = wr_call(it->exec, func->of.func, it->slots, it->slots);
    it->fuel_left = wr_exec_fuel_left(it->exec);
}

/* Whether two trap positions are the same one. The branch that used up the fuel may count as part of what is in front
 * of it. */
static bool same_frame(const wr_frame *a, const wr_frame *b, bool exact) {
    return a->func_index == b->func_index && strcmp(a->name, b->name) == 0 && (!exact || a->offset == b->offset);
}

static void compare_traps(comparison *it, const char *name) {
    const wr_trap *a = wr_exec_trap(it->interpreted.exec), *b = wr_exec_trap(it->compiled.exec);
    bool same = a->frame_count == b->frame_count && a->frames_total == b->frames_total;
    for (uint32_t i = 0; same && i < a->frame_count; i++) {
        same = same_frame(&a->frames[i], &b->frames[i], i != 0 || a->status != WR_TRAP_FUEL);
    }
    if (same) return;
    differs(it, "%s: %s after %u calls in function %u @0x%x, compiled after %u in function %u @0x%x", name,
            wr_status_name(a->status), a->frames_total, a->frames[0].func_index, a->frames[0].offset, b->frames_total,
            b->frames[0].func_index, b->frames[0].offset);
}

static void compare_call(comparison *it, const char *name, const wr_func_type *type, uint64_t fuel) {
    const side *a = &it->interpreted, *b = &it->compiled;
    uint32_t slots = 0;
    it->calls++;
    if (a->status != b->status) {
        differs(it, "%s, fuel %" PRIu64 ": %s, compiled %s", name, fuel, wr_status_name(a->status),
                wr_status_name(b->status));
        return;
    }
    if (a->fuel_left != b->fuel_left) {
        differs(it, "%s, fuel %" PRIu64 ": %" PRIu64 " left, compiled %" PRIu64, name, fuel, a->fuel_left,
                b->fuel_left);
    }
    if (a->status != WR_OK) {
        compare_traps(it, name);
        return;
    }
    for (uint32_t i = 0; i < type->result_count; i++) {
        const uint8_t kind = type->results[i];
        if (kind == WR_TYPE_FUNCREF || kind == WR_TYPE_EXTERNREF) { /* addresses */
            if ((a->slots[slots].u64 == 0) != (b->slots[slots].u64 == 0)) differs(it, "%s: null, or not", name);
        } else {
            const size_t bytes = kind == WR_TYPE_V128 ? 16 : kind == WR_TYPE_I32 || kind == WR_TYPE_F32 ? 4 : 8;
            if (memcmp(&a->slots[slots], &b->slots[slots], bytes) != 0) {
                differs(it, "%s: result %u is 0x%" PRIx64 ", compiled 0x%" PRIx64, name, i, a->slots[slots].u64,
                        b->slots[slots].u64);
            }
        }
        slots += kind == WR_TYPE_V128 ? 2 : 1;
    }
}

/* ---- state ---- */

static void compare_memories(comparison *it, const char *after) {
    for (uint32_t i = 0; i < wr_module_count(it->interpreted.module, WR_EXTERN_MEMORY); i++) {
        const wr_memory *a = wr_instance_memory(it->interpreted.instance, i);
        const wr_memory *b = wr_instance_memory(it->compiled.instance, i);
        const uint64_t size = wr_memory_size(a);
        if (size != wr_memory_size(b)) {
            differs(it, "memory %u has another size after %s", i, after);
        } else if (memcmp(wr_memory_data(a), wr_memory_data(b), (size_t)size) != 0) {
            differs(it, "memory %u differs after %s", i, after);
        }
    }
}

static void compare_globals(comparison *it, const char *after) {
    for (uint32_t i = 0; i < wr_module_export_count(it->interpreted.module); i++) {
        const wr_export_desc export = wr_module_export(it->interpreted.module, i);
        wr_extern a, b;
        bool is_mutable = false;
        if (export.kind != WR_EXTERN_GLOBAL) continue;
        (void)wr_instance_export(it->interpreted.instance, export.name, export.name_len, &a);
        (void)wr_instance_export(it->compiled.instance, export.name, export.name_len, &b);
        const uint8_t kind = wr_global_type_of(a.of.global, &is_mutable);
        const size_t bytes = kind == WR_TYPE_I32 || kind == WR_TYPE_F32 ? 4 : 8;
        const wr_slot left = wr_global_get(a.of.global), right = wr_global_get(b.of.global);
        if (kind == WR_TYPE_FUNCREF || kind == WR_TYPE_EXTERNREF) continue;
        if (memcmp(&left, &right, bytes) != 0) differs(it, "global %s differs after %s", export.name, after);
    }
}

/* ---- a module ---- */

static void compare_both(comparison *it, const wr_export_desc *export, const wr_extern *a, const wr_extern *b,
                         const wr_slot *args, uint64_t fuel) {
    const wr_func_type type = wr_func_type_of(a->of.func);
    call(&it->interpreted, a, args, fuel);
    call(&it->compiled, b, args, fuel);
    compare_call(it, export->name, &type, fuel);
    compare_memories(it, export->name);
    compare_globals(it, export->name);
}

static void compare_function(comparison *it, const wr_export_desc *export) {
    wr_extern a, b;
    (void)wr_instance_export(it->interpreted.instance, export->name, export->name_len, &a);
    (void)wr_instance_export(it->compiled.instance, export->name, export->name_len, &b);
    const wr_func_type type = wr_func_type_of(a.of.func);
    if ((type.param_count > type.result_count ? type.param_count : type.result_count) * 2 > SLOTS_MAX) return;
    for (uint64_t round = 0; round < it->options->seeds + it->options->sweep; round++) {
        const bool sweeps = round >= it->options->seeds;
        const uint64_t fuel = sweeps ? round - it->options->seeds + 1 : it->options->fuel;
        wr_slot args[SLOTS_MAX] = {{.u64 = 0}};
        for (uint32_t i = 0, slot = 0; i < type.param_count; i++) {
            const uint8_t kind = type.params[i];
            const bool is_reference = kind == WR_TYPE_FUNCREF || kind == WR_TYPE_EXTERNREF;
            args[slot].u64 = is_reference ? 0 : argument(sweeps ? 0 : (uint32_t)round, i);
            if (kind == WR_TYPE_I32 || kind == WR_TYPE_F32) args[slot].u64 = args[slot].u32;
            slot += kind == WR_TYPE_V128 ? 2 : 1;
        }
        compare_both(it, export, &a, &b, args, fuel);
        if (it->options->again && !sweeps && it->interpreted.status != WR_TRAP_FUEL) {
            compare_both(it, export, &a, &b, args, 0);
        }
    }
}

static void compare_module(comparison *it, wr_engine *engine, const uint8_t *bytes, size_t len) {
    memset(&it->interpreted, 0, sizeof it->interpreted);
    memset(&it->compiled, 0, sizeof it->compiled);
    make_side(it, engine, bytes, len, &it->interpreted, false);
    make_side(it, engine, bytes, len, &it->compiled, true);
    if (it->interpreted.status != it->compiled.status) {
        differs(it, "instantiation: %s, compiled %s", wr_status_name(it->interpreted.status),
                wr_status_name(it->compiled.status));
    } else if (it->interpreted.status == WR_OK) {
        for (uint32_t i = 0; i < wr_module_export_count(it->interpreted.module); i++) {
            const wr_export_desc export = wr_module_export(it->interpreted.module, i);
            if (export.kind == WR_EXTERN_FUNC) compare_function(it, &export);
        }
    }
    free_side(&it->interpreted);
    free_side(&it->compiled);
}

static uint8_t *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) die(path, "cannot be read");
    *len = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*len + 1);
    if (bytes == NULL || fread(bytes, 1, *len, file) != *len) die(path, "cannot be read");
    fclose(file);
    return bytes;
}

/* Returns the index of the first module. */
static int parse_options(compare_options *out, int argc, char **argv) {
    static const char *const BOUNDS[] = {"auto", "guard", "checked"};
    int at = 2;
    if (argc < 3) die("usage", "aot_compare MODULES.so [options] MODULE.wasm...");
    out->artefact = argv[1];
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        const uint64_t number = strtoull(argv[at + 1], NULL, 10);
        if (strcmp(argv[at], "--fuel") == 0) {
            out->fuel = number;
        } else if (strcmp(argv[at], "--sweep") == 0) {
            out->sweep = number;
        } else if (strcmp(argv[at], "--seeds") == 0) {
            out->seeds = (uint32_t)number;
        } else if (strcmp(argv[at], "--again") == 0) {
            out->again = number != 0;
        } else if (strcmp(argv[at], "--stack") == 0) {
            out->stack_bytes = (uint32_t)number;
        } else if (strcmp(argv[at], "--bounds") == 0) {
            for (uint32_t i = 0; i < 3; i++) {
                if (strcmp(argv[at + 1], BOUNDS[i]) == 0) out->bounds = (wr_bounds)i;
            }
        } else {
            die("unknown option", argv[at]);
        }
    }
    return at;
}

int main(int argc, char **argv) {
    compare_options options = {.fuel = FUEL, .seeds = SEEDS};
    const int first = parse_options(&options, argc, argv);
    comparison it = {.options = &options};
    const wr_engine_config config = {.bounds = options.bounds};
    for (int i = first; i < argc; i++) {
        wr_engine *engine = NULL;
        size_t len = 0;
        uint8_t *bytes = read_file(argv[i], &len);
        it.name = argv[i];
        if (wr_engine_new(&config, &engine) != WR_OK) die("engine", "cannot be made");
        compare_module(&it, engine, bytes, len);
        wr_engine_free(engine);
        free(bytes);
    }
    printf("compared %" PRIu64 " calls of %d modules, %" PRIu64 " differences\n", it.calls, argc - first,
           it.differences);
    return it.differences == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
