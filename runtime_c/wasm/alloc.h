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
    size_t used; /* from the front, aligned */
    size_t end;  /* of what is free: bytes are taken from there */
} wr_arena_block;

typedef struct wr_arena {
    const wr_engine *engine;
    wr_arena_block *head;
    size_t block; /* bytes taken from the engine at a time */
    size_t total;
} wr_arena;

/* expected: bytes that will be asked for, roughly, 0: unknown; small arenas take small blocks. */
void wr_arena_init(wr_arena *arena, const wr_engine *engine, size_t expected);
void wr_arena_free(wr_arena *arena);
/* count * size bytes, aligned to 8, or NULL. */
void *wr_arena_take(wr_arena *arena, size_t count, size_t size);
void *wr_arena_zero(wr_arena *arena, size_t count, size_t size); /* ditto, zeroed */
/* A copy of bytes, not aligned, with a zero behind it; or NULL. */
void *wr_arena_copy(wr_arena *arena, const void *bytes, size_t count);

/* A block outside any arena, as a growing array of bytes; the old one's stay when it moves. */
wr_arena_block *wr_arena_block_resize(const wr_engine *engine, wr_arena_block *old, size_t bytes);
void *wr_arena_block_items(wr_arena_block *block);
void wr_arena_block_free(const wr_engine *engine, wr_arena_block *block);
/* It is worth a block of its own. */
bool wr_arena_is_large(const wr_arena *arena, size_t bytes);
/* Makes the block, cut to its first bytes, a part of the arena, and returns these; cannot fail. */
void *wr_arena_adopt(wr_arena *arena, wr_arena_block *block, size_t bytes);

/* Growable array: items stay valid until the next reserve. */
typedef struct wr_vec {
    void *items;
    size_t count;
    size_t capacity;
} wr_vec;

wr_status wr_vec_grow(const wr_engine *engine, wr_vec *vec, size_t more, size_t size);
/* Makes room for `more` further items of `size` bytes. */
static inline wr_status wr_vec_reserve(const wr_engine *engine, wr_vec *vec, size_t more, size_t size) {
    return __builtin_expect(vec->capacity - vec->count >= more, 1) ? WR_OK : wr_vec_grow(engine, vec, more, size);
}
void wr_vec_free(const wr_engine *engine, wr_vec *vec, size_t size);

#endif
