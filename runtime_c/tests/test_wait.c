/* Waiting, by a clock that moves only where something takes time: wait.c, whose calls of the system and of the limits
 * go to what stands for them here. So it is known what the kernel was asked for, and nothing depends on the machine. */
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include "../wasm/runtime.h"
#include "check.h"

enum { BEGIN_US = 1000000, CHECK_NS = 10, SLEEPS_MAX = 4 };
#define NEVER_US (UINT64_MAX / 1000 - BEGIN_US)

typedef struct world {
    uint64_t now_ns;
    uint64_t late_ns;           /* what waking up takes */
    uint64_t slept_ns;          /* without that */
    uint64_t asked[SLEEPS_MAX]; /* until when each sleep was to last, us from the beginning */
    uint32_t sleeps;
    uint32_t yields;
    const wr_memory *memory; /* that is waited on */
    bool was_locked;         /* while it yielded: nobody could have notified it */
    bool notifies;           /* somebody does then */
} world;
static _Thread_local world it;

static uint64_t fake_now(void) { return it.now_ns; }

static wr_status fake_check(wr_exec *exec) {
    it.now_ns += CHECK_NS;
    return exec->deadline_ns != 0 && it.now_ns >= exec->deadline_ns ? WR_TRAP_DEADLINE : WR_OK;
}

static int fake_sleep(const struct timespec *at) {
    const uint64_t until_ns = (uint64_t)at->tv_sec * 1000000000u + (uint64_t)at->tv_nsec;
    if (it.sleeps < SLEEPS_MAX) it.asked[it.sleeps] = until_ns / 1000 - BEGIN_US;
    it.sleeps++;
    it.slept_ns += until_ns - it.now_ns;
    it.now_ns = until_ns + it.late_ns;
    return 0;
}

#define wr_monotonic_ns fake_now
#define wr_exec_check fake_check
#define clock_nanosleep(CLOCK, FLAGS, AT, LEFT) fake_sleep(AT)
#define pthread_cond_timedwait(WOKEN, LOCK, AT) fake_sleep(AT)
#ifndef WR_NO_THREADS
#define sched_yield fake_yield
static int fake_yield(void);
#endif
#include "../wasm/wait.c"

#ifndef WR_NO_THREADS
static int fake_yield(void) {
    wr_slot woken;
    it.yields++;
    it.was_locked = it.was_locked || pthread_mutex_trylock(&it.memory->shared->lock) != 0;
    if (it.was_locked) return 0;
    pthread_mutex_unlock(&it.memory->shared->lock);
    if (it.notifies) (void)wr_memory_notify(it.memory, it.memory->data, 1, &woken);
    return 0;
}
#endif

/* Times in us from the beginning; deadline 0: none. */
typedef struct wait_case {
    uint64_t deadline, until, late;
    uint64_t asked[SLEEPS_MAX];
    uint32_t sleeps;
    uint64_t end;
    wr_status status;
} wait_case;

/* What would sleep up to the deadline sleeps up to 100 us before, and has not slept through it however late it wakes up
 * within that; an interrupt is seen after 5 ms. */
static const wait_case CASES[] = {
    {0, 3000, 20, {3000}, 1, 3020, WR_OK},
    {0, 12000, 20, {5000, 10020, 12000}, 3, 12020, WR_OK},
    {1000, 400, 20, {400}, 1, 420, WR_OK},
    {1000, 950, 20, {950}, 1, 970, WR_OK},
    {1000, NEVER_US, 0, {900}, 1, 1000, WR_TRAP_DEADLINE},
    {1000, NEVER_US, 99, {900}, 1, 1000, WR_TRAP_DEADLINE},
    {1000, 1001, 20, {900}, 1, 1000, WR_TRAP_DEADLINE},
    {100, NEVER_US, 20, {0}, 0, 100, WR_TRAP_DEADLINE},
    {102, NEVER_US, 20, {2}, 1, 102, WR_TRAP_DEADLINE},
    {60, 20, 20, {20}, 1, 40, WR_OK},
    {12000, NEVER_US, 20, {5000, 10020, 11900}, 3, 12000, WR_TRAP_DEADLINE},
};
enum { CASE_COUNT = sizeof CASES / sizeof *CASES };

static void begin(wr_exec *exec, const wait_case *row) {
    *exec = (wr_exec){.deadline_ns = row->deadline != 0 ? (BEGIN_US + row->deadline) * 1000 : 0};
    it = (world){.now_ns = (uint64_t)BEGIN_US * 1000, .late_ns = row->late * 1000};
}

static void check_case(check_t *check, const wr_exec *exec, const wait_case *row) {
    CHECK_EQ_U64(it.sleeps, row->sleeps);
    for (uint32_t i = 0; i < SLEEPS_MAX; i++) CHECK_EQ_U64(it.asked[i], row->asked[i]);
    CHECK_EQ_U64(it.now_ns / 1000 - BEGIN_US, row->end);
    CHECK_EQ_U64(exec->used_ns, it.slept_ns);
}

static void sleeps_end_awake(check_t *check) {
    for (size_t i = 0; i < CASE_COUNT; i++) {
        static wr_exec exec;
        begin(&exec, &CASES[i]);
        CHECK_STATUS(wr_exec_sleep(&exec, (BEGIN_US + CASES[i].until) * 1000), CASES[i].status);
        check_case(check, &exec, &CASES[i]);
    }
}

#ifndef WR_NO_THREADS

/* A memory of one cell. */
static void make_memory(wr_shared *shared, uint8_t *cell, wr_memory *out) {
    *shared = (wr_shared){.waiters = NULL};
    atomic_init(&shared->size, sizeof(uint32_t));
    pthread_mutex_init(&shared->lock, NULL);
    *out = (wr_memory){.data = cell, .shared = shared};
    it.memory = out;
}

static void waits_end_awake(check_t *check) {
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const wait_case *row = &CASES[i];
        static wr_exec exec;
        wr_shared shared;
        wr_memory memory;
        _Alignas(4) uint8_t cell[4] = {0};
        wr_slot result = {.u64 = 0};
        begin(&exec, row);
        make_memory(&shared, cell, &memory);
        const int64_t timeout_ns = row->until == NEVER_US ? -1 : (int64_t)row->until * 1000;
        CHECK_STATUS(wr_memory_wait(&exec, &memory, cell, 0, 4, timeout_ns, &result), row->status);
        if (row->status == WR_OK) CHECK_EQ_U64(result.u32, 2);
        check_case(check, &exec, row);
        CHECK(!it.was_locked);
        CHECK((it.yields > 0) == (row->status == WR_TRAP_DEADLINE));
        pthread_mutex_destroy(&shared.lock);
    }
}

static void whoever_waits_awake_is_notified(check_t *check) {
    const wait_case row = {.deadline = 60};
    static wr_exec exec;
    wr_shared shared;
    wr_memory memory;
    _Alignas(4) uint8_t cell[4] = {0};
    wr_slot result = {.u64 = 9};
    begin(&exec, &row);
    make_memory(&shared, cell, &memory);
    it.notifies = true;
    CHECK_OK(wr_memory_wait(&exec, &memory, cell, 0, 4, -1, &result));
    CHECK_EQ_U64(result.u32, 0);
    CHECK_EQ_U64(it.yields, 1);
    CHECK_EQ_U64(it.sleeps, 0);
    pthread_mutex_destroy(&shared.lock);
}

#endif

static const check_test TESTS[] = {
    CHECK_TEST(sleeps_end_awake),
#ifndef WR_NO_THREADS
    CHECK_TEST(waits_end_awake),
    CHECK_TEST(whoever_waits_awake_is_notified),
#endif
};
CHECK_MAIN(TESTS)
