/* Feeds mutated modules to the engine: load, instantiate, call every export, all under small limits.
 *
 *   mutate SECONDS SEED.wasm...
 *
 * Meant to be built with sanitizers. Input number N is the same in every run with the same seeds, so a number
 * reproduces a failure. The work is done by a child process in shared memory: the parent sees crashes and hangs and
 * saves the input as crash-N.wasm. Prints one line of JSON; exit status 1 when something was found. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wr.h"

enum {
    INPUT_MAX = 1 << 17,
    SEEDS_MAX = 256,
    HANG_S = 20,
    FUEL = 20000,
    DEADLINE_US = 50000,
    MEMORY_MAX = 1 << 20,
    PARAMS_MAX = 64
};

typedef struct seed {
    uint8_t *bytes;
    size_t len;
} seed;

/* What the child does, in memory that the parent sees too. */
typedef struct progress {
    volatile uint64_t inputs;
    uint64_t loaded;
    uint64_t instantiated;
    uint64_t calls;
    uint64_t traps;
    size_t len;
    uint8_t bytes[INPUT_MAX];
} progress;

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t end) { return end ? (size_t)(next_random(state) % end) : 0; }

/* ---- mutations ------------------------------------------------------------------------------------------ */

static void flip_bit(progress *p, uint64_t *state) {
    p->bytes[below(state, p->len)] ^= (uint8_t)(1u << below(state, 8));
}

static void set_byte(progress *p, uint64_t *state) {
    static const uint8_t edges[] = {0x00, 0x01, 0x0B, 0x40, 0x7E, 0x7F, 0x80, 0xFC, 0xFF};
    size_t at = below(state, p->len);
    p->bytes[at] = below(state, 2) ? edges[below(state, sizeof edges)] : (uint8_t)next_random(state);
}

static void remove_range(progress *p, uint64_t *state) {
    size_t at = below(state, p->len), len = 1 + below(state, 8);
    if (at + len >= p->len) return;
    memmove(p->bytes + at, p->bytes + at + len, p->len - at - len);
    p->len -= len;
}

static void repeat_range(progress *p, uint64_t *state) {
    size_t at = below(state, p->len), len = 1 + below(state, 16);
    if (at + len > p->len || p->len + len > INPUT_MAX) return;
    memmove(p->bytes + at + len, p->bytes + at, p->len - at);
    p->len += len;
}

static void copy_range(progress *p, uint64_t *state) {
    size_t from = below(state, p->len), to = below(state, p->len), len = 1 + below(state, 32);
    if (from + len > p->len || to + len > p->len) return;
    memmove(p->bytes + to, p->bytes + from, len);
}

static void make_input(progress *p, const seed *seeds, size_t seed_count, uint64_t number) {
    static void (*const mutations[])(progress *, uint64_t *) = {flip_bit,     set_byte,     set_byte,
                                                                remove_range, repeat_range, copy_range};
    uint64_t state = number * 0xD1342543DE82EF95u + 1;
    const seed *from = &seeds[below(&state, seed_count)];
    memcpy(p->bytes, from->bytes, from->len);
    p->len = from->len;
    for (size_t left = below(&state, 6); left > 0 && p->len > 8; left--) {
        mutations[below(&state, sizeof mutations / sizeof mutations[0])](p, &state);
    }
}

/* ---- one input ------------------------------------------------------------------------------------------ */

static wr_status answer_zero(wr_exec *exec, void *env, wr_slot *slots) {
    const wr_func_type *type = env;
    (void)exec;
    for (uint32_t i = 0; i < type->result_count; i++) slots[i].u64 = 0;
    return WR_OK;
}

static void call_exports(progress *p, wr_instance *instance, const wr_module *module, wr_exec *exec) {
    for (uint32_t i = 0; i < wr_module_export_count(module); i++) {
        wr_export_desc desc = wr_module_export(module, i);
        wr_extern found;
        wr_slot slots[2 * PARAMS_MAX] = {{0}};
        if (desc.kind != WR_EXTERN_FUNC) continue;
        if (wr_instance_export(instance, desc.name, desc.name_len, &found) != WR_OK) continue;
        wr_func_type type = wr_func_type_of(found.of.func);
        if (type.param_count > PARAMS_MAX || type.result_count > PARAMS_MAX) continue;
        wr_exec_set_limits(exec, DEADLINE_US, FUEL);
        p->calls++;
        p->traps += wr_status_class_of(wr_call(exec, found.of.func, slots, slots)) == WR_CLASS_TRAP;
    }
}

/* Host functions that answer zero for every function import; false where something else is imported. */
static bool satisfy(wr_store *store, const wr_module *module, wr_extern *imports, wr_func_type *types) {
    for (uint32_t i = 0; i < wr_module_import_count(module); i++) {
        wr_import_desc desc = wr_module_import(module, i);
        if (desc.kind != WR_EXTERN_FUNC || desc.func_type.result_count > 1) return false;
        types[i] = desc.func_type;
        imports[i].kind = WR_EXTERN_FUNC;
        if (wr_func_new(store, &types[i], answer_zero, &types[i], &imports[i].of.func) != WR_OK) return false;
    }
    return true;
}

static void run_module(progress *p, wr_engine *engine, const wr_module *module, wr_exec *exec) {
    uint32_t count = wr_module_import_count(module);
    wr_extern *imports = calloc(count + 1, sizeof *imports);
    wr_func_type *types = calloc(count + 1, sizeof *types);
    wr_store *store = NULL;
    wr_instance *instance = NULL;
    wr_instance_limits limits = {.memory_bytes_max = MEMORY_MAX};
    wr_error error;
    if (imports && types && wr_store_new(engine, &store) == WR_OK && satisfy(store, module, imports, types)) {
        wr_exec_set_limits(exec, DEADLINE_US, FUEL);
        if (wr_instance_new(store, module, imports, count, &limits, exec, &instance, &error) == WR_OK) {
            p->instantiated++;
            call_exports(p, instance, module, exec);
        }
    }
    if (store) wr_store_free(store);
    free(imports);
    free(types);
}

static void run_input(progress *p) {
    wr_engine_config config = {.limits = {.memory_bytes_max = MEMORY_MAX, .table_elements_max = 10000},
                               .bounds = p->inputs % 2 ? WR_BOUNDS_CHECKED : WR_BOUNDS_AUTO};
    wr_engine *engine = NULL;
    wr_exec *exec = NULL;
    wr_module *module = NULL;
    wr_error error;
    if (wr_engine_new(&config, &engine) != WR_OK) return;
    if (wr_exec_new(engine, 65536, &exec) == WR_OK &&
        wr_module_load(engine, p->bytes, p->len, &module, &error) == WR_OK) {
        p->loaded++;
        run_module(p, engine, module, exec);
        wr_module_release(module);
    }
    if (exec) wr_exec_free(exec);
    wr_engine_free(engine);
}

/* ---- both processes ------------------------------------------------------------------------------------- */

static void work(progress *p, const seed *seeds, size_t seed_count, time_t until) {
    while (time(NULL) < until) {
        make_input(p, seeds, seed_count, p->inputs);
        run_input(p);
        p->inputs++;
    }
}

/* Waits for the child; returns 0, or what went wrong. */
static const char *watch(pid_t child, const progress *p) {
    int status = 0;
    uint64_t before = UINT64_MAX;
    for (unsigned ticks = 0;; ticks++) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "crash";
        if (ticks % (HANG_S * 10) == 0) {
            if (p->inputs == before) {
                kill(child, SIGKILL);
                return "hang";
            }
            before = p->inputs;
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

static void save(const progress *p) {
    char path[64];
    snprintf(path, sizeof path, "crash-%" PRIu64 ".wasm", p->inputs);
    FILE *file = fopen(path, "wb");
    if (!file) return;
    fwrite(p->bytes, 1, p->len, file);
    fclose(file);
    fprintf(stderr, "the input is in %s\n", path);
}

static bool read_seed(const char *path, seed *into) {
    FILE *file = fopen(path, "rb");
    into->bytes = malloc(INPUT_MAX);
    if (!file || !into->bytes) return false;
    into->len = fread(into->bytes, 1, INPUT_MAX / 2, file);
    fclose(file);
    return into->len > 8;
}

int main(int argc, char **argv) {
    seed seeds[SEEDS_MAX];
    size_t seed_count = 0;
    progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc < 3 || p == MAP_FAILED) {
        fprintf(stderr, "usage: mutate SECONDS SEED.wasm...\n");
        return 2;
    }
    for (int i = 2; i < argc && seed_count < SEEDS_MAX; i++) {
        if (!read_seed(argv[i], &seeds[seed_count++])) {
            fprintf(stderr, "mutate: %s: not a module\n", argv[i]);
            return 2;
        }
    }
    pid_t child = fork();
    if (child == 0) {
        work(p, seeds, seed_count, time(NULL) + strtol(argv[1], NULL, 10));
        exit(0);
    }
    const char *failure = child < 0 ? "fork failed" : watch(child, p);
    printf("{\"seeds\": %zu, \"inputs\": %" PRIu64 ", \"loaded\": %" PRIu64 ", \"instantiated\": %" PRIu64
           ", \"calls\": %" PRIu64 ", \"traps\": %" PRIu64 ", \"failure\": %s%s%s}\n",
           seed_count, p->inputs, p->loaded, p->instantiated, p->calls, p->traps, failure ? "\"" : "",
           failure ? failure : "null", failure ? "\"" : "");
    if (failure) save(p);
    for (size_t i = 0; i < seed_count; i++) free(seeds[i].bytes);
    return failure ? 1 : 0;
}
