/* One stage for another: what belongs to the stage moves, what belongs to an instance does not. */
#include <assert.h>
#include <string.h>

#include "fail.h"
#include "stage.h"

wr_status wr_stage_map_rings_of(wr_stage *next, const wr_stage *old, wr_error *error) {
    wr_status status = WR_OK;
    assert(next->in_count == old->in_count && next->out_count == old->out_count);
    for (uint32_t i = 0; i < old->in_count && status == WR_OK; i++) {
        status = wr_ring_end_remap(&next->ins[i], &old->ins[i], next->memory);
    }
    for (uint32_t i = 0; i < old->out_count && status == WR_OK; i++) {
        status = wr_ring_end_remap(&next->outs[i], &old->outs[i], next->memory);
    }
    if (status == WR_OK) return WR_OK;
    return wr_fail(error, status, "stage \"%s\": cannot map its rings into the memory of the new version: %s",
                   old->name, wr_status_text(status));
}

/* ---- metrics ---- */

static uint32_t metric_index(const wr_stage *stage, const wr_metric *like) {
    uint32_t i = 0;
    while (i < stage->metric_count && strcmp(stage->metrics[i].name, like->name) != 0) i++;
    return i;
}

/* The metrics of `next` go behind those of `old`; one that is there already counts on: from where it is, or, where the
 * new version begins at 0, on top of it. */
static void hand_over_metrics(const wr_stage *old, wr_stage *next, bool anew) {
    wr_metric fresh[WR_STAGE_METRICS_MAX];
    uint32_t fresh_count = next->metric_count;
    memcpy(fresh, next->metrics, sizeof fresh);
    memcpy(next->metrics, old->metrics, sizeof next->metrics);
    memcpy(next->metric_bases, old->metric_bases, sizeof next->metric_bases);
    next->metric_count = old->metric_count;
    if (anew) wr_stage_keep_counters(next);
    for (uint32_t i = 0; i < fresh_count; i++) {
        uint32_t at = metric_index(next, &fresh[i]);
        if (at == WR_STAGE_METRICS_MAX) continue;
        bool is_new = at == next->metric_count;
        if (is_new) {
            next->metrics[at] = fresh[i];
            next->metric_bases[at] = 0;
            next->metric_count++;
        } else if (anew) {
            next->metrics[at].kind = fresh[i].kind;
            next->metrics[at].value = fresh[i].value + (fresh[i].kind == 0 ? next->metric_bases[at] : 0);
        }
    }
}

/* ---- everything ---- */

static void hand_over_stats(const wr_stage *old, wr_stage *next) {
    uint64_t generation = old->stats.generation + 1;
    next->stats = old->stats;
    next->stats.generation = generation;
    next->stats.state = WR_STAGE_RUNNING;
    for (int i = 0; i < WR_STAGE_TRAPS_MAX; i++) next->trap_times[i] = INT64_MIN;
}

void wr_stage_hand_over(wr_stage *old, wr_stage *next, bool anew) {
    for (uint32_t i = 0; i < old->in_count; i++) wr_ring_end_exchange(&old->ins[i], &next->ins[i]);
    for (uint32_t i = 0; i < old->out_count; i++) wr_ring_end_exchange(&old->outs[i], &next->outs[i]);
    for (uint32_t i = 0; i < old->port_count; i++) {
        wr_stage_port kept = next->ports[i];
        next->ports[i] = old->ports[i];
        old->ports[i] = kept;
    }
    /* A stopped stage let its inputs drop. */
    for (uint32_t i = 0; i < next->in_count; i++) wr_ring_adopt(next->ins[i].ring, next->ins[i].consumer);
    memset(next->waits, 0, sizeof next->waits);
    next->env = old->env;
    hand_over_metrics(old, next, anew);
    hand_over_stats(old, next);
}
