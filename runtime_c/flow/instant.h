/* Points in time. A stage never reads a clock: whoever drives it says what time it is. */
#ifndef WR_FLOW_INSTANT_H
#define WR_FLOW_INSTANT_H
#include <stdint.h>

enum { WR_NS_PER_US = 1000 };

typedef struct wr_instant {
    int64_t unix_ns; /* for people and records; may jump */
    int64_t mono_ns; /* for timers and durations; CLOCK_MONOTONIC */
} wr_instant;

wr_instant wr_instant_now(void);
int64_t wr_mono_ns(void);

#endif
