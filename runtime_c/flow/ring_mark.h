/* Writing marks: only for the owner of the cell. */
#ifndef WR_FLOW_RING_MARK_H
#define WR_FLOW_RING_MARK_H
#include "ring.h"

/* Slot stores are releases: a reader that sees one also sees the epoch before it, and tries again. */
static inline void wr_mark_write(wr_mark_cell *cell, wr_mark mark) {
    uint32_t epoch = atomic_load_explicit(&cell->epoch, memory_order_relaxed) + 1;
    atomic_store_explicit(&cell->slot[epoch & 1].pos, mark.pos, memory_order_release);
    atomic_store_explicit(&cell->slot[epoch & 1].index, mark.index, memory_order_release);
    atomic_store(&cell->epoch, epoch);
}

static inline wr_mark wr_mark_read(const wr_mark_cell *cell) {
    for (;;) { /* ends: it repeats only after the writer has moved on */
        uint32_t epoch = atomic_load(&cell->epoch);
        wr_mark mark = {.pos = atomic_load_explicit(&cell->slot[epoch & 1].pos, memory_order_acquire),
                        .index = atomic_load_explicit(&cell->slot[epoch & 1].index, memory_order_acquire)};
        if (atomic_load_explicit(&cell->epoch, memory_order_relaxed) == epoch) return mark;
    }
}

#endif
