/* Relays records from ring 0 to ring 0, and misbehaves as the tag of a record says. Tags below 100 are relayed. */
#include "pen.h"

PEN_ABI_MARKER()

enum {
    STORE_TO_INPUT = 100,
    LOOP_FOR_EVER = 101,
    UNREACHABLE = 102,
    CURSOR_IN_RECORD = 103,
    BAD_SIZE = 104,
    TRAP_AFTER_PUT = 105,
    TRAP_AFTER_TAKEN = 106,
    INPUT_IN_RECORD = 107,
    RX_INTO_INPUT = 108,
    SPOIL_OUTPUT = 109,
    STALL = 110,
    OUTSIDE_OF_MEMORY = 111,
    INPUT_BACK = 112,
    TRAP_IN_INIT_NEXT = 113,
    CONFIG_BEYOND_MEMORY = 114,
    RECURSE = 115
};

static struct pen_ring *in, *out;
static uint32_t refuse; /* config: pen_init returns it */

int32_t PEN_EXPORT(pen_init)(void) {
    char crash;
    hal_config(&refuse, sizeof refuse);
    if (hal_kv_get("crash", 5, &crash, 1) == 1) __builtin_trap();
    in = pen_ring_in(0);
    out = pen_ring_out(0);
    return (int32_t)refuse;
}

static void put_copy(const struct pen_record *record) {
    struct pen_record *room = pen_ring_room(out, record->size);
    if (room == NULL) return;
    for (uint32_t i = 0; i < record->size / 4; i++) ((uint32_t *)room)[i] = ((const uint32_t *)record)[i];
    pen_ring_put(out, room);
}

static __attribute__((noinline)) void store_to_input(const struct pen_record *record) {
    ((volatile struct pen_record *)(uintptr_t)record)->tag = 1;
}

static __attribute__((noinline)) uint32_t recurse(volatile uint32_t *depth) {
    *depth += 1;
    return recurse(depth) + *depth;
}

static void misbehave_with_rings(const struct pen_record *record) {
    if (record->tag == CURSOR_IN_RECORD) out->cursor += 8;
    if (record->tag == INPUT_IN_RECORD) in->cursor += 8;
    if (record->tag == INPUT_BACK) in->cursor -= 32;
    if (record->tag == BAD_SIZE) {
        struct pen_record *room = pen_ring_room(out, 32);
        room->size = 7;
        out->cursor += 32;
    }
    if (record->tag == SPOIL_OUTPUT) {
        uint8_t *data = (uint8_t *)(uintptr_t)out->data;
        for (uint32_t i = 0; i < out->capacity; i++) data[i] = 0xFF;
    }
}

static void misbehave(const struct pen_record *record) {
    volatile uint32_t spin = 1;
    switch (record->tag) {
    case STORE_TO_INPUT: store_to_input(record); break;
    case LOOP_FOR_EVER:
        while (spin) spin |= 1;
        break;
    case UNREACHABLE: __builtin_trap();
    case RX_INTO_INPUT: hal_rx(0, (void *)(uintptr_t)record, 8); break;
    case OUTSIDE_OF_MEMORY: *(volatile uint8_t *)0xFFFFFFF0u = 1; break;
    case TRAP_IN_INIT_NEXT: hal_kv_put("crash", 5, "x", 1); __builtin_trap();
    case CONFIG_BEYOND_MEMORY: hal_config((void *)0xFFFFFFF0u, 32); break;
    case RECURSE: recurse(&(volatile uint32_t){0}); break;
    default: misbehave_with_rings(record);
    }
}

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    const struct pen_record *record;
    (void)ring;
    while ((record = pen_ring_peek(in)) != NULL) {
        if (record->tag == STALL) return;
        if (record->tag == TRAP_AFTER_PUT) {
            put_copy(record);
            __builtin_trap();
        }
        if (record->tag == TRAP_AFTER_TAKEN) {
            put_copy(record);
            pen_ring_taken(in, record);
            __builtin_trap();
        }
        if (record->tag >= 100) {
            misbehave(record);
            if (record->tag != SPOIL_OUTPUT && record->tag != RX_INTO_INPUT) return;
        } else if (pen_ring_room(out, record->size) == NULL) {
            return;
        } else {
            put_copy(record);
        }
        pen_ring_taken(in, record);
    }
}
