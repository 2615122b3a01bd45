/* A candidate that runs along: it gets what the running stage gets, at the same times; what both put out is compared.
 * Everything here is done by the loop's thread. */
#ifndef WR_FLOW_SHADOW_H
#define WR_FLOW_SHADOW_H
#include "stage.h"

enum { WR_SHADOW_PENDING_MAX = 1 << 20 };

/* Records of one output that the other side has not put out yet. */
typedef struct wr_shadow_queue {
    uint8_t *bytes;
    uint32_t len;
} wr_shadow_queue;

struct wr_shadow {
    wr_stage *stage;     /* the candidate */
    wr_events *events;   /* of the candidate: nobody reads them */
    uint32_t ignored;    /* WR_FIELD_ bits that may differ */
    uint64_t in_seen[WR_STAGE_RINGS_MAX];  /* inputs of the running stage: given to the candidate up to here */
    uint64_t out_seen[WR_STAGE_RINGS_MAX]; /* outputs: taken up to here */
    uint32_t out_consumers[WR_STAGE_RINGS_MAX]; /* of the candidate's own output rings */
    wr_shadow_queue old_queues[WR_STAGE_RINGS_MAX], new_queues[WR_STAGE_RINGS_MAX];
    wr_shadow_report report;
};

wr_status wr_shadow_new(wr_stage *candidate, uint32_t ignored, wr_shadow **out);
void wr_shadow_free(wr_shadow *shadow); /* not the candidate. NULL is allowed */
/* From now on it follows the running stage. */
void wr_shadow_attach(wr_shadow *shadow, wr_stage *running);

/* During a call of the running stage: the records that were offered to it. */
void wr_shadow_see_inputs(wr_shadow *shadow, const wr_stage *running);
/* After both have had an event. */
void wr_shadow_compare(wr_shadow *shadow, const wr_stage *running);
void wr_shadow_break(wr_shadow *shadow, const char *reason);

#endif
