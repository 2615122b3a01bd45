#include "shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS_BYTES = 16384 };

/* ---- life ---- */

wr_status wr_shadow_new(wr_stage *candidate, uint32_t ignored, wr_shadow **out) {
    wr_shadow *shadow = calloc(1, sizeof *shadow);
    if (shadow == NULL) return WR_NO_MEMORY;
    shadow->stage = candidate;
    shadow->ignored = ignored;
    wr_status status = wr_events_new(EVENTS_BYTES, &shadow->events);
    for (uint32_t i = 0; i < candidate->out_count && status == WR_OK; i++) {
        status = wr_ring_attach(candidate->outs[i].ring, WR_POLICY_BLOCK, &shadow->out_consumers[i]);
        shadow->old_queues[i].bytes = malloc(WR_SHADOW_PENDING_MAX);
        shadow->new_queues[i].bytes = malloc(WR_SHADOW_PENDING_MAX);
        if (shadow->old_queues[i].bytes == NULL || shadow->new_queues[i].bytes == NULL) status = WR_NO_MEMORY;
    }
    if (status == WR_OK) {
        *out = shadow;
    } else {
        wr_shadow_free(shadow);
    }
    return status;
}

void wr_shadow_free(wr_shadow *shadow) {
    if (shadow == NULL) return;
    for (uint32_t i = 0; i < WR_STAGE_RINGS_MAX; i++) {
        free(shadow->old_queues[i].bytes);
        free(shadow->new_queues[i].bytes);
    }
    wr_events_free(shadow->events);
    free(shadow);
}

void wr_shadow_attach(wr_shadow *shadow, wr_stage *running) {
    for (uint32_t i = 0; i < running->in_count; i++) {
        shadow->in_seen[i] = atomic_load_explicit(&running->ins[i].consumer->next, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < running->out_count; i++) shadow->out_seen[i] = running->outs[i].ring->producer.head.pos;
    for (uint32_t i = 0; i < running->port_count; i++) shadow->stage->ports[i].up = running->ports[i].up;
    shadow->stage->env.events = shadow->events;
    running->shadow = shadow;
}

void wr_shadow_break(wr_shadow *shadow, const char *reason) {
    if (shadow->report.broken[0] == '\0') snprintf(shadow->report.broken, sizeof shadow->report.broken, "%s", reason);
}

/* ---- inputs ---- */

void wr_shadow_see_inputs(wr_shadow *shadow, const wr_stage *running) {
    for (uint32_t i = 0; i < running->in_count; i++) {
        const wr_ring_end *end = &running->ins[i];
        uint64_t next = atomic_load_explicit(&end->consumer->next, memory_order_relaxed);
        if (next > shadow->in_seen[i]) shadow->in_seen[i] = next; /* a reader that drops has lost some */
        while (shadow->in_seen[i] < end->limit) {
            wr_walk walk = wr_ring_walk(end->ring, shadow->in_seen[i], end->limit, 1);
            uint32_t size = (uint32_t)(walk.pos - shadow->in_seen[i]);
            const uint8_t *record = wr_ring_at(end->ring, shadow->in_seen[i]);
            if (walk.malformed || wr_ring_write(shadow->stage->ins[i].ring, record, size) != WR_OK) {
                wr_shadow_break(shadow, "the new version does not keep up with its input");
                return;
            }
            shadow->in_seen[i] = walk.pos;
        }
    }
}

/* ---- outputs ---- */

static void append(wr_shadow *shadow, wr_shadow_queue *queue, const void *bytes, uint64_t len) {
    if (len > WR_SHADOW_PENDING_MAX - queue->len) {
        wr_shadow_break(shadow, "one version puts out much more than the other");
        return;
    }
    if (len > 0) memcpy(queue->bytes + queue->len, bytes, (size_t)len);
    queue->len += (uint32_t)len;
}

static void collect_old(wr_shadow *shadow, const wr_stage *running, uint32_t i) {
    const wr_ring *ring = running->outs[i].ring;
    uint64_t head = ring->producer.head.pos;
    append(shadow, &shadow->old_queues[i], wr_ring_at(ring, shadow->out_seen[i]), head - shadow->out_seen[i]);
    shadow->out_seen[i] = head;
}

static void collect_new(wr_shadow *shadow, uint32_t i) {
    wr_ring *ring = shadow->stage->outs[i].ring;
    const uint8_t *records;
    uint64_t bytes = wr_ring_peek(ring, shadow->out_consumers[i], &records);
    append(shadow, &shadow->new_queues[i], records, bytes);
    wr_walk walk = wr_ring_walk(ring, atomic_load(&ring->consumers[shadow->out_consumers[i]].next),
                                ring->producer.head.pos, WR_RING_ALL);
    wr_ring_take(ring, shadow->out_consumers[i], bytes, walk.records);
}

static uint32_t differing_fields(const uint8_t *old_bytes, const uint8_t *new_bytes) {
    wr_record a, b;
    memcpy(&a, old_bytes, sizeof a);
    memcpy(&b, new_bytes, sizeof b);
    uint32_t fields = 0;
    if (a.kind != b.kind) fields |= WR_FIELD_KIND;
    if (a.quality != b.quality) fields |= WR_FIELD_QUALITY;
    if (a.type != b.type) fields |= WR_FIELD_TYPE;
    if (a.tag != b.tag) fields |= WR_FIELD_TAG;
    if (a.seq != b.seq) fields |= WR_FIELD_SEQ;
    if (a.time_ns != b.time_ns) fields |= WR_FIELD_TIME;
    bool same = a.value == b.value && a.size == b.size &&
                memcmp(old_bytes + sizeof a, new_bytes + sizeof b, a.size - sizeof a) == 0;
    return same ? fields : fields | WR_FIELD_VALUE;
}

static void note(wr_shadow *shadow, uint32_t output, const uint8_t *old_bytes, const uint8_t *new_bytes) {
    wr_shadow_report *report = &shadow->report;
    uint32_t fields = differing_fields(old_bytes, new_bytes) & ~shadow->ignored;
    report->compared++;
    if (fields == 0) return;
    if (report->differences++ >= WR_DIFFERENCES_MAX) return;
    wr_difference *one = &report->first[report->differences - 1];
    *one = (wr_difference){.record = report->compared, .output = output, .fields = fields};
    memcpy(&one->old_record, old_bytes, sizeof one->old_record);
    memcpy(&one->new_record, new_bytes, sizeof one->new_record);
}

static void drop_front(wr_shadow_queue *queue, uint32_t bytes) {
    if (bytes == 0) return; /* else a long queue would be moved in each call */
    queue->len -= bytes;
    memmove(queue->bytes, queue->bytes + bytes, queue->len);
}

static void compare_output(wr_shadow *shadow, uint32_t i) {
    wr_shadow_queue *old_queue = &shadow->old_queues[i], *new_queue = &shadow->new_queues[i];
    uint32_t old_at = 0, new_at = 0;
    for (;;) {
        uint32_t old_size = wr_record_size(old_queue->bytes + old_at, old_queue->len - old_at);
        uint32_t new_size = wr_record_size(new_queue->bytes + new_at, new_queue->len - new_at);
        if (old_size == 0 || new_size == 0) break;
        note(shadow, i, old_queue->bytes + old_at, new_queue->bytes + new_at);
        old_at += old_size;
        new_at += new_size;
    }
    drop_front(old_queue, old_at);
    drop_front(new_queue, new_at);
}

void wr_shadow_compare(wr_shadow *shadow, const wr_stage *running) {
    uint64_t old_waiting = 0, new_waiting = 0;
    for (uint32_t i = 0; i < running->out_count; i++) {
        collect_old(shadow, running, i);
        collect_new(shadow, i);
        compare_output(shadow, i);
        old_waiting += shadow->old_queues[i].len;
        new_waiting += shadow->new_queues[i].len;
    }
    for (uint32_t i = 0; i < shadow->stage->port_count; i++) wr_fifo_clear(&shadow->stage->ports[i].tx);
    shadow->report.old_waiting_bytes = old_waiting;
    shadow->report.new_waiting_bytes = new_waiting;
    if (shadow->stage->stats.traps > 0) wr_shadow_break(shadow, "the new version trapped");
}
