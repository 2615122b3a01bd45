/* Making, mapping, attaching and counting. */
#include "ring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"
#include "ring_mark.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");
static_assert(sizeof(wr_record) == WR_RECORD_MIN, "record head is 32 bytes");

/* ---- positions ---- */

wr_mark wr_ring_head(const wr_ring *ring) { return wr_mark_read(&ring->head); }
wr_mark wr_ring_tail(const wr_ring *ring) { return wr_mark_read(&ring->tail); }

static uint32_t size_at(const uint8_t *record) {
    return __atomic_load_n((const uint32_t *)(const void *)record, __ATOMIC_RELAXED);
}

/* How many of the next records surely are heads alone, as most are: found out for several at once, as where each begins
 * is known before the size of the one in front is. */
static uint64_t count_heads(const uint8_t *records, uint64_t records_max) {
    enum { AT_ONCE = 4 };
    uint64_t count = 0;
    for (; count + AT_ONCE <= records_max; count += AT_ONCE, records += AT_ONCE * WR_RECORD_MIN) {
        uint32_t differs = 0;
        for (int i = 0; i < AT_ONCE; i++) differs |= size_at(records + i * WR_RECORD_MIN) ^ WR_RECORD_MIN;
        if (differs != 0) break;
    }
    return count;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

wr_walk wr_ring_walk(const wr_ring *ring, uint64_t from, uint64_t to, uint64_t records_max) {
    wr_walk walk = {.pos = from};
    while (walk.pos < to && walk.records < records_max) {
        const uint8_t *record = wr_ring_at(ring, walk.pos);
        uint64_t heads = count_heads(record, least((to - walk.pos) / WR_RECORD_MIN, records_max - walk.records));
        if (heads > 0) {
            walk.pos += heads * WR_RECORD_MIN;
            walk.records += heads;
            continue;
        }
        uint32_t size = wr_record_size(record, to - walk.pos);
        walk.malformed = size == 0;
        if (walk.malformed) break;
        walk.pos += size;
        walk.records++;
    }
    return walk;
}

/* ---- layout ---- */

uint64_t wr_ring_producer_control_offset(const wr_ring *ring) {
    (void)ring;
    return 0;
}

uint64_t wr_ring_consumer_control_offset(const wr_ring *ring, uint32_t consumer) {
    return (uint64_t)ring->page * (1 + consumer);
}

uint64_t wr_ring_data_offset(const wr_ring *ring) { return (uint64_t)ring->page * (1 + ring->consumers_max); }

static bool map_at(wr_ring *ring, size_t at, size_t bytes, uint64_t offset) {
    return mmap(ring->map + at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ring->fd, (off_t)offset) !=
           MAP_FAILED;
}

static bool map_ring(wr_ring *ring) {
    size_t control = (size_t)wr_ring_data_offset(ring), once = control + ring->capacity;
    ring->fd = memfd_create(ring->name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ring->fd < 0 || ftruncate(ring->fd, (off_t)once) != 0) return false;
    /* A size that cannot change: no view of it can ever fault. */
    if (fcntl(ring->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return false;
    ring->map_bytes = once + ring->capacity;
    ring->map = mmap(NULL, ring->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ring->map == MAP_FAILED) {
        ring->map = NULL;
        return false;
    }
    ring->data = ring->map + control;
    return map_at(ring, 0, once, 0) && map_at(ring, once, ring->capacity, control);
}

/* ---- life ---- */

static wr_status check_config(const wr_ring_config *config, wr_error *error) {
    if (config->name == NULL) return wr_fail(error, WR_BAD_ARGUMENT, "a ring needs a name");
    if (config->bytes == 0 || config->bytes > WR_RING_BYTES_MAX) {
        return wr_fail(error, WR_BAD_ARGUMENT, "ring \"%s\": %u bytes; 1 to %d are allowed", config->name,
                       config->bytes, WR_RING_BYTES_MAX);
    }
    if (config->consumers_max == 0 || config->consumers_max > WR_RING_CONSUMERS_MAX) {
        return wr_fail(error, WR_BAD_ARGUMENT, "ring \"%s\": consumers_max is %u; 1 to %d are allowed", config->name,
                       config->consumers_max, WR_RING_CONSUMERS_MAX);
    }
    return WR_OK;
}

static uint32_t round_capacity(uint32_t bytes, uint32_t page) {
    uint32_t capacity = page;
    while (capacity < bytes) capacity *= 2;
    return capacity;
}

wr_status wr_ring_new(const wr_ring_config *config, wr_ring **out, wr_error *error) {
    wr_status status = check_config(config, error);
    if (status != WR_OK) return status;
    size_t bytes = sizeof(wr_ring) + config->consumers_max * sizeof(wr_ring_consumer);
    wr_ring *ring = aligned_alloc(WR_CACHE_LINE, bytes);
    if (ring == NULL) return wr_fail(error, WR_NO_MEMORY, "ring \"%s\": out of memory", config->name);
    memset(ring, 0, bytes);
    strncpy(ring->name, config->name, WR_RING_NAME_MAX);
    ring->page = (uint32_t)sysconf(_SC_PAGESIZE);
    ring->capacity = round_capacity(config->bytes, ring->page);
    ring->consumers_max = config->consumers_max;
    ring->schema = config->schema;
    ring->fd = -1;
    pthread_mutex_init(&ring->gate, NULL);
    if (!map_ring(ring)) {
        int cause = errno;
        wr_ring_free(ring);
        return wr_fail(error, WR_SYSTEM, "ring \"%s\": cannot map %u bytes: %s", config->name, config->bytes,
                       strerror(cause));
    }
    *out = ring;
    return WR_OK;
}

void wr_ring_free(wr_ring *ring) {
    if (ring == NULL) return;
    for (uint32_t i = 0; i < ring->kept_count; i++) wr_bell_release(ring->kept[i]);
    if (ring->map != NULL) munmap(ring->map, ring->map_bytes);
    if (ring->fd >= 0) close(ring->fd);
    pthread_mutex_destroy(&ring->gate);
    free(ring);
}

/* ---- consumers ---- */

wr_ring_consumer *wr_ring_consumer_at(wr_ring *ring, uint32_t consumer) {
    return consumer < atomic_load(&ring->attached) ? &ring->consumers[consumer] : NULL;
}

/* New consumers start at the head. The producer may pass them before it sees their hold: then they start at its new
 * head, which no frontier announced so far can pass. */
static void place_consumer(wr_ring *ring, wr_ring_consumer *consumer, bool drops) {
    do {
        wr_mark head = wr_ring_head(ring);
        consumer->base = head.index;
        atomic_store_explicit(&consumer->next, head.pos, memory_order_relaxed);
        atomic_store_explicit(&consumer->index, head.index, memory_order_relaxed);
        atomic_store(&consumer->hold, head.pos);
    } while (atomic_load(&ring->frontier) > atomic_load(&consumer->next) + ring->capacity);
    if (drops) atomic_store(&consumer->hold, WR_RING_NO_HOLD);
}

wr_status wr_ring_attach(wr_ring *ring, wr_policy policy, uint32_t *out) {
    if (policy != WR_POLICY_BLOCK && policy != WR_POLICY_DROP_OLDEST) return WR_BAD_ARGUMENT;
    pthread_mutex_lock(&ring->gate);
    uint32_t index = atomic_load(&ring->attached);
    if (index == ring->consumers_max) {
        pthread_mutex_unlock(&ring->gate);
        return WR_FULL;
    }
    wr_ring_consumer *consumer = &ring->consumers[index];
    bool drops = policy == WR_POLICY_DROP_OLDEST;
    atomic_store(&consumer->drops, drops);
    consumer->blocks = !drops;
    atomic_store(&consumer->hold, wr_ring_head(ring).pos);
    if (drops) atomic_fetch_add(&ring->droppers, 1);
    atomic_store(&ring->attached, index + 1);
    place_consumer(ring, consumer, drops);
    pthread_mutex_unlock(&ring->gate);
    *out = index;
    return WR_OK;
}

/* ---- bells ---- */

static wr_status keep_bell(wr_ring *ring, wr_bell *bell) {
    for (uint32_t i = 0; i < ring->kept_count; i++) {
        if (ring->kept[i] == bell) return WR_OK;
    }
    if (ring->kept_count == sizeof ring->kept / sizeof *ring->kept) return WR_FULL;
    ring->kept[ring->kept_count++] = wr_bell_retain(bell);
    return WR_OK;
}

static wr_status set_bell(wr_ring *ring, _Atomic(wr_bell *) *place, wr_bell *bell) {
    pthread_mutex_lock(&ring->gate);
    wr_status status = keep_bell(ring, bell);
    if (status == WR_OK) atomic_store(place, bell);
    pthread_mutex_unlock(&ring->gate);
    return status;
}

wr_status wr_ring_set_room_bell(wr_ring *ring, wr_bell *bell) { return set_bell(ring, &ring->room, bell); }

wr_status wr_ring_set_consumer_bell(wr_ring *ring, wr_ring_consumer *consumer, wr_bell *bell) {
    return set_bell(ring, &consumer->bell, bell);
}

wr_status wr_ring_doorbell(wr_ring *ring, uint32_t index, int *fd) {
    wr_ring_consumer *consumer = wr_ring_consumer_at(ring, index);
    if (consumer == NULL || consumer->has_end) return WR_BAD_ARGUMENT;
    wr_bell *bell = atomic_load(&consumer->bell);
    if (bell == NULL) {
        wr_status status = wr_bell_new(&bell);
        if (status != WR_OK) return status;
        wr_bell_arm(bell);
        status = wr_ring_set_consumer_bell(ring, consumer, bell);
        wr_bell_release(bell);
        if (status != WR_OK) return status;
        if (wr_ring_head(ring).pos > atomic_load(&consumer->next)) wr_bell_ring(bell);
    }
    *fd = wr_bell_fd(bell);
    return WR_OK;
}

/* ---- counters ---- */

void wr_ring_stats_get(const wr_ring *ring, wr_ring_stats *out) {
    wr_mark head = wr_ring_head(ring);
    *out = (wr_ring_stats){.records = head.index,
                           .bytes = head.pos,
                           .capacity = ring->capacity,
                           .high_water = atomic_load_explicit(&ring->high_water, memory_order_relaxed),
                           .blocked = atomic_load_explicit(&ring->blocked, memory_order_relaxed)};
}

wr_status wr_ring_consumer_stats(const wr_ring *ring, uint32_t index, wr_consumer_stats *out) {
    if (index >= atomic_load(&ring->attached)) return WR_BAD_ARGUMENT;
    const wr_ring_consumer *consumer = &ring->consumers[index];
    /* The consumer may be moving: read what only grows first, so that no difference is negative. */
    uint64_t dropped = atomic_load(&consumer->dropped);
    uint64_t count = atomic_load(&consumer->index);
    uint64_t next = atomic_load(&consumer->next);
    wr_mark tail = wr_ring_tail(ring);
    uint64_t head = wr_ring_head(ring).pos;
    *out = (wr_consumer_stats){
        .records = count - consumer->base - dropped, .dropped = dropped, .lag_bytes = head > next ? head - next : 0};
    /* Gone already, though the consumer has not noticed yet. */
    bool passed = atomic_load(&consumer->drops) && tail.pos > next && tail.index > count;
    if (passed) out->dropped += tail.index - count;
    return WR_OK;
}
