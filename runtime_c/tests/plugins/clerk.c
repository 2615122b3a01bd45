/* Numbers records of ring 0 in `value` and relays them to ring 0; the number is kept over a trap. Records of ring 1 are
 * commands: relayed to ring 0 as events. With a configuration other than 0 it puts out nothing. By its tag a record: */
#include "pen.h"

PEN_ABI_MARKER()

enum {
    TRAP = 100, /* traps, after the record was put out */
    COMMAND = 101, /* is a command to output 1, instead */
    SPOIL = 102, /* spoils what is kept, so that pen_init traps, and traps */
    NOTHING = 103, /* puts out nothing */
    KEEP_MUCH = 104 /* asks to keep more than is allowed, which it says in `value` */
};

static struct {
    uint64_t count;
    uint64_t is_spoilt;
} kept;
static uint64_t much[16384];
static uint32_t is_silent;

int32_t PEN_EXPORT(pen_init)(void) {
    hal_config(&is_silent, sizeof is_silent);
    int32_t is_back = hal_keep(&kept, sizeof kept);
    hal_metric("back", 4, PEN_GAUGE, is_back);
    if (kept.is_spoilt) __builtin_trap();
    return 0;
}

static void put(struct pen_ring *out, const struct pen_record *record, uint16_t kind, uint64_t value) {
    struct pen_record *room = out == NULL ? NULL : pen_ring_room(out, sizeof *room);
    if (room == NULL) return;
    *room = *record;
    room->kind = kind;
    room->value.u64 = value;
    pen_ring_put(out, room);
}

static void handle(const struct pen_record *record) {
    struct pen_ring *out = pen_ring_out(0);
    if (record->tag == COMMAND) {
        put(pen_ring_out(1), record, PEN_COMMAND, record->value.u64);
        return;
    }
    if (record->tag == NOTHING || is_silent) return;
    if (record->tag == SPOIL) kept.is_spoilt = 1;
    uint64_t value = record->tag == KEEP_MUCH ? (uint64_t)-hal_keep(much, sizeof much) : kept.count++;
    put(out, record, record->kind, value);
    if (record->tag == TRAP || record->tag == SPOIL) __builtin_trap();
}

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    struct pen_ring *in = pen_ring_in(ring);
    const struct pen_record *record;
    while ((record = pen_ring_peek(in)) != NULL && pen_ring_room(pen_ring_out(0), sizeof *record) != NULL) {
        if (ring == 0) handle(record);
        if (ring == 1) put(pen_ring_out(0), record, PEN_EVENT, record->value.u64);
        pen_ring_taken(in, record);
    }
}
