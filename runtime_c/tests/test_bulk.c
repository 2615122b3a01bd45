/* One instruction may do a lot of work: long ones look at the limits of the call after each piece. */
#include "fixture.h"

enum {
    PIECE_MOST = 128 * 1024, /* bytes */
    ELEMENT_BYTES = 8,
    PAGES = 16,
    ELEMENTS = 3 * PIECE_MOST / ELEMENT_BYTES,
    SEGMENT_BYTES = 3 * PIECE_MOST
};

/* LEB128 of SEGMENT_BYTES = 0x60000, of ELEMENTS = 0xC000, of the ends of both. */
#define BYTES_3 0x80, 0x80, 0x18
#define ITEMS_3 0x80, 0x80, 0x03

/* Memory of one MiB and a table of ELEMENTS nulls behind function 0; each does one long instruction. */
static const build_func FUNCS[] = {
    {"", "", "nothing", NULL, BUILD_BODY(0, 0x0B), NULL},
    {"", "", "memory.fill", NULL, BUILD_BODY(0, 0x41, 0, 0x41, 1, 0x41, BYTES_3, 0xFC, 0x0B, 0, 0x0B), NULL},
    {"", "", "memory.copy", NULL, BUILD_BODY(0, 0x41, 0, 0x41, 0x80, 0x80, 0x20, 0x41, BYTES_3, 0xFC, 0x0A, 0, 0, 0x0B),
     NULL},
    {"", "", "memory.init", NULL, BUILD_BODY(0, 0x41, 0, 0x41, 0, 0x41, BYTES_3, 0xFC, 0x08, 0, 0, 0x0B), NULL},
    {"", "", "table.fill", NULL, BUILD_BODY(0, 0x41, 0, 0xD2, 0, 0x41, ITEMS_3, 0xFC, 0x11, 0, 0x0B), NULL},
    {"", "", "table.copy", NULL, BUILD_BODY(0, 0x41, 0, 0x41, 1, 0x41, 0xFF, 0xFF, 0x02, 0xFC, 0x0E, 0, 0, 0x0B), NULL},
    {"", "", "table.init", NULL, BUILD_BODY(0, 0x41, 0, 0x41, 0, 0x41, ITEMS_3, 0xFC, 0x0C, 0, 0, 0x0B), NULL},
    {"", "", "table.grow", NULL, BUILD_BODY(0, 0xD2, 0, 0x41, ITEMS_3, 0xFC, 0x0F, 0, 0x1A, 0x0B), NULL},
    {"i", "i", "is_null", NULL, BUILD_BODY(0, 0x20, 0, 0x25, 0, 0xD1, 0x0B), NULL},
    {"", "i", "size", NULL, BUILD_BODY(0, 0xFC, 0x10, 0, 0x0B), NULL},
};
static const char *const LONG[] = {"memory.fill", "memory.copy", "memory.init", "table.fill",
                                   "table.copy",  "table.init",  "table.grow"};

/* Passive: ELEMENTS times function 0, and SEGMENT_BYTES ones. */
static void put_module(build_t *out) {
    build_t extra = {0};
    size_t mark = build_open(&extra, BUILD_ELEMENTS);
    build_bytes(&extra, "\x01\x01\x00", 3);
    build_u32(&extra, ELEMENTS);
    for (size_t i = 0; i < ELEMENTS; i++) {
        build_byte(&extra, 0);
    }
    build_close(&extra, mark);
    build_bytes(&extra, "\x0C\x01\x01", 3); /* one data segment follows */
    const build_module module = {.funcs = FUNCS,
                                 .func_count = sizeof FUNCS / sizeof FUNCS[0],
                                 .memory_min = PAGES,
                                 .memory_max = PAGES,
                                 .table_min = ELEMENTS,
                                 .extra = extra.at,
                                 .extra_len = extra.len};
    build_whole(out, &module);
    build_free(&extra);
    mark = build_open(out, BUILD_DATA);
    build_bytes(out, "\x01\x01", 2);
    build_u32(out, SEGMENT_BYTES);
    for (size_t i = 0; i < SEGMENT_BYTES; i++) {
        build_byte(out, 1);
    }
    build_close(out, mark);
}

static bool open_long(check_t *check, fixture *fix) {
    build_t bytes = {0};
    put_module(&bytes);
    return CHECK_OK(fixture_open(fix, NULL)) && CHECK_OK(fixture_load(fix, &bytes)) &&
           CHECK_OK(fixture_link(fix, NULL, 0, NULL));
}

static uint64_t ones(const fixture *fix) {
    const uint8_t *memory = wr_memory_data(wr_instance_memory(fix->instance, 0));
    uint64_t count = 0;
    for (size_t i = 0; i < PAGES * 65536; i++) {
        count += memory[i];
    }
    return count;
}

static uint32_t is_null(check_t *check, fixture *fix, uint32_t index) {
    wr_slot slot = {.u64 = index};
    CHECK_OK(fixture_call(fix, "is_null", &slot));
    return slot.u32;
}

/* What one piece of the instruction leaves behind. */
static void check_piece(check_t *check, fixture *fix, const char *name, uint32_t piece) {
    const bool writes_ones = strcmp(name, "memory.fill") == 0 || strcmp(name, "memory.init") == 0;
    const bool writes_items = strcmp(name, "table.fill") == 0 || strcmp(name, "table.init") == 0;
    wr_slot slot = {.u64 = 0};
    wr_exec_set_limits(fix->exec, 0, 0);
    CHECK_EQ_U64(ones(fix), writes_ones ? piece : 0);
    CHECK_EQ_U64(is_null(check, fix, piece / ELEMENT_BYTES - 1), !writes_items);
    CHECK_EQ_U64(is_null(check, fix, piece / ELEMENT_BYTES), 1);
    CHECK_OK(fixture_call(fix, "size", &slot));
    CHECK_EQ_U64(slot.u32, ELEMENTS); /* a growth that was cut short did not happen */
}

/* An interrupt that came before is seen after the first piece, which is smaller where there is a deadline, and the
 * smaller the shorter that is. */
static void interrupted_after_one_piece(check_t *check) {
    static const struct {
        uint64_t deadline_us; /* 0: none */
        uint32_t piece;
    } ROWS[] = {{0, PIECE_MOST},        {3600000000u, PIECE_MOST / 4}, {512, PIECE_MOST / 4}, {511, PIECE_MOST / 8},
                {255, PIECE_MOST / 16}, {100, PIECE_MOST / 32},        {1, PIECE_MOST / 32}};
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++) {
        for (size_t i = 0; i < sizeof LONG / sizeof LONG[0]; i++) {
            fixture fix;
            wr_slot slot = {.u64 = 0};
            REQUIRE(open_long(check, &fix));
            wr_exec_set_limits(fix.exec, ROWS[row].deadline_us, 0);
            wr_exec_interrupt(fix.exec);
            if (!CHECK_STATUS(fixture_call(&fix, LONG[i], &slot), WR_TRAP_INTERRUPTED)) {
                CHECK_FAIL("in %s, row %zu", LONG[i], row);
            }
            check_piece(check, &fix, LONG[i], ROWS[row].piece);
            fixture_close(&fix);
        }
    }
}

/* A microsecond is over after the first piece. */
static void the_deadline_is_seen(check_t *check) {
    fixture fix;
    REQUIRE(open_long(check, &fix));
    for (size_t i = 0; i < sizeof LONG / sizeof LONG[0]; i++) {
        wr_slot slot = {.u64 = 0};
        wr_exec_set_limits(fix.exec, 1, 0);
        if (!CHECK_STATUS(fixture_call(&fix, LONG[i], &slot), WR_TRAP_DEADLINE)) {
            CHECK_FAIL("in %s", LONG[i]);
        }
    }
    fixture_close(&fix);
}

static void undisturbed_they_are_complete(check_t *check) {
    fixture fix;
    wr_slot slot = {.u64 = 0};
    REQUIRE(open_long(check, &fix));
    for (size_t i = 0; i < sizeof LONG / sizeof LONG[0]; i++) {
        wr_exec_set_limits(fix.exec, 0, 100); /* bulk work is not what fuel counts */
        CHECK_OK(fixture_call(&fix, LONG[i], &slot));
    }
    CHECK_EQ_U64(ones(&fix), SEGMENT_BYTES);
    CHECK_EQ_U64(is_null(check, &fix, ELEMENTS - 1), 0);
    CHECK_OK(fixture_call(&fix, "size", &slot));
    CHECK_EQ_U64(slot.u32, 2 * ELEMENTS);
    fixture_close(&fix);
}

enum { ROUNDS_FAST = 1000000, ROUNDS_FEW = 2000 };

/* A loop so fast that the limits are looked at seldom, and then a call whose deadline is too short for that. */
static void short_deadlines_look_often(check_t *check) {
    const build_func func = {
        "i", "", "rounds", NULL, BUILD_BODY(0, 0x03, 0x40, 0x20, 0, 0x41, 0x7F, 0x6A, 0x22, 0, 0x0D, 0, 0x0B, 0x0B),
        NULL};
    fixture fix;
    build_t bytes = {0};
    wr_slot slot = {.u64 = ROUNDS_FAST};
    build_whole(&bytes, &(build_module){.funcs = &func, .func_count = 1});
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, NULL, 0, NULL));
    wr_exec_set_limits(fix.exec, 3600000000u, 0);
    CHECK_OK(fixture_call(&fix, "rounds", &slot));
    wr_exec_set_limits(fix.exec, 100, 0);
    wr_exec_interrupt(fix.exec);
    slot.u64 = ROUNDS_FEW;
    CHECK_STATUS(fixture_call(&fix, "rounds", &slot), WR_TRAP_INTERRUPTED);
    fixture_close(&fix);
}

enum { STEP_BYTES = 7, LONG_STEPS = 8192, SHORT_STEPS = 512 };

/* A function of so many steps local = local + 1, without a jump. */
static void put_straight(build_t *out, uint32_t steps) {
    static const uint8_t step[STEP_BYTES] = {0x20, 0, 0x41, 1, 0x6A, 0x21, 0};
    const size_t len = 1 + (size_t)steps * STEP_BYTES + 3;
    uint8_t *body = malloc(len), *at = body;
    if (body == NULL) abort();
    *at++ = 0;
    for (uint32_t i = 0; i < steps; i++, at += STEP_BYTES) memcpy(at, step, STEP_BYTES);
    memcpy(at, (const uint8_t[]){0x20, 0, 0x0B}, 3);
    const build_func func = {"i", "i", "straight", NULL, body, len, NULL};
    build_whole(out, &(build_module){.funcs = &func, .func_count = 1});
    free(body);
}

static void check_straight(check_t *check, uint32_t steps, uint64_t deadline_us, wr_status expected) {
    fixture fix;
    build_t bytes = {0};
    wr_slot slot = {.u64 = 1};
    put_straight(&bytes, steps);
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, NULL, 0, NULL));
    wr_exec_set_limits(fix.exec, deadline_us, 10);
    wr_exec_interrupt(fix.exec);
    CHECK_STATUS(fixture_call(&fix, "straight", &slot), expected);
    if (expected == WR_OK) CHECK_EQ_U64(slot.u32, 1 + steps);
    CHECK_EQ_U64(wr_exec_fuel_left(fix.exec), 10); /* it is no jump and no call */
    fixture_close(&fix);
}

/* However long it is, code without a jump looks at the limits now and then; and costs no fuel. With a short deadline it
 * does so more often. */
static void straight_code_is_interrupted(check_t *check) {
    check_straight(check, SHORT_STEPS, 0, WR_OK);
    check_straight(check, SHORT_STEPS, 100, WR_TRAP_INTERRUPTED);
    check_straight(check, LONG_STEPS, 0, WR_TRAP_INTERRUPTED);
}

static const check_test TESTS[] = {
    CHECK_TEST(interrupted_after_one_piece),  CHECK_TEST(short_deadlines_look_often),
    CHECK_TEST(the_deadline_is_seen),         CHECK_TEST(undisturbed_they_are_complete),
    CHECK_TEST(straight_code_is_interrupted),
};
CHECK_MAIN(TESTS)
