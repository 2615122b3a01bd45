/* Commands: which may be written (the allow-list), values to registers, and the report of what became of them. */
#ifndef WRITE_H
#define WRITE_H
#include "frame.h"
#include "pen_text.h"
#include "plan.h"

enum { WRITE_RULES_MAX = 32, WRITE_REPORT_BYTES = 256 };

enum write_phase {
    WRITE_NONE,
    WRITE_SET, /* the value is to be sent, or on its way */
    WRITE_CHECK /* it was taken: to be read back, or the answer is on its way */
};

struct write {      /* one command that is being carried out */
    uint32_t point; /* position in the plan */
    uint8_t phase;  /* enum write_phase */
    uint8_t type;   /* of the command's value, for the report */
    uint8_t data_bytes;
    uint8_t reserved;
    uint64_t value;
    struct frame_request set;
    uint8_t data[8]; /* registers or bits as they are sent and read back */
};

struct write_rule { /* from `first` to `last` of a table may be written */
    uint8_t unit;
    uint8_t function; /* that reads the table: 1 coils, 3 holding registers */
    bool any_unit;
    uint16_t first;
    uint16_t last;
};

struct write_rules {
    struct write_rule rules[WRITE_RULES_MAX];
    uint32_t count;
    const char *text; /* as configured */
};

enum write_result { WRITE_DONE, WRITE_REFUSED, WRITE_MISMATCH, WRITE_FAILED };

/* NULL, or what is wrong with config->writes. */
const char *write_rules_make(struct write_rules *rules, const struct modbus_config *config);

/* Fills in the write of a command to a point. False: refused, and why is in the text. */
bool write_make(struct write *write, const struct write_rules *rules, const struct modbus_config *config,
                const struct point *point, const struct pen_record *command, struct pen_text *why);
/* The request that reads back what was written. */
struct frame_request write_check(const struct write *write, const struct point *point);
/* Whether that is what was read; else what was is in the text. */
bool write_is_right(const struct write *write, const struct point *point, const uint8_t *data, struct pen_text *why);
/* An event record for the point. why: "" or what to add. False: the ring is full. */
bool write_report(struct pen_ring *ring, struct point *point, const struct write *write, enum write_result result,
                  const struct pen_text *why, int64_t time_ns);

#endif
