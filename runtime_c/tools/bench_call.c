/* Calls one export of a module with one i32 and prints its result and how long the call took: for bench/engine.py.
 *
 *   bench_call MODULE.wasm EXPORT ARGUMENT [--aot MODULE.so]     ->  {"result": 832040, "ns": 12345}
 *
 * With --aot the compiled code must run: it fails where that is refused.
 * Loading and instantiating are not part of the time. The module imports nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wr.h"

typedef struct input {
    uint8_t *bytes;
    size_t len;
} input;

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

static wr_status call(wr_exec *exec, wr_instance *instance, const char *name, int32_t argument) {
    wr_extern found;
    wr_status status = wr_instance_export(instance, name, strlen(name), &found);
    if (status != WR_OK || found.kind != WR_EXTERN_FUNC) return WR_NOT_FOUND;
    wr_slot slot = {.i32 = argument};
    uint64_t begin = now_ns();
    status = wr_call(exec, found.of.func, &slot, &slot);
    uint64_t took = now_ns() - begin;
    if (status == WR_OK) printf("{\"result\": %" PRId32 ", \"ns\": %" PRIu64 "}\n", slot.i32, took);
    return status;
}

static wr_status load_and_call(wr_engine *engine, const input *file, int argc, char **argv, wr_error *error) {
    const char *artefact = argc == 6 ? argv[5] : NULL;
    wr_module *module = NULL;
    wr_store *store = NULL;
    wr_exec *exec = NULL;
    wr_instance *instance = NULL;
    wr_status status = wr_module_load(engine, file->bytes, file->len, &module, error);
    if (status == WR_OK && artefact != NULL) {
        status = wr_aot_attach(module, file->bytes, file->len, artefact, error);
    }
    if (status == WR_OK) status = wr_store_new(engine, &store);
    if (status == WR_OK) status = wr_exec_new(engine, 1 << 20, &exec);
    if (status == WR_OK) status = wr_instance_new(store, module, NULL, 0, NULL, exec, &instance, error);
    if (status == WR_OK) status = call(exec, instance, argv[2], (int32_t)strtol(argv[3], NULL, 10));
    if (exec) wr_exec_free(exec);
    if (store) wr_store_free(store);
    if (module) wr_module_release(module);
    return status;
}

int main(int argc, char **argv) {
    input file = {0};
    wr_engine *engine = NULL;
    wr_error error = {0};
    const bool is_usage = argc == 4 || (argc == 6 && strcmp(argv[4], "--aot") == 0);
    if (!is_usage || !read_file(argv[1], &file) || wr_engine_new(NULL, &engine) != WR_OK) {
        fprintf(stderr, "usage: bench_call MODULE.wasm EXPORT ARGUMENT [--aot MODULE.so]\n");
        return 2;
    }
    wr_status status = load_and_call(engine, &file, argc, argv, &error);
    if (status != WR_OK) fprintf(stderr, "bench_call: %s: %s\n", wr_status_text(status), error.message);
    wr_engine_free(engine);
    free(file.bytes);
    return status == WR_OK ? 0 : 1;
}
