/* Relays records from ring 0 to ring 0 and numbers them in `value`; the number is its state. The first word of the
 * configuration says what it does wrong when another version takes over. */
#include "pen.h"

PEN_ABI_MARKER()

enum { STATE_VERSION = 7 };
enum { FINE, SAVE_TRAPS, SAVE_NOT_NOW, SAVE_TOO_MUCH, SAVE_NOTHING, LOAD_TRAPS, LOAD_REFUSES, LOAD_LOOPS, TRAP_ALWAYS };

static struct pen_ring *in, *out;
static uint32_t wrong;
static uint64_t count;

int32_t PEN_EXPORT(pen_init)(void) {
    hal_config(&wrong, sizeof wrong);
    in = pen_ring_in(0);
    out = pen_ring_out(0);
    hal_metric("count", 5, PEN_COUNTER, 0);
    return hal_state_put(&count, sizeof count) == PEN_E_NONE && hal_state_get(&count, sizeof count) == PEN_E_NONE ? 0
                                                                                                                  : 1;
}

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    const struct pen_record *record;
    (void)ring;
    while ((record = pen_ring_peek(in)) != NULL) {
        struct pen_record *room = pen_ring_room(out, record->size);
        if (room == NULL) break;
        if (wrong == TRAP_ALWAYS) __builtin_trap();
        *room = *record;
        room->value.u64 = count++;
        pen_ring_put(out, room);
        pen_ring_taken(in, record);
    }
    hal_metric("count", 5, PEN_COUNTER, (int64_t)count);
}

int32_t PEN_EXPORT(pen_save)(void) {
    if (wrong == SAVE_TRAPS) __builtin_trap();
    if (wrong == SAVE_NOT_NOW) return -1;
    if (wrong == SAVE_NOTHING) return 0;
    do {
        hal_state_put(&count, sizeof count / 2);
        hal_state_put((const char *)&count + 4, sizeof count / 2);
    } while (wrong == SAVE_TOO_MUCH && hal_state_put(&count, sizeof count) == 0);
    return STATE_VERSION;
}

int32_t PEN_EXPORT(pen_load)(int32_t version) {
    volatile uint32_t spin = 1;
    uint64_t rest;
    if (wrong == LOAD_TRAPS) __builtin_trap();
    while (wrong == LOAD_LOOPS && spin) spin |= 1;
    if (wrong == LOAD_REFUSES || version != STATE_VERSION) return 1;
    return hal_state_get(&count, sizeof count) == sizeof count && hal_state_get(&rest, 8) == 0 ? 0 : 2;
}
