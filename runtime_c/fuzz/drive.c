#include "drive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wr.h"

enum {
    FUEL = 5000,
    DEADLINE_US = 200 * 1000, /* waiting uses no fuel */
    STACK_BYTES = 64 * 1024,
    MEMORY_MAX = 1 << 20,
    TABLE_MAX = 10000,
    LOAD_RATIO_MAX = 100, /* also what is dense is to be loaded */
    SLOTS_MAX = 128,
    IMPORTS_MAX = 256,
    EXPORTS_MAX = 64,
    HASHED_MAX = 4096, /* bytes at the start of a memory */
    RESULTS_MAX = EXPORTS_MAX + 2,
    CALLS_BACK_MAX = 8,
    SHORT_OF_MEMORY = 4, /* one input in so many */
    ALLOCATIONS_MAX = 128
};

/* What a run came to: a status and a hash of results and memory per step. */
typedef struct outcome {
    uint32_t count;
    bool is_late; /* a deadline: what came before depends on the machine */
    wr_status status[RESULTS_MAX];
    uint64_t hash[RESULTS_MAX];
} outcome;

typedef struct run {
    drive_counts *counts;
    outcome *seen;
    uint64_t random;
    wr_engine *engine;
    wr_exec *exec;
    wr_store *store;
    wr_module *module;
    wr_instance *instance;
    uint32_t calls_back;
    wr_func *first; /* export that host functions call back */
    wr_func_type types[IMPORTS_MAX];
    struct host_env {
        struct run *run;
        const wr_func_type *type;
    } envs[IMPORTS_MAX];
    wr_extern imports[IMPORTS_MAX];
} run;

/* Fails every allocation after some. */
typedef struct allowance {
    uint64_t left;
} allowance;

static void *alloc_some(void *user, void *old, size_t old_size, size_t size) {
    allowance *allowed = user;
    (void)old_size;
    if (size == 0) {
        free(old);
        return NULL;
    }
    if (allowed->left == 0) return NULL;
    allowed->left--;
    return realloc(old, size);
}

static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) hash = (hash ^ bytes[i]) * UINT64_C(0x100000001B3);
    return hash;
}

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    return z ^ z >> 31;
}

/* Small numbers, and the edges of all types. */
static uint64_t pick_value(uint64_t *state) {
    static const uint64_t EDGES[] = {0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 65535, UINT64_MAX, UINT64_C(1) << 63};
    uint64_t choice = next_random(state);
    if (choice % 3 == 0) return EDGES[choice / 3 % (sizeof EDGES / sizeof EDGES[0])];
    return choice % 3 == 1 ? choice >> 56 : next_random(state);
}

static bool is_reference(uint8_t type) { return type <= WR_TYPE_FUNCREF && type > 0x40; }

/* Values of these types to slots; references are null. */
static void put_values(const uint8_t *types, uint32_t count, wr_slot *slots, uint64_t *state) {
    for (uint32_t i = 0; i < count; i++) {
        slots->u64 = is_reference(types[i]) ? 0 : pick_value(state);
        if (types[i] == WR_TYPE_V128) (++slots)->u64 = next_random(state);
        slots++;
    }
}

static uint64_t hash_values(const uint8_t *types, uint32_t count, const wr_slot *slots) {
    uint64_t hash = count;
    for (uint32_t i = 0; i < count; i++) {
        bool is_half = types[i] == WR_TYPE_I32 || types[i] == WR_TYPE_F32;
        uint64_t bits = is_half ? slots->u32 : is_reference(types[i]) ? slots->u64 != 0 : slots->u64;
        hash = hash_bytes(hash, (const uint8_t *)&bits, sizeof bits);
        if (types[i] == WR_TYPE_V128) hash = hash_bytes(hash, (const uint8_t *)++slots, sizeof bits);
        slots++;
    }
    return hash;
}

static uint32_t slot_count(const uint8_t *types, uint32_t count) {
    uint32_t slots = count;
    for (uint32_t i = 0; i < count; i++) slots += types[i] == WR_TYPE_V128;
    return slots;
}

static bool has_room(wr_func_type type) {
    return slot_count(type.params, type.param_count) <= SLOTS_MAX &&
           slot_count(type.results, type.result_count) <= SLOTS_MAX;
}

static void complain(const char *what, wr_status status) {
    fprintf(stderr, "drive: %s: %s\n", what, wr_status_name(status));
    abort();
}

static wr_status call(run *r, wr_func *func, uint64_t *hash) {
    wr_slot slots[SLOTS_MAX] = {{0}};
    wr_func_type type = wr_func_type_of(func);
    put_values(type.params, type.param_count, slots, &r->random);
    wr_status status = wr_call(r->exec, func, slots, slots);
    wr_status_class class = wr_status_class_of(status);
    if (class != WR_CLASS_OK && class != WR_CLASS_TRAP && status != WR_NO_MEMORY) complain("call", status);
    *hash = status == WR_OK ? hash_values(type.results, type.result_count, slots) : wr_exec_fuel_left(r->exec);
    r->seen->is_late |= status == WR_TRAP_DEADLINE;
    r->counts->calls++;
    r->counts->traps += class == WR_CLASS_TRAP;
    return status;
}

/* Answers something; now and then it calls back first, or fails. */
static wr_status answer(wr_exec *exec, void *user, wr_slot *slots) {
    const struct host_env *env = user;
    run *r = env->run;
    uint64_t hash = 0;
    (void)exec;
    if (r->first != NULL && next_random(&r->random) % 4 == 0 && r->calls_back++ < CALLS_BACK_MAX) {
        (void)call(r, r->first, &hash);
    }
    put_values(env->type->results, env->type->result_count, slots, &r->random);
    return next_random(&r->random) % 64 == 0 ? WR_TRAP_HOST : WR_OK;
}

/* Something of the type that the module wants; what cannot be made stays empty, and linking fails. */
static wr_status offer(run *r, uint32_t at, const wr_import_desc *want) {
    wr_extern *import = &r->imports[at];
    wr_extern_type type = wr_module_type(r->module, want->kind, want->index);
    wr_slot value[2] = {{0}};
    import->kind = want->kind;
    r->types[at] = type.func;
    uint32_t max = type.max > 16 ? 16 : (uint32_t)type.max;
    uint32_t min = type.min > max ? max : (uint32_t)type.min;
    switch (want->kind) {
    case WR_EXTERN_FUNC:
        r->envs[at] = (struct host_env){r, &r->types[at]};
        return wr_func_new(r->store, &r->types[at], answer, &r->envs[at], &import->of.func);
    case WR_EXTERN_TABLE: return wr_table_new(r->store, type.value, min, max, &import->of.table);
    case WR_EXTERN_MEMORY:
        if (type.is_shared) return wr_memory_new_shared(r->store, min, max, &import->of.memory);
        return wr_memory_new(r->store, min, max, &import->of.memory);
    case WR_EXTERN_GLOBAL:
        if (!is_reference(type.value)) put_values(&type.value, 1, value, &r->random);
        if (type.value == WR_TYPE_V128) {
            return wr_global_new_v128(r->store, type.is_mutable, value, &import->of.global);
        }
        return wr_global_new(r->store, type.value, type.is_mutable, value[0], &import->of.global);
    case WR_EXTERN_TAG: return wr_tag_new(r->store, &r->types[at], &import->of.tag);
    }
    return WR_BAD_ARGUMENT;
}

static void note(run *r, wr_status status, uint64_t hash) {
    outcome *seen = r->seen;
    if (seen->count == RESULTS_MAX) return;
    seen->status[seen->count] = status;
    seen->hash[seen->count++] = hash;
}

static uint64_t hash_memory(const run *r) {
    const wr_memory *memory = wr_instance_memory(r->instance, 0);
    if (memory == NULL) return 0;
    uint64_t size = wr_memory_size(memory);
    return hash_bytes(size, wr_memory_data(memory), size < HASHED_MAX ? (size_t)size : HASHED_MAX);
}

static wr_func *export_func(run *r, uint32_t index) {
    wr_export_desc desc = wr_module_export(r->module, index);
    wr_extern found;
    if (desc.kind != WR_EXTERN_FUNC) return NULL;
    if (wr_instance_export(r->instance, desc.name, desc.name_len, &found) != WR_OK) return NULL;
    return has_room(wr_func_type_of(found.of.func)) ? found.of.func : NULL;
}

static void call_exports(run *r) {
    uint32_t count = wr_module_export_count(r->module);
    for (uint32_t i = 0; i < count && i < EXPORTS_MAX; i++) {
        wr_func *func = export_func(r, i);
        uint64_t hash = 0;
        if (func == NULL) continue;
        if (r->first == NULL) r->first = func;
        r->calls_back = 0;
        wr_exec_set_limits(r->exec, DEADLINE_US, FUEL);
        wr_status status = call(r, func, &hash);
        note(r, status, hash ^ hash_memory(r));
        if (r->seen->is_late) return;
    }
}

static wr_status make_instance(run *r) {
    uint32_t count = wr_module_import_count(r->module);
    const wr_instance_limits limits = {.memory_bytes_max = MEMORY_MAX};
    wr_error error;
    if (count > IMPORTS_MAX) return WR_LIMIT_IMPORTS;
    for (uint32_t i = 0; i < count; i++) {
        wr_import_desc want = wr_module_import(r->module, i);
        if (want.kind == WR_EXTERN_FUNC && !has_room(want.func_type)) return WR_LIMIT_PARAMS;
        if (offer(r, i, &want) != WR_OK) return WR_UNKNOWN_IMPORT;
    }
    wr_exec_set_limits(r->exec, DEADLINE_US, FUEL);
    return wr_instance_new(r->store, r->module, r->imports, count, &limits, r->exec, &r->instance, &error);
}

static void use_module(run *r) {
    if (wr_store_new(r->engine, &r->store) != WR_OK) return;
    wr_status status = make_instance(r);
    wr_status_class class = wr_status_class_of(status);
    r->seen->is_late |= status == WR_TRAP_DEADLINE;
    if (class == WR_CLASS_MALFORMED || class == WR_CLASS_INVALID) complain("instance", status);
    note(r, status, 0);
    if (status == WR_OK) {
        r->counts->instantiated++;
        call_exports(r);
    }
    wr_store_free(r->store);
}

/* again: what the same module comes to in a second store of the engine; NULL: not asked. */
static void run_once(const uint8_t *bytes, size_t len, const wr_engine_config *config, run *r, outcome *again) {
    const uint64_t seed = r->random;
    wr_error error;
    if (wr_engine_new(config, &r->engine) != WR_OK) return;
    if (wr_exec_new(r->engine, STACK_BYTES, &r->exec) == WR_OK) {
        wr_status status = wr_module_load(r->engine, bytes, len, &r->module, &error);
        wr_status_class class = wr_status_class_of(status);
        if (class == WR_CLASS_TRAP || class == WR_CLASS_UNLINKABLE) complain("load", status);
        note(r, status, status == WR_OK ? 0 : error.offset);
        if (status == WR_OK) {
            r->counts->loaded++;
            use_module(r);
            if (again != NULL) {
                r->seen = again;
                r->random = seed;
                r->first = NULL;
                note(r, WR_OK, 0);
                use_module(r);
            }
            wr_module_release(r->module);
        }
        wr_exec_free(r->exec);
    }
    wr_engine_free(r->engine);
}

static void compare(const char *what, const outcome *left, const outcome *right) {
    if (left->is_late || right->is_late) return;
    if (left->count != right->count) complain(what, WR_OK);
    for (uint32_t i = 0; i < left->count; i++) {
        if (left->status[i] == right->status[i] && left->hash[i] == right->hash[i]) continue;
        fprintf(stderr, "drive: %s: step %" PRIu32 ": %s %016" PRIx64 ", then %s %016" PRIx64 "\n", what, i,
                wr_status_name(left->status[i]), left->hash[i], wr_status_name(right->status[i]), right->hash[i]);
        abort();
    }
}

void drive_input(const uint8_t *bytes, size_t len, drive_counts *counts) {
    uint64_t seed = hash_bytes(len, bytes, len);
    wr_engine_config config = {
        .limits = {.memory_bytes_max = MEMORY_MAX, .table_elements_max = TABLE_MAX, .load_ratio_max = LOAD_RATIO_MAX}};
    outcome seen[3] = {{0}}, again = {0};
    allowance allowed = {seed / SHORT_OF_MEMORY % ALLOCATIONS_MAX};
    run *r = calloc(1, sizeof *r);
    if (r == NULL) return;
    for (int i = 0; i < 3; i++) {
        if (i == 2 && seed % SHORT_OF_MEMORY != 0) continue;
        *r = (run){.counts = counts, .seen = &seen[i], .random = seed};
        config.bounds = i == 1 ? WR_BOUNDS_CHECKED : WR_BOUNDS_AUTO;
        config.alloc = i == 2 ? alloc_some : NULL;
        config.alloc_user = &allowed;
        run_once(bytes, len, &config, r, i == 0 ? &again : NULL);
    }
    free(r);
    counts->inputs++;
    compare("guard and checked", &seen[0], &seen[1]);
    if (again.count != 0) compare("first and second store", &seen[0], &again);
}
