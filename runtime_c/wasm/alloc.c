#include "alloc.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_BLOCK_LEAST = 128, ARENA_BLOCK_MOST = 8192, ARENA_ALIGN = 8, ARENA_HEAD = sizeof(wr_arena_block) };
enum { VEC_BYTES_MOST = INT32_MAX };

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

static bool account_allows(wr_account *account, size_t more) {
    if (more <= account->most - account->used) return true;
    account->wanted = more <= SIZE_MAX - account->used ? account->used + more : SIZE_MAX;
    return false;
}

static void account_take(wr_account *account, size_t less, size_t more) {
    account->used = account->used - less + more;
    if (account->used > account->peak) account->peak = account->used;
}

void *wr_mem_resize(const wr_heap *heap, void *old, size_t old_size, size_t size) {
    wr_account *account = heap->account;
    if (account == NULL) return heap->alloc(heap->user, old, old_size, size);
    if (size > old_size && !account_allows(account, size - old_size)) return NULL;
    void *block = heap->alloc(heap->user, old, old_size, size);
    if (block != NULL || size == 0) account_take(account, old_size, size);
    return block;
}

bool wr_heap_charge(const wr_heap *heap, size_t bytes) {
    if (heap->account == NULL) return true;
    if (!account_allows(heap->account, bytes)) return false;
    account_take(heap->account, 0, bytes);
    return true;
}

void *wr_mem_zero(const wr_heap *heap, size_t size) {
    void *block = wr_mem_resize(heap, NULL, 0, size);
    if (block != NULL) memset(block, 0, size);
    return block;
}

void wr_mem_free(const wr_heap *heap, void *block, size_t size) {
    if (block != NULL) (void)wr_mem_resize(heap, block, size, 0);
}

void wr_arena_init(wr_arena *arena, const wr_heap *heap) {
    *arena = (wr_arena){.heap = heap, .block = ARENA_BLOCK_LEAST};
}

void wr_arena_free(wr_arena *arena) {
    wr_arena_block *block = arena->head;
    while (block != NULL) {
        wr_arena_block *next = block->next;
        wr_mem_free(arena->heap, block, block->size);
        block = next;
    }
    arena->head = NULL;
}

wr_arena_block *wr_arena_block_resize(const wr_heap *heap, wr_arena_block *old, size_t bytes) {
    const size_t size = ARENA_HEAD + bytes;
    wr_arena_block *block = wr_mem_resize(heap, old, old != NULL ? old->size : 0, size);
    if (block != NULL) block->size = size;
    return block;
}

void *wr_arena_block_items(wr_arena_block *block) { return (uint8_t *)block + ARENA_HEAD; }

size_t wr_arena_block_bytes(const wr_arena_block *block) { return block->size - ARENA_HEAD; }

void wr_arena_block_free(const wr_heap *heap, wr_arena_block *block) {
    if (block != NULL) wr_mem_free(heap, block, block->size);
}

/* Behind the current block, which is still being filled. */
void wr_arena_adopt(wr_arena *arena, wr_arena_block *block) {
    wr_arena_block **link = arena->head != NULL ? &arena->head->next : &arena->head;
    block->next = *link;
    *link = block;
}

/* A new current block. */
static bool arena_open(wr_arena *arena) {
    wr_arena_block *block = wr_arena_block_resize(arena->heap, NULL, arena->block - ARENA_HEAD);
    if (block == NULL) return false;
    block->next = arena->head;
    arena->head = block;
    arena->used = ARENA_HEAD;
    arena->end = arena->block;
    arena->block += (arena->block / 16 + ARENA_ALIGN - 1) & ~(uint32_t)(ARENA_ALIGN - 1);
    if (arena->block > ARENA_BLOCK_MOST) arena->block = ARENA_BLOCK_MOST;
    return true;
}

static bool arena_is_large(const wr_arena *arena, size_t bytes) { return bytes > arena->block / 3; }

size_t wr_arena_total(const wr_arena *arena) {
    size_t total = 0;
    for (const wr_arena_block *block = arena->head; block != NULL; block = block->next) total += block->size;
    return total;
}

static void *arena_take_large(wr_arena *arena, size_t bytes) {
    wr_arena_block *block = wr_arena_block_resize(arena->heap, NULL, bytes);
    if (block == NULL) return NULL;
    wr_arena_adopt(arena, block);
    return wr_arena_block_items(block);
}

static bool arena_is_full(const wr_arena *arena, size_t bytes) {
    return arena->head == NULL || arena->end - arena->used < bytes;
}

void *wr_arena_take(wr_arena *arena, size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / 2 / size) return NULL;
    const size_t bytes = (count * size + (ARENA_ALIGN - 1)) & ~(size_t)(ARENA_ALIGN - 1);
    if (arena_is_full(arena, bytes)) {
        if (arena_is_large(arena, bytes)) return arena_take_large(arena, bytes);
        if (!arena_open(arena)) return NULL;
    }
    void *result = (uint8_t *)arena->head + arena->used;
    arena->used += (uint32_t)bytes;
    return result;
}

static uint8_t *arena_take_bytes(wr_arena *arena, size_t count) {
    if (arena_is_full(arena, count)) {
        if (arena_is_large(arena, count)) return arena_take_large(arena, count);
        if (!arena_open(arena)) return NULL;
    }
    arena->end -= (uint32_t)count;
    return (uint8_t *)arena->head + arena->end;
}

void *wr_arena_copy(wr_arena *arena, const void *bytes, size_t count) {
    uint8_t *copy = count <= SIZE_MAX / 2 ? arena_take_bytes(arena, count + 1) : NULL;
    if (copy == NULL) return NULL;
    if (count != 0) memcpy(copy, bytes, count);
    copy[count] = 0;
    return copy;
}

void *wr_arena_zero(wr_arena *arena, size_t count, size_t size) {
    void *result = wr_arena_take(arena, count, size);
    if (result != NULL) memset(result, 0, count * size);
    return result;
}

wr_status wr_vec_grow(const wr_heap *heap, wr_vec *vec, size_t more, size_t size) {
    size_t capacity = (size_t)vec->capacity + vec->capacity / 8 + 1;
    if (capacity < vec->count + more) capacity = vec->count + more;
    if (more > VEC_BYTES_MOST || capacity > VEC_BYTES_MOST / size) return WR_NO_MEMORY;
    void *items = wr_mem_resize(heap, vec->items, vec->capacity * size, capacity * size);
    if (items == NULL) return WR_NO_MEMORY;
    vec->items = items;
    vec->capacity = (uint32_t)capacity;
    return WR_OK;
}

void wr_vec_free(const wr_heap *heap, wr_vec *vec, size_t size) {
    wr_mem_free(heap, vec->items, vec->capacity * size);
    vec->items = NULL;
    vec->count = 0;
    vec->capacity = 0;
}
