/* Address space of freed memories is used again: nothing of the one before is left, bounds are those of the new one. */
#include "fixture.h"

enum { WASM_PAGE = 65536, STORES = 24 };

static const build_func FUNCS[] = {
    {"i", "i", "get", NULL, BUILD_BODY(0, 0x20, 0, 0x28, 2, 0, 0x0B), NULL},
    {"ii", "", "put", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 1, 0x36, 2, 0, 0x0B), NULL},
    {"i", "i", "grow", NULL, BUILD_BODY(0, 0x20, 0, 0x40, 0, 0x0B), NULL},
};

static wr_status call_1(fixture *fix, const char *name, uint32_t argument, uint32_t *result) {
    wr_slot slots[2] = {{.u64 = argument}, {.u64 = 0}};
    wr_status status = fixture_call(fix, name, slots);
    *result = slots[0].u32;
    return status;
}

/* A new store and instance with so many pages; everything must read zero, the first byte behind must trap. */
static void check_fresh(check_t *check, fixture *fix, uint32_t pages) {
    const build_module module = {.funcs = FUNCS, .func_count = 3, .memory_min = pages, .memory_max = 64};
    build_t bytes = {0};
    uint32_t value = 1;
    build_whole(&bytes, &module);
    REQUIRE_OK(fixture_load(fix, &bytes));
    wr_store_free(fix->store);
    REQUIRE_OK(wr_store_new(fix->engine, &fix->store));
    REQUIRE_OK(fixture_link(fix, NULL, 0, NULL));
    for (uint32_t page = 0; page < pages; page++) {
        CHECK_OK(call_1(fix, "get", page * WASM_PAGE + 8, &value));
        CHECK_EQ_U64(value, 0);
        wr_slot slots[2] = {{.u64 = page * WASM_PAGE + 8}, {.u64 = 0xDEAD}};
        CHECK_OK(fixture_call(fix, "put", slots));
    }
    CHECK_STATUS(call_1(fix, "get", pages * WASM_PAGE, &value), WR_TRAP_MEMORY_BOUNDS);
    CHECK_EQ_U64(wr_memory_size(wr_instance_memory(fix->instance, 0)), (uint64_t)pages * WASM_PAGE);
}

static void nothing_is_left_of_the_memory_before(check_t *check) {
    static const uint32_t pages[] = {1, 1, 3, 2, 5, 1, 4, 1};
    fixture fix;
    uint32_t before;
    REQUIRE_OK(fixture_open(&fix, NULL));
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        check_fresh(check, &fix, pages[i]);
        CHECK_OK(call_1(&fix, "grow", 2, &before)); /* what it grew to is not the next one's */
        CHECK_EQ_U64(before, pages[i]);
        wr_slot slots[2] = {{.u64 = (pages[i] + 1) * WASM_PAGE}, {.u64 = 0xBEEF}};
        CHECK_OK(fixture_call(&fix, "put", slots));
    }
    fixture_close(&fix);
}

static void more_memories_than_are_kept(check_t *check) {
    const build_module module = {.funcs = FUNCS, .func_count = 3, .memory_min = 1, .memory_max = 2};
    const uint32_t count = fixture_guard_rounds(STORES);
    wr_store *stores[STORES] = {NULL};
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &module));
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < count; i++) {
            wr_instance *instance = NULL;
            wr_error error;
            REQUIRE_OK(wr_store_new(fix.engine, &stores[i]));
            REQUIRE_OK(wr_instance_new(stores[i], fix.module, NULL, 0, NULL, fix.exec, &instance, &error));
            uint32_t *word = wr_memory_at(wr_instance_memory(instance, 0), 1024 * i, sizeof *word);
            REQUIRE(word != NULL);
            CHECK_EQ_U64(*word, 0);
            *word = round + 1;
        }
        for (uint32_t i = 0; i < count; i++) wr_store_free(stores[i]);
    }
    fixture_close(&fix);
}

static const check_test TESTS[] = {
    CHECK_TEST(nothing_is_left_of_the_memory_before),
    CHECK_TEST(more_memories_than_are_kept),
};
CHECK_MAIN(TESTS)
