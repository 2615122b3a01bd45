/* One module, many threads: each with its own store, instance and exec. */
#include <pthread.h>

#include "fixture.h"

enum { THREADS = 4, ROUNDS = 200 };

/* sum(n): adds n, n - 1, … 1 up in memory; keep(x): stores to memory and traps beyond it. */
static const build_func FUNCS[] = {
    {"i", "i", "sum", NULL,
     BUILD_BODY(0, 0x41, 0, 0x41, 0, 0x36, 2, 0, 0x03, 0x40, 0x41, 0, 0x41, 0, 0x28, 2, 0, 0x20, 0, 0x6A, 0x36, 2, 0,
                0x20, 0, 0x41, 1, 0x6B, 0x22, 0, 0x0D, 0, 0x0B, 0x41, 0, 0x28, 2, 0, 0x0B),
     NULL},
    {"i", "", "keep", NULL, BUILD_BODY(0, 0x20, 0, 0x41, 1, 0x36, 2, 0, 0x0B), NULL},
};
static const build_module MODULE = {.funcs = FUNCS, .func_count = 2, .memory_min = 1, .memory_max = 1};

typedef struct worker {
    pthread_t thread;
    fixture *shared; /* engine and module */
    uint32_t number;
    uint32_t rounds;
    uint32_t wrong;
} worker;

static bool one_round(worker *me, uint32_t n) {
    fixture own = {.engine = me->shared->engine, .module = me->shared->module};
    wr_slot slot = {.u64 = n};
    bool right = wr_store_new(own.engine, &own.store) == WR_OK && wr_exec_new(own.engine, 0, &own.exec) == WR_OK &&
                 fixture_link(&own, NULL, 0, NULL) == WR_OK && fixture_call(&own, "sum", &slot) == WR_OK &&
                 slot.u32 == n * (n + 1) / 2;
    slot.u64 = 65533;
    right = right && fixture_call(&own, "keep", &slot) == WR_TRAP_MEMORY_BOUNDS;
    if (own.exec != NULL) {
        wr_exec_free(own.exec);
    }
    if (own.store != NULL) {
        wr_store_free(own.store);
    }
    return right;
}

static void *use_shared_module(void *argument) {
    worker *me = argument;
    for (uint32_t round = 1; round <= me->rounds; round++) {
        me->wrong += !one_round(me, me->number * 1000 + round);
    }
    return NULL;
}

static void *load_modules(void *argument) {
    worker *me = argument;
    for (uint32_t round = 0; round < me->rounds; round++) {
        build_t bytes = {0};
        wr_module *module = NULL;
        build_whole(&bytes, &MODULE);
        if (wr_module_load(me->shared->engine, bytes.at, bytes.len, &module, NULL) == WR_OK) {
            wr_module_release(wr_module_retain(module));
            wr_module_release(module);
        } else {
            me->wrong++;
        }
        build_free(&bytes);
    }
    return NULL;
}

static void run_workers(check_t *check, fixture *shared, uint32_t rounds, void *(*body)(void *)) {
    worker workers[THREADS] = {{.shared = shared}};
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].shared = shared;
        workers[i].number = i;
        workers[i].rounds = rounds;
        REQUIRE(pthread_create(&workers[i].thread, NULL, body, &workers[i]) == 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        CHECK_EQ_U64(workers[i].wrong, 0);
    }
}

static void threads_share_a_module(check_t *check) {
    const struct {
        wr_bounds bounds;
        uint32_t rounds;
    } MODES[] = {{WR_BOUNDS_CHECKED, ROUNDS}, {WR_BOUNDS_AUTO, fixture_guard_rounds(ROUNDS)}};
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++) {
        const wr_engine_config config = {.bounds = MODES[i].bounds};
        fixture shared;
        REQUIRE_OK(fixture_module(&shared, &config, &MODULE));
        run_workers(check, &shared, MODES[i].rounds, use_shared_module);
        fixture_close(&shared);
    }
}

static void threads_load_into_one_engine(check_t *check) {
    fixture shared;
    REQUIRE_OK(fixture_open(&shared, NULL));
    run_workers(check, &shared, ROUNDS, load_modules);
    fixture_close(&shared);
}

static const check_test TESTS[] = {
    CHECK_TEST(threads_share_a_module),
    CHECK_TEST(threads_load_into_one_engine),
};
CHECK_MAIN(TESTS)
