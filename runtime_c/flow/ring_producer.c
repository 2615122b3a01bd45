/* The producer's side: room, frontier, tail, publishing. */
#include <string.h>

#include "ring.h"
#include "ring_mark.h"

/* Limits. A hold keeps one ring's length of bytes behind it; readers that drop need half a ring left untouched, and
 * so does whoever attaches next. */
uint64_t wr_ring_room_limit(const wr_ring *ring) {
    uint64_t limit = ring->producer.head.pos + ring->capacity / 2;
    uint32_t attached = atomic_load(&ring->attached);
    if (attached > 0 && atomic_load(&ring->droppers) == 0) limit += ring->capacity / 2;
    for (uint32_t i = 0; i < attached; i++) {
        uint64_t hold = atomic_load(&ring->consumers[i].hold);
        if (hold != WR_RING_NO_HOLD && hold + ring->capacity < limit) limit = hold + ring->capacity;
    }
    /* A dropper that lags by more than the ring shows its old place for a moment, until it sees the frontier. */
    return limit < ring->producer.head.pos ? ring->producer.head.pos : limit;
}

/* Moves the tail to a record boundary at or after `to`. Data the producer has spoiled has no boundaries left: then
 * everything published is gone. Without droppers nobody needs the walk. */
static void advance_tail(wr_ring *ring, uint64_t to) {
    wr_mark *tail = &ring->producer.tail;
    if (tail->pos >= to) return;
    wr_mark head = ring->producer.head;
    wr_walk walk = {.malformed = true};
    if (atomic_load(&ring->droppers) > 0) {
        walk = (wr_walk){.pos = tail->pos};
        while (walk.pos < to && !walk.malformed) {
            wr_walk step = wr_ring_walk(ring, walk.pos, head.pos, 1);
            walk = (wr_walk){step.pos, walk.records + step.records, step.malformed};
        }
    }
    *tail = walk.malformed ? head : (wr_mark){walk.pos, tail->index + walk.records};
    wr_mark_write(&ring->tail, *tail);
}

uint64_t wr_ring_extend(wr_ring *ring) {
    uint64_t limit = wr_ring_room_limit(ring);
    uint64_t before = atomic_load_explicit(&ring->frontier, memory_order_relaxed);
    if (limit > before) {
        if (limit > ring->capacity) advance_tail(ring, limit - ring->capacity);
        atomic_store(&ring->frontier, limit);
        uint64_t again = wr_ring_room_limit(ring); /* a hold taken meanwhile either shows here or saw the frontier */
        if (again < limit) {
            limit = again;
            atomic_store(&ring->frontier, limit > before ? limit : before);
        }
    }
    ring->producer.limit = limit;
    return limit;
}

void wr_ring_publish(wr_ring *ring, wr_mark head) {
    if (head.pos == ring->producer.head.pos) return;
    ring->producer.head = head;
    ring->producer.next = head.pos;
    ring->producer.count = head.index;
    wr_mark_write(&ring->head, head);
    uint64_t most = atomic_load_explicit(&ring->high_water, memory_order_relaxed);
    uint32_t attached = atomic_load_explicit(&ring->attached, memory_order_acquire);
    for (uint32_t i = 0; i < attached; i++) {
        wr_ring_consumer *consumer = &ring->consumers[i];
        bool drops = atomic_load_explicit(&consumer->drops, memory_order_relaxed);
        uint64_t hold = atomic_load_explicit(&consumer->hold, memory_order_relaxed);
        if (!drops && hold < head.pos && head.pos - hold > most) most = head.pos - hold;
        wr_bell *bell = atomic_load_explicit(&consumer->bell, memory_order_acquire);
        if (bell != NULL) wr_bell_ring(bell);
    }
    atomic_store_explicit(&ring->high_water, most, memory_order_relaxed);
}

/* ---- native producer ---- */

void wr_ring_flush(wr_ring *ring) { wr_ring_publish(ring, (wr_mark){ring->producer.next, ring->producer.count}); }

void *wr_ring_reserve(wr_ring *ring, uint32_t size) {
    if (ring->producer.limit - ring->producer.next < size) {
        wr_ring_flush(ring);
        if (wr_ring_extend(ring) - ring->producer.next < size) {
            atomic_fetch_add_explicit(&ring->blocked, 1, memory_order_relaxed);
            return NULL;
        }
    }
    return wr_ring_at(ring, ring->producer.next);
}

void wr_ring_put(wr_ring *ring, uint32_t size) {
    ring->producer.next += size;
    ring->producer.count++;
}

/* Number of records in bytes, 0 if they are not whole well formed records. */
static uint64_t count_records(const uint8_t *bytes, uint32_t len) {
    uint64_t count = 0;
    for (uint32_t at = 0; at < len; count++) {
        uint32_t size = wr_record_size(bytes + at, len - at);
        if (size == 0) return 0;
        at += size;
    }
    return count;
}

wr_status wr_ring_write(wr_ring *ring, const void *records, uint32_t bytes) {
    if (ring->has_producer_end) return WR_BAD_STATE;
    if (bytes > ring->capacity / 2 || (uintptr_t)records % _Alignof(uint32_t) != 0) return WR_BAD_ARGUMENT;
    uint64_t count = count_records(records, bytes);
    if (count == 0) return bytes == 0 ? WR_OK : WR_BAD_ARGUMENT;
    void *room = wr_ring_reserve(ring, bytes);
    if (room == NULL) return WR_FULL;
    memcpy(room, records, bytes);
    ring->producer.next += bytes;
    ring->producer.count += count;
    wr_ring_flush(ring);
    return WR_OK;
}
