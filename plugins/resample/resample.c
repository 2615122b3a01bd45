/* One value per tag and interval. An interval of a tag ends when a sample of another interval comes, or by the clock. */
#include "pen.h"
#include "pen_config.h"
#include "pen_record.h"
#include "resample_config.h"

PEN_ABI_MARKER()

enum { TIMER_FLUSH = 0, RETRY_US = 10000 /* when the output is full */ };

union number {
    int64_t i64;
    uint64_t u64;
    double f64;
};

struct track { /* one tag; what it has collected of one interval */
    int64_t interval;
    int64_t closed;      /* the last interval that was put out */
    union number first;  /* sums are of differences from it */
    union number picked; /* so far: the smallest, largest or last */
    double sum;
    int64_t mean;  /* integers: mean * count + rest is the sum of the differences */
    int64_t rest;
    uint32_t count; /* good values; 0: only of others was heard */
    uint32_t seq;   /* of the next record */
    uint8_t type;
    uint8_t quality; /* of the last sample */
    bool is_open;
    bool has_closed;
};
