/* State over a swap for plugins that keep a struct per tag: saved as it is, taken when it is of the same tags. */
#ifndef PEN_STATE_H
#define PEN_STATE_H
#include "pen.h"

/* Each struct starts with a u64 that names it: its tag and whatever decides about its size. */
static inline void pen_state_save(const void *structs, uint32_t bytes) { hal_state_put(structs, (int32_t)bytes); }

/* False: not the state of the same structs. What was overwritten until then does not matter, such a swap is off. */
static inline bool pen_state_load(void *structs, uint32_t count, uint32_t bytes) {
    for (uint8_t *at = structs; count > 0; count--, at += bytes) {
        uint64_t key = *(uint64_t *)(void *)at;
        if (hal_state_get(at, (int32_t)bytes) != (int32_t)bytes || *(uint64_t *)(void *)at != key) return false;
    }
    return true;
}

#endif
