/* Rings without plugins: host ends, native ends, and control pages written here as a plugin would. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "../flow/ring_end.h"
#include "check.h"

enum { CAPACITY = 65536 }; /* a whole page everywhere */

static wr_ring *new_ring(check_t *check, uint32_t bytes, uint32_t consumers) {
    wr_ring_config config = {.name = "test", .bytes = bytes, .consumers_max = consumers, .schema = 1};
    wr_ring *ring = NULL;
    wr_error error = {0};
    if (!CHECK_OK(wr_ring_new(&config, &ring, &error))) CHECK_FAIL("%s", error.message);
    return ring;
}

static wr_record sample(uint32_t seq) {
    return (wr_record){.size = sizeof(wr_record), .kind = WR_KIND_SAMPLE, .tag = 7, .seq = seq, .value = seq};
}

/* Writes count samples numbered from seq, one by one; returns how many fitted. */
static uint32_t write_samples(wr_ring *ring, uint32_t seq, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        wr_record record = sample(seq + i);
        if (wr_ring_write(ring, &record, sizeof record) != WR_OK) return i;
    }
    return count;
}

/* Reads up to max samples and checks that they are numbered from seq on; returns how many there were. */
static uint32_t read_samples(check_t *check, wr_ring *ring, uint32_t consumer, uint32_t seq, uint32_t max) {
    static _Thread_local wr_record records[4096];
    uint32_t got = 0;
    CHECK_OK(wr_ring_read(ring, consumer, records, max * (uint32_t)sizeof(wr_record), &got));
    uint32_t count = got / (uint32_t)sizeof(wr_record);
    for (uint32_t i = 0; i < count; i++) CHECK_EQ_U64(records[i].seq, seq + i);
    return count;
}

static wr_consumer_stats stats_of(check_t *check, wr_ring *ring, uint32_t consumer) {
    wr_consumer_stats stats = {0};
    CHECK_OK(wr_ring_consumer_stats(ring, consumer, &stats));
    return stats;
}

static bool readable(int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, 0) == 1;
}

static void refuses_wrong_configurations(check_t *check) {
    static const struct {
        wr_ring_config config;
        const char *message;
    } cases[] = {
        {{.name = NULL, .bytes = 1, .consumers_max = 1}, "needs a name"},
        {{.name = "a", .bytes = 0, .consumers_max = 1}, "0 bytes"},
        {{.name = "a", .bytes = UINT32_MAX, .consumers_max = 1}, "4294967295 bytes"},
        {{.name = "a", .bytes = 1, .consumers_max = 0}, "consumers_max is 0"},
        {{.name = "a", .bytes = 1, .consumers_max = 65}, "consumers_max is 65"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wr_ring *ring = NULL;
        wr_error error = {0};
        CHECK_STATUS(wr_ring_new(&cases[i].config, &ring, &error), WR_BAD_ARGUMENT);
        CHECK_CONTAINS(error.message, cases[i].message);
    }
}

static void maps_its_data_twice(check_t *check) {
    wr_ring *ring = new_ring(check, 1, 1);
    CHECK_EQ_U64(ring->capacity, ring->page);
    ring->data[5] = 42;
    CHECK_EQ_U64(ring->data[ring->capacity + 5], 42);
    ring->data[ring->capacity + 6] = 43;
    CHECK_EQ_U64(ring->data[6], 43);
    wr_ring_free(ring);
}

static void a_record_never_wraps(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, 1);
    uint32_t consumer;
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, &consumer));
    struct {
        wr_record head;
        uint8_t bytes[1016];
    } record = {.head = {.size = sizeof record, .kind = WR_KIND_PAYLOAD}};
    for (uint32_t i = 0; i < 1000; i++) {
        record.head.seq = i;
        memset(record.bytes, (int)(i & 0xFF), sizeof record.bytes);
        REQUIRE_OK(wr_ring_write(ring, &record, sizeof record));
        uint32_t got;
        memset(&record, 0xEE, sizeof record);
        REQUIRE_OK(wr_ring_read(ring, consumer, &record, sizeof record, &got));
        CHECK_EQ_U64(got, sizeof record);
        CHECK_EQ_U64(record.head.seq, i);
        CHECK_EQ_U64(record.bytes[1015], i & 0xFF);
    }
    wr_ring_free(ring);
}

static void refuses_malformed_records(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, 1);
    static const uint32_t sizes[] = {0, 8, 24, 31, 33, 36, 40, 72, UINT32_MAX, 0xFFFFFFF8u};
    wr_record records[2] = {sample(0), sample(1)};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        records[1].size = sizes[i];
        CHECK_STATUS(wr_ring_write(ring, records, sizeof records), WR_BAD_ARGUMENT);
    }
    static wr_record many[CAPACITY / 2 / sizeof(wr_record) + 1];
    CHECK_STATUS(wr_ring_write(ring, many, sizeof many), WR_BAD_ARGUMENT);
    wr_ring_stats stats;
    wr_ring_stats_get(ring, &stats);
    CHECK_EQ_U64(stats.records, 0);
    wr_ring_free(ring);
}

static void a_blocking_consumer_holds_its_producer(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, 1);
    uint32_t consumer, full = CAPACITY / sizeof(wr_record);
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, &consumer));
    CHECK_EQ_U64(write_samples(ring, 0, full + 5), full);
    CHECK_EQ_U64(read_samples(check, ring, consumer, 0, 100), 100);
    CHECK_EQ_U64(write_samples(ring, full, 5), 0); /* read, but claimed */
    CHECK_EQ_U64(read_samples(check, ring, consumer, 100, 10), 10);
    CHECK_EQ_U64(write_samples(ring, full, 200), 100);
    CHECK_OK(wr_ring_release(ring, consumer));
    CHECK_EQ_U64(write_samples(ring, full + 100, 200), 10);
    wr_ring_stats stats;
    wr_ring_stats_get(ring, &stats);
    CHECK_EQ_U64(stats.blocked, 4);
    CHECK_EQ_U64(stats.high_water, CAPACITY);
    CHECK_EQ_U64(stats.records, full + 110);
    wr_consumer_stats seen = stats_of(check, ring, consumer);
    CHECK_EQ_U64(seen.records, 110);
    CHECK_EQ_U64(seen.dropped, 0);
    CHECK_EQ_U64(seen.lag_bytes, full * sizeof(wr_record));
    wr_ring_free(ring);
}

static void a_dropping_consumer_loses_the_oldest(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, 1);
    uint32_t consumer, full = CAPACITY / sizeof(wr_record);
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_DROP_OLDEST, &consumer));
    CHECK_EQ_U64(write_samples(ring, 0, 10 * full), 10 * full);
    wr_consumer_stats before = stats_of(check, ring, consumer);
    CHECK(before.dropped >= 9 * full && before.dropped <= 10 * full - full / 2);
    uint32_t first = (uint32_t)before.dropped;
    CHECK_EQ_U64(read_samples(check, ring, consumer, first, 4096), 10 * full - first);
    wr_consumer_stats after = stats_of(check, ring, consumer);
    CHECK_EQ_U64(after.dropped, first);
    CHECK_EQ_U64(after.records + after.dropped, 10 * full);
    CHECK_EQ_U64(after.lag_bytes, 0);
    wr_ring_free(ring);
}

static void consumers_are_independent(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, 3);
    uint32_t slow, fast, late, extra;
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_DROP_OLDEST, &slow));
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, &fast));
    for (uint32_t i = 0; i < 5000; i += 500) {
        REQUIRE(write_samples(ring, i, 500) == 500);
        CHECK_EQ_U64(read_samples(check, ring, fast, i, 500), 500);
        CHECK_OK(wr_ring_release(ring, fast));
    }
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, &late));
    CHECK_STATUS(wr_ring_attach(ring, WR_POLICY_BLOCK, &extra), WR_FULL);
    CHECK_EQ_U64(write_samples(ring, 5000, 3), 3);
    CHECK_EQ_U64(read_samples(check, ring, late, 5000, 10), 3); /* starts where it was attached */
    CHECK(stats_of(check, ring, slow).dropped > 2000);
    CHECK_EQ_U64(stats_of(check, ring, fast).dropped, 0);
    CHECK_EQ_U64(stats_of(check, ring, late).records, 3);
    wr_ring_free(ring);
}

static void a_record_larger_than_the_buffer_is_reported(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, 1);
    uint32_t consumer, got;
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, &consumer));
    REQUIRE(write_samples(ring, 0, 1) == 1);
    uint64_t small[3];
    CHECK_STATUS(wr_ring_read(ring, consumer, small, sizeof small, &got), WR_FULL);
    CHECK_EQ_U64(read_samples(check, ring, consumer, 0, 1), 1);
    CHECK_STATUS(wr_ring_read(ring, 1, small, sizeof small, &got), WR_BAD_ARGUMENT);
    wr_ring_free(ring);
}

static void the_doorbell_rings_once_until_drained(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, 1);
    uint32_t consumer;
    int fd = -1;
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, &consumer));
    REQUIRE_OK(wr_ring_doorbell(ring, consumer, &fd));
    CHECK(!readable(fd));
    write_samples(ring, 0, 3);
    CHECK(readable(fd));
    CHECK_EQ_U64(read_samples(check, ring, consumer, 0, 2), 2);
    CHECK(readable(fd)); /* one is left */
    CHECK_EQ_U64(read_samples(check, ring, consumer, 2, 2), 1);
    CHECK(!readable(fd));
    write_samples(ring, 3, 1);
    CHECK(readable(fd));
    wr_ring_free(ring);
}

/* ---- ends of plugins, the plugin played here ---- */

typedef struct bench {
    wr_ring *ring;
    wr_ring_end out, in;
} bench;

static bench new_bench(check_t *check, wr_policy policy) {
    bench b = {.ring = new_ring(check, CAPACITY, 2)};
    uint32_t consumer;
    CHECK_OK(wr_ring_attach(b.ring, policy, &consumer));
    CHECK_OK(wr_ring_end_take_output(&b.out, b.ring));
    CHECK_OK(wr_ring_end_take_input(&b.in, b.ring, consumer));
    return b;
}

/* Produces records through the control page as the SDK does. */
static wr_status produce(bench *b, uint32_t seq, uint32_t count, uint64_t *records) {
    wr_ring_end_offer(&b->out);
    for (uint32_t i = 0; i < count; i++) {
        if (b->out.control->limit - b->out.control->cursor < sizeof(wr_record)) break;
        wr_record record = sample(seq + i);
        memcpy(wr_ring_at(b->ring, b->out.control->cursor), &record, sizeof record);
        b->out.control->cursor += sizeof record;
    }
    return wr_ring_end_settle(&b->out, records);
}

static wr_status propose_input(bench *b, uint64_t bytes, uint64_t *records) {
    wr_ring_end_offer(&b->in);
    b->in.control->cursor += bytes;
    return wr_ring_end_settle(&b->in, records);
}

static void ends_are_exclusive(check_t *check) {
    bench b = new_bench(check, WR_POLICY_BLOCK);
    wr_ring_end other;
    uint32_t got;
    wr_record record = sample(0);
    CHECK_STATUS(wr_ring_end_take_output(&other, b.ring), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_ring_end_take_input(&other, b.ring, 0), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_ring_end_take_input(&other, b.ring, 1), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_ring_write(b.ring, &record, sizeof record), WR_BAD_STATE);
    CHECK_STATUS(wr_ring_read(b.ring, 0, &record, sizeof record, &got), WR_BAD_STATE);
    CHECK_STATUS(wr_ring_release(b.ring, 0), WR_BAD_STATE);
    wr_ring_end_return(&b.in);
    CHECK_OK(wr_ring_end_take_input(&other, b.ring, 0));
    wr_ring_free(b.ring);
}

static void proposals_are_published_after_the_call(check_t *check) {
    bench b = new_bench(check, WR_POLICY_BLOCK);
    uint64_t records;
    CHECK_OK(produce(&b, 0, 3, &records));
    CHECK_EQ_U64(records, 3);
    wr_ring_end_offer(&b.in);
    CHECK_EQ_U64(b.in.control->limit - b.in.control->cursor, 3 * sizeof(wr_record));
    CHECK_EQ_U64(b.in.control->capacity, CAPACITY);
    CHECK_EQ_U64(b.in.control->schema, 1);
    b.in.control->cursor += 2 * sizeof(wr_record);
    CHECK_EQ_U64(wr_ring_end_backlog(&b.in), 3 * sizeof(wr_record)); /* a proposal changes nothing */
    CHECK_OK(wr_ring_end_settle(&b.in, &records));
    CHECK_EQ_U64(records, 2);
    CHECK_EQ_U64(wr_ring_end_backlog(&b.in), sizeof(wr_record));
    wr_ring_free(b.ring);
}

static void bad_output_cursors_are_traps(check_t *check) {
    static const int64_t moves[] = {-32, 1, 4, 28, CAPACITY + 8, INT64_MAX - 7, INT64_MIN};
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        bench b = new_bench(check, WR_POLICY_BLOCK);
        uint64_t records;
        REQUIRE_OK(produce(&b, 0, 1, &records));
        wr_ring_end_offer(&b.out);
        b.out.control->cursor += (uint64_t)moves[i];
        CHECK_STATUS(wr_ring_end_settle(&b.out, &records), WR_TRAP_RING);
        CHECK_EQ_U64(records, 0);
        CHECK_EQ_U64(wr_ring_end_backlog(&b.in), sizeof(wr_record));
        wr_ring_free(b.ring);
    }
}

static void malformed_output_is_cut_where_it_starts(check_t *check) {
    static const uint32_t sizes[] = {0, 16, 33, 36, 64, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bench b = new_bench(check, WR_POLICY_BLOCK);
        uint64_t records;
        wr_record two[2] = {sample(0), sample(1)};
        two[1].size = sizes[i];
        wr_ring_end_offer(&b.out);
        memcpy(b.ring->data, two, sizeof two);
        b.out.control->cursor += sizeof two;
        CHECK_STATUS(wr_ring_end_settle(&b.out, &records), WR_TRAP_RING);
        CHECK_EQ_U64(records, 1);
        CHECK_EQ_U64(wr_ring_end_backlog(&b.in), sizeof(wr_record));
        wr_ring_free(b.ring);
    }
}

static void bad_input_cursors_are_traps(check_t *check) {
    static const struct {
        int64_t move;
        uint64_t taken;
    } cases[] = {{-32, 0}, {4, 0}, {8, 0}, {40, 1}, {4 * 32, 0}, {INT64_MIN, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b = new_bench(check, WR_POLICY_BLOCK);
        uint64_t records;
        REQUIRE_OK(produce(&b, 0, 3, &records));
        CHECK_STATUS(propose_input(&b, (uint64_t)cases[i].move, &records), WR_TRAP_RING);
        CHECK_EQ_U64(records, cases[i].taken);
        CHECK_EQ_U64(wr_ring_end_backlog(&b.in), (3 - cases[i].taken) * sizeof(wr_record));
        wr_ring_free(b.ring);
    }
}

static void a_skip_drops_one_record(check_t *check) {
    bench b = new_bench(check, WR_POLICY_BLOCK);
    uint64_t records;
    REQUIRE_OK(produce(&b, 0, 2, &records));
    for (int i = 0; i < 3; i++) wr_ring_end_skip(&b.in); /* the third finds nothing */
    CHECK_EQ_U64(wr_ring_end_backlog(&b.in), 0);
    CHECK_EQ_U64(stats_of(check, b.ring, 0).dropped, 2);
    CHECK_EQ_U64(stats_of(check, b.ring, 0).records, 0);
    wr_ring_free(b.ring);
}

static void spoiled_records_are_dropped_not_blamed_on_readers(check_t *check) {
    bench b = new_bench(check, WR_POLICY_BLOCK);
    uint64_t records;
    REQUIRE_OK(produce(&b, 0, 5, &records));
    wr_ring_end_offer(&b.in);
    ((wr_record *)(void *)b.ring->data)[2].size = 7; /* its producer, behind its own cursor, while a reader reads */
    b.in.control->cursor += 4 * sizeof(wr_record);
    CHECK_OK(wr_ring_end_settle(&b.in, &records));
    CHECK_EQ_U64(records, 2);
    CHECK_EQ_U64(wr_ring_end_backlog(&b.in), 0);
    CHECK_EQ_U64(stats_of(check, b.ring, 0).dropped, 3);
    REQUIRE_OK(produce(&b, 5, 1, &records));
    memset(b.ring->data, 0xFF, CAPACITY);
    wr_ring_end_offer(&b.in);
    CHECK_EQ_U64(b.in.control->limit, b.in.control->cursor);
    CHECK_EQ_U64(stats_of(check, b.ring, 0).dropped, 4);
    wr_ring_free(b.ring);
}

static void spoiled_data_stops_neither_tail_nor_host_readers(check_t *check) {
    bench b = new_bench(check, WR_POLICY_DROP_OLDEST);
    uint32_t host, got;
    uint64_t records, total = 0;
    REQUIRE_OK(wr_ring_attach(b.ring, WR_POLICY_DROP_OLDEST, &host));
    static wr_record into[CAPACITY / sizeof(wr_record)];
    for (uint32_t round = 0; round < 100; round++) {
        for (int i = 0; i < 3; i++) {
            REQUIRE_OK(produce(&b, 0, 4096, &records));
            total += records;
        }
        memset(b.ring->data + (round * 4096) % CAPACITY, (int)round, 4096);
        CHECK_OK(wr_ring_read(b.ring, host, into, sizeof into, &got));
        uint64_t at = 0;
        while (at < got) {
            uint32_t size = wr_record_size((uint8_t *)into + at, got - at);
            REQUIRE(size > 0);
            at += size;
        }
        wr_ring_end_offer(&b.in);
        CHECK_OK(wr_ring_end_settle(&b.in, &records));
    }
    wr_ring_stats stats;
    wr_ring_stats_get(b.ring, &stats);
    CHECK_EQ_U64(stats.records, total);
    wr_consumer_stats seen = stats_of(check, b.ring, 0);
    CHECK(seen.records + seen.dropped <= total);
    wr_ring_free(b.ring);
}

static void a_call_is_offered_a_bounded_batch(check_t *check) {
    bench b = new_bench(check, WR_POLICY_BLOCK);
    uint64_t records;
    REQUIRE_OK(produce(&b, 0, 1000, &records));
    wr_ring_end_offer(&b.in);
    CHECK_EQ_U64(b.in.control->limit - b.in.control->cursor, WR_RING_BATCH_MAX * sizeof(wr_record));
    wr_ring_free(b.ring);
}

static void an_abandoned_consumer_blocks_no_more(check_t *check) {
    bench b = new_bench(check, WR_POLICY_BLOCK);
    uint64_t records, total = 0;
    while (produce(&b, 0, 100, &records) == WR_OK && records > 0) total += records;
    CHECK_EQ_U64(total, CAPACITY / sizeof(wr_record));
    CHECK_EQ_U64(wr_ring_end_room(&b.out), 0);
    wr_ring_end_return(&b.in);
    for (int i = 0; i < 100; i++) {
        CHECK_OK(produce(&b, 0, 100, &records));
        CHECK_EQ_U64(records, 100);
    }
    CHECK(stats_of(check, b.ring, 0).dropped >= 8000);
    CHECK_OK(wr_ring_end_take_input(&b.in, b.ring, 0)); /* a successor blocks again and finds the newest */
    uint64_t backlog = wr_ring_end_backlog(&b.in);
    CHECK(backlog >= CAPACITY / 2 && backlog <= CAPACITY);
    CHECK_EQ_U64(wr_ring_end_room(&b.out), CAPACITY - backlog);
    wr_ring_free(b.ring);
}

/* ---- walking, which counts heads alone for several at once ---- */

enum { RUN_MAX = 9, WALKS = 20000 };

static uint32_t next_chance(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* What wr_ring_walk must find, one after the other. */
static wr_walk walk_naively(const wr_ring *ring, uint64_t from, uint64_t to, uint64_t records_max) {
    wr_walk walk = {.pos = from};
    while (walk.pos < to && walk.records < records_max) {
        const uint32_t size = wr_record_size(wr_ring_at(ring, walk.pos), to - walk.pos);
        if (size == 0) {
            walk.malformed = true;
            break;
        }
        walk.pos += size;
        walk.records++;
    }
    return walk;
}

static bool walks_alike(check_t *check, const wr_ring *ring, uint64_t from, uint64_t to, uint64_t records_max) {
    const wr_walk walk = wr_ring_walk(ring, from, to, records_max), naive = walk_naively(ring, from, to, records_max);
    bool alike = CHECK_EQ_U64(walk.pos, naive.pos);
    alike = CHECK_EQ_U64(walk.records, naive.records) && alike;
    alike = CHECK_EQ_U64(walk.malformed, naive.malformed) && alike;
    if (!alike) CHECK_FAIL("from %" PRIu64 " to %" PRIu64 ", at most %" PRIu64 " records", from, to, records_max);
    return alike;
}

static void put_size(const wr_ring *ring, uint64_t pos, uint32_t size) { memcpy(wr_ring_at(ring, pos), &size, 4); }

/* Each end by count and by bytes, also within a record. */
static bool ends_alike(check_t *check, const wr_ring *ring, uint64_t from, uint64_t last) {
    for (uint64_t to = from; to <= last; to += 8) {
        for (uint64_t most = 0; most <= 2 * RUN_MAX + 2; most++) {
            if (!walks_alike(check, ring, from, to, most)) return false;
        }
        if (!walks_alike(check, ring, from, to, WR_RING_ALL)) return false;
    }
    return true;
}

static uint64_t put_heads(const wr_ring *ring, uint64_t pos, uint32_t count) {
    for (uint32_t i = 0; i < count; i++, pos += WR_RECORD_MIN) put_size(ring, pos, WR_RECORD_MIN);
    return pos;
}

/* Heads alone, one record of another size or of none that can be, heads alone again; across the end of the data. The
 * odd one is at each place among those that are looked at together. */
static void walks_end_where_they_must(check_t *check) {
    static const uint32_t sizes[] = {32, 40, 64, 1024, 0, 8, 24, 31, 33, 36, 49, 0x10020, 0x80000020, UINT32_MAX};
    wr_ring *ring = new_ring(check, 1, 1);
    bool alike = true;
    for (uint32_t heads = 0; heads <= RUN_MAX; heads++) {
        for (size_t i = 0; alike && i < sizeof sizes / sizeof *sizes; i++) {
            const uint64_t from = 3 * (uint64_t)ring->capacity - 4 * WR_RECORD_MIN;
            const uint64_t odd = put_heads(ring, from, heads);
            put_size(ring, odd, sizes[i]);
            const bool is_size = sizes[i] <= 1024 && sizes[i] % 8 == 0 && sizes[i] >= WR_RECORD_MIN;
            alike = ends_alike(check, ring, from, put_heads(ring, odd + (is_size ? sizes[i] : WR_RECORD_MIN), RUN_MAX));
        }
    }
    wr_ring_free(ring);
}

/* Data as it comes: mostly heads alone, some longer, few spoiled; from any record to any place. */
static void walks_find_what_a_naive_one_finds(check_t *check) {
    wr_ring *ring = new_ring(check, 1, 1);
    uint32_t chance = 20260731;
    for (uint32_t round = 0; round < WALKS; round++) {
        const uint64_t from = next_chance(&chance) % ring->capacity * 8, records = next_chance(&chance) % 40;
        uint64_t pos = from;
        for (uint64_t i = 0; i < records && pos + 2048 < from + ring->capacity; i++) {
            const uint32_t way = next_chance(&chance) % 64;
            const uint32_t size = way == 0  ? next_chance(&chance)
                                  : way < 6 ? WR_RECORD_MIN + next_chance(&chance) % 32 * 8
                                            : WR_RECORD_MIN;
            put_size(ring, pos, size);
            pos += way == 0 ? WR_RECORD_MIN : size;
        }
        const uint64_t to = from + next_chance(&chance) % ((pos - from) / 8 + 1) * 8;
        const uint64_t most = round % 2 == 0 ? WR_RING_ALL : next_chance(&chance) % (records + 1);
        if (!walks_alike(check, ring, from, to, most)) break;
    }
    wr_ring_free(ring);
}

/* ---- two threads ---- */

enum { THREAD_RECORDS = 1000000, FLUSH_EVERY = 32 };

static void *native_producer(void *arg) {
    wr_ring *ring = arg;
    for (uint32_t i = 0; i < THREAD_RECORDS; i++) {
        wr_record *record;
        while ((record = wr_ring_reserve(ring, sizeof *record)) == NULL) sched_yield();
        *record = sample(i);
        wr_ring_put(ring, sizeof *record);
        if (i % FLUSH_EVERY == FLUSH_EVERY - 1) wr_ring_flush(ring);
    }
    wr_ring_flush(ring);
    return NULL;
}

static void two_threads_lose_nothing_and_keep_order(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, 1);
    uint32_t consumer, seen = 0, wrong = 0;
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, &consumer));
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, native_producer, ring) == 0);
    while (seen < THREAD_RECORDS) {
        const uint8_t *at;
        uint64_t bytes = wr_ring_peek(ring, consumer, &at), done = 0, records = 0;
        if (bytes == 0) sched_yield();
        for (; done < bytes; records++, seen++) {
            const wr_record *record = (const void *)(at + done);
            wrong += record->seq != seen || record->value != seen;
            done += record->size;
        }
        wr_ring_take(ring, consumer, done, records);
    }
    pthread_join(thread, NULL);
    CHECK_EQ_U64(wrong, 0);
    CHECK_EQ_U64(stats_of(check, ring, consumer).records, THREAD_RECORDS);
    CHECK_EQ_U64(stats_of(check, ring, consumer).dropped, 0);
    wr_ring_free(ring);
}

/* A dropping reader beside a producer that never waits for it: what it gets is whole and in order, and with what it
 * lost it adds up. */
static void count_what_is_dropped(check_t *check, uint32_t bytes) {
    wr_ring *ring = new_ring(check, bytes, 1);
    uint32_t consumer, got, wrong = 0;
    REQUIRE_OK(wr_ring_attach(ring, WR_POLICY_DROP_OLDEST, &consumer));
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, native_producer, ring) == 0);
    static wr_record into[512];
    int64_t last = -1;
    while (last < THREAD_RECORDS - 1) {
        REQUIRE_OK(wr_ring_read(ring, consumer, into, sizeof into, &got));
        if (got == 0) sched_yield();
        for (uint32_t i = 0; i < got / sizeof *into; i++) {
            wrong += into[i].seq <= last || into[i].value != into[i].seq || into[i].size != sizeof *into;
            last = into[i].seq;
        }
    }
    pthread_join(thread, NULL);
    CHECK_EQ_U64(wrong, 0);
    wr_consumer_stats stats = stats_of(check, ring, consumer);
    CHECK_EQ_U64(stats.records + stats.dropped, THREAD_RECORDS);
    wr_ring_free(ring);
}

static void two_threads_count_what_is_dropped(check_t *check) {
    count_what_is_dropped(check, CAPACITY);
    count_what_is_dropped(check, 1); /* one page: the producer laps the reader while it looks */
}

static void *attacher(void *arg) {
    wr_ring *ring = arg;
    static _Thread_local wr_record into[256];
    uintptr_t wrong = 0;
    for (uint32_t i = 0; i < WR_RING_CONSUMERS_MAX / 2; i++) {
        uint32_t consumer, got = 0;
        if (wr_ring_attach(ring, i % 2 ? WR_POLICY_BLOCK : WR_POLICY_DROP_OLDEST, &consumer) != WR_OK) return arg;
        for (int reads = 0; reads < 20; reads++) {
            wrong += wr_ring_read(ring, consumer, into, sizeof into, &got) != WR_OK;
            for (uint32_t r = 1; r < got / sizeof *into; r++) wrong += into[r].seq != into[r - 1].seq + 1;
        }
        wr_ring_abandon(ring, wr_ring_consumer_at(ring, consumer));
    }
    return (void *)wrong;
}

static void consumers_may_come_and_go_while_data_flows(check_t *check) {
    wr_ring *ring = new_ring(check, CAPACITY, WR_RING_CONSUMERS_MAX);
    pthread_t producer, others[2];
    void *wrong;
    REQUIRE(pthread_create(&producer, NULL, native_producer, ring) == 0);
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&others[i], NULL, attacher, ring) == 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(others[i], &wrong);
        CHECK(wrong == NULL);
    }
    pthread_join(producer, NULL);
    wr_ring_free(ring);
}

static const check_test TESTS[] = {
    CHECK_TEST(refuses_wrong_configurations),
    CHECK_TEST(maps_its_data_twice),
    CHECK_TEST(a_record_never_wraps),
    CHECK_TEST(refuses_malformed_records),
    CHECK_TEST(a_blocking_consumer_holds_its_producer),
    CHECK_TEST(a_dropping_consumer_loses_the_oldest),
    CHECK_TEST(consumers_are_independent),
    CHECK_TEST(a_record_larger_than_the_buffer_is_reported),
    CHECK_TEST(the_doorbell_rings_once_until_drained),
    CHECK_TEST(ends_are_exclusive),
    CHECK_TEST(proposals_are_published_after_the_call),
    CHECK_TEST(bad_output_cursors_are_traps),
    CHECK_TEST(malformed_output_is_cut_where_it_starts),
    CHECK_TEST(bad_input_cursors_are_traps),
    CHECK_TEST(a_skip_drops_one_record),
    CHECK_TEST(spoiled_records_are_dropped_not_blamed_on_readers),
    CHECK_TEST(spoiled_data_stops_neither_tail_nor_host_readers),
    CHECK_TEST(a_call_is_offered_a_bounded_batch),
    CHECK_TEST(an_abandoned_consumer_blocks_no_more),
    CHECK_TEST(walks_end_where_they_must),
    CHECK_TEST(walks_find_what_a_naive_one_finds),
    CHECK_TEST(two_threads_lose_nothing_and_keep_order),
    CHECK_TEST(two_threads_count_what_is_dropped),
    CHECK_TEST(consumers_may_come_and_go_while_data_flows),
};
CHECK_MAIN(TESTS)
