/* Candidates: made in the caller's thread on rings of their own, switched to in the loop's thread. */
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "loop.h"
#include "shadow.h"

struct wr_swap {
    wr_loop *loop;
    uint32_t number;     /* of the stage */
    uint64_t generation; /* of the stage when the candidate was made */
    wr_exec *exec;       /* of the caller's thread */
    wr_stage *stage;     /* the candidate; after the switch the stage it replaced */
    wr_ring *rings[2 * WR_STAGE_RINGS_MAX];
    uint32_t ring_count;
    wr_carry carry;
    bool is_warm; /* pen_init has run, pen_load follows; else pen_init runs in the switch */
    bool is_done;
    wr_shadow *shadow; /* NULL: it does not run along */
};

/* ---- what there is now ---- */

typedef struct facts {
    wr_swap *swap;
    wr_stage_config *config; /* gets name and counts */
    char name[WR_STAGE_NAME_MAX + 1];
    wr_stage_port_config ports[WR_STAGE_PORTS_MAX];
    wr_ring_config ins[WR_STAGE_RINGS_MAX], outs[WR_STAGE_RINGS_MAX];
    wr_kv values;
    bool saves;
    wr_status status;
} facts;

/* A ring's name, size and schema never change: they may be read without the loop from here on. */
static wr_ring_config like(const wr_ring *ring) {
    return (wr_ring_config){.name = ring->name, .bytes = ring->capacity, .consumers_max = 1, .schema = ring->schema};
}

static wr_status copy_values(wr_kv *to, const wr_kv *from) {
    wr_status status = wr_kv_init(to, from->quota);
    return status == WR_OK ? wr_kv_copy(to, from) : status;
}

/* In the loop's thread. */
static void look(wr_loop *loop, void *arg) {
    facts *found = arg;
    found->status = found->swap->number < loop->stage_count ? WR_OK : WR_BAD_ARGUMENT;
    if (found->status != WR_OK) return;
    const wr_stage *stage = loop->stages[found->swap->number];
    memcpy(found->name, stage->name, sizeof found->name);
    found->swap->generation = stage->stats.generation;
    found->saves = stage->store != NULL && stage->entries[WR_ENTRY_SAVE] != NULL;
    found->config->port_count = stage->port_count;
    for (uint32_t i = 0; i < stage->port_count; i++) {
        const wr_stage_port *port = &stage->ports[i];
        found->ports[i] = (wr_stage_port_config){
            .datagram = port->rx.datagram, .rx_bytes = port->rx.capacity, .tx_bytes = port->tx.capacity};
    }
    found->config->in_count = stage->in_count;
    for (uint32_t i = 0; i < stage->in_count; i++) found->ins[i] = like(stage->ins[i].ring);
    found->config->out_count = stage->out_count;
    for (uint32_t i = 0; i < stage->out_count; i++) found->outs[i] = like(stage->outs[i].ring);
    found->status = copy_values(&found->values, &stage->kv);
}

/* ---- the candidate ---- */

static wr_status own_ring(wr_swap *swap, const wr_ring_config *config, wr_ring **out, wr_error *error) {
    wr_status status = wr_ring_new(config, out, error);
    if (status == WR_OK) swap->rings[swap->ring_count++] = *out;
    return status;
}

static wr_status own_rings(wr_swap *swap, const facts *found, wr_error *error) {
    wr_stage_config *config = found->config;
    wr_status status = WR_OK;
    for (uint32_t i = 0; i < config->in_count && status == WR_OK; i++) {
        status = own_ring(swap, &found->ins[i], &config->in_rings[i], error);
        if (status == WR_OK) status = wr_ring_attach(config->in_rings[i], WR_POLICY_BLOCK, &config->in_consumers[i]);
    }
    for (uint32_t i = 0; i < config->out_count && status == WR_OK; i++) {
        status = own_ring(swap, &found->outs[i], &config->out_rings[i], error);
    }
    return status;
}

static wr_status check_state(const wr_swap *swap, const facts *found, wr_error *error) {
    if (!found->saves || swap->stage->entries[WR_ENTRY_LOAD] != NULL) return WR_OK;
    return wr_fail(
        error, WR_NOT_FOUND,
        "stage \"%s\": the running version has state (pen_save), the new one does not take it (no pen_load); "
        "swap without state, or export pen_load",
        found->name);
}

/* A version that gets no state is made twice: once to see whether it starts, and once more, because what its pen_init
 * reads may change until the switch. */
static wr_status start_candidate(wr_swap *swap, const facts *found, bool carries_state, wr_error *error) {
    wr_status status = wr_stage_boot(swap->stage, error);
    if (status == WR_OK && carries_state) status = check_state(swap, found, error);
    swap->is_warm = status == WR_OK && carries_state && found->saves;
    if (status != WR_OK || swap->is_warm) return status;
    wr_stage_unload(swap->stage);
    for (int i = 0; i < WR_STAGE_TIMERS; i++) swap->stage->timers[i] = WR_NEVER;
    swap->stage->metric_count = 0;
    return wr_stage_load(swap->stage, error);
}

static wr_status make_candidate(wr_swap *swap, facts *found, bool carries_state, wr_error *error) {
    wr_status status = own_rings(swap, found, error);
    if (status != WR_OK) return status;
    wr_stage_env env = {
        .engine = swap->loop->engine, .exec = swap->exec, .events = swap->loop->events, .number = swap->number};
    found->config->name = found->name;
    status = wr_stage_make(&env, found->config, found->ports, wr_instant_now(), &swap->stage, error);
    if (status != WR_OK) return status;
    if (wr_kv_copy(&swap->stage->kv, &found->values) != WR_OK) {
        return wr_fail(error, WR_FULL, "stage \"%s\": its values take %u bytes, the new version is allowed %u",
                       found->name, found->values.used, swap->stage->kv.quota);
    }
    swap->carry.max = swap->stage->state_bytes_max;
    swap->carry.bytes = malloc(swap->carry.max);
    if (swap->carry.bytes == NULL) return wr_fail(error, WR_NO_MEMORY, "stage \"%s\": out of memory", found->name);
    return start_candidate(swap, found, carries_state, error);
}

wr_status wr_swap_new(wr_loop *loop, uint32_t stage, const wr_stage_config *config, bool carries_state, wr_swap **out,
                      wr_error *error) {
    wr_stage_config own = *config;
    wr_swap *swap = calloc(1, sizeof *swap);
    if (swap == NULL) return wr_fail(error, WR_NO_MEMORY, "swap: out of memory");
    *swap = (wr_swap){.loop = loop, .number = stage};
    facts found = {.swap = swap, .config = &own};
    wr_status status = wr_exec_new(loop->engine, 0, &swap->exec);
    if (status == WR_OK) {
        wr_loop_hand_over(loop, look, &found);
        status = found.status;
    }
    if (status != WR_OK) {
        wr_fail(error, status, "swap of stage %u: %s", stage, wr_status_text(status));
    } else {
        status = make_candidate(swap, &found, carries_state, error);
    }
    wr_kv_free(&found.values);
    if (status == WR_OK) {
        *out = swap;
    } else {
        wr_swap_free(swap);
    }
    return status;
}

/* In the loop's thread. */
static void end_shadow(wr_loop *loop, void *arg) {
    const wr_swap *swap = arg;
    wr_stage *stage = loop->stages[swap->number];
    if (stage->shadow == swap->shadow) stage->shadow = NULL;
}

void wr_swap_free(wr_swap *swap) {
    if (swap == NULL) return;
    if (swap->shadow != NULL) wr_loop_hand_over(swap->loop, end_shadow, swap);
    wr_shadow_free(swap->shadow);
    wr_stage_free(swap->stage);
    for (uint32_t i = 0; i < swap->ring_count; i++) wr_ring_free(swap->rings[i]);
    if (swap->exec != NULL) wr_exec_free(swap->exec);
    free(swap->carry.bytes);
    free(swap);
}

/* ---- the switch ---- */

static wr_status check_moment(const wr_swap *swap, const wr_stage *old, wr_error *error) {
    if (swap->is_done || swap->generation != old->stats.generation) {
        return wr_fail(error, WR_BAD_STATE, "stage \"%s\": it was swapped after this candidate was made", old->name);
    }
    if (swap->shadow != NULL || old->shadow != NULL) {
        return wr_fail(error, WR_BAD_STATE, "stage \"%s\": a candidate runs along; free it first", old->name);
    }
    if (swap->is_warm && old->store == NULL) {
        return wr_fail(error, WR_BAD_STATE, "stage \"%s\": it stopped after this candidate was made", old->name);
    }
    return WR_OK;
}

/* State into the candidate, or where there is none, its start. */
static wr_status prepare(wr_swap *swap, wr_stage *old, wr_instant now, wr_error *error) {
    wr_stage *next = swap->stage;
    next->env.exec = swap->loop->exec;
    next->now = now;
    wr_status status = swap->is_warm ? wr_stage_save(old, &swap->carry, now, error) : WR_OK;
    if (status != WR_OK) return status;
    if (wr_kv_copy(&next->kv, &old->kv) != WR_OK) {
        return wr_fail(error, WR_FULL, "stage \"%s\": its values take %u bytes, the new version is allowed %u",
                       old->name, old->kv.used, next->kv.quota);
    }
    if (!swap->is_warm) return wr_stage_init(next, error);
    return swap->carry.version > 0 ? wr_stage_take_state(next, &swap->carry, now, error) : WR_OK;
}

static void replace(wr_loop *loop, const wr_stage *old, wr_stage *next) {
    loop->stages[old->env.number] = next;
    for (uint32_t i = 0; i < loop->port_count; i++) {
        if (loop->ports[i]->stage == old) loop->ports[i]->stage = next;
    }
}

typedef struct switch_request {
    wr_swap *swap;
    wr_swap_result *result;
    wr_error *error;
    wr_status status;
} switch_request;

/* In the loop's thread. */
static void switch_over(wr_loop *loop, void *arg) {
    switch_request *want = arg;
    wr_swap *swap = want->swap;
    wr_stage *old = loop->stages[swap->number], *next = swap->stage;
    wr_instant now = wr_instant_now();
    want->status = check_moment(swap, old, want->error);
    if (want->status == WR_OK) want->status = prepare(swap, old, now, want->error);
    if (want->status == WR_OK) want->status = wr_stage_map_rings_of(next, old, want->error);
    if (want->status != WR_OK) return;
    bool was_stopped = old->stats.state == WR_STAGE_STOPPED, has_state = swap->carry.version > 0;
    wr_stage_hand_over(old, next, !has_state);
    replace(loop, old, next);
    swap->stage = old;
    swap->is_done = true;
    if (was_stopped) {
        wr_events_postf(loop->events, WR_EVENT_STAGE, WR_STAGE_RUNNING, swap->number, now.unix_ns,
                        "stage %s runs again", next->name);
    }
    if (!has_state) wr_stage_announce_ports(next, now);
    wr_stage_stats *stats = &next->stats;
    stats->last_pause_ns = (uint64_t)(wr_mono_ns() - now.mono_ns);
    if (stats->last_pause_ns > stats->longest_pause_ns) stats->longest_pause_ns = stats->last_pause_ns;
    *want->result = (wr_swap_result){.pause_ns = stats->last_pause_ns,
                                     .generation = stats->generation,
                                     .state_bytes = has_state ? swap->carry.len : 0,
                                     .state_version = (uint32_t)swap->carry.version};
}

wr_status wr_swap_commit(wr_swap *swap, wr_swap_result *result, wr_error *error) {
    switch_request want = {.swap = swap, .result = result, .error = error};
    wr_loop_hand_over(swap->loop, switch_over, &want);
    return want.status;
}

/* ---- running along ---- */

typedef struct shadow_request {
    wr_swap *swap;
    wr_shadow *shadow;
    wr_shadow_report *report;
    wr_error *error;
    wr_status status;
} shadow_request;

/* In the loop's thread. */
static void begin_shadow(wr_loop *loop, void *arg) {
    shadow_request *want = arg;
    wr_swap *swap = want->swap;
    wr_stage *running = loop->stages[swap->number];
    wr_instant now = wr_instant_now();
    want->status = check_moment(swap, running, want->error);
    if (want->status == WR_OK) want->status = prepare(swap, running, now, want->error);
    if (want->status != WR_OK) return;
    wr_shadow_attach(want->shadow, running);
    swap->shadow = want->shadow;
    if (swap->carry.version == 0) wr_stage_announce_ports(swap->stage, now);
}

wr_status wr_swap_shadow(wr_swap *swap, uint32_t ignored, wr_error *error) {
    shadow_request want = {.swap = swap, .error = error};
    if (swap->is_done || swap->shadow != NULL) {
        return wr_fail(error, WR_BAD_STATE, "stage %u: this candidate has been used", swap->number);
    }
    wr_status status = wr_shadow_new(swap->stage, ignored, &want.shadow);
    if (status != WR_OK) return wr_fail(error, status, "shadow: %s", wr_status_text(status));
    wr_loop_hand_over(swap->loop, begin_shadow, &want);
    if (want.status != WR_OK) wr_shadow_free(want.shadow);
    return want.status;
}

static void report_shadow(wr_loop *loop, void *arg) {
    const shadow_request *want = arg;
    if (loop->stages[want->swap->number]->shadow != want->swap->shadow) {
        wr_shadow_break(want->swap->shadow, "the stage has another version");
    }
    *want->report = want->swap->shadow->report;
}

wr_status wr_swap_shadow_report(wr_swap *swap, wr_shadow_report *out) {
    shadow_request want = {.swap = swap, .report = out};
    if (swap->shadow == NULL) return WR_BAD_STATE;
    wr_loop_hand_over(swap->loop, report_shadow, &want);
    return WR_OK;
}
