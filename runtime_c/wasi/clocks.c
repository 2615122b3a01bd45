/* Clocks and waiting for them. */
#include <sched.h>
#include <string.h>
#include <time.h>

#include "wasi.h"

enum { REALTIME = 0, MONOTONIC = 1, NS_PER_S = 1000000000 };

/* WASI has two more clocks, of processor time, which are not offered. */
static bool find_clock(uint32_t id, clockid_t *out) {
    static const clockid_t clocks[] = {[REALTIME] = CLOCK_REALTIME, [MONOTONIC] = CLOCK_MONOTONIC};
    if (id >= sizeof clocks / sizeof clocks[0]) return false;
    *out = clocks[id];
    return true;
}

static uint64_t to_ns(const struct timespec *at) { return (uint64_t)at->tv_sec * NS_PER_S + (uint64_t)at->tv_nsec; }

static uint64_t now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return to_ns(&now);
}

WASI_FUNCTION(clock_res_get) {
    clockid_t clock;
    struct timespec resolution;
    if (!find_clock(call->args[0].u32, &clock)) return WASI_INVAL;
    clock_getres(clock, &resolution);
    return wr_wasi_put_u64(call, call->args[1].u32, to_ns(&resolution)) ? WASI_OK : WASI_FAULT;
}

WASI_FUNCTION(clock_time_get) {
    clockid_t clock;
    if (!find_clock(call->args[0].u32, &clock)) return WASI_INVAL;
    return wr_wasi_put_u64(call, call->args[2].u32, now_ns(clock)) ? WASI_OK : WASI_FAULT;
}

WASI_FUNCTION(sched_yield) {
    (void)call;
    (void)sched_yield();
    return WASI_OK;
}

/* ---- poll_oneoff ---- */

enum {
    SUBSCRIPTIONS_MAX = 1024,
    SUBSCRIPTION_BYTES =
        48, /* u64 user data, u8 kind at 8, from 16 on: clock u32, u64 timeout at 24, u16 flags at 40 */
    EVENT_BYTES = 32,        /* u64 user data, u16 errno at 8, u8 kind at 10, u64 bytes ready at 16 */
    KIND_CLOCK = 0,
    KIND_FD_READ = 1,
    KIND_FD_WRITE = 2,
    FLAG_ABSOLUTE = 1
};

/* Now, by the number of the clock. */
typedef struct instant {
    uint64_t ns[2];
} instant;

/* What a subscription comes to. */
typedef struct due {
    uint64_t at_ns; /* monotonic */
    wr_wasi_errno error;
} due;

static due clock_due(const uint8_t *subscription, const instant *begin) {
    uint32_t clock = wr_wasi_u32(subscription + 16);
    uint64_t wait_ns = wr_wasi_u64(subscription + 24), begin_ns = begin->ns[MONOTONIC];
    if (clock > MONOTONIC) return (due){0, WASI_INVAL};
    if ((subscription[40] & FLAG_ABSOLUTE) != 0) wait_ns = wait_ns > begin->ns[clock] ? wait_ns - begin->ns[clock] : 0;
    return (due){wait_ns > UINT64_MAX - begin_ns ? UINT64_MAX : begin_ns + wait_ns, WASI_OK};
}

/* Standard input is at its end and output never blocks, so descriptors are ready. */
static due find_due(const wr_wasi_call *call, const uint8_t *subscription, const instant *begin) {
    switch (subscription[8]) {
    case KIND_CLOCK: return clock_due(subscription, begin);
    case KIND_FD_READ:
    case KIND_FD_WRITE:
        return (due){0, wr_wasi_fd_at(call, wr_wasi_u32(subscription + 16)) != NULL ? WASI_OK : WASI_BADF};
    default: return (due){0, WASI_INVAL};
    }
}

static void put_event(uint8_t *event, const uint8_t *subscription, wr_wasi_errno error) {
    uint8_t made[EVENT_BYTES] = {0};
    uint16_t number = (uint16_t)error;
    memcpy(made, subscription, sizeof(uint64_t));
    memcpy(made + 8, &number, sizeof number);
    made[10] = subscription[8];
    memcpy(event, made, sizeof made);
}

/* Waits for the first subscription that is due; when that was, by the monotonic clock. */
static uint64_t wait_for_first(wr_wasi_call *call, const uint8_t *subscriptions, uint32_t count, const instant *begin) {
    uint64_t first_ns = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        due one = find_due(call, subscriptions + i * SUBSCRIPTION_BYTES, begin);
        if (one.at_ns < first_ns) first_ns = one.at_ns;
    }
    call->status = wr_exec_sleep(call->exec, first_ns);
    return first_ns;
}

/* Arguments: subscriptions, where events go, how many subscriptions, where the number of events goes. */
WASI_FUNCTION(poll_oneoff) {
    uint32_t count = call->args[2].u32, happened = 0;
    if (count == 0 || count > SUBSCRIPTIONS_MAX) return WASI_INVAL;
    const uint8_t *subscriptions = wr_wasi_at(call, call->args[0].u32, (uint64_t)count * SUBSCRIPTION_BYTES);
    uint8_t *events = wr_wasi_at(call, call->args[1].u32, (uint64_t)count * EVENT_BYTES);
    if (subscriptions == NULL || events == NULL || !wr_wasi_put_u32(call, call->args[3].u32, 0)) return WASI_FAULT;
    const instant begin = {{now_ns(CLOCK_REALTIME), now_ns(CLOCK_MONOTONIC)}};
    uint64_t first_ns = wait_for_first(call, subscriptions, count, &begin);
    if (call->status != WR_OK) return WASI_OK;
    for (uint32_t i = 0; i < count; i++, subscriptions += SUBSCRIPTION_BYTES) {
        due one = find_due(call, subscriptions, &begin);
        if (one.at_ns <= first_ns) put_event(events + happened++ * EVENT_BYTES, subscriptions, one.error);
    }
    return wr_wasi_put_u32(call, call->args[3].u32, happened) ? WASI_OK : WASI_FAULT;
}
