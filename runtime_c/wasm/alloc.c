#include "alloc.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"

enum { ARENA_BLOCK_LEAST = 256, ARENA_BLOCK_MOST = 8192, ARENA_ALIGN = 8, ARENA_HEAD = 32 };

static void *alloc_default(void *user, void *old, size_t old_size, size_t size) {
    (void)user;
    (void)old_size;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, size);
}

wr_alloc_fn wr_mem_default(void) { return alloc_default; }

void *wr_mem_resize(const wr_engine *engine, void *old, size_t old_size, size_t size) {
    return engine->config.alloc(engine->config.alloc_user, old, old_size, size);
}

void *wr_mem_zero(const wr_engine *engine, size_t size) {
    void *block = wr_mem_resize(engine, NULL, 0, size);
    if (block != NULL) memset(block, 0, size);
    return block;
}

void wr_mem_free(const wr_engine *engine, void *block, size_t size) {
    if (block != NULL) (void)wr_mem_resize(engine, block, size, 0);
}

void wr_arena_init(wr_arena *arena, const wr_engine *engine, size_t expected) {
    if (expected == 0) expected = SIZE_MAX / 2;
    const size_t block = (expected / 8 + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    arena->engine = engine;
    arena->block = block < ARENA_BLOCK_LEAST ? ARENA_BLOCK_LEAST : block > ARENA_BLOCK_MOST ? ARENA_BLOCK_MOST : block;
    arena->head = NULL;
    arena->total = 0;
}

void wr_arena_free(wr_arena *arena) {
    wr_arena_block *block = arena->head;
    while (block != NULL) {
        wr_arena_block *next = block->next;
        wr_mem_free(arena->engine, block, block->size);
        block = next;
    }
    arena->head = NULL;
}

wr_arena_block *wr_arena_block_resize(const wr_engine *engine, wr_arena_block *old, size_t bytes) {
    const size_t size = ARENA_HEAD + bytes;
    wr_arena_block *block = wr_mem_resize(engine, old, old != NULL ? old->size : 0, size);
    if (block == NULL) return NULL;
    block->size = block->end = size;
    block->used = ARENA_HEAD;
    return block;
}

void *wr_arena_block_items(wr_arena_block *block) { return (uint8_t *)block + ARENA_HEAD; }

void wr_arena_block_free(const wr_engine *engine, wr_arena_block *block) {
    if (block != NULL) wr_mem_free(engine, block, block->size);
}

bool wr_arena_is_large(const wr_arena *arena, size_t bytes) { return bytes > arena->block / 4; }

static void arena_link(wr_arena *arena, wr_arena_block *block, bool large) {
    arena->total += block->size;
    if (large && arena->head != NULL) { /* keep filling the current block */
        block->next = arena->head->next;
        arena->head->next = block;
    } else {
        block->next = arena->head;
        arena->head = block;
    }
}

void *wr_arena_adopt(wr_arena *arena, wr_arena_block *block, size_t bytes) {
    wr_arena_block *exact = wr_arena_block_resize(arena->engine, block, bytes);
    if (exact != NULL) block = exact; /* else it stays as large as it is */
    block->used = block->end;
    arena_link(arena, block, true);
    return wr_arena_block_items(block);
}

static wr_arena_block *arena_grow(wr_arena *arena, size_t bytes) {
    const bool large = wr_arena_is_large(arena, bytes);
    wr_arena_block *block = wr_arena_block_resize(arena->engine, NULL, large ? bytes : arena->block);
    if (block != NULL) arena_link(arena, block, large);
    return block;
}

/* A block with so many bytes free. */
static wr_arena_block *arena_room(wr_arena *arena, size_t bytes) {
    wr_arena_block *block = arena->head;
    return block != NULL && block->end - block->used >= bytes ? block : arena_grow(arena, bytes);
}

void *wr_arena_take(wr_arena *arena, size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / 2 / size) return NULL;
    const size_t bytes = (count * size + (ARENA_ALIGN - 1)) & ~(size_t)(ARENA_ALIGN - 1);
    wr_arena_block *block = arena_room(arena, bytes);
    if (block == NULL) return NULL;
    void *result = (uint8_t *)block + block->used;
    block->used += bytes;
    return result;
}

void *wr_arena_copy(wr_arena *arena, const void *bytes, size_t count) {
    if (count > SIZE_MAX / 2) return NULL;
    wr_arena_block *block = arena_room(arena, count + 1);
    if (block == NULL) return NULL;
    block->end -= count + 1;
    uint8_t *copy = (uint8_t *)block + block->end;
    if (count != 0) memcpy(copy, bytes, count);
    copy[count] = 0;
    return copy;
}

void *wr_arena_zero(wr_arena *arena, size_t count, size_t size) {
    void *result = wr_arena_take(arena, count, size);
    if (result != NULL) memset(result, 0, count * size);
    return result;
}

wr_status wr_vec_grow(const wr_engine *engine, wr_vec *vec, size_t more, size_t size) {
    size_t capacity = vec->capacity + vec->capacity / 8 + 3;
    if (capacity < vec->count + more) capacity = vec->count + more;
    if (capacity > SIZE_MAX / 2 / size) return WR_NO_MEMORY;
    void *items = wr_mem_resize(engine, vec->items, vec->capacity * size, capacity * size);
    if (items == NULL) return WR_NO_MEMORY;
    vec->items = items;
    vec->capacity = capacity;
    return WR_OK;
}

void wr_vec_free(const wr_engine *engine, wr_vec *vec, size_t size) {
    wr_mem_free(engine, vec->items, vec->capacity * size);
    vec->items = NULL;
    vec->count = 0;
    vec->capacity = 0;
}
