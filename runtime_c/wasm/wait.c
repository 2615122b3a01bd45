/* Waiting. Shared memories: what their stores have in common; wait and notify (threads proposal, "wait and notify"). */
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include "runtime.h"

#ifndef WR_NO_THREADS
/* Someone waiting for an address; lives on the waiting thread's stack. */
typedef struct wr_waiter {
    struct wr_waiter *next;
    const void *cell;
    pthread_cond_t woken;
    bool notified;
} wr_waiter;
#endif

enum {
    SLICE_NS = 5000000, /* how long wr_exec_interrupt may go unseen */
    WAKE_NS = 100000 /* what waking up may take: at the deadline one has been awake for so long */
};

/* Until when whoever waits from now until until_ns may sleep before looking at the limits; now: not at all. */
static uint64_t next_look(const wr_exec *exec, uint64_t now, uint64_t until_ns) {
    uint64_t slice = until_ns - now < SLICE_NS ? until_ns : now + SLICE_NS;
    if (exec->deadline_ns == 0 || exec->deadline_ns >= slice) return slice;
    return exec->deadline_ns > now + WAKE_NS ? exec->deadline_ns - WAKE_NS : now;
}

static struct timespec timespec_of(uint64_t ns) {
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

/* Counts what a call slept from begin on, having asked for up to until; that it woke up later is not its doing. */
static void count_sleep(wr_exec *exec, uint64_t begin, uint64_t until) {
    uint64_t end = wr_monotonic_ns();
    if (end > until) end = until;
    if (end > begin) exec->used_ns += end - begin;
}

/* Linux wakes a thread up to 50 us late unless it says that this is too much for it. */
static void sleep_until(uint64_t ns) {
    const struct timespec at = timespec_of(ns);
    const int slack_ns = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL); /* cut short by a signal: looks again */
    if (slack_ns > 0) (void)prctl(PR_SET_TIMERSLACK, (unsigned long)slack_ns, 0, 0, 0);
}

wr_status wr_exec_sleep(wr_exec *exec, uint64_t until_ns) {
    for (;;) {
        wr_status status = wr_exec_check(exec);
        uint64_t now = wr_monotonic_ns();
        if (status != WR_OK || now >= until_ns) return status;
        uint64_t look = next_look(exec, now, until_ns);
        if (look == now) continue;
        sleep_until(look);
        count_sleep(exec, now, look);
    }
}

wr_shared *wr_shared_new(const wr_engine *engine, uint64_t size) {
    wr_shared *shared = wr_mem_zero(&engine->heap, sizeof *shared);
    if (shared == NULL) return NULL;
    atomic_init(&shared->refs, 1);
    atomic_init(&shared->size, size);
    pthread_mutex_init(&shared->lock, NULL);
    return shared;
}

bool wr_shared_release(const wr_engine *engine, wr_shared *shared) {
    if (atomic_fetch_sub_explicit(&shared->refs, 1, memory_order_acq_rel) != 1) return false;
    pthread_mutex_destroy(&shared->lock);
    wr_mem_free(&engine->heap, shared, sizeof *shared);
    return true;
}

#ifndef WR_NO_THREADS

/* The handlers check against the maximum of a shared memory only. A fault would leave the lock taken. */
static bool is_inside(const wr_memory *memory, const void *cell, uint32_t bytes) {
    return (uint64_t)((const uint8_t *)cell - memory->data) + bytes <= wr_memory_size(memory);
}

wr_status wr_memory_notify(const wr_memory *memory, const void *cell, uint32_t count, wr_slot *result) {
    uint32_t woken = 0;
    result->u64 = 0;
    if (!is_inside(memory, cell, sizeof(uint32_t))) return WR_TRAP_MEMORY_BOUNDS;
    if (memory->shared == NULL) return WR_OK; /* nobody can wait there */
    pthread_mutex_lock(&memory->shared->lock);
    for (wr_waiter *waiter = memory->shared->waiters; waiter != NULL && woken < count; waiter = waiter->next) {
        if (waiter->cell != cell || waiter->notified) continue;
        waiter->notified = true;
        pthread_cond_signal(&waiter->woken);
        woken++;
    }
    pthread_mutex_unlock(&memory->shared->lock);
    result->u64 = woken;
    return WR_OK;
}

static bool holds(const void *cell, uint64_t expected, uint32_t bytes) {
    if (bytes == 4) return __atomic_load_n((const uint32_t *)cell, __ATOMIC_SEQ_CST) == (uint32_t)expected;
    return __atomic_load_n((const uint64_t *)cell, __ATOMIC_SEQ_CST) == expected;
}

/* First come, first woken: newcomers go to the end. */
static void enqueue(wr_shared *shared, wr_waiter *waiter) {
    wr_waiter **link = &shared->waiters;
    while (*link != NULL) link = &(*link)->next;
    *link = waiter;
}

static void dequeue(wr_shared *shared, const wr_waiter *waiter) {
    wr_waiter **link = &shared->waiters;
    while (*link != waiter) link = &(*link)->next;
    *link = waiter->next;
}

/* Until notified, timed out, or trapped by the limits of the call, which are looked at in slices. */
static wr_status sleep_on(wr_exec *exec, wr_shared *shared, wr_waiter *waiter, uint64_t until_ns) {
    while (!waiter->notified) {
        wr_status status = wr_exec_check(exec);
        uint64_t now = wr_monotonic_ns();
        if (status != WR_OK || now >= until_ns) return status;
        uint64_t look = next_look(exec, now, until_ns);
        if (look == now) {
            pthread_mutex_unlock(&shared->lock); /* for who would notify */
            sched_yield();
            pthread_mutex_lock(&shared->lock);
            continue;
        }
        struct timespec at = timespec_of(look);
        (void)pthread_cond_timedwait(&waiter->woken, &shared->lock, &at);
        count_sleep(exec, now, look);
    }
    return WR_OK;
}

wr_status wr_memory_wait(wr_exec *exec, const wr_memory *memory, const void *cell, uint64_t expected, uint32_t bytes,
                         int64_t timeout_ns, wr_slot *result) {
    wr_shared *shared = memory->shared;
    if (shared == NULL) return WR_TRAP_NOT_SHARED;
    if (!is_inside(memory, cell, bytes)) return WR_TRAP_MEMORY_BOUNDS;
    uint64_t now = wr_monotonic_ns();
    uint64_t until =
        timeout_ns < 0 || (uint64_t)timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + (uint64_t)timeout_ns;
    wr_waiter waiter = {.cell = cell};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&waiter.woken, &attributes);
    pthread_condattr_destroy(&attributes);
    wr_status status = WR_OK;
    pthread_mutex_lock(&shared->lock);
    if (!holds(cell, expected, bytes)) {
        result->u64 = 1;
    } else {
        enqueue(shared, &waiter);
        status = sleep_on(exec, shared, &waiter, until);
        dequeue(shared, &waiter);
        result->u64 = waiter.notified ? 0 : 2;
    }
    pthread_mutex_unlock(&shared->lock);
    pthread_cond_destroy(&waiter.woken);
    return status;
}

#endif
