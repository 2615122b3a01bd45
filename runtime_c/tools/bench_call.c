/* Times calls, for bench/engine.py and bench/calls.py.
 *
 *   bench_call MODULE.wasm EXPORT ARGUMENT [--aot MODULE.so]     ->  {"result": 832040, "ns": 12345}
 *       one call with one i32; loading and instantiating are not part of the time
 *   bench_call --calls CALLS.wasm [--aot CALLS.so]               ->  {"host_to_wasm_ns": 9.1, ...}
 *       nanoseconds a call costs in each direction; CALLS.wasm is bench/calls.c
 *
 * With --aot the compiled code must run: it fails where that is refused. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wr.h"

enum { CALLS = 1000000, BATCHES = 7 };

typedef struct input {
    uint8_t *bytes;
    size_t len;
} input;

typedef struct session {
    wr_module *module;
    wr_store *store;
    wr_exec *exec;
    wr_instance *instance;
} session;

static bool read_file(const char *path, input *into) {
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    fseek(file, 0, SEEK_END);
    long len = ftell(file);
    rewind(file);
    into->bytes = len > 0 ? malloc((size_t)len) : NULL;
    into->len = into->bytes ? fread(into->bytes, 1, (size_t)len, file) : 0;
    fclose(file);
    return into->len > 0;
}

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static wr_status add(wr_exec *exec, void *env, wr_slot *args) {
    (void)exec, (void)env;
    args[0].u32 = args[0].u32 + args[1].u32;
    return WR_OK;
}

/* Modules import nothing, or host.add. */
static wr_status begin(wr_engine *engine, const input *file, const char *artefact, session *at, wr_error *error) {
    static const uint8_t add_type[] = {WR_TYPE_I32, WR_TYPE_I32, WR_TYPE_I32};
    wr_func *host_add = NULL;
    wr_status status = wr_module_load(engine, file->bytes, file->len, &at->module, error);
    if (status == WR_OK && artefact != NULL) {
        status = wr_aot_attach(at->module, file->bytes, file->len, artefact, error);
    }
    if (status == WR_OK) status = wr_store_new(engine, &at->store);
    if (status == WR_OK) status = wr_exec_new(engine, 1 << 20, &at->exec);
    if (status == WR_OK)
        status = wr_func_new(at->store, &(wr_func_type){add_type, add_type + 2, 2, 1}, add, NULL, &host_add);
    if (status != WR_OK) return status;
    const wr_extern import = {WR_EXTERN_FUNC, {.func = host_add}};
    uint32_t imports = wr_module_import_count(at->module) != 0 ? 1 : 0;
    return wr_instance_new(at->store, at->module, &import, imports, NULL, at->exec, &at->instance, error);
}

static void end(session *at) {
    if (at->exec) wr_exec_free(at->exec);
    if (at->store) wr_store_free(at->store);
    if (at->module) wr_module_release(at->module);
}

static const wr_func *find(const session *at, const char *name) {
    wr_extern found;
    wr_status status = wr_instance_export(at->instance, name, strlen(name), &found);
    return status == WR_OK && found.kind == WR_EXTERN_FUNC ? found.of.func : NULL;
}

static wr_status one_call(const session *at, const char *name, int32_t argument) {
    const wr_func *func = find(at, name);
    if (func == NULL) return WR_NOT_FOUND;
    wr_slot slot = {.i32 = argument};
    uint64_t from = now_ns();
    wr_status status = wr_call(at->exec, func, &slot, &slot);
    uint64_t took = now_ns() - from;
    if (status == WR_OK) printf("{\"result\": %" PRId32 ", \"ns\": %" PRIu64 "}\n", slot.i32, took);
    return status;
}

/* ---- what calls cost ---- */

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Time of the quickest of some batches of CALLS calls from here. */
static wr_status time_calls(const session *at, const wr_func *func, uint64_t *out) {
    *out = UINT64_MAX;
    for (int batch = 0; batch < BATCHES; batch++) {
        wr_slot slots[2] = {{.i32 = 1}, {.i32 = 2}};
        uint64_t from = now_ns();
        for (int i = 0; i < CALLS; i++) {
            wr_status status = wr_call(at->exec, func, slots, slots);
            if (status != WR_OK) return status;
        }
        *out = least(*out, now_ns() - from);
    }
    return WR_OK;
}

/* Time of the quickest of some runs of a loop of CALLS rounds in WebAssembly. */
static wr_status time_loop(const session *at, const wr_func *func, uint64_t *out) {
    *out = UINT64_MAX;
    for (int batch = 0; batch < BATCHES; batch++) {
        wr_slot slot = {.i32 = CALLS};
        uint64_t from = now_ns();
        wr_status status = wr_call(at->exec, func, &slot, &slot);
        if (status != WR_OK) return status;
        *out = least(*out, now_ns() - from);
    }
    return WR_OK;
}

static double per_call(uint64_t ns, uint64_t without) { return ((double)ns - (double)without) / (double)CALLS; }

static wr_status all_calls(const session *at) {
    const wr_func *one = find(at, "add"), *nothing = find(at, "nothing_loop");
    const wr_func *wasm = find(at, "wasm_loop"), *host = find(at, "host_loop");
    if (one == NULL || nothing == NULL || wasm == NULL || host == NULL) return WR_NOT_FOUND;
    uint64_t to_wasm = 0, loop = 0, wasm_loop = 0, host_loop = 0;
    wr_status status = time_calls(at, one, &to_wasm);
    if (status == WR_OK) status = time_loop(at, nothing, &loop);
    if (status == WR_OK) status = time_loop(at, wasm, &wasm_loop);
    if (status == WR_OK) status = time_loop(at, host, &host_loop);
    if (status != WR_OK) return status;
    printf("{\"host_to_wasm_ns\": %.2f, \"wasm_to_host_ns\": %.2f, \"wasm_to_wasm_ns\": %.2f}\n", per_call(to_wasm, 0),
           per_call(host_loop, loop), per_call(wasm_loop, loop));
    return WR_OK;
}

int main(int argc, char **argv) {
    const bool compiled = argc >= 5 && strcmp(argv[argc - 2], "--aot") == 0;
    const char *artefact = compiled ? argv[argc - 1] : NULL;
    if (compiled) argc -= 2;
    const bool calls = argc == 3 && strcmp(argv[1], "--calls") == 0;
    input file = {0};
    wr_engine *engine = NULL;
    wr_error error = {0};
    if ((!calls && argc != 4) || !read_file(argv[calls ? 2 : 1], &file) || wr_engine_new(NULL, &engine) != WR_OK) {
        fprintf(stderr, "usage: bench_call MODULE.wasm EXPORT ARGUMENT [--aot MODULE.so]\n"
                        "       bench_call --calls CALLS.wasm [--aot CALLS.so]\n");
        return 2;
    }
    session at = {0};
    wr_status status = begin(engine, &file, artefact, &at, &error);
    if (status == WR_OK) status = calls ? all_calls(&at) : one_call(&at, argv[2], (int32_t)strtol(argv[3], NULL, 10));
    if (status != WR_OK) fprintf(stderr, "bench_call: %s: %s\n", wr_status_text(status), error.message);
    end(&at);
    wr_engine_free(engine);
    free(file.bytes);
    return status == WR_OK ? 0 : 1;
}
