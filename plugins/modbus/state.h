/* What a driver hands over to the next version: where it is in its cycle, the request on the way, what it knows of
 * units and points. Entries are found again by what they are about, for the next version may plan otherwise. */
#ifndef STATE_H
#define STATE_H
#include "frame.h"
#include "plan.h"
#include "write.h"

enum { STATE_VERSION = 2, STATE_METRICS_MAX = 32 };

/* A request as the bus sees it; function 0: none. */
struct state_request {
    uint8_t unit;
    uint8_t function;
    uint8_t exception;
    uint8_t reserved;
    uint16_t address;
    uint16_t count;
};

/* Where the driver is; the fields are those of modbus.c. */
struct state_place {
    struct state_request current; /* next or on the way */
    uint8_t phase;
    bool polls_next;
    bool is_resting;
    uint8_t reserved;
    int32_t pass;
    uint32_t attempts;
    uint32_t probes;
    uint16_t transaction;
    uint16_t metric_count;
    uint32_t write_attempts;
    uint32_t write_tag; /* of the command that is carried out */
    uint32_t padding;
    struct write write;
    int64_t next_cycle_ns;
    int64_t cycle_start_ns;
    int64_t line_free_ns;
    int64_t reply_due_ns;
    int64_t metrics[STATE_METRICS_MAX];
};

struct state_request state_of_request(const struct plan *plan, uint32_t at);
/* Index of the request in the plan; plan->request_count: it is not there. */
uint32_t state_find_request(const struct plan *plan, const struct state_request *request);

void state_save(const struct state_place *place, const struct frame_reader *reader, const struct plan *plan);
/* False: not the bytes of STATE_VERSION. */
bool state_load(struct state_place *place, struct frame_reader *reader, struct plan *plan);

#endif
