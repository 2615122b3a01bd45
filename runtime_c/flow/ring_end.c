#include "ring_end.h"

#include <assert.h>
#include <stddef.h>

static_assert(offsetof(wr_ring_control, data) == 16, "struct pen_ring");
static_assert(offsetof(wr_ring_control, dropped) == 32, "struct pen_ring");

enum { WASM_PAGE = 65536 };

static uint64_t next_of(const wr_ring_end *end) {
    return atomic_load_explicit(&end->consumer->next, memory_order_relaxed);
}

/* ---- life ---- */

static wr_status take(bool *taken) {
    if (*taken) return WR_BAD_ARGUMENT;
    *taken = true;
    return WR_OK;
}

wr_status wr_ring_end_take_input(wr_ring_end *end, wr_ring *ring, uint32_t index) {
    wr_ring_consumer *consumer = wr_ring_consumer_at(ring, index);
    if (consumer == NULL || take(&consumer->has_end) != WR_OK) return WR_BAD_ARGUMENT;
    wr_ring_adopt(ring, consumer);
    *end = (wr_ring_end){.ring = ring,
                         .consumer = consumer,
                         .consumer_index = index,
                         .control = (void *)(ring->map + wr_ring_consumer_control_offset(ring, index))};
    return WR_OK;
}

wr_status wr_ring_end_take_output(wr_ring_end *end, wr_ring *ring) {
    if (take(&ring->has_producer_end) != WR_OK) return WR_BAD_ARGUMENT;
    *end = (wr_ring_end){.ring = ring, .control = (void *)(ring->map + wr_ring_producer_control_offset(ring))};
    return WR_OK;
}

void wr_ring_end_return(wr_ring_end *end) {
    if (end->consumer == NULL) {
        end->ring->has_producer_end = false;
        return;
    }
    wr_ring_abandon(end->ring, end->consumer);
    end->consumer->has_end = false;
}

/* ---- mapping ---- */

static uint64_t view_bytes(const wr_ring_end *end) {
    return (uint64_t)end->ring->page + 2 * (uint64_t)end->ring->capacity;
}

uint64_t wr_ring_end_map_bytes(const wr_ring_end *end) {
    return (view_bytes(end) + WASM_PAGE - 1) / WASM_PAGE * WASM_PAGE;
}

enum { VIEW_PARTS = 3 };

static void view_parts(const wr_ring_end *end, wr_map_part parts[VIEW_PARTS]) {
    const wr_ring *ring = end->ring;
    bool produces = end->consumer == NULL;
    uint64_t control =
        produces ? wr_ring_producer_control_offset(ring) : wr_ring_consumer_control_offset(ring, end->consumer_index);
    parts[0] = (wr_map_part){.fd = ring->fd, .fd_offset = control, .bytes = ring->page, .writable = true};
    parts[1] = (wr_map_part){
        .fd = ring->fd, .fd_offset = wr_ring_data_offset(ring), .bytes = ring->capacity, .writable = produces};
    parts[2] = parts[1];
}

wr_status wr_ring_end_map(wr_ring_end *end, wr_memory *memory) {
    wr_map_part parts[VIEW_PARTS];
    uint64_t address;
    view_parts(end, parts);
    wr_status status = wr_memory_map(memory, parts, VIEW_PARTS, &address);
    if (status == WR_OK) end->address = (uint32_t)address;
    return status;
}

wr_status wr_ring_end_remap(const wr_ring_end *end, const wr_ring_end *other, wr_memory *memory) {
    wr_map_part parts[VIEW_PARTS];
    assert(view_bytes(end) == view_bytes(other));
    view_parts(other, parts);
    return wr_memory_remap(memory, end->address, parts, VIEW_PARTS);
}

void wr_ring_end_exchange(wr_ring_end *a, wr_ring_end *b) {
    wr_ring_end kept = *a;
    *a = *b;
    *b = kept;
    b->address = a->address;
    a->address = kept.address;
}

void wr_ring_end_unmapped(wr_ring_end *end) { end->address = 0; }

bool wr_ring_end_protects(const wr_ring_end *end, uint64_t address, uint64_t len) {
    if (end->address == 0 || end->consumer == NULL) return false;
    uint64_t first = (uint64_t)end->address + end->ring->page, last = (uint64_t)end->address + view_bytes(end);
    return address < last && address + len > first;
}

/* ---- around a call ---- */

/* What a consumer may read: whole records that are well formed now. Spoiled data is dropped up to the head. */
static uint64_t offer_records(wr_ring_end *end) {
    wr_ring_pin(end->ring, end->consumer);
    wr_mark head = wr_ring_head(end->ring);
    wr_walk walk = wr_ring_walk(end->ring, next_of(end), head.pos, WR_RING_BATCH_MAX);
    end->offered = walk.records;
    end->seen = head.pos;
    if (walk.malformed && walk.records == 0) {
        wr_ring_jump(end->consumer, head);
        return head.pos;
    }
    return walk.pos;
}

void wr_ring_end_offer(wr_ring_end *end) {
    wr_ring *ring = end->ring;
    bool produces = end->consumer == NULL;
    end->limit = produces ? wr_ring_extend(ring) : offer_records(end);
    *end->control = (wr_ring_control){
        .cursor = produces ? ring->producer.head.pos : next_of(end),
        .limit = end->limit,
        .data = end->address + ring->page,
        .capacity = ring->capacity,
        .schema = ring->schema,
        .dropped = produces ? 0 : atomic_load_explicit(&end->consumer->dropped, memory_order_relaxed)};
}

static bool in_range(const wr_ring_end *end, uint64_t from, uint64_t cursor) {
    return cursor >= from && cursor <= end->limit && cursor % 8 == 0;
}

static wr_status settle_output(wr_ring_end *end, uint64_t cursor, uint64_t *records) {
    wr_mark head = end->ring->producer.head;
    if (!in_range(end, head.pos, cursor)) return WR_TRAP_RING;
    wr_walk walk = wr_ring_walk(end->ring, head.pos, cursor, WR_RING_ALL);
    wr_ring_publish(end->ring, (wr_mark){walk.pos, head.index + walk.records});
    *records = walk.records;
    return walk.malformed ? WR_TRAP_RING : WR_OK;
}

/* Up to a cursor that must be a boundary. Walking goes by the ring's own end, so that a record its producer has spoiled
 * since it was offered is not held against the consumer. */
static wr_status walk_input(wr_ring_end *end, uint64_t next, uint64_t cursor, uint64_t *records) {
    wr_walk walk = {.pos = next};
    while (walk.pos < cursor && !walk.malformed) {
        wr_walk step = wr_ring_walk(end->ring, walk.pos, end->limit, 1);
        if (step.pos > cursor) break;
        walk = (wr_walk){step.pos, walk.records + step.records, step.malformed};
    }
    *records = walk.records;
    wr_ring_advance(end->consumer, walk.pos, walk.records);
    if (walk.malformed) {
        wr_ring_jump(end->consumer, wr_ring_head(end->ring));
        return WR_OK;
    }
    return walk.pos == cursor ? WR_OK : WR_TRAP_RING;
}

static wr_status settle_input(wr_ring_end *end, uint64_t cursor, uint64_t *records) {
    uint64_t next = next_of(end);
    wr_status status = WR_OK;
    if (!in_range(end, next, cursor)) {
        status = WR_TRAP_RING;
    } else if (cursor > next && cursor == end->limit && end->offered > 0) { /* all of it: counted when offered */
        *records = end->offered;
        wr_ring_advance(end->consumer, cursor, end->offered);
    } else if (cursor > next) {
        status = walk_input(end, next, cursor, records);
    }
    wr_ring_unpin(end->ring, end->consumer);
    return status;
}

wr_status wr_ring_end_settle(wr_ring_end *end, uint64_t *records) {
    *records = 0;
    uint64_t cursor = end->control->cursor; /* read once */
    return end->consumer == NULL ? settle_output(end, cursor, records) : settle_input(end, cursor, records);
}

void wr_ring_end_skip(wr_ring_end *end) {
    wr_ring_pin(end->ring, end->consumer);
    wr_mark head = wr_ring_head(end->ring);
    wr_walk walk = wr_ring_walk(end->ring, next_of(end), head.pos, 1);
    uint64_t index = atomic_load_explicit(&end->consumer->index, memory_order_relaxed);
    wr_ring_jump(end->consumer, walk.malformed ? head : (wr_mark){walk.pos, index + walk.records});
    wr_ring_unpin(end->ring, end->consumer);
}

/* ---- readiness ---- */

uint64_t wr_ring_end_backlog(const wr_ring_end *end) { return wr_ring_head(end->ring).pos - next_of(end); }

uint64_t wr_ring_end_room(const wr_ring_end *end) {
    return wr_ring_room_limit(end->ring) - end->ring->producer.head.pos;
}

uint64_t wr_ring_end_backlog_offered(const wr_ring_end *end) { return end->seen - next_of(end); }

uint64_t wr_ring_end_room_offered(const wr_ring_end *end) { return end->limit - end->ring->producer.head.pos; }
