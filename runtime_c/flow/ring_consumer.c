/* The consumer's side: holds, jumps, the host's reading. */
#include <string.h>

#include "ring.h"

enum { FALLBACKS_MAX = 8 };

void wr_ring_advance(wr_ring_consumer *consumer, uint64_t pos, uint64_t records) {
    uint64_t index = atomic_load_explicit(&consumer->index, memory_order_relaxed);
    atomic_store_explicit(&consumer->index, index + records, memory_order_relaxed);
    atomic_store_explicit(&consumer->next, pos, memory_order_release);
}

void wr_ring_jump(wr_ring_consumer *consumer, wr_mark mark) {
    uint64_t index = atomic_load_explicit(&consumer->index, memory_order_relaxed);
    uint64_t dropped = atomic_load_explicit(&consumer->dropped, memory_order_relaxed);
    /* index first: whoever reads dropped and then index never sees more dropped than passed */
    atomic_store(&consumer->index, mark.index);
    atomic_store(&consumer->dropped, dropped + (mark.index - index));
    atomic_store(&consumer->next, mark.pos);
}

static uint64_t next_of(const wr_ring_consumer *consumer) {
    return atomic_load_explicit(&consumer->next, memory_order_relaxed);
}

void wr_ring_pin(wr_ring *ring, wr_ring_consumer *consumer) {
    if (!atomic_load_explicit(&consumer->drops, memory_order_relaxed)) return;
    for (int tries = 0;; tries++) {
        uint64_t next = next_of(consumer);
        atomic_store(&consumer->hold, next);
        if (atomic_load(&ring->frontier) <= next + ring->capacity) return;
        /* A producer that is always faster than this look leaves only its head. */
        wr_ring_jump(consumer, tries < FALLBACKS_MAX ? wr_ring_tail(ring) : wr_ring_head(ring));
    }
}

void wr_ring_unpin(wr_ring *ring, wr_ring_consumer *consumer) {
    bool drops = atomic_load_explicit(&consumer->drops, memory_order_relaxed);
    atomic_store(&consumer->hold, drops ? WR_RING_NO_HOLD : next_of(consumer));
    wr_bell *bell = atomic_load_explicit(&ring->room, memory_order_acquire);
    if (bell != NULL) wr_bell_ring(bell);
}

void wr_ring_abandon(wr_ring *ring, wr_ring_consumer *consumer) {
    if (!atomic_exchange(&consumer->drops, true)) atomic_fetch_add(&ring->droppers, 1);
    wr_ring_unpin(ring, consumer);
}

void wr_ring_adopt(wr_ring *ring, wr_ring_consumer *consumer) {
    if (!consumer->blocks || !atomic_load(&consumer->drops)) return;
    wr_ring_pin(ring, consumer); /* the hold stays */
    atomic_store(&consumer->drops, false);
    atomic_fetch_sub(&ring->droppers, 1);
}

/* ---- native consumer ---- */

uint64_t wr_ring_peek(wr_ring *ring, uint32_t index, const uint8_t **records) {
    wr_ring_consumer *consumer = &ring->consumers[index];
    wr_ring_pin(ring, consumer);
    uint64_t next = next_of(consumer);
    *records = wr_ring_at(ring, next);
    return wr_ring_head(ring).pos - next;
}

void wr_ring_take(wr_ring *ring, uint32_t index, uint64_t bytes, uint64_t records) {
    wr_ring_consumer *consumer = &ring->consumers[index];
    wr_ring_advance(consumer, next_of(consumer) + bytes, records);
    wr_ring_unpin(ring, consumer);
}

/* ---- copying reader ---- */

/* Well formed records at the start of a private copy; sizes in the ring may change at any time, these do not. */
static wr_walk walk_copy(const uint8_t *bytes, uint64_t copied, uint64_t available) {
    wr_walk walk = {0};
    while (walk.pos < copied) {
        uint64_t left = available - walk.pos;
        if (copied - walk.pos < WR_RECORD_MIN) break;
        uint32_t size = wr_record_size(bytes + walk.pos, left);
        walk.malformed = size == 0;
        if (walk.malformed || size > copied - walk.pos) break;
        walk.pos += size;
        walk.records++;
    }
    return walk;
}

/* Nothing left: arm the doorbell, then look again for what came meanwhile. */
static void wait_for_more(wr_ring *ring, wr_ring_consumer *consumer) {
    wr_bell *bell = atomic_load(&consumer->bell);
    if (bell == NULL || wr_ring_head(ring).pos != next_of(consumer)) return;
    wr_bell_arm(bell);
    if (wr_ring_head(ring).pos != next_of(consumer)) wr_bell_ring(bell);
}

wr_status wr_ring_read(wr_ring *ring, uint32_t index, void *into, uint32_t capacity, uint32_t *got) {
    *got = 0;
    wr_ring_consumer *consumer = wr_ring_consumer_at(ring, index);
    if (consumer == NULL || (uintptr_t)into % _Alignof(uint32_t) != 0) return WR_BAD_ARGUMENT;
    if (consumer->has_end) return WR_BAD_STATE;
    bool drops = atomic_load_explicit(&consumer->drops, memory_order_relaxed);
    if (!drops) wr_ring_unpin(ring, consumer);
    wr_ring_pin(ring, consumer);
    uint64_t next = next_of(consumer);
    wr_mark head = wr_ring_head(ring);
    uint64_t available = head.pos - next;
    uint64_t copied = available < capacity ? available : capacity;
    if (copied > 0) memcpy(into, wr_ring_at(ring, next), (size_t)copied);
    wr_walk walk = walk_copy(into, copied, available);
    *got = (uint32_t)walk.pos;
    wr_ring_advance(consumer, next + walk.pos, walk.records);
    bool spoiled = walk.malformed && walk.pos == 0; /* by its producer: what is left has no boundaries */
    if (spoiled) wr_ring_jump(consumer, head);
    if (drops || spoiled) wr_ring_unpin(ring, consumer);
    wait_for_more(ring, consumer);
    return walk.pos == 0 && available > 0 && !walk.malformed ? WR_FULL : WR_OK;
}

wr_status wr_ring_release(wr_ring *ring, uint32_t index) {
    wr_ring_consumer *consumer = wr_ring_consumer_at(ring, index);
    if (consumer == NULL) return WR_BAD_ARGUMENT;
    if (consumer->has_end) return WR_BAD_STATE;
    if (!atomic_load_explicit(&consumer->drops, memory_order_relaxed)) wr_ring_unpin(ring, consumer);
    return WR_OK;
}
