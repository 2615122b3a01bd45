/* Penstock plugin SDK for C, ABI 1. Normative text: docs/plugin-abi.md and docs/record-format.md.
 *
 * Freestanding: no libc. Plugins are compiled for wasm32-freestanding. */
#ifndef PEN_H
#define PEN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEN_EXPORT(name) __attribute__((export_name(#name))) name
#define PEN_HAL(name)    __attribute__((import_module("hal"), import_name(#name))) hal_##name
/* For functions of headers that several places call: one copy in the module, since size counts more than a call. */
#define PEN_OUTLINE      __attribute__((noinline, weak, visibility("hidden")))
#define PEN_ABI_MARKER() \
    void PEN_EXPORT(pen_abi_1)(void) {}

enum { PEN_E_NONE = -1, PEN_E_DOWN = -2, PEN_E_FULL = -3, PEN_E_RANGE = -4, PEN_E_REFUSED = -5 };
enum { PEN_CLOCK_UNIX = 0, PEN_CLOCK_MONOTONIC = 1 };
enum { PEN_DEBUG = 0, PEN_INFO = 1, PEN_WARNING = 2, PEN_ERROR = 3 };
enum { PEN_COUNTER = 0, PEN_GAUGE = 1 };

int32_t PEN_HAL(tx)(int32_t port, const void *bytes, int32_t len);
int32_t PEN_HAL(rx)(int32_t port, void *into, int32_t cap);
int64_t PEN_HAL(now)(int32_t clock);
int32_t PEN_HAL(timer)(int32_t id, int64_t delay_us);
int32_t PEN_HAL(config)(void *into, int32_t cap);
int32_t PEN_HAL(kv_get)(const void *key, int32_t key_len, void *into, int32_t cap);
int32_t PEN_HAL(kv_put)(const void *key, int32_t key_len, const void *value, int32_t len);
void PEN_HAL(log)(int32_t level, const char *text, int32_t len);
void PEN_HAL(metric)(const char *name, int32_t name_len, int32_t kind, int64_t value);
int32_t PEN_HAL(ring_in)(int32_t n);
int32_t PEN_HAL(ring_out)(int32_t n);
int32_t PEN_HAL(port_state)(int32_t port);
int32_t PEN_HAL(keep)(void *bytes, int32_t len); /* in pen_init: they outlive a trap */
int32_t PEN_HAL(state_put)(const void *bytes, int32_t len); /* in pen_save */
int32_t PEN_HAL(state_get)(void *into, int32_t cap);        /* in pen_load */

/* ---- records ---- */
enum { PEN_SAMPLE = 1, PEN_EVENT = 2, PEN_COMMAND = 3, PEN_PAYLOAD = 4, PEN_HEARTBEAT = 5 };
enum { PEN_GOOD = 0, PEN_BAD = 1, PEN_STALE = 2 };
enum { PEN_NONE = 0, PEN_BOOL = 1, PEN_I64 = 2, PEN_U64 = 3, PEN_F64 = 4, PEN_BYTES = 5 };
#define PEN_NO_TAG 0xFFFFFFFFu

struct pen_record {
    uint32_t size;
    uint16_t kind;
    uint8_t quality;
    uint8_t type;
    uint32_t tag;
    uint32_t seq;
    int64_t time_ns;
    union {
        int64_t i64;
        uint64_t u64;
        double f64;
        struct {
            uint32_t len;
            uint16_t topic_len;
            uint8_t qos;
            uint8_t flags;
        } bytes;
    } value;
};
_Static_assert(sizeof(struct pen_record) == 32, "record head is 32 bytes");

/* ---- rings ---- */
struct pen_ring {
    uint64_t cursor;
    uint64_t limit;
    uint32_t data;
    uint32_t capacity;
    uint32_t schema;
    uint32_t reserved;
    uint64_t dropped;
};

static inline struct pen_ring *pen_ring_in(int32_t n) { return (struct pen_ring *)(uintptr_t)hal_ring_in(n); }
static inline struct pen_ring *pen_ring_out(int32_t n) { return (struct pen_ring *)(uintptr_t)hal_ring_out(n); }

static inline struct pen_record *pen_ring_at(const struct pen_ring *ring) {
    return (struct pen_record *)(uintptr_t)(ring->data + ((uint32_t)ring->cursor & (ring->capacity - 1)));
}

static inline uint32_t pen_ring_left(const struct pen_ring *ring) { return (uint32_t)(ring->limit - ring->cursor); }

/* Next record to read, or NULL. Call pen_ring_taken when done with it, after writing what follows from it. */
static inline const struct pen_record *pen_ring_peek(const struct pen_ring *ring) {
    uint32_t left = pen_ring_left(ring);
    if (left < sizeof(struct pen_record)) return NULL;
    const struct pen_record *record = pen_ring_at(ring);
    return record->size < sizeof(struct pen_record) || record->size > left ? NULL : record;
}
static inline void pen_ring_taken(struct pen_ring *ring, const struct pen_record *record) {
    ring->cursor += record->size;
}

/* Room for a record of `size` bytes (multiple of 8), or NULL: full for now. Fill it, then pen_ring_put. */
static inline struct pen_record *pen_ring_room(const struct pen_ring *ring, uint32_t size) {
    return pen_ring_left(ring) < size ? NULL : pen_ring_at(ring);
}
static inline void pen_ring_put(struct pen_ring *ring, const struct pen_record *record) {
    ring->cursor += record->size;
}

/* ---- configuration ---- */
struct pen_config_head {
    uint32_t config_bytes;
    uint32_t tag_count;
    uint32_t tag_bytes;
    uint32_t reserved;
};

#endif
