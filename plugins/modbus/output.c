#include "output.h"

static uint32_t padded(uint32_t bytes) { return (bytes + 7u) & ~7u; }

/* Writes the record and counts its seq. False: the ring is full. */
static bool put(struct pen_ring *ring, struct point *point, struct value value, int64_t time_ns) {
    uint32_t text_len = value.type == PEN_BYTES ? (uint32_t)value.bits : 0;
    uint32_t size = (uint32_t)sizeof(struct pen_record) + padded(text_len);
    struct pen_record *record = pen_ring_room(ring, size);
    if (record == NULL) return false;
    record->size = size;
    record->kind = PEN_SAMPLE;
    record->quality = value.quality;
    record->type = value.type;
    record->tag = point->tag->tag;
    record->seq = point->numbers->sample++;
    record->time_ns = time_ns;
    record->value.u64 = value.bits;
    char *text = (char *)(record + 1);
    for (uint32_t i = 0; i < padded(text_len); i++) text[i] = i < text_len ? point->text[i] : '\0';
    pen_ring_put(ring, record);
    point->is_stale = value.quality == PEN_STALE;
    return true;
}

void output_reading(struct pen_ring *ring, struct point *point, struct value value, int64_t time_ns) {
    if (value.quality == PEN_GOOD) {
        point->value_type = value.type;
        point->value = value.bits;
    }
    put(ring, point, value, time_ns);
}

void output_failed(struct pen_ring *ring, struct point *point, int64_t time_ns) {
    put(ring, point, (struct value){PEN_NONE, PEN_BAD, 0}, time_ns);
}

bool output_stale(struct pen_ring *ring, struct point *point, int64_t time_ns) {
    return put(ring, point, (struct value){point->value_type, PEN_STALE, point->value}, time_ns);
}
