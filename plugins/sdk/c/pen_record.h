/* What stages between driver and format do with records: tell numbers from the rest, copy, replace a value. */
#ifndef PEN_RECORD_H
#define PEN_RECORD_H
#include "pen_config.h"

/* A sample with a value to reckon with: bool, i64, u64 or f64. */
static inline bool pen_record_is_number(const struct pen_record *record) {
    uint32_t head; /* kind, quality, type: one load, and 32 bits for what compilers would do with 64 */
    __builtin_memcpy(&head, &record->kind, sizeof head);
    __asm__("" : "+r"(head));
    return (head & 0xFFFF) == PEN_SAMPLE && (head >> 24) - PEN_BOOL <= PEN_F64 - PEN_BOOL;
}

static inline bool pen_is_finite(double value) { return value - value == 0; }

/* The same, and not NaN or infinite. */
static inline bool pen_record_is_finite(const struct pen_record *record) {
    return pen_record_is_number(record) && (record->type != PEN_F64 || pen_is_finite(record->value.f64));
}

/* Numbers only. Above 2^53 integers are rounded. */
static inline double pen_record_number(const struct pen_record *record) {
    if (record->type == PEN_F64) return record->value.f64;
    return record->type == PEN_I64 ? (double)record->value.i64 : (double)record->value.u64;
}

static inline void pen_record_mark_bad(struct pen_record *record) {
    if (record->quality == PEN_GOOD) record->quality = PEN_BAD;
}

/* Most records are a head alone, which is copied sooner than a copy is asked for. */
static inline void pen_record_copy(struct pen_record *to, const struct pen_record *from) {
    uint32_t size = from->size;
    const uint64_t *source = (const uint64_t *)(const void *)from;
    uint64_t *target = (uint64_t *)(void *)to;
    target[0] = source[0];
    target[1] = source[1];
    target[2] = source[2];
    target[3] = source[3];
    if (size > sizeof *from) __builtin_memcpy(to + 1, from + 1, size - sizeof *from);
}

/* Copies records from one ring to the other, each as `handle` changes it; false: it is left out. Ends when the input is
 * empty or the output is full; then the host calls again when there is room. */
static inline __attribute__((always_inline)) void
pen_record_relay(struct pen_ring *in, struct pen_ring *out, const struct pen_config *config,
                 bool (*handle)(struct pen_record *record, const struct pen_config *config)) {
    /* The data lies there twice in a row: what is offered is in one piece. */
    const struct pen_record *from = pen_ring_at(in);
    struct pen_record *to = pen_ring_at(out);
    uint32_t left = pen_ring_left(in), room = pen_ring_left(out);
    /* Copies that no record can be thought to lie in: they stay in registers. */
    uint64_t taken = in->cursor, put = out->cursor;
    const struct pen_config kept = *config;
    uint32_t both = left < room ? left : room;
    while (both >= sizeof *from) {
        uint32_t size = from->size;
        if (size < sizeof *from || size > both) break;
        pen_record_copy(to, from);
        __asm__ volatile("" : : "r"(to) : "memory"); /* fields are read when wanted, not cut out of what was copied */
        left -= size;
        if (handle(to, &kept)) {
            out->cursor = put += size;
            room -= size;
            both -= size;
            to = (struct pen_record *)(void *)((uint8_t *)to + size);
        } else {
            both = left < room ? left : room;
        }
        in->cursor = taken += size;
        from = (const struct pen_record *)(const void *)((const uint8_t *)from + size);
    }
}

#endif
