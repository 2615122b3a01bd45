/* Memory for what a plugin sizes at start. There is no free: take it in pen_init, keep it.
 *
 * Every call takes whole pages of 64 KiB; take one block and divide it rather than calling often. */
#ifndef PEN_MEMORY_H
#define PEN_MEMORY_H
#include "pen.h"

enum { PEN_PAGE_BYTES = 65536 };

/* bytes zeroed and aligned to a page, or NULL: over the limit of the manifest. */
static inline void *pen_memory_take(uint32_t bytes) {
    size_t pages = (bytes + (size_t)PEN_PAGE_BYTES - 1) / PEN_PAGE_BYTES;
    size_t page = __builtin_wasm_memory_grow(0, pages);
    return page == SIZE_MAX ? NULL : (void *)(page * PEN_PAGE_BYTES);
}

#endif
