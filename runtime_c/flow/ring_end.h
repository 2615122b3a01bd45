/* Ring ends of plugins: a ring mapped into a linear memory, set up before and checked after every entry point call. */
#ifndef WR_FLOW_RING_END_H
#define WR_FLOW_RING_END_H
#include "ring.h"

/* The control page as the plugin sees it; struct pen_ring of the plugin SDK. */
typedef struct wr_ring_control {
    uint64_t cursor;
    uint64_t limit;
    uint32_t data;     /* address in the plugin's memory */
    uint32_t capacity;
    uint32_t schema;
    uint32_t reserved;
    uint64_t dropped;
} wr_ring_control;

/* Records offered to a consumer in one call: bounds its time and this side's checking. */
enum { WR_RING_BATCH_MAX = 256 };

typedef struct wr_ring_end {
    wr_ring *ring;
    wr_ring_consumer *consumer; /* NULL: the producer's end */
    uint32_t consumer_index;
    uint32_t address;         /* of the control page in the plugin's memory; 0: not mapped */
    wr_ring_control *control; /* the same page in the host */
    uint64_t limit;           /* offered to the running call */
    uint64_t offered;         /* records of an input up to there */
    uint64_t seen;            /* end of an input's records when it was offered */
} wr_ring_end;

/* BAD_ARGUMENT: no such consumer, or the end is taken already. */
wr_status wr_ring_end_take_input(wr_ring_end *end, wr_ring *ring, uint32_t consumer);
wr_status wr_ring_end_take_output(wr_ring_end *end, wr_ring *ring);
/* Gives the end back; an input blocks its producer no longer. */
void wr_ring_end_return(wr_ring_end *end);

/* Address space for wr_instance_limits.map_bytes. */
uint64_t wr_ring_end_map_bytes(const wr_ring_end *end);
wr_status wr_ring_end_map(wr_ring_end *end, wr_memory *memory);
/* Maps the ring of `other`, which must have the same size, where this end is mapped. */
wr_status wr_ring_end_remap(const wr_ring_end *end, const wr_ring_end *other, wr_memory *memory);
/* Exchanges rings; each end stays at its address. */
void wr_ring_end_exchange(wr_ring_end *a, wr_ring_end *b);
void wr_ring_end_unmapped(wr_ring_end *end); /* the memory is gone */
/* Does [address, address + len) touch pages the plugin may not write? */
bool wr_ring_end_protects(const wr_ring_end *end, uint64_t address, uint64_t len);

/* Before a call: write the control page. */
void wr_ring_end_offer(wr_ring_end *end);
/* After a call: check the proposed cursor and publish it; *records = how many. TRAP_RING: only the well formed part. */
wr_status wr_ring_end_settle(wr_ring_end *end, uint64_t *records);
/* Drops the one record at the cursor of an input, if there is one. */
void wr_ring_end_skip(wr_ring_end *end);

uint64_t wr_ring_end_backlog(const wr_ring_end *end); /* bytes an input has not taken */
uint64_t wr_ring_end_room(const wr_ring_end *end);    /* bytes an output could write */
/* The same as the last call knew them: what came since then is news to the plugin. */
uint64_t wr_ring_end_backlog_offered(const wr_ring_end *end);
uint64_t wr_ring_end_room_offered(const wr_ring_end *end);

#endif
