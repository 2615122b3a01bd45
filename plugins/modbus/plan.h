/* What is read in a cycle: the tags of the configuration, sorted and merged into as few requests as allowed. */
#ifndef PLAN_H
#define PLAN_H
#include "modbus_config.h"
#include "pen_config.h"

struct numbers { /* of the next records of a tag */
    uint32_t sample;
    uint32_t event;
};

struct point { /* one tag */
    const struct modbus_tag *tag;
    struct numbers *numbers;
    uint16_t address; /* protocol address */
    uint16_t span;    /* registers, or 1 bit */
    uint8_t unit;
    uint8_t function;
    uint8_t type;       /* enum modbus_tag_type */
    bool stale_due;     /* a stale record has to be written yet */
    bool is_stale;      /* the last record said so */
    uint8_t value_type; /* PEN_ type of the last known value; PEN_NONE: none */
    char *text;         /* last known value of a string, span * 2 bytes */
    uint64_t value;
};

struct request {   /* one read, for consecutive points */
    uint16_t unit; /* position in plan.units */
    uint16_t address;
    uint16_t count;
    uint8_t function;
    uint8_t exception; /* code of the last answer, 0: data */
    uint32_t first;
    uint32_t points;
    uint32_t room; /* bytes its records can take in the output ring */
};

enum unit_state {
    UNIT_ONLINE,
    UNIT_BACKOFF, /* did not answer: left alone until retry_ns */
    UNIT_BEHIND   /* for this cycle behind the online ones: it answered after a backoff, or broke the connection */
};

struct unit {
    uint8_t id;
    enum unit_state state;
    uint32_t backoff_ms; /* for the next failure */
    uint32_t first; /* points */
    uint32_t points;
    int64_t retry_ns;
    int64_t quiet_ns; /* until then an answer to an earlier, repeated request may still arrive */
};

struct kept { /* what goes on after a trap */
    uint32_t transaction; /* of the last request: a late answer to one before must not pass for that to a new one */
    uint32_t reserved;
    struct numbers numbers[]; /* one for each point */
};

struct plan {
    struct kept *kept;
    struct point *points;
    struct request *requests;
    struct unit *units;
    uint32_t point_count;
    uint32_t request_count;
    uint32_t unit_count;
};

/* NULL, or what is wrong; *tag is the index of the tag it is about, or PEN_NO_TAG. room_max: bytes that the output ring
 * can surely take at once; a request whose records need more is split. */
const char *plan_make(struct plan *plan, const struct pen_config *config, uint32_t room_max, uint32_t *tag);

/* Position of the point of a tag; plan->point_count: there is none. */
uint32_t plan_find_tag(const struct plan *plan, uint32_t tag);

#endif
