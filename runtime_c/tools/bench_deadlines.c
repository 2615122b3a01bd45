/* How long calls take that do not end by themselves, for bench/deadlines.py and tests/hil/test_deadlines.py.
 *
 *     bench_deadlines MODULE.wasm [--aot MODULE.so] ROUNDS DEADLINE_US...
 *
 * MODULE.wasm is bench/deadlines.c: each way to keep the processor is an export. In each round all ways, and the
 * controls, have their turn, in an order that changes. Controls need of the machine what the ways need, and nothing
 * else: they write to some pages of memory, then look at the clock until the deadline, and yield or fill a page in
 * between. Output, for each deadline and way, or control:
 *
 *     {"name": "loop", "deadline_us": 100, "calls": 400, "median_us": 101.2, "p99_us": 103.0, "most_us": 140.1,
 *      "late": 1, "late_processor": 0}
 *
 * late: calls that took longer than the greater of twice the deadline and 200 us by the clock; late_processor: also by
 * the processor time of the thread. */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "read_file.h"
#include "wr.h"

enum { ROUNDS_MAX = 100000, LATE_US = 200, STACK_BYTES = 1 << 20, RECURSION = 60 };
enum {
    PAGE = 4096,
    FILLED_PAGES = 8192, /* as much as the module fills */
    CALL_PAGES = 32 /* a call that traps touches 22 to 36, compiled 47 to 60 (Referenced in /proc/self/smaps) */
};

static const char *const WAYS[] = {"loop",        "branch_table", "recursion",     "host_calls",
                                   "memory_fill", "memory_copy",  "straight_code", "waiting"};
enum { WAY_COUNT = sizeof WAYS / sizeof WAYS[0], CONTROL_COUNT = 3, TURNS = WAY_COUNT + CONTROL_COUNT };

static uint8_t filled[FILLED_PAGES][PAGE], touched[CALL_PAGES][PAGE];

static void look(uint32_t turn) { (void)turn; }
static void yield(uint32_t turn) {
    (void)turn;
    (void)sched_yield();
}
static void fill(uint32_t turn) { memset(filled[turn % FILLED_PAGES], (int)turn, PAGE); }

static const struct {
    const char *name;
    void (*step)(uint32_t turn);
} CONTROLS[CONTROL_COUNT] = {{"looks", look}, {"yields", yield}, {"fills", fill}};

typedef struct took {
    uint64_t clock_ns, processor_ns;
} took;

typedef struct bench {
    wr_engine *engine;
    wr_module *module;
    wr_store *store;
    wr_exec *exec;
    wr_instance *instance;
    const wr_func *funcs[WAY_COUNT];
    took *taken[TURNS]; /* of the rounds so far */
} bench;

static uint64_t read_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- one turn ---- */

static wr_status call(const bench *at, size_t way, uint64_t deadline_us) {
    wr_slot slots[1] = {{.u32 = RECURSION}};
    wr_exec_set_limits(at->exec, deadline_us, 0);
    const wr_status status = wr_call(at->exec, at->funcs[way], slots, slots);
    return status == WR_TRAP_DEADLINE ? WR_OK : status;
}

static wr_status control(size_t which, uint64_t deadline_us) {
    const uint64_t end = read_ns(CLOCK_MONOTONIC) + deadline_us * 1000;
    for (size_t page = 0; page < CALL_PAGES; page++) touched[page][0]++;
    for (uint32_t turn = 0; read_ns(CLOCK_MONOTONIC) < end; turn++) CONTROLS[which].step(turn);
    return WR_OK;
}

static wr_status take_turn(const bench *at, size_t turn, uint64_t deadline_us, took *out) {
    const uint64_t clock = read_ns(CLOCK_MONOTONIC), processor = read_ns(CLOCK_THREAD_CPUTIME_ID);
    const wr_status status = turn < WAY_COUNT ? call(at, turn, deadline_us) : control(turn - WAY_COUNT, deadline_us);
    *out = (took){read_ns(CLOCK_MONOTONIC) - clock, read_ns(CLOCK_THREAD_CPUTIME_ID) - processor};
    return status;
}

/* xorshift64 (Marsaglia, 2003). */
static uint64_t next_random(void) {
    static uint64_t state = 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static wr_status take_rounds(const bench *at, uint32_t rounds, uint64_t deadline_us) {
    size_t order[TURNS];
    for (size_t i = 0; i < TURNS; i++) order[i] = i;
    for (size_t way = 0; way < WAY_COUNT; way++) { /* touches what it needs */
        const wr_status status = call(at, way, deadline_us);
        if (status != WR_OK) return status;
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (size_t i = TURNS - 1; i != 0; i--) {
            const size_t other = (size_t)(next_random() % (i + 1)), kept = order[i];
            order[i] = order[other];
            order[other] = kept;
        }
        for (size_t i = 0; i < TURNS; i++) {
            const wr_status status = take_turn(at, order[i], deadline_us, &at->taken[order[i]][round]);
            if (status != WR_OK) return status;
        }
    }
    return WR_OK;
}

/* ---- what it was ---- */

static int by_clock(const void *left, const void *right) {
    const uint64_t a = ((const took *)left)->clock_ns, b = ((const took *)right)->clock_ns;
    return a < b ? -1 : a > b;
}

static double us(uint64_t ns) { return (double)ns / 1e3; }

static void print(const char *name, took *taken, uint32_t rounds, uint64_t deadline_us) {
    const uint64_t bar = (2 * deadline_us > LATE_US ? 2 * deadline_us : LATE_US) * 1000;
    uint32_t late = 0, late_processor = 0;
    qsort(taken, rounds, sizeof *taken, by_clock);
    for (uint32_t i = 0; i < rounds; i++) {
        late += taken[i].clock_ns > bar;
        late_processor += taken[i].clock_ns > bar && taken[i].processor_ns > bar;
    }
    printf("{\"name\": \"%s\", \"deadline_us\": %" PRIu64 ", \"calls\": %" PRIu32 ", \"median_us\": %.1f, ", name,
           deadline_us, rounds, us(taken[rounds / 2].clock_ns));
    printf("\"p99_us\": %.1f, \"most_us\": %.1f, \"late\": %" PRIu32 ", \"late_processor\": %" PRIu32 "}\n",
           us(taken[(rounds - 1) * 99 / 100].clock_ns), us(taken[rounds - 1].clock_ns), late, late_processor);
}

/* ---- beginning and end ---- */

static wr_status link(bench *at) {
    enum { IMPORTS_MAX = 4 };
    wr_extern imports[IMPORTS_MAX];
    wr_wasi *wasi;
    const uint32_t count = wr_module_import_count(at->module);
    wr_status status = count <= IMPORTS_MAX ? wr_wasi_new(at->store, NULL, &wasi) : WR_UNKNOWN_IMPORT;
    for (uint32_t i = 0; status == WR_OK && i < count; i++) {
        const wr_import_desc want = wr_module_import(at->module, i);
        status = wr_wasi_import(wasi, want.name, want.name_len, &imports[i]);
    }
    if (status == WR_OK)
        status = wr_instance_new(at->store, at->module, imports, count, NULL, at->exec, &at->instance, NULL);
    for (size_t way = 0; status == WR_OK && way < WAY_COUNT; way++) {
        wr_extern found;
        status = wr_instance_export(at->instance, WAYS[way], strlen(WAYS[way]), &found);
        if (status == WR_OK) at->funcs[way] = found.of.func;
    }
    return status;
}

static wr_status begin(bench *at, const char *path, const char *artefact, uint32_t rounds) {
    size_t len = 0;
    uint8_t *bytes = read_file(path, &len);
    if (bytes == NULL) return WR_UNEXPECTED_END;
    wr_status status = wr_engine_new(NULL, &at->engine);
    if (status == WR_OK) status = wr_module_load(at->engine, bytes, len, &at->module, NULL);
    if (status == WR_OK && artefact != NULL) status = wr_aot_attach(at->module, bytes, len, artefact, NULL);
    free(bytes);
    if (status == WR_OK) status = wr_store_new(at->engine, &at->store);
    if (status == WR_OK) status = wr_exec_new(at->engine, STACK_BYTES, &at->exec);
    if (status == WR_OK) status = link(at);
    for (size_t i = 0; status == WR_OK && i < TURNS; i++) {
        at->taken[i] = malloc(rounds * sizeof(took));
        if (at->taken[i] == NULL) status = WR_NO_MEMORY;
    }
    memset(filled, 1, sizeof filled);
    memset(touched, 1, sizeof touched);
    return status;
}

static void end(bench *at) {
    for (size_t i = 0; i < TURNS; i++) free(at->taken[i]);
    if (at->exec != NULL) wr_exec_free(at->exec);
    if (at->store != NULL) wr_store_free(at->store);
    if (at->module != NULL) wr_module_release(at->module);
    if (at->engine != NULL) wr_engine_free(at->engine);
}

int main(int argc, char **argv) {
    const bool compiled = argc > 3 && strcmp(argv[2], "--aot") == 0;
    const int first = compiled ? 4 : 2; /* ROUNDS */
    const unsigned long rounds = argc > first + 1 ? strtoul(argv[first], NULL, 10) : 0;
    if (rounds == 0 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_deadlines MODULE.wasm [--aot MODULE.so] ROUNDS(1..%d) DEADLINE_US...\n",
                ROUNDS_MAX);
        return 2;
    }
    bench at = {0};
    wr_status status = begin(&at, argv[1], compiled ? argv[3] : NULL, (uint32_t)rounds);
    for (int i = first + 1; status == WR_OK && i < argc; i++) {
        const uint64_t deadline_us = strtoul(argv[i], NULL, 10);
        status = take_rounds(&at, (uint32_t)rounds, deadline_us);
        for (size_t turn = 0; status == WR_OK && turn < TURNS; turn++) {
            const char *name = turn < WAY_COUNT ? WAYS[turn] : CONTROLS[turn - WAY_COUNT].name;
            print(name, at.taken[turn], (uint32_t)rounds, deadline_us);
        }
    }
    if (status != WR_OK) fprintf(stderr, "bench_deadlines: %s: %s\n", argv[1], wr_status_text(status));
    end(&at);
    return status == WR_OK ? 0 : 1;
}
