/* Rings, inside view.
 *
 * One memfd: [producer control page | consumer control pages | data pages]. Every view of it maps the data twice in a
 * row, so a record never wraps. What a plugin writes - control pages and data - is a proposal: everything the data
 * plane relies on is in struct wr_ring, in the host's own memory, and every size read from data is checked.
 *
 * Positions count bytes since the ring was made. All of them are multiples of 8.
 *   head      end of the published records; set by the producer
 *   frontier  the producer may be writing up to here: bytes before frontier - capacity are gone
 *   tail      oldest record boundary a drop-oldest consumer can fall back to
 *   hold      per consumer: the oldest byte that must stay. Blocking consumers always hold what they have not released;
 *             drop-oldest ones only while they look at data
 * The producer announces a new frontier and then reads the holds again; a consumer takes a hold and then reads the
 * frontier (both seq_cst): at least one of them sees the other, so data under a hold is never overwritten and readers
 * need no copy-and-validate. With a drop-oldest consumer attached the frontier stays at most half a ring beyond the
 * head, so there is always something left for it. */
#ifndef WR_FLOW_RING_H
#define WR_FLOW_RING_H
#include <pthread.h>
#include <stdatomic.h>

#include "bell.h"
#include "wr.h"

enum {
    WR_RECORD_MIN = 32,
    WR_RING_NAME_MAX = 63,
    WR_RING_CONSUMERS_MAX = 64,
    WR_RING_BYTES_MAX = 1 << 28,
    WR_CACHE_LINE = 64
};
#define WR_RING_NO_HOLD UINT64_MAX
#define WR_RING_ALL UINT64_MAX

/* A record boundary and the number of records before it. */
typedef struct wr_mark {
    uint64_t pos;
    uint64_t index;
} wr_mark;

/* A mark that one thread writes and others read whole: two slots, the epoch's lowest bit tells which is current. */
typedef struct wr_mark_cell {
    atomic_uint epoch;
    struct {
        _Atomic uint64_t pos;
        _Atomic uint64_t index;
    } slot[2];
} wr_mark_cell;

/* One consumer's published state; a cache line of its own. Only its consumer writes it. */
typedef struct wr_ring_consumer {
    _Alignas(WR_CACHE_LINE) _Atomic uint64_t hold;
    _Atomic uint64_t next;    /* what it reads next */
    _Atomic uint64_t index;   /* records before next, since the ring was made */
    _Atomic uint64_t dropped; /* of these: never taken */
    uint64_t base;            /* index when it was attached */
    atomic_bool drops;        /* drop-oldest, now */
    bool blocks;              /* as it was attached */
    bool has_end;             /* a stage reads it */
    _Atomic(wr_bell *) bell;  /* rung when records are published */
} wr_ring_consumer;

struct wr_ring {
    char name[WR_RING_NAME_MAX + 1];
    uint32_t capacity; /* data bytes, a power of two */
    uint32_t schema;
    uint32_t page; /* host page size: the granule of all parts */
    uint32_t consumers_max;
    int fd;
    uint8_t *map; /* control pages, data, data again */
    size_t map_bytes;
    uint8_t *data;

    pthread_mutex_t gate;                     /* attaching, bells */
    wr_bell *kept[WR_RING_CONSUMERS_MAX + 1]; /* bells live until the ring is freed: other threads may be ringing */
    uint32_t kept_count;
    bool has_producer_end; /* a stage writes it */

    _Alignas(WR_CACHE_LINE) wr_mark_cell head;
    _Alignas(WR_CACHE_LINE) wr_mark_cell tail;
    _Atomic uint64_t frontier;
    _Atomic(wr_bell *) room; /* rung when a consumer releases records */
    _Atomic uint64_t high_water;
    _Atomic uint64_t blocked;

    _Alignas(WR_CACHE_LINE) struct {
        wr_mark head; /* what head holds */
        wr_mark tail;
        uint64_t next;  /* end of what wr_ring_put wrote, not published yet */
        uint64_t count; /* records before it */
        uint64_t limit; /* of the last wr_ring_extend */
    } producer; /* the producer's own */

    _Alignas(WR_CACHE_LINE) atomic_uint attached;
    atomic_uint droppers; /* attached consumers that drop */
    wr_ring_consumer consumers[];
};

/* ---- positions (ring.c) ---- */

wr_mark wr_ring_head(const wr_ring *ring);
wr_mark wr_ring_tail(const wr_ring *ring);
static inline uint8_t *wr_ring_at(const wr_ring *ring, uint64_t pos) {
    return ring->data + (pos & (ring->capacity - 1));
}
uint64_t wr_ring_producer_control_offset(const wr_ring *ring);
uint64_t wr_ring_consumer_control_offset(const wr_ring *ring, uint32_t consumer);
uint64_t wr_ring_data_offset(const wr_ring *ring);
wr_ring_consumer *wr_ring_consumer_at(wr_ring *ring, uint32_t consumer); /* NULL: not attached */

/* Size of the record at bytes if it is well formed and fits in left, else 0. Reads the size once. */
static inline uint32_t wr_record_size(const uint8_t *bytes, uint64_t left) {
    if (left < WR_RECORD_MIN) return 0;
    uint32_t size = __atomic_load_n((const uint32_t *)(const void *)bytes, __ATOMIC_RELAXED);
    return size < WR_RECORD_MIN || size % 8 != 0 || size > left ? 0 : size;
}

/* The longest run of well formed records from `from`, ending before `to` and after at most `records_max`. */
typedef struct wr_walk {
    uint64_t pos;
    uint64_t records;
    bool malformed; /* stopped at a record that is no record or goes beyond `to` */
} wr_walk;
wr_walk wr_ring_walk(const wr_ring *ring, uint64_t from, uint64_t to, uint64_t records_max);

/* ---- producer side (ring_producer.c) ---- */

/* How far the producer could write now, without announcing it. */
uint64_t wr_ring_room_limit(const wr_ring *ring);
/* Announces and returns how far the producer may write. */
uint64_t wr_ring_extend(wr_ring *ring);
/* Publishes records up to the mark and rings the consumers' bells. */
void wr_ring_publish(wr_ring *ring, wr_mark head);

/* Native producer: room for one record of size bytes or NULL; fill it, then wr_ring_put. Nothing is visible before
 * wr_ring_flush: flush every few records, and before waiting. */
void *wr_ring_reserve(wr_ring *ring, uint32_t size);
void wr_ring_put(wr_ring *ring, uint32_t size);
void wr_ring_flush(wr_ring *ring);

/* ---- consumer side (ring_consumer.c) ---- */

/* Keeps data from next on in place (drop-oldest: falls back to the tail where next is gone). */
void wr_ring_pin(wr_ring *ring, wr_ring_consumer *consumer);
/* End of a look at data: releases everything before next. */
void wr_ring_unpin(wr_ring *ring, wr_ring_consumer *consumer);
/* Moves next over records taken. */
void wr_ring_advance(wr_ring_consumer *consumer, uint64_t pos, uint64_t records);
/* Moves next forward to a mark; the records between are dropped. */
void wr_ring_jump(wr_ring_consumer *consumer, wr_mark mark);
/* A blocking consumer whose reader is gone drops from now on, so that its producer goes on. */
void wr_ring_abandon(wr_ring *ring, wr_ring_consumer *consumer);
/* A new reader: the policy is again what it was when the consumer was attached. */
void wr_ring_adopt(wr_ring *ring, wr_ring_consumer *consumer);

/* Native consumer: contiguous records from next on, in place (check each with wr_record_size). Returns their bytes.
 * The data stays until wr_ring_take, which releases the bytes and records that were handled. */
uint64_t wr_ring_peek(wr_ring *ring, uint32_t consumer, const uint8_t **records);
void wr_ring_take(wr_ring *ring, uint32_t consumer, uint64_t bytes, uint64_t records);

/* ---- bells (ring.c) ---- */

/* The ring keeps the bell until it is freed. */
wr_status wr_ring_set_room_bell(wr_ring *ring, wr_bell *bell);
wr_status wr_ring_set_consumer_bell(wr_ring *ring, wr_ring_consumer *consumer, wr_bell *bell);

#endif
