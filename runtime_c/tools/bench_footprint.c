/* What a module costs to load and to keep, through the public header, as one JSON object:
 *
 *   bench_footprint MODULE.wasm [ROUNDS]    default 9 rounds; imports are satisfied with functions that do nothing
 *   bench_footprint --load RATIO MODULE.wasm...   what loading takes, an object with its name and status for each;
 *                                           RATIO: load_ratio_max, 0: the default
 *
 * module_bytes, load_ns (processor time of a whole load: decode, validate, translate; median), load_peak_bytes and
 * module_kept_bytes (by the engine's allocator), and for modules that can be instantiated instantiate_ns (with
 * freeing, median) and instance_rss_bytes (resident memory of INSTANCES idle ones, divided). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "read_file.h"
#include "wr.h"

enum { INSTANCES = 1000, ROUNDS_MAX = 1000, INSTANTIATIONS = 2000, IMPORTS_MAX = 1000 };

typedef struct ledger {
    size_t now, peak;
} ledger;

static void *counted(void *user, void *old, size_t old_size, size_t size) {
    ledger *count = user;
    void *block = NULL;
    if (size == 0) {
        free(old);
    } else {
        block = realloc(old, size);
        if (block == NULL) return NULL;
    }
    count->now += size - old_size;
    if (count->now > count->peak) count->peak = count->now;
    return block;
}

static uint64_t read_ns(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static uint64_t median(uint64_t *times, uint32_t count) {
    qsort(times, count, sizeof *times, by_value);
    return times[count / 2];
}

static uint64_t resident_bytes(void) {
    unsigned long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &ignored, &pages) != 2) pages = 0;
    if (file != NULL) fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static wr_status nothing(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    (void)env;
    slots->u64 = 0;
    return WR_OK;
}

/* False: it imports more than functions. */
static bool satisfy(wr_store *store, const wr_module *module, wr_extern *imports, uint32_t count) {
    if (count > IMPORTS_MAX) return false;
    for (uint32_t i = 0; i < count; i++) {
        const wr_import_desc import = wr_module_import(module, i);
        if (import.kind != WR_EXTERN_FUNC) return false;
        imports[i].kind = WR_EXTERN_FUNC;
        if (wr_func_new(store, &import.func_type, nothing, NULL, &imports[i].of.func) != WR_OK) return false;
    }
    return true;
}

static wr_status make_one(wr_engine *engine, const wr_module *module, wr_exec *exec, wr_store **store) {
    static wr_extern imports[IMPORTS_MAX];
    wr_instance *instance;
    wr_error error;
    const uint32_t count = wr_module_import_count(module);
    const wr_status status = wr_store_new(engine, store);
    if (status != WR_OK) return status;
    if (!satisfy(*store, module, imports, count)) return WR_UNKNOWN_IMPORT;
    return wr_instance_new(*store, module, imports, count, NULL, exec, &instance, &error);
}

static bool print_instances(wr_engine *engine, const wr_module *module, wr_exec *exec) {
    static wr_store *stores[INSTANCES];
    static uint64_t times[INSTANTIATIONS];
    for (uint32_t i = 0; i < INSTANTIATIONS; i++) {
        wr_store *store = NULL;
        const uint64_t begin = read_ns(CLOCK_MONOTONIC);
        const wr_status status = make_one(engine, module, exec, &store);
        if (store != NULL) wr_store_free(store);
        times[i] = read_ns(CLOCK_MONOTONIC) - begin;
        if (status != WR_OK) return false;
    }
    const uint64_t before = resident_bytes();
    for (uint32_t i = 0; i < INSTANCES; i++) {
        if (make_one(engine, module, exec, &stores[i]) != WR_OK) return false;
    }
    const uint64_t after = resident_bytes();
    for (uint32_t i = 0; i < INSTANCES; i++) wr_store_free(stores[i]);
    printf(", \"instantiate_ns\": %" PRIu64 ", \"instance_rss_bytes\": %" PRIu64, median(times, INSTANTIATIONS),
           (after - before) / INSTANCES);
    return true;
}

static wr_status measure(wr_engine *engine, ledger *count, const uint8_t *bytes, size_t len, uint32_t rounds) {
    static uint64_t times[ROUNDS_MAX];
    wr_module *module = NULL;
    wr_exec *exec;
    wr_error error;
    const size_t before = count->now;
    for (uint32_t i = 0; i < rounds; i++) {
        if (module != NULL) wr_module_release(module);
        count->peak = count->now;
        const uint64_t begin = read_ns(CLOCK_THREAD_CPUTIME_ID);
        const wr_status status = wr_module_load(engine, bytes, len, &module, &error);
        times[i] = read_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
        if (status != WR_OK) {
            fprintf(stderr, "bench_footprint: %s: %s\n", wr_status_text(status), error.message);
            return status;
        }
    }
    printf("{\"module_bytes\": %zu, \"load_ns\": %" PRIu64 ", \"load_peak_bytes\": %zu, \"module_kept_bytes\": %zu",
           len, median(times, rounds), count->peak - before, count->now - before);
    if (wr_exec_new(engine, 0, &exec) == WR_OK) {
        print_instances(engine, module, exec);
        wr_exec_free(exec);
    }
    printf("}\n");
    wr_module_release(module);
    return WR_OK;
}

/* Each in an engine of its own: types that one module has would be there for the next. */
static int load_each(uint32_t ratio, char **paths) {
    for (; *paths != NULL; paths++) {
        ledger count = {0, 0};
        const wr_engine_config config = {.limits.load_ratio_max = ratio, .alloc = counted, .alloc_user = &count};
        wr_engine *engine;
        wr_module *module = NULL;
        size_t len = 0;
        uint8_t *bytes = read_file(*paths, &len);
        if (bytes == NULL || wr_engine_new(&config, &engine) != WR_OK) return 1;
        const size_t before = count.peak = count.now;
        const wr_status status = wr_module_load(engine, bytes, len, &module, NULL);
        printf("{\"module\": \"%s\", \"status\": \"%s\", \"module_bytes\": %zu, \"load_peak_bytes\": %zu, ", *paths,
               wr_status_name(status), len, count.peak - before);
        printf("\"module_kept_bytes\": %zu}\n", count.now - before);
        if (status == WR_OK) wr_module_release(module);
        wr_engine_free(engine);
        free(bytes);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--load") == 0) return load_each((uint32_t)strtoul(argv[2], NULL, 10), argv + 3);
    ledger count = {0, 0};
    const wr_engine_config config = {.alloc = counted, .alloc_user = &count};
    wr_engine *engine;
    size_t len = 0;
    uint8_t *bytes = argc > 1 ? read_file(argv[1], &len) : NULL;
    const long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 9;
    if (bytes == NULL || rounds < 1 || rounds > ROUNDS_MAX || wr_engine_new(&config, &engine) != WR_OK) {
        fprintf(stderr, "usage: bench_footprint MODULE.wasm [ROUNDS 1..%d]\n", ROUNDS_MAX);
        return 2;
    }
    const wr_status status = measure(engine, &count, bytes, len, (uint32_t)rounds);
    wr_engine_free(engine);
    free(bytes);
    return status == WR_OK ? 0 : 1;
}
