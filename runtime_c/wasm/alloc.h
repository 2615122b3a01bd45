/* Memory of the engine: the configured allocator, growable arrays, and arenas that are freed as one. */
#ifndef WR_ALLOC_H
#define WR_ALLOC_H
#include "wr.h"

/* Host allocation; old_size must be what was asked for. Returns NULL when the allocator refuses. */
void *wr_mem_resize(const wr_engine *engine, void *old, size_t old_size, size_t size);
void *wr_mem_zero(const wr_engine *engine, size_t size);
void wr_mem_free(const wr_engine *engine, void *block, size_t size);

/* Bump allocation in blocks; everything dies with the arena. */
typedef struct wr_arena_block {
    struct wr_arena_block *next;
    size_t size;
    size_t used;
} wr_arena_block;

typedef struct wr_arena {
    const wr_engine *engine;
    wr_arena_block *head;
    size_t total;
} wr_arena;

void wr_arena_init(wr_arena *arena, const wr_engine *engine);
void wr_arena_free(wr_arena *arena);
/* count * size zeroed bytes, aligned to 16, or NULL. */
void *wr_arena_zero(wr_arena *arena, size_t count, size_t size);

/* Growable array: items stay valid until the next reserve. */
typedef struct wr_vec {
    void *items;
    size_t count;
    size_t capacity;
} wr_vec;

/* Makes room for `more` further items of `size` bytes. */
wr_status wr_vec_reserve(const wr_engine *engine, wr_vec *vec, size_t more, size_t size);
void wr_vec_free(const wr_engine *engine, wr_vec *vec, size_t size);

#endif
