/* Memory of the engine: the configured allocator, growable arrays, and arenas that are freed as one; and how much of it
 * one module may take. */
#ifndef WR_ALLOC_H
#define WR_ALLOC_H
#include "wr.h"

typedef struct wr_account {
    size_t used, peak;
    size_t most;
    size_t wanted; /* when something was refused; 0: nothing was */
} wr_account;

/* Where memory comes from. */
typedef struct wr_heap {
    wr_alloc_fn alloc;
    void *user;
    wr_account *account; /* NULL: nobody counts */
} wr_heap;

wr_alloc_fn wr_mem_default(void); /* malloc, realloc, free */
/* Host allocation; old_size must be what was asked for. Returns NULL when the allocator or the account refuses. */
void *wr_mem_resize(const wr_heap *heap, void *old, size_t old_size, size_t size);
void *wr_mem_zero(const wr_heap *heap, size_t size);
void wr_mem_free(const wr_heap *heap, void *block, size_t size);
/* Counts bytes that come from elsewhere; false: too many. */
bool wr_heap_charge(const wr_heap *heap, size_t bytes);

/* Bump allocation in blocks; everything dies with the arena. */
typedef struct wr_arena_block {
    struct wr_arena_block *next;
    size_t size;
} wr_arena_block;

typedef struct wr_arena {
    const wr_heap *heap;
    wr_arena_block *head;
    uint32_t used; /* of the head, from the front, aligned */
    uint32_t end; /* of what is free in it: bytes are taken from there */
    uint32_t block; /* bytes taken from the heap the next time: small arenas take small blocks */
} wr_arena;

void wr_arena_init(wr_arena *arena, const wr_heap *heap);
void wr_arena_free(wr_arena *arena);
size_t wr_arena_total(const wr_arena *arena); /* bytes taken from the heap */
/* count * size bytes, aligned to 8, or NULL. */
void *wr_arena_take(wr_arena *arena, size_t count, size_t size);
void *wr_arena_zero(wr_arena *arena, size_t count, size_t size); /* ditto, zeroed */
/* A copy of bytes, not aligned, with a zero behind it; or NULL. */
void *wr_arena_copy(wr_arena *arena, const void *bytes, size_t count);

/* A block outside any arena, as a growing array of bytes; the old one's stay when it moves. */
wr_arena_block *wr_arena_block_resize(const wr_heap *heap, wr_arena_block *old, size_t bytes);
void *wr_arena_block_items(wr_arena_block *block);
size_t wr_arena_block_bytes(const wr_arena_block *block);
void wr_arena_block_free(const wr_heap *heap, wr_arena_block *block);
/* Makes the block a part of the arena, as it is. */
void wr_arena_adopt(wr_arena *arena, wr_arena_block *block);

/* Growable array: items stay valid until the next reserve. */
typedef struct wr_vec {
    void *items;
    uint32_t count;
    uint32_t capacity;
} wr_vec;

wr_status wr_vec_grow(const wr_heap *heap, wr_vec *vec, size_t more, size_t size);
/* Makes room for `more` further items of `size` bytes. */
static inline wr_status wr_vec_reserve(const wr_heap *heap, wr_vec *vec, size_t more, size_t size) {
    return __builtin_expect((size_t)(vec->capacity - vec->count) >= more, 1) ? WR_OK
                                                                             : wr_vec_grow(heap, vec, more, size);
}
void wr_vec_free(const wr_heap *heap, wr_vec *vec, size_t size);

#endif
