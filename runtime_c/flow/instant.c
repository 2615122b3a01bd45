#include "instant.h"

#include <time.h>

static int64_t clock_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

wr_instant wr_instant_now(void) {
    return (wr_instant){.unix_ns = clock_ns(CLOCK_REALTIME), .mono_ns = clock_ns(CLOCK_MONOTONIC)};
}

int64_t wr_mono_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
