/* Conditions such as `value > 80 and 'boiler/pump' == false`: text to terms, and terms that hold or do not.
 *
 * Integers are compared with integers, other numbers (f64) with doubles: a limit is kept as both. */
#ifndef EXPRESSION_H
#define EXPRESSION_H
#include "alarm_config.h"
#include "pen_config.h"

enum { TERMS_MAX = 8 };

enum comparison { ABOVE, AT_LEAST, BELOW, AT_MOST, EQUAL, UNEQUAL };

struct range { /* what a value must be in; of doubles without its ends when the comparison is ABOVE or BELOW */
    double low;
    double high;
    int64_t low_integer; /* the smallest and the largest integer in it */
    int64_t high_integer;
};

struct term { /* one comparison */
    uint32_t tag; /* position in the configuration of the tag that is compared */
    uint8_t comparison;
    bool is_quality; /* its quality is compared, not its value */
    bool is_or;      /* begins a group; the terms of a group must all hold, of the groups one */
    double limit;
    struct range fresh; /* while the alarm is not raised */
    struct range held;  /* while it is: wider by the hysteresis */
};

struct reading { /* what is known of a tag */
    uint64_t bits;
    uint8_t type;    /* PEN_NONE: nothing */
    uint8_t quality; /* of the last sample; bits and type are those of the last good one */
    bool is_known;   /* there was a sample */
};

struct expression {
    struct term terms[TERMS_MAX];
    uint32_t count;
};

extern const char *const expression_signs[]; /* by comparison */
extern const char *const expression_qualities[3];

/* NULL, or what is wrong with tag->when. */
const char *expression_parse(struct expression *out, const struct pen_config *config, const struct alarm_tag *tag);
/* A comparison with a value that is not known does not hold, and does not end to hold either. */
bool expression_term_holds(const struct term *term, const struct reading *reading, bool is_raised);
/* Whether they hold together; *decider is the term that decides. */
bool expression_holds(const struct term *terms, uint32_t count, const struct reading *readings, bool is_raised,
                      uint32_t *decider);

#endif
