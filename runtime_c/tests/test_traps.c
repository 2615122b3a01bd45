/* Traps: every kind, where they are reported, and the limits that end endless code. */
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "fixture.h"

enum {
    STACK_DEPTH = 16384, /* calls of a function without operands: two slots each of 256 KiB */
    HOST_CALLS_MAX = 64, /* between two looks at the limits */
    PAUSES = 4,
    PAUSE_NS = 100000000,
};

/* ---- every kind -------------------------------------------------------------------------------------------- */

/* Each is () -> () in one module with a memory of one page and a table of ten whose other entries are null. */
static const build_func KINDS[] = {
    {"", "", "unreachable", NULL, BUILD_BODY(0, 0x00, 0x0B), NULL},
    {"", "", "div_zero", NULL, BUILD_BODY(0, 0x41, 1, 0x41, 0, 0x6D, 0x1A, 0x0B), NULL},
    {"", "", "overflow", NULL, BUILD_BODY(0, 0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x41, 0x7F, 0x6D, 0x1A, 0x0B), NULL},
    {"", "", "conversion", NULL, BUILD_BODY(0, 0x43, 0, 0, 0xC0, 0x7F, 0xA8, 0x1A, 0x0B), NULL},
    {"", "", "load", NULL, BUILD_BODY(0, 0x41, 0x7F, 0x28, 2, 0, 0x1A, 0x0B), NULL},
    {"", "", "store", NULL, BUILD_BODY(0, 0x41, 0xFD, 0xFF, 0x03, 0x41, 0, 0x36, 2, 0, 0x0B), NULL},
    {"", "", "fill", NULL, BUILD_BODY(0, 0x41, 0, 0x41, 0, 0x41, 0x81, 0x80, 0x04, 0xFC, 0x0B, 0, 0x0B), NULL},
    {"", "", "table_get", NULL, BUILD_BODY(0, 0x41, 0xE4, 0, 0x25, 0, 0x1A, 0x0B), NULL},
    {"", "", "undefined", NULL, BUILD_BODY(0, 0x41, 0xE4, 0, 0x11, 0, 0, 0x0B), NULL},
    {"", "", "uninitialized", NULL, BUILD_BODY(0, 0x41, 0x1F, 0x11, 0, 0, 0x0B), NULL},
    {"", "i", "one", NULL, BUILD_BODY(0, 0x41, 1, 0x0B), NULL},
    {"", "", "call_type", NULL, BUILD_BODY(0, 0x41, 10, 0x11, 0, 0, 0x0B), NULL},
    {"", "", "stack", NULL, BUILD_BODY(0, 0x10, 12, 0x0B), NULL},
};
static const build_module KINDS_MODULE = {
    .funcs = KINDS, .func_count = sizeof KINDS / sizeof KINDS[0], .memory_min = 1, .memory_max = 1, .table_min = 32};
static const struct {
    const char *export;
    wr_status want;
} EXPECTED[] = {
    {"unreachable", WR_TRAP_UNREACHABLE},     {"div_zero", WR_TRAP_DIV_ZERO},
    {"overflow", WR_TRAP_INT_OVERFLOW},       {"conversion", WR_TRAP_INT_CONVERSION},
    {"load", WR_TRAP_MEMORY_BOUNDS},          {"store", WR_TRAP_MEMORY_BOUNDS},
    {"fill", WR_TRAP_MEMORY_BOUNDS},          {"table_get", WR_TRAP_TABLE_BOUNDS},
    {"undefined", WR_TRAP_UNDEFINED_ELEMENT}, {"uninitialized", WR_TRAP_UNINITIALIZED_ELEMENT},
    {"call_type", WR_TRAP_CALL_TYPE},         {"stack", WR_TRAP_STACK},
};

static void check_kinds(check_t *check, wr_bounds bounds) {
    const wr_engine_config config = {.bounds = bounds};
    fixture fix;
    wr_slot slot;
    REQUIRE_OK(fixture_module(&fix, &config, &KINDS_MODULE));
    CHECK_EQ_U64(wr_memory_is_guarded(wr_instance_memory(fix.instance, 0)), bounds == WR_BOUNDS_GUARD);
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        CHECK_STATUS(fixture_call(&fix, EXPECTED[i].export, &slot), EXPECTED[i].want);
        const wr_trap *trap = wr_exec_trap(fix.exec);
        CHECK_STATUS(trap->status, EXPECTED[i].want);
        CHECK(trap->frame_count >= 1 && trap->frame_count <= WR_BACKTRACE_MAX);
        CHECK(trap->frames_total >= trap->frame_count);
        CHECK_STR(trap->frames[0].name, EXPECTED[i].export); /* no name section: the export's name */
        CHECK_OK(fixture_call(&fix, "one", &slot));
        CHECK_EQ_U64(slot.u32, 1);
    }
    fixture_close(&fix);
}

static void every_kind_checked(check_t *check) { check_kinds(check, WR_BOUNDS_CHECKED); }

static void every_kind_guarded(check_t *check) {
    if (fixture_has_guards()) {
        check_kinds(check, WR_BOUNDS_GUARD);
    } else {
        const wr_engine_config config = {.bounds = WR_BOUNDS_GUARD};
        fixture fix;
        CHECK(fixture_module(&fix, &config, &KINDS_MODULE) != WR_OK);
        fixture_close(&fix);
    }
}

#ifndef WR_NO_MEMORY64

/* (i64) -> (i32) "at" and () -> (i32) "zero" load a byte 4 GiB behind an address of a 64-bit memory. */
static const uint8_t FAR_MODULE[] = {
    0,    'a',  's',  'm', 1,    0,    0,    0,    1,    10,   2,    0x60, 1,    0x7E, 1,
    0x7F, 0x60, 0,    1,   0x7F, 3,    3,    2,    0,    1, /* */
    5,    8,    1,    5,   0x80, 0x80, 4,    0x80, 0x80, 4, /* pages, twice */
    7,    13,   2,    2,   'a',  't',  0,    0,    4,    'z',  'e',  'r',  'o',  0,    1, /* */
    10,   25,   2,    11,  0,    0x20, 0,    0x2D, 0,    0x80, 0x80, 0x80, 0x80, 0x10, 0x0B, /* */
    11,   0,    0x42, 0,   0x2D, 0,    0x80, 0x80, 0x80, 0x80, 0x10, 0x0B};
enum { FAR_PAGES = 29, FAR_PAGES_AGAIN = FAR_PAGES + 3 };

/* That is outside of every memory, also of one of 4 GiB. */
static void far_offsets_trap(check_t *check) {
    static const uint64_t ADDRESSES[] = {0, 1, UINT32_MAX, UINT64_MAX};
    fixture fix;
    wr_slot slot;
    build_t bytes = {0};
    build_bytes(&bytes, FAR_MODULE, sizeof FAR_MODULE);
    if (sizeof(void *) < 8 || fixture_guard_rounds(3) < 3) { /* there one page has to do */
        memcpy(bytes.at + FAR_PAGES, "\x81\x80\0", 3);
        memcpy(bytes.at + FAR_PAGES_AGAIN, "\x81\x80\0", 3);
    }
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, NULL, 0, NULL));
    for (size_t i = 0; i < sizeof ADDRESSES / sizeof ADDRESSES[0]; i++) {
        slot.u64 = ADDRESSES[i];
        CHECK_STATUS(fixture_call(&fix, "at", &slot), WR_TRAP_MEMORY_BOUNDS);
    }
    CHECK_STATUS(fixture_call(&fix, "zero", &slot), WR_TRAP_MEMORY_BOUNDS);
    fixture_close(&fix);
}

#endif

/* ---- where ------------------------------------------------------------------------------------------------- */

static const build_func NESTED[] = {
    {"i", "i", NULL, NULL, BUILD_BODY(0, 0x41, 7, 0x20, 0, 0x6E, 0x0B), "divide"},
    {"i", "i", NULL, NULL, BUILD_BODY(0, 0x20, 0, 0x10, 0, 0x0B), "middle"},
    {"i", "i", "outer", NULL, BUILD_BODY(0, 0x20, 0, 0x10, 1, 0x0B), "outermost"},
};
static const build_module NESTED_MODULE = {.funcs = NESTED, .func_count = 3};

static void backtrace_has_names_and_offsets(check_t *check) {
    fixture fix;
    build_t bytes = {0};
    wr_slot slot = {.u64 = 0};
    REQUIRE_OK(fixture_open(&fix, NULL));
    build_whole(&bytes, &NESTED_MODULE);
    size_t divide = build_find(&bytes, "\x41\x07\x20\x00\x6E", 5) + 4;
    size_t middle = build_find(&bytes, "\x20\x00\x10\x00", 4) + 2;
    size_t outer = build_find(&bytes, "\x20\x00\x10\x01", 4) + 2;
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, NULL, 0, NULL));
    REQUIRE(fixture_call(&fix, "outer", &slot) == WR_TRAP_DIV_ZERO);
    const wr_trap *trap = wr_exec_trap(fix.exec);
    REQUIRE(trap->frame_count == 3 && trap->frames_total == 3);
    CHECK_STR(trap->frames[0].name, "divide");
    CHECK_STR(trap->frames[1].name, "middle");
    CHECK_STR(trap->frames[2].name, "outermost");
    CHECK_EQ_U64(trap->frames[2].func_index, 2);
    CHECK_EQ_U64(trap->frames[0].offset, divide);
    CHECK_EQ_U64(trap->frames[1].offset, middle);
    CHECK_EQ_U64(trap->frames[2].offset, outer);
    fixture_close(&fix);
}

static void memory_traps_have_offsets(check_t *check, wr_bounds bounds) {
    const wr_engine_config config = {.bounds = bounds};
    fixture fix;
    build_t bytes = {0};
    wr_slot slot;
    REQUIRE_OK(fixture_open(&fix, &config));
    build_whole(&bytes, &KINDS_MODULE);
    size_t load = build_find(&bytes, "\x41\x7F\x28\x02", 4) + 2;
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, NULL, 0, NULL));
    REQUIRE(fixture_call(&fix, "load", &slot) == WR_TRAP_MEMORY_BOUNDS);
    CHECK_EQ_U64(wr_exec_trap(fix.exec)->frames[0].offset, load);
    fixture_close(&fix);
}

static void memory_traps_have_offsets_checked(check_t *check) { memory_traps_have_offsets(check, WR_BOUNDS_CHECKED); }
static void memory_traps_have_offsets_auto(check_t *check) { memory_traps_have_offsets(check, WR_BOUNDS_AUTO); }

static void check_depth(check_t *check, wr_bounds bounds) {
    const wr_engine_config config = {.bounds = bounds};
    fixture fix;
    wr_slot slot;
    REQUIRE_OK(fixture_module(&fix, &config, &KINDS_MODULE));
    for (int round = 0; round < 2; round++) {
        CHECK_STATUS(fixture_call(&fix, "stack", &slot), WR_TRAP_STACK);
        const wr_trap *trap = wr_exec_trap(fix.exec);
        CHECK_EQ_U64(trap->frames_total, STACK_DEPTH);
        CHECK_EQ_U64(trap->frame_count, WR_BACKTRACE_MAX);
        CHECK_STR(trap->frames[WR_BACKTRACE_MAX - 1].name, "stack");
    }
    fixture_close(&fix);
}

/* One number for all: the stack is made of slots, whatever the compiler, the machine and the checking of bounds. */
static void the_stack_ends_at_the_same_depth_everywhere(check_t *check) {
    check_depth(check, WR_BOUNDS_CHECKED);
    if (fixture_has_guards()) {
        check_depth(check, WR_BOUNDS_GUARD);
    }
}

static void a_start_function_can_trap(check_t *check) {
    const build_func start[] = {{"", "", NULL, NULL, BUILD_BODY(0, 0x00, 0x0B), "boot"}};
    const uint8_t section[] = {BUILD_START, 1, 0};
    const build_module module = {.funcs = start, .func_count = 1, .extra = section, .extra_len = sizeof section};
    fixture fix;
    CHECK_STATUS(fixture_module(&fix, NULL, &module), WR_TRAP_UNREACHABLE);
    CHECK_STATUS(fix.error.status, WR_TRAP_UNREACHABLE);
    CHECK_STR(wr_exec_trap(fix.exec)->frames[0].name, "boot");
    fixture_close(&fix);
}

/* ---- endless code ------------------------------------------------------------------------------------------ */

/* Import 0 is () -> (), called by host_loop. */
static const build_func ENDLESS[] = {
    {"", "", NULL, "touch", NULL, 0, NULL},
    {"", "", "loop", NULL, BUILD_BODY(0, 0x03, 0x40, 0x0C, 0, 0x0B, 0x0B), NULL},
    {"", "", "br_table", NULL, BUILD_BODY(0, 0x03, 0x40, 0x41, 5, 0x0E, 1, 0, 0, 0x0B, 0x0B), NULL},
    {"", "", "br_if", NULL, BUILD_BODY(0, 0x03, 0x40, 0x41, 1, 0x0D, 0, 0x0B, 0x0B), NULL},
    {"", "", "host_loop", NULL, BUILD_BODY(0, 0x03, 0x40, 0x10, 0, 0x0C, 0, 0x0B, 0x0B), NULL},
    /* a loop whose body fills the whole memory */
    {"", "", "fill_loop", NULL,
     BUILD_BODY(0, 0x03, 0x40, 0x41, 0, 0x41, 1, 0x41, 0x80, 0x80, 0x04, 0xFC, 0x0B, 0, 0x0C, 0, 0x0B, 0x0B), NULL},
    /* twice into itself, forty deep: 2^40 calls */
    {"i", "", "recurse", NULL,
     BUILD_BODY(0, 0x20, 0, 0x04, 0x40, 0x20, 0, 0x41, 1, 0x6B, 0x10, 6, 0x20, 0, 0x41, 1, 0x6B, 0x10, 6, 0x0B, 0x0B),
     NULL},
    /* the same through the table */
    {"i", "", "recurse_indirect", NULL,
     BUILD_BODY(0, 0x20, 0, 0x04, 0x40, 0x20, 0, 0x41, 1, 0x6B, 0x41, 7, 0x11, 7, 0, 0x20, 0, 0x41, 1, 0x6B, 0x41, 7,
                0x11, 7, 0, 0x0B, 0x0B),
     NULL},
};
static const char *const ENDLESS_NAMES[] = {"loop",      "br_table", "br_if",           "host_loop",
                                            "fill_loop", "recurse",  "recurse_indirect"};
static const build_module ENDLESS_MODULE = {.funcs = ENDLESS,
                                            .func_count = sizeof ENDLESS / sizeof ENDLESS[0],
                                            .memory_min = 1,
                                            .memory_max = 1,
                                            .table_min = 8};

static wr_status nothing(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec, (void)env, (void)slots;
    return WR_OK;
}

static wr_status open_endless(fixture *fix, wr_host_fn touch, void *env) {
    const wr_func_type type = {NULL, NULL, 0, 0};
    wr_extern import = {WR_EXTERN_FUNC, {NULL}};
    build_t bytes = {0};
    wr_status status = fixture_open(fix, NULL);
    build_whole(&bytes, &ENDLESS_MODULE);
    status = status == WR_OK ? fixture_load(fix, &bytes) : status;
    status = status == WR_OK ? wr_func_new(fix->store, &type, touch, env, &import.of.func) : status;
    return status == WR_OK ? fixture_link(fix, &import, 1, NULL) : status;
}

static void deadlines_end_everything(check_t *check) {
    fixture fix;
    REQUIRE_OK(open_endless(&fix, nothing, NULL));
    for (size_t i = 0; i < sizeof ENDLESS_NAMES / sizeof ENDLESS_NAMES[0]; i++) {
        wr_slot slot = {.u64 = 40};
        wr_exec_set_limits(fix.exec, 2000, 0);
        if (!CHECK_STATUS(fixture_call(&fix, ENDLESS_NAMES[i], &slot), WR_TRAP_DEADLINE)) {
            CHECK_FAIL("in %s", ENDLESS_NAMES[i]);
        }
    }
    fixture_close(&fix);
}

static void fuel_ends_everything_at_the_same_point(check_t *check) {
    fixture fix;
    REQUIRE_OK(open_endless(&fix, nothing, NULL));
    for (size_t i = 0; i < sizeof ENDLESS_NAMES / sizeof ENDLESS_NAMES[0]; i++) {
        wr_trap first;
        for (int round = 0; round < 2; round++) {
            wr_slot slot = {.u64 = 40};
            wr_exec_set_limits(fix.exec, 0, 1000);
            if (!CHECK_STATUS(fixture_call(&fix, ENDLESS_NAMES[i], &slot), WR_TRAP_FUEL)) {
                CHECK_FAIL("in %s", ENDLESS_NAMES[i]);
            }
            const wr_trap *trap = wr_exec_trap(fix.exec);
            CHECK_EQ_U64(wr_exec_fuel_left(fix.exec), 0);
            if (round == 0) {
                first = *trap;
            }
            CHECK_EQ_U64(trap->frames[0].offset, first.frames[0].offset);
            CHECK_EQ_U64(trap->frames_total, first.frames_total);
        }
    }
    fixture_close(&fix);
}

/* count(n): n back-edges. */
static const build_func COUNT[] = {
    {"i", "", "count", NULL,
     BUILD_BODY(0, 0x03, 0x40, 0x20, 0, 0x04, 0x40, 0x20, 0, 0x41, 1, 0x6B, 0x21, 0, 0x0C, 1, 0x0B, 0x0B, 0x0B), NULL},
};
static const build_module COUNT_MODULE = {.funcs = COUNT, .func_count = 1};

static uint64_t fuel_of(check_t *check, fixture *fix, uint32_t rounds) {
    wr_slot slot = {.u64 = rounds};
    wr_exec_set_limits(fix->exec, 0, 1000000);
    CHECK_OK(fixture_call(fix, "count", &slot));
    return 1000000 - wr_exec_fuel_left(fix->exec);
}

static void fuel_counts_back_edges(check_t *check) {
    fixture fix;
    wr_slot slot = {.u64 = 500};
    REQUIRE_OK(fixture_module(&fix, NULL, &COUNT_MODULE));
    uint64_t none = fuel_of(check, &fix, 0);
    CHECK_EQ_U64(fuel_of(check, &fix, 500) - none, 500);
    CHECK_EQ_U64(fuel_of(check, &fix, 5000) - none, 5000);
    wr_exec_set_limits(fix.exec, 0, none + 500);
    CHECK_OK(fixture_call(&fix, "count", &slot));
    slot.u64 = 500;
    wr_exec_set_limits(fix.exec, 0, none + 499);
    CHECK_STATUS(fixture_call(&fix, "count", &slot), WR_TRAP_FUEL);
    fixture_close(&fix);
}

static void limits_are_for_one_call(check_t *check) {
    fixture fix;
    wr_slot slot = {.u64 = 500};
    REQUIRE_OK(fixture_module(&fix, NULL, &COUNT_MODULE));
    wr_exec_set_limits(fix.exec, 0, 100);
    CHECK_STATUS(fixture_call(&fix, "count", &slot), WR_TRAP_FUEL);
    wr_exec_set_limits(fix.exec, 0, 0);
    slot.u64 = 500;
    CHECK_OK(fixture_call(&fix, "count", &slot));
    fixture_close(&fix);
}

/* ---- interrupts -------------------------------------------------------------------------------------------- */

typedef struct rendezvous {
    sem_t running;
    wr_exec *exec;
} rendezvous;

static wr_status tell_running(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec, (void)slots;
    sem_post(&((rendezvous *)env)->running);
    return WR_OK;
}

static void *interrupt(void *argument) {
    rendezvous *meeting = argument;
    while (sem_wait(&meeting->running) != 0) {
    }
    wr_exec_interrupt(meeting->exec);
    return NULL;
}

static void another_thread_interrupts(check_t *check) {
    fixture fix;
    rendezvous meeting = {.exec = NULL};
    pthread_t thread;
    wr_slot slot;
    sem_init(&meeting.running, 0, 0);
    REQUIRE_OK(open_endless(&fix, tell_running, &meeting));
    meeting.exec = fix.exec;
    REQUIRE(pthread_create(&thread, NULL, interrupt, &meeting) == 0);
    CHECK_STATUS(fixture_call(&fix, "host_loop", &slot), WR_TRAP_INTERRUPTED);
    pthread_join(thread, NULL);
    wr_exec_set_limits(fix.exec, 0, 1000); /* the interrupt is used up */
    CHECK_STATUS(fixture_call(&fix, "loop", &slot), WR_TRAP_FUEL);
    fixture_close(&fix);
    sem_destroy(&meeting.running);
}

typedef struct caller {
    uint32_t calls;
} caller;

static wr_status interrupt_at_once(wr_exec *exec, void *env, wr_slot *slots) {
    (void)slots;
    if (((caller *)env)->calls++ == 0) {
        wr_exec_interrupt(exec);
    }
    return WR_OK;
}

/* Whatever a fast loop did before: what is slow inside of a loop does not wait for as many rounds as it made; the less,
 * the shorter the deadline is. */
static void host_calls_are_looked_after(check_t *check) {
    static const struct {
        uint64_t deadline_us;
        uint32_t calls_max;
    } ROWS[] = {{0, HOST_CALLS_MAX}, {100, HOST_CALLS_MAX / 8}};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        fixture fix;
        caller count = {0};
        wr_slot slot;
        REQUIRE_OK(open_endless(&fix, interrupt_at_once, &count));
        wr_exec_set_limits(fix.exec, 2000, 0);
        CHECK_STATUS(fixture_call(&fix, "loop", &slot), WR_TRAP_DEADLINE);
        wr_exec_set_limits(fix.exec, ROWS[i].deadline_us, 0);
        CHECK_STATUS(fixture_call(&fix, "host_loop", &slot), WR_TRAP_INTERRUPTED);
        CHECK(count.calls <= ROWS[i].calls_max);
        fixture_close(&fix);
    }
}

/* As if the scheduler had others run meanwhile. */
static wr_status others_run(wr_exec *exec, void *env, wr_slot *slots) {
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    (void)slots;
    if (((caller *)env)->calls++ == PAUSES) return WR_TRAP_HOST;
    wr_status status = wr_exec_check(exec);
    (void)nanosleep(&pause, NULL);
    return status == WR_OK ? wr_exec_check(exec) : status;
}

static wr_status it_sleeps(wr_exec *exec, void *env, wr_slot *slots) {
    struct timespec now;
    (void)slots;
    if (((caller *)env)->calls++ == PAUSES) return WR_TRAP_HOST;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return wr_exec_sleep(exec, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + PAUSE_NS);
}

/* On a busy machine a plugin is not blamed for what others did. */
static void the_time_of_others_does_not_count(check_t *check) {
    static const struct {
        wr_host_fn step;
        wr_status ends;
    } cases[] = {{others_run, WR_TRAP_HOST}, {it_sleeps, WR_TRAP_DEADLINE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture fix;
        caller count = {0};
        wr_slot slot;
        REQUIRE_OK(open_endless(&fix, cases[i].step, &count));
        wr_exec_set_limits(fix.exec, (uint64_t)PAUSES * PAUSE_NS / 2000, 0);
        CHECK_STATUS(fixture_call(&fix, "host_loop", &slot), cases[i].ends);
        fixture_close(&fix);
    }
}

/* ---- what is told of a call that ran out of time --------------------------------------------------------------- */

enum { DOWN = 40, DOWN_LAST = 3 };

/* down(n) calls itself until n is 0, and then either returns or goes on for ever. */
static const build_func DOWN_FUNCS[] = {
    {"ii", "", "down", NULL,
     BUILD_BODY(0, 0x20, 0, 0x04, 0x40, 0x20, 0, 0x41, 1, 0x6B, 0x20, 1, 0x10, 0, 0x05, 0x03, 0x40, 0x20, 1, 0x0D, 0,
                0x0B, 0x0B, 0x0B),
     "going down"},
};
static const build_module DOWN_MODULE = {.funcs = DOWN_FUNCS, .func_count = 1};

static wr_status go_down(fixture *fix, uint32_t depth, bool for_ever) {
    wr_slot slots[2] = {{.u64 = depth}, {.u64 = for_ever}};
    if (for_ever) wr_exec_interrupt(fix->exec);
    wr_exec_set_limits(fix->exec, 0, 0);
    return fixture_call(fix, "down", slots);
}

/* Names and offsets are looked up when somebody asks, which the module has to live for. */
static void hurried_traps_are_told_later(check_t *check) {
    fixture fix;
    build_t bytes = {0};
    build_whole(&bytes, &DOWN_MODULE);
    const size_t call = build_find(&bytes, "\x20\x01\x10\x00", 4) + 2, loop = build_find(&bytes, "\x0D\x00", 2);
    REQUIRE_OK(fixture_open(&fix, NULL));
    REQUIRE_OK(fixture_load(&fix, &bytes));
    REQUIRE_OK(fixture_link(&fix, NULL, 0, NULL));
    CHECK_STATUS(go_down(&fix, DOWN_LAST, true), WR_TRAP_INTERRUPTED);
    wr_store_free(fix.store);
    wr_module_release(fix.module);
    fix.store = NULL;
    fix.module = NULL;
    for (int asked = 0; asked < 2; asked++) {
        const wr_trap *trap = wr_exec_trap(fix.exec);
        CHECK_STATUS(trap->status, WR_TRAP_INTERRUPTED);
        REQUIRE(trap->frame_count == DOWN_LAST + 1 && trap->frames_total == DOWN_LAST + 1);
        for (size_t i = 0; i <= DOWN_LAST; i++) {
            CHECK_STR(trap->frames[i].name, "going down");
            CHECK_EQ_U64(trap->frames[i].offset, i == 0 ? loop : call);
        }
    }
    fixture_close(&fix);
}

/* However deep it was, no more is looked at than is told. */
static void hurried_traps_tell_the_innermost(check_t *check) {
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &DOWN_MODULE));
    CHECK_STATUS(go_down(&fix, WR_BACKTRACE_MAX - 1, true), WR_TRAP_INTERRUPTED);
    CHECK_EQ_U64(wr_exec_trap(fix.exec)->frame_count, WR_BACKTRACE_MAX);
    CHECK_EQ_U64(wr_exec_trap(fix.exec)->frames_total, WR_BACKTRACE_MAX);
    CHECK_STATUS(go_down(&fix, DOWN, true), WR_TRAP_INTERRUPTED);
    CHECK_EQ_U64(wr_exec_trap(fix.exec)->frame_count, WR_BACKTRACE_MAX);
    CHECK_EQ_U64(wr_exec_trap(fix.exec)->frames_total, WR_BACKTRACE_MAX + 1);
    fixture_close(&fix);
}

/* Nobody asks: the next call forgets, another trap does, and so does the end. */
static void hurried_traps_are_forgotten(check_t *check) {
    fixture fix;
    REQUIRE_OK(fixture_module(&fix, NULL, &DOWN_MODULE));
    CHECK_STATUS(go_down(&fix, DOWN_LAST, true), WR_TRAP_INTERRUPTED);
    CHECK_OK(go_down(&fix, DOWN_LAST, false));
    CHECK_EQ_U64(wr_exec_trap(fix.exec)->frame_count, 0);
    CHECK_EQ_U64(wr_exec_trap(fix.exec)->frames_total, 0);
    CHECK_STATUS(go_down(&fix, DOWN, true), WR_TRAP_INTERRUPTED);
    CHECK_STATUS(go_down(&fix, UINT32_MAX, false), WR_TRAP_STACK);
    CHECK(wr_exec_trap(fix.exec)->frames_total > DOWN);
    CHECK_EQ_U64(wr_exec_trap(fix.exec)->frame_count, WR_BACKTRACE_MAX);
    CHECK_STATUS(go_down(&fix, DOWN_LAST, true), WR_TRAP_INTERRUPTED);
    fixture_close(&fix);
}

static const check_test TESTS[] = {
#ifndef WR_NO_MEMORY64
    CHECK_TEST(far_offsets_trap),
#endif
    CHECK_TEST(every_kind_checked),
    CHECK_TEST(every_kind_guarded),
    CHECK_TEST(backtrace_has_names_and_offsets),
    CHECK_TEST(memory_traps_have_offsets_checked),
    CHECK_TEST(memory_traps_have_offsets_auto),
    CHECK_TEST(the_stack_ends_at_the_same_depth_everywhere),
    CHECK_TEST(a_start_function_can_trap),
    CHECK_TEST(deadlines_end_everything),
    CHECK_TEST(fuel_ends_everything_at_the_same_point),
    CHECK_TEST(fuel_counts_back_edges),
    CHECK_TEST(limits_are_for_one_call),
    CHECK_TEST(another_thread_interrupts),
    CHECK_TEST(host_calls_are_looked_after),
    CHECK_TEST(the_time_of_others_does_not_count),
    CHECK_TEST(hurried_traps_are_told_later),
    CHECK_TEST(hurried_traps_tell_the_innermost),
    CHECK_TEST(hurried_traps_are_forgotten),
};
CHECK_MAIN(TESTS)
