/* Linear memories: address space is reserved up to the maximum when a memory is made, so the data never moves.
 *
 * Guarded memories reserve every address an access can form (a 32-bit index plus a 32-bit offset plus the access
 * width), so the MMU does the bounds check. Checked ones reserve what they may grow to. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"
#include "reader.h"
#include "runtime.h"

#define PAGE_BYTES UINT64_C(65536)
#define GUARD_BYTES ((UINT64_C(8) << 30) + PAGE_BYTES)
/* Growth reserved on 32-bit hosts for a memory that nobody limited; who needs more says so with memory_bytes_max. */
#define GROWTH_32BIT_PAGES UINT64_C(1024)

enum { KEPT_BYTES_MAX = 4 * 1024 * 1024 };

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---- address space kept for the next memory ---- */

/* True: the engine keeps it. Where rings were mapped there is other memory now, so those spaces are not kept. */
static bool keep_space(const wr_memory *memory) {
    wr_engine *engine = memory->store->engine;
    if (!memory->guarded || memory->shared != NULL || memory->map_max != 0 || memory->size > KEPT_BYTES_MAX)
        return false;
    /* Gives the pages back; they are zero when they are touched again. */
    if (memory->size != 0 && madvise(memory->data, (size_t)memory->size, MADV_DONTNEED) != 0) return false;
    pthread_mutex_lock(&engine->lock);
    const bool kept = engine->space_count < WR_SPACES_MAX;
    if (kept) engine->spaces[engine->space_count++] = (wr_space){memory->data, memory->size};
    pthread_mutex_unlock(&engine->lock);
    return kept;
}

/* One that is committed as far as is needed, if there is one; else any. data NULL: there is none. */
static wr_space take_space(wr_engine *engine, uint64_t bytes) {
    wr_space found = {NULL, 0};
    pthread_mutex_lock(&engine->lock);
    if (engine->space_count != 0) {
        uint32_t best = engine->space_count - 1;
        for (uint32_t i = 0; i < engine->space_count; i++) {
            if (engine->spaces[i].committed == bytes) best = i;
        }
        found = engine->spaces[best];
        engine->spaces[best] = engine->spaces[--engine->space_count];
    }
    pthread_mutex_unlock(&engine->lock);
    return found;
}

void wr_spaces_free(wr_engine *engine) {
    while (engine->space_count != 0) munmap(engine->spaces[--engine->space_count].data, (size_t)GUARD_BYTES);
}

/* ---- making and growing ---- */

static void memory_destroy(wr_object *object) {
    wr_memory *memory = (wr_memory *)object;
    if (memory->shared != NULL && !wr_shared_release(memory->store->engine, memory->shared)) return;
    if (memory->data != NULL && !keep_space(memory)) munmap(memory->data, (size_t)memory->reserved);
}

static uint8_t *reserve(uint64_t bytes) {
    if (bytes > SIZE_MAX) return NULL;
    void *space = mmap(NULL, (size_t)bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return space == MAP_FAILED ? NULL : space;
}

static bool commit(const wr_memory *memory, uint64_t size, uint64_t bytes) {
    return bytes == 0 || mprotect(memory->data + size, (size_t)bytes, PROT_READ | PROT_WRITE) == 0;
}

/* From the size that a kept space has to the one that is wanted. */
static bool resize(wr_memory *memory, uint64_t bytes) {
    const uint64_t before = memory->size;
    if (before > bytes && mprotect(memory->data + bytes, (size_t)(before - bytes), PROT_NONE) != 0) return false;
    if (before < bytes && !commit(memory, before, bytes - before)) return false;
    memory->size = bytes;
    return true;
}

static void reserve_guarded(wr_memory *memory, uint64_t map_bytes) {
    const wr_space kept =
        map_bytes == 0 ? take_space(memory->store->engine, memory->pages * PAGE_BYTES) : (wr_space){0};
    memory->reserved = GUARD_BYTES;
    memory->data = kept.data != NULL ? kept.data : reserve(GUARD_BYTES);
    memory->size = kept.committed;
    memory->guarded = memory->data != NULL;
}

static wr_status reserve_space(wr_memory *memory, wr_bounds bounds, uint64_t map_bytes) {
    uint64_t need = memory->pages_max * PAGE_BYTES + map_bytes;
    if (need == 0) need = PAGE_BYTES;
    if (bounds != WR_BOUNDS_CHECKED && UINTPTR_MAX > UINT32_MAX && need <= GUARD_BYTES && wr_fault_install() == WR_OK)
        reserve_guarded(memory, map_bytes);
    if (memory->data == NULL && bounds != WR_BOUNDS_GUARD) {
        memory->reserved = need;
        memory->data = reserve(need);
    }
    /* A small address space: give up growth that nobody asked for before giving up. */
    while (memory->data == NULL && bounds != WR_BOUNDS_GUARD && memory->pages_max > memory->pages) {
        memory->pages_max = memory->pages + (memory->pages_max - memory->pages) / 2;
        memory->reserved = memory->pages_max * PAGE_BYTES + map_bytes;
        memory->data = memory->reserved == 0 ? NULL : reserve(memory->reserved);
    }
    return memory->data == NULL ? WR_NO_MEMORY : WR_OK;
}

wr_status wr_memory_make(wr_store *store, const wr_limit_pair *limits, const wr_instance_limits *instance_limits,
                         wr_memory **out) {
    uint64_t bytes_max = store->engine->config.limits.memory_bytes_max;
    uint64_t map_bytes = 0;
    if (instance_limits != NULL) {
        if (instance_limits->memory_bytes_max != 0) bytes_max = min_u64(bytes_max, instance_limits->memory_bytes_max);
        map_bytes = (instance_limits->map_bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    }
    if (limits->min > bytes_max / PAGE_BYTES) return WR_LIMIT_MEMORY_BYTES;
    wr_memory *memory = wr_store_object(store, sizeof *memory, memory_destroy);
    if (memory == NULL) return WR_NO_MEMORY;
    memory->store = store;
    memory->declared = *limits;
    memory->pages = limits->min;
    memory->pages_max = min_u64(min_u64(limits->max, 65536), bytes_max / PAGE_BYTES);
    memory->map_max = map_bytes;
    if (UINTPTR_MAX <= UINT32_MAX && (instance_limits == NULL || instance_limits->memory_bytes_max == 0)) {
        memory->pages_max = min_u64(memory->pages_max, memory->pages + GROWTH_32BIT_PAGES);
    }
    wr_status status = reserve_space(memory, store->engine->config.bounds, map_bytes);
    if (status != WR_OK) return status;
    if (!resize(memory, memory->pages * PAGE_BYTES)) return WR_NO_MEMORY;
    memory->len = memory->plain = memory->size;
    if (limits->shared) {
        memory->plain = 0;
        /* Growth by another thread must count at once, so only the MMU knows the end. */
        memory->len = memory->pages_max * PAGE_BYTES;
        memory->shared = wr_shared_new(store->engine, memory->size);
        if (memory->shared == NULL) return WR_NO_MEMORY;
    }
    *out = memory;
    return WR_OK;
}

wr_status wr_memory_new(wr_store *store, uint32_t pages_min, uint32_t pages_max, wr_memory **out) {
    if (pages_min > pages_max || pages_max > 65536) return WR_BAD_ARGUMENT;
    wr_limit_pair limits = {.min = pages_min, .max = pages_max};
    return wr_memory_make(store, &limits, NULL, out);
}

wr_status wr_memory_new_shared(wr_store *store, uint32_t pages_min, uint32_t pages_max, wr_memory **out) {
    if (pages_min > pages_max || pages_max > 65536) return WR_BAD_ARGUMENT;
#ifdef WR_NO_THREADS
    (void)store, (void)out;
    return WR_UNSUPPORTED;
#else
    wr_limit_pair limits = {.min = pages_min, .max = pages_max, .shared = true};
    return wr_memory_make(store, &limits, NULL, out);
#endif
}

wr_status wr_memory_share(const wr_memory *memory, wr_store *store, wr_memory **out) {
    if (memory->shared == NULL || store->engine != memory->store->engine) return WR_BAD_ARGUMENT;
    wr_memory *known = wr_store_object(store, sizeof *known, memory_destroy);
    if (known == NULL) return WR_NO_MEMORY;
    wr_object object = known->object;
    *known = *memory;
    known->object = object;
    known->store = store;
    atomic_fetch_add_explicit(&known->shared->refs, 1, memory_order_relaxed);
    *out = known;
    return WR_OK;
}

static uint64_t grow_shared(wr_memory *memory, uint64_t pages) {
    wr_shared *shared = memory->shared;
    pthread_mutex_lock(&shared->lock);
    uint64_t size = atomic_load_explicit(&shared->size, memory_order_relaxed);
    uint64_t before = size / PAGE_BYTES;
    bool grown = pages <= memory->pages_max - before && commit(memory, size, pages * PAGE_BYTES);
    if (grown) atomic_store_explicit(&shared->size, size + pages * PAGE_BYTES, memory_order_release);
    pthread_mutex_unlock(&shared->lock);
    return grown ? before : UINT64_MAX;
}

uint64_t wr_memory_grow(wr_memory *memory, uint64_t pages) {
    if (memory->shared != NULL) return grow_shared(memory, pages);
    uint64_t before = memory->size / PAGE_BYTES;
    if (pages > memory->pages_max - memory->pages) return UINT64_MAX;
    if (before + pages > 65536 || memory->size + pages * PAGE_BYTES > memory->reserved) return UINT64_MAX;
    if (!commit(memory, memory->size, pages * PAGE_BYTES)) return UINT64_MAX;
    memory->pages += pages;
    memory->size += pages * PAGE_BYTES;
    memory->len = memory->size;
    if (memory->mapped == 0) memory->plain = memory->size;
    return before;
}

/* Whole size of the parts in Wasm pages, as bytes; 0: malformed. */
static uint64_t map_size(const wr_map_part *parts, uint32_t count) {
    uint64_t host_page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i].bytes == 0 || parts[i].bytes % host_page != 0 || parts[i].fd_offset % host_page != 0) return 0;
        bytes += parts[i].bytes;
    }
    return (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

static bool map_parts(uint8_t *at, const wr_map_part *parts, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        int protection = PROT_READ | (parts[i].writable ? PROT_WRITE : 0);
        void *mapped = mmap(at, (size_t)parts[i].bytes, protection, MAP_SHARED | MAP_FIXED, parts[i].fd,
                            (off_t)parts[i].fd_offset);
        if (mapped == MAP_FAILED) return false;
        at += parts[i].bytes;
    }
    return true;
}

wr_status wr_memory_map(wr_memory *memory, const wr_map_part *parts, uint32_t count, uint64_t *address) {
    uint64_t whole = map_size(parts, count);
    if (whole == 0 || memory->shared != NULL) return WR_BAD_ARGUMENT;
    /* What is kept for mapping does not take from what the plugin itself may grow by. */
    if (memory->mapped + whole > memory->map_max || memory->size + whole > (UINT64_C(1) << 32)) return WR_FULL;
    WR_TRY(wr_fault_install());
    if (!commit(memory, memory->size, whole)) return WR_NO_MEMORY;
    uint8_t *at = memory->data + memory->size;
    if (!map_parts(at, parts, count)) {
        (void)mmap(at, (size_t)whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        return WR_SYSTEM;
    }
    *address = memory->size;
    memory->size += whole;
    memory->len = memory->size;
    memory->mapped += whole;
    return WR_OK;
}

wr_status wr_memory_remap(wr_memory *memory, uint64_t address, const wr_map_part *parts, uint32_t count) {
    uint64_t whole = map_size(parts, count);
    if (whole == 0 || memory->mapped < whole || address % PAGE_BYTES != 0) return WR_BAD_ARGUMENT;
    if (address > memory->size || whole > memory->size - address) return WR_BAD_ARGUMENT;
    return map_parts(memory->data + address, parts, count) ? WR_OK : WR_SYSTEM;
}

uint8_t *wr_memory_data(const wr_memory *memory) { return memory->data; }
uint64_t wr_memory_size(const wr_memory *memory) {
    if (memory->shared == NULL) return memory->size;
    return atomic_load_explicit(&memory->shared->size, memory_order_acquire);
}
bool wr_memory_is_guarded(const wr_memory *memory) { return memory->guarded; }

void *wr_memory_at(const wr_memory *memory, uint64_t address, uint64_t len) {
    uint64_t size = wr_memory_size(memory);
    if (address > size || len > size - address) return NULL;
    return memory->data + address;
}

/* ---- bulk: long ones look at the limits of the call between pieces; exec NULL: there is no call ---- */

static bool inside(uint64_t size, uint64_t at, uint64_t len) { return at <= size && len <= size - at; }

static __attribute__((noinline)) wr_status copy_long(wr_exec *exec, uint8_t *to, const uint8_t *from, uint64_t len) {
    const size_t piece = wr_work_piece(exec);
    bool backward = (uintptr_t)to - (uintptr_t)from < len;
    while (len > piece) {
        uint64_t skip = backward ? len - piece : 0;
        memmove(to + skip, from + skip, piece);
        if (!backward) {
            to += piece;
            from += piece;
        }
        len -= piece;
        if (exec != NULL) WR_TRY(wr_exec_check(exec));
    }
    memmove(to, from, (size_t)len);
    return exec != NULL ? wr_exec_worked(exec, len) : WR_OK;
}

/* As memmove: overlapping parts are read before they are written. */
static wr_status copy(wr_exec *exec, uint8_t *to, const uint8_t *from, uint64_t len) {
    if (len > WR_WORK_LEAST) return copy_long(exec, to, from, len);
    memmove(to, from, (size_t)len);
    return exec != NULL ? wr_exec_worked(exec, len) : WR_OK;
}

static __attribute__((noinline)) wr_status fill_long(wr_exec *exec, uint8_t *at, uint8_t value, uint64_t len) {
    const size_t piece = wr_work_piece(exec);
    for (; len > piece; at += piece, len -= piece) {
        memset(at, value, piece);
        WR_TRY(wr_exec_check(exec));
    }
    memset(at, value, (size_t)len);
    return wr_exec_worked(exec, len);
}

wr_status wr_memory_fill(wr_exec *exec, wr_memory *memory, uint64_t at, uint8_t value, uint64_t len) {
    if (!inside(wr_memory_size(memory), at, len)) return WR_TRAP_MEMORY_BOUNDS;
    if (len > WR_WORK_LEAST) return fill_long(exec, memory->data + at, value, len);
    if (len != 0) memset(memory->data + at, value, (size_t)len);
    return wr_exec_worked(exec, len);
}

wr_status wr_memory_copy(wr_exec *exec, wr_memory *to, uint64_t at, wr_memory *from, uint64_t source, uint64_t len) {
    if (!inside(wr_memory_size(to), at, len) || !inside(wr_memory_size(from), source, len))
        return WR_TRAP_MEMORY_BOUNDS;
    return len != 0 ? copy(exec, to->data + at, from->data + source, len) : WR_OK;
}

wr_status wr_memory_init(wr_exec *exec, wr_instance *instance, uint32_t memory, uint32_t segment, uint64_t at,
                         uint64_t from, uint64_t len) {
    const wr_data *data = &instance->module->datas[segment];
    const wr_memory *target = instance->memories[memory];
    uint64_t size = instance->data_dropped[segment] ? 0 : data->size;
    if (!inside(wr_memory_size(target), at, len) || !inside(size, from, len)) return WR_TRAP_MEMORY_BOUNDS;
    return len != 0 ? copy(exec, target->data + at, data->bytes + from, len) : WR_OK;
}
