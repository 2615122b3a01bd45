/* The public part: configuration, the functions by name, what leads a call to its function. */
#include "wasi.h"

#include <string.h>
#include <sys/random.h>

enum { PARAMS_MAX = 9, RANDOM_CHUNK = 256, RANDOM_CHUNKS_PER_CHECK = 8 };

/* ---- the program's memory ---- */

void *wr_wasi_at(const wr_wasi_call *call, uint64_t address, uint64_t len) {
    return call->memory == NULL ? NULL : wr_memory_at(call->memory, address, len);
}

/* Wasm is little-endian, and so is every host this builds for. */
bool wr_wasi_put_u32(const wr_wasi_call *call, uint32_t address, uint32_t value) {
    void *at = wr_wasi_at(call, address, sizeof value);
    if (at != NULL) memcpy(at, &value, sizeof value);
    return at != NULL;
}

bool wr_wasi_put_u64(const wr_wasi_call *call, uint32_t address, uint64_t value) {
    void *at = wr_wasi_at(call, address, sizeof value);
    if (at != NULL) memcpy(at, &value, sizeof value);
    return at != NULL;
}

uint32_t wr_wasi_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

uint64_t wr_wasi_u64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* ---- functions without a file of their own ---- */

WASI_FUNCTION(missing) {
    (void)call;
    return WASI_NOSYS;
}

WASI_FUNCTION(proc_exit) {
    wr_exec_set_exit_code(call->exec, call->args[0].i32);
    call->status = WR_TRAP_EXIT;
    return WASI_OK;
}

/* splitmix64 (Vigna 2015). */
static uint64_t next_random(uint64_t *state) {
    uint64_t mixed = *state += UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ (mixed >> 31);
}

static bool fill_random(wr_wasi *wasi, uint8_t chunk[RANDOM_CHUNK], size_t len) {
    if (!wasi->is_seeded) return getrandom(chunk, len, 0) == (ssize_t)len; /* whole: no more than 256 bytes */
    for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
        uint64_t word = next_random(&wasi->random_state);
        memcpy(chunk + at, &word, sizeof word);
    }
    return true;
}

WASI_FUNCTION(random_get) {
    uint8_t *into = wr_wasi_at(call, call->args[0].u32, call->args[1].u32);
    if (into == NULL) return WASI_FAULT;
    uint32_t left = call->args[1].u32;
    for (uint32_t chunks = 1; left != 0; chunks++) {
        uint8_t chunk[RANDOM_CHUNK];
        uint32_t len = left < RANDOM_CHUNK ? left : RANDOM_CHUNK;
        if (!fill_random(call->wasi, chunk, len)) return WASI_IO;
        memcpy(into, chunk, len);
        into += len;
        left -= len;
        if (chunks % RANDOM_CHUNKS_PER_CHECK == 0) call->status = wr_exec_check(call->exec);
        if (call->status != WR_OK) return WASI_OK;
    }
    return WASI_OK;
}

/* ---- functions by name ---- */

typedef struct row {
    const char *name;
    const char *params;
    wr_wasi_fn fn;
} row;

#define ROW(NAME, PARAMS, FUNCTION) {#NAME, PARAMS, wr_wasi_##FUNCTION},
static const row rows[] = {WR_WASI_TABLE(ROW)};
#undef ROW

/* What a host function knows. */
typedef struct bound {
    wr_wasi *wasi;
    wr_wasi_fn fn;
} bound;

static wr_status answer(wr_exec *exec, void *env, wr_slot *slots) {
    const bound *self = env;
    wr_instance *caller = wr_exec_instance(exec);
    const wr_memory *memory = caller == NULL ? NULL : wr_instance_memory(caller, 0);
    wr_wasi_call call = {self->wasi, exec, memory, slots, WR_OK};
    slots[0].u64 = self->fn(&call);
    return call.status;
}

static wr_status bind(wr_wasi *wasi, const row *found, wr_extern *out) {
    static const uint8_t result[] = {WR_TYPE_I32};
    uint8_t params[PARAMS_MAX];
    wr_func_type type = {.params = params, .results = result};
    for (; found->params[type.param_count] != '\0'; type.param_count++) {
        params[type.param_count] = found->params[type.param_count] == 'i' ? WR_TYPE_I32 : WR_TYPE_I64;
    }
    type.result_count = found->fn != wr_wasi_proc_exit;
    bound *env = wr_store_alloc(wasi->store, sizeof *env);
    if (env == NULL) return WR_NO_MEMORY;
    *env = (bound){wasi, found->fn};
    out->kind = WR_EXTERN_FUNC;
    return wr_func_new(wasi->store, &type, answer, env, &out->of.func);
}

wr_status wr_wasi_import(wr_wasi *wasi, const char *name, size_t name_len, wr_extern *out) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strlen(rows[i].name) != name_len || memcmp(rows[i].name, name, name_len) != 0) continue;
        if (rows[i].fn == wr_wasi_missing && wasi->refuses_missing) return WR_UNKNOWN_IMPORT;
        return bind(wasi, &rows[i], out);
    }
    return WR_UNKNOWN_IMPORT;
}

/* ---- configuration ---- */

wr_status wr_wasi_new(wr_store *store, const wr_wasi_config *config, wr_wasi **out) {
    static const wr_wasi_config nothing = {0};
    if (config == NULL) config = &nothing;
    wr_wasi *wasi = wr_store_alloc(store, sizeof *wasi);
    if (wasi == NULL) return WR_NO_MEMORY;
    wasi->store = store;
    wasi->output = config->output;
    wasi->output_user = config->output_user;
    wasi->is_seeded = config->is_seeded;
    wasi->refuses_missing = config->refuses_missing;
    wasi->random_state = config->seed;
    wr_status status = wr_wasi_copy_texts(store, config->args, config->arg_count, &wasi->args);
    if (status == WR_OK) status = wr_wasi_copy_texts(store, config->env, config->env_count, &wasi->env);
    if (status == WR_OK) *out = wasi;
    return status;
}
