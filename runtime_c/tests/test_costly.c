/* Instructions that take long, and how often they have come before: the limits of the call are looked at in time.
 * An interrupt that came before the call is how that is seen. */
#include "fixture.h"

#if !defined(WR_NO_EXCEPTIONS) && !defined(WR_NO_THREADS)
#define IS_FULL 1
#else
#define IS_FULL 0 /* a minimal build: what it does without is left out */
#endif

enum {
    TIMES = 70,       /* what counts as a host function, until the limits are looked at */
    DIVISIONS = 700,
    DEPTH = 600,      /* frames that catch nothing */
    LOCALS = 17000,   /* 64 bits each */
    CLAUSES = 5000,   /* none of which catches */
    ROUNDS = 256,     /* exceptions, before those that nothing refers to are looked for */
    MANY_ROUNDS = 100000,
    TAGS = 13         /* the section */
};

enum { TYPE_NOTHING, TYPE_TAKES, TYPE_TELLS };

/* A function that does one thing again and again. */
typedef struct repeated {
    const char *name;
    const uint8_t *step;
    size_t step_len;
    int times;
} repeated;

#define CAUGHT_THROW 0x02, 0x40, 0x1F, 0x40, 1, 2, 0, 0x08, 0, 0x0B, 0x0B

static const repeated REPEATED[] = {
    {"memory.grow", BUILD_BODY(0x41, 0, 0x40, 0, 0x1A), TIMES},
    {"table.grow", BUILD_BODY(0xD0, 0x70, 0x41, 0, 0xFC, 0x0F, 0, 0x1A), TIMES},
    {"divisions", BUILD_BODY(0x23, 0, 0x41, 3, 0x6E, 0x1A), DIVISIONS},
#if IS_FULL
    {"notify", BUILD_BODY(0x41, 0, 0x41, 0, 0xFE, 0, 2, 0, 0x1A), TIMES},
    {"wait", BUILD_BODY(0x41, 0, 0x41, 1, 0x42, 0, 0xFE, 1, 2, 0, 0x1A), TIMES},
    {"throw", BUILD_BODY(CAUGHT_THROW), TIMES},
#endif
};
enum { REPEATED_COUNT = sizeof REPEATED / sizeof REPEATED[0] };

/* These come after them. */
static const struct {
    const char *name;
    uint8_t type;
} OTHERS[] = {
    {"locals", TYPE_NOTHING}, {"move", TYPE_TAKES},    {"told", TYPE_TELLS},
#if IS_FULL
    {"clauses", TYPE_TAKES},  {"collect", TYPE_TAKES}, {"dive", TYPE_TAKES},
#endif
};
enum { OTHER_COUNT = sizeof OTHERS / sizeof OTHERS[0], FUNC_COUNT = REPEATED_COUNT + OTHER_COUNT };

#if IS_FULL
#define FILL_PAGE 0x41, 0, 0x41, 0, 0x41, 0x80, 0x80, 4, 0xFC, 0x0B, 0
/* param 0 exceptions, so much work that the limits have just been looked at, the host, one more exception; then the
 * global is 1. */
static const uint8_t COLLECT[] = {
    0,         0x03, 0x40, CAUGHT_THROW, 0x20, 0,    0x41, 0x7F,         0x6A, 0x22, 0,    0x0D, 0,   0x0B, FILL_PAGE,
    FILL_PAGE, 0x10, 0,    0x41,         0,    0x24, 0,    CAUGHT_THROW, 0x41, 1,    0x24, 0,    0x0B};
/* param 0 calls of itself, then an exception. */
static const uint8_t DIVE[] = {0,    0x20, 0,          0x04, 0x40, 0x20, 0,    0x41, 1,
                               0x6B, 0x10, FUNC_COUNT, 0x05, 0x08, 0,    0x0B, 0x0B};
#endif
/* A table of 20,000 elements, the host, one more element; then the global is 1. */
static const uint8_t MOVE[] = {0, 0xD0, 0x70, 0x41, 0xA0, 0x9C, 1,    0xFC, 0x0F, 0,    0x1A, 0x10, 0, 0x41, 0, 0x24,
                               0, 0xD0, 0x70, 0x41, 1,    0xFC, 0x0F, 0,    0x1A, 0x41, 1,    0x24, 0, 0x0B};
static const uint8_t TOLD[] = {0, 0x23, 0, 0x0B};

static void put_body(build_t *out, const uint8_t *body, size_t len) {
    const size_t mark = build_open(out, -1);
    build_bytes(out, body, len);
    build_close(out, mark);
}

static void put_others(build_t *out) {
    size_t mark = build_open(out, -1);
    build_byte(out, 1);
    build_u32(out, LOCALS);
    build_bytes(out, "\x7E\x0B", 2);
    build_close(out, mark);
    put_body(out, MOVE, sizeof MOVE);
    put_body(out, TOLD, sizeof TOLD);
#if IS_FULL
    mark = build_open(out, -1);
    build_bytes(out, "\x00\x20\x00\x04\x40\x08\x00\x0B\x1F\x40", 10); /* with param 0 it throws before them */
    build_u32(out, CLAUSES);
    for (int i = 0; i < CLAUSES; i++) build_bytes(out, "\x00\x01\x00", 3);
    build_bytes(out, "\x0B\x0B", 2);
    build_close(out, mark);
    put_body(out, COLLECT, sizeof COLLECT);
    put_body(out, DIVE, sizeof DIVE);
#endif
}

static void put_code(build_t *out) {
    const size_t section = build_open(out, BUILD_CODE);
    build_u32(out, FUNC_COUNT);
    for (size_t i = 0; i < REPEATED_COUNT; i++) {
        const size_t mark = build_open(out, -1);
        build_byte(out, 0);
        for (int times = 0; times < REPEATED[i].times; times++)
            build_bytes(out, REPEATED[i].step, REPEATED[i].step_len);
        build_byte(out, 0x0B);
        build_close(out, mark);
    }
    put_others(out);
    build_close(out, section);
}

static void put_section(build_t *out, int section, const char *bytes, size_t len) {
    const size_t mark = build_open(out, section);
    build_bytes(out, bytes, len);
    build_close(out, mark);
}

#define SECTION(OUT, NUMBER, TEXT) put_section(OUT, NUMBER, TEXT, sizeof(TEXT) - 1)

static const char *name_of(size_t func) {
    return func < REPEATED_COUNT ? REPEATED[func].name : OTHERS[func - REPEATED_COUNT].name;
}

static uint8_t type_of(size_t func) {
    return func < REPEATED_COUNT ? TYPE_NOTHING : OTHERS[func - REPEATED_COUNT].type;
}

/* A table that can grow, a memory of one page, shared if it can be, two tags, a variable. */
static void put_module(build_t *out) {
    build_header(out);
    SECTION(out, BUILD_TYPES, "\x03\x60\x00\x00\x60\x01\x7F\x00\x60\x00\x01\x7F");
    SECTION(out, BUILD_IMPORTS,
            "\x01\x03"
            "env"
            "\x04"
            "host"
            "\x00\x00");
    size_t mark = build_open(out, BUILD_FUNCTIONS);
    build_u32(out, FUNC_COUNT);
    for (size_t i = 0; i < FUNC_COUNT; i++) build_byte(out, type_of(i));
    build_close(out, mark);
    SECTION(out, BUILD_TABLES, "\x01\x70\x00\x00");
#if IS_FULL
    SECTION(out, BUILD_MEMORIES, "\x01\x03\x01\x01");
    SECTION(out, TAGS, "\x02\x00\x00\x00\x00");
#else
    SECTION(out, BUILD_MEMORIES, "\x01\x01\x01\x01");
#endif
    SECTION(out, BUILD_GLOBALS, "\x01\x7F\x01\x41\x00\x0B");
    mark = build_open(out, BUILD_EXPORTS);
    build_u32(out, FUNC_COUNT);
    for (size_t i = 0; i < FUNC_COUNT; i++) {
        build_name(out, name_of(i));
        build_byte(out, 0);
        build_u32(out, (uint32_t)i + 1);
    }
    build_close(out, mark);
    put_code(out);
}

static wr_status host(wr_exec *exec, void *env, wr_slot *slots) {
    const bool *interrupts = env;
    (void)slots;
    if (*interrupts) wr_exec_interrupt(exec);
    return WR_OK;
}

static bool open_costly(check_t *check, fixture *fix, bool *interrupts) {
    const wr_engine_config config = {.limits = {.load_bytes_min = 1 << 20}};
    const wr_func_type type = {0};
    build_t bytes = {0};
    wr_extern import = {.kind = WR_EXTERN_FUNC};
    put_module(&bytes);
    return CHECK_OK(fixture_open(fix, &config)) && CHECK_OK(fixture_load(fix, &bytes)) &&
           CHECK_OK(wr_func_new(fix->store, &type, host, interrupts, &import.of.func)) &&
           CHECK_OK(fixture_link(fix, &import, 1, NULL));
}

static void they_count(check_t *check) {
    fixture fix;
    bool interrupts = false;
    wr_slot slot = {.u64 = 0};
    REQUIRE(open_costly(check, &fix, &interrupts));
    for (size_t i = 0; i < FUNC_COUNT; i++) {
        const char *name = name_of(i);
        if (type_of(i) != TYPE_NOTHING) continue;
        wr_exec_set_limits(fix.exec, 0, 10);
        if (!CHECK_OK(fixture_call(&fix, name, &slot))) CHECK_FAIL("in %s", name);
        CHECK_EQ_U64(wr_exec_fuel_left(fix.exec), 10); /* they are no jumps and no calls */
        wr_exec_interrupt(fix.exec);
        if (!CHECK_STATUS(fixture_call(&fix, name, &slot), WR_TRAP_INTERRUPTED)) CHECK_FAIL("in %s", name);
    }
    fixture_close(&fix);
}

/* What ends with the global at 1, unless it is interrupted before. */
static void check_told(check_t *check, fixture *fix, const char *name, uint32_t param, wr_status expected) {
    wr_slot slot = {.u64 = param};
    wr_exec_set_limits(fix->exec, 0, 0);
    CHECK_STATUS(fixture_call(fix, name, &slot), expected);
    CHECK_OK(fixture_call(fix, "told", &slot));
    CHECK_EQ_U64(slot.u32, expected == WR_OK);
}

static void moving_a_table_is_interrupted(check_t *check) {
    fixture fix;
    bool interrupts = true;
    REQUIRE(open_costly(check, &fix, &interrupts));
    check_told(check, &fix, "move", 0, WR_TRAP_INTERRUPTED);
    interrupts = false;
    check_told(check, &fix, "move", 0, WR_OK);
    fixture_close(&fix);
}

#if IS_FULL
/* Looking for exceptions that nothing refers to is long work, too. The next one looks for those that were left. */
static void collecting_is_interrupted(check_t *check) {
    fixture fix;
    bool interrupts = true;
    REQUIRE(open_costly(check, &fix, &interrupts));
    check_told(check, &fix, "collect", ROUNDS - 1, WR_OK); /* not yet */
    fixture_close(&fix);
    REQUIRE(open_costly(check, &fix, &interrupts));
    check_told(check, &fix, "collect", ROUNDS, WR_TRAP_INTERRUPTED);
    interrupts = false;
    check_told(check, &fix, "collect", MANY_ROUNDS, WR_OK); /* more than there may be */
    fixture_close(&fix);
}

/* Through many frames, or where there are many clauses. */
static void unwinding_is_interrupted(check_t *check) {
    static const char *const NAMES[] = {"dive", "clauses"};
    fixture fix;
    bool interrupts = false;
    REQUIRE(open_costly(check, &fix, &interrupts));
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        wr_slot slot = {.u64 = DEPTH};
        CHECK_STATUS(fixture_call(&fix, NAMES[i], &slot), WR_TRAP_EXCEPTION);
        wr_exec_interrupt(fix.exec);
        slot.u64 = DEPTH;
        CHECK_STATUS(fixture_call(&fix, NAMES[i], &slot), WR_TRAP_INTERRUPTED);
    }
    fixture_close(&fix);
}
#endif

static const check_test TESTS[] = {
    CHECK_TEST(they_count),
    CHECK_TEST(moving_a_table_is_interrupted),
#if IS_FULL
    CHECK_TEST(collecting_is_interrupted),
    CHECK_TEST(unwinding_is_interrupted),
#endif
};
CHECK_MAIN(TESTS)
