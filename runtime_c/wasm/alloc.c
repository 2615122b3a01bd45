#include "alloc.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"

enum { ARENA_BLOCK_LEAST = 512, ARENA_BLOCK_MOST = 8192, ARENA_ALIGN = 16, ARENA_HEAD = 32 };

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

static wr_arena_block *arena_grow(wr_arena *arena, size_t bytes) {
    bool large = bytes > arena->block / 4;
    size_t size = ARENA_HEAD + (large ? bytes : arena->block);
    wr_arena_block *block = wr_mem_resize(arena->engine, NULL, 0, size);
    if (block == NULL) return NULL;
    block->size = size;
    block->used = ARENA_HEAD;
    arena->total += size;
    if (large && arena->head != NULL) { /* keep filling the current block */
        block->next = arena->head->next;
        arena->head->next = block;
    } else {
        block->next = arena->head;
        arena->head = block;
    }
    return block;
}

void *wr_arena_take(wr_arena *arena, size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / 2 / size) return NULL;
    size_t bytes = (count * size + (ARENA_ALIGN - 1)) & ~(size_t)(ARENA_ALIGN - 1);
    wr_arena_block *block = arena->head;
    if (block == NULL || block->size - block->used < bytes) block = arena_grow(arena, bytes);
    if (block == NULL) return NULL;
    void *result = (uint8_t *)block + block->used;
    block->used += bytes;
    return result;
}

void *wr_arena_zero(wr_arena *arena, size_t count, size_t size) {
    void *result = wr_arena_take(arena, count, size);
    if (result != NULL) memset(result, 0, count * size);
    return result;
}

wr_status wr_vec_grow(const wr_engine *engine, wr_vec *vec, size_t more, size_t size) {
    size_t capacity = vec->capacity + vec->capacity / 4 + 8;
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
