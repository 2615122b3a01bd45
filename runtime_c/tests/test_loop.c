/* The event loop on real descriptors, in its own thread. Waiting is by poll with a generous limit, never by sleeping. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "plugin_files.h"
#include "wr.h"

enum { PATIENCE_MS = 10000, RING_BYTES = 65536, ALL = (1 << WR_HAL_COUNT) - 1, DEADLINE_US = 1000000 };

typedef struct fixture {
    check_t *check;
    wr_engine *engine;
    wr_loop *loop;
    char events[16384]; /* texts read and not yet looked for, each on a line */
} fixture;

static void new_fixture(fixture *f, check_t *check, uint32_t events_bytes) {
    *f = (fixture){.check = check};
    wr_loop_config config = {.events_bytes = events_bytes};
    CHECK_OK(wr_engine_new(NULL, &f->engine));
    CHECK_OK(wr_loop_new(f->engine, &config, &f->loop, NULL));
}

static void tear_down(fixture *f) {
    wr_loop_free(f->loop);
    wr_engine_free(f->engine);
}

static uint32_t add_port(fixture *f, const char *name, bool datagram, uint32_t tx_bytes) {
    check_t *check = f->check;
    wr_port_config config = {.name = name, .datagram = datagram, .tx_bytes = tx_bytes};
    uint32_t port = UINT32_MAX;
    CHECK_OK(wr_loop_add_port(f->loop, &config, &port));
    return port;
}

/* Gives the port one end of a pair and returns the other. */
static int connect_port(fixture *f, uint32_t port, int type) {
    check_t *check = f->check;
    int pair[2];
    CHECK(socketpair(AF_UNIX, type, 0, pair) == 0);
    CHECK_OK(wr_loop_set_port_fd(f->loop, port, pair[0]));
    return pair[1];
}

static uint32_t add_stage(fixture *f, const char *plugin, wr_stage_config *config) {
    check_t *check = f->check;
    wr_module *module = load_plugin(check, f->engine, plugin);
    uint32_t stage = UINT32_MAX;
    wr_error error = {.message = ""};
    config->name = plugin;
    config->module = module;
    config->hal_grants = ALL;
    config->memory_bytes_max = 1 << 20;
    config->deadline_us = DEADLINE_US;
    if (!CHECK_OK(wr_loop_add_stage(f->loop, config, &stage, &error))) CHECK_FAIL("%s", error.message);
    wr_module_release(module);
    return stage;
}

static uint32_t add_echo(fixture *f, uint32_t port) {
    wr_stage_config config = {.port_count = 1, .ports = {port}};
    return add_stage(f, "echo", &config);
}

static wr_ring *new_ring(check_t *check, const char *name, uint32_t *consumer) {
    wr_ring_config config = {.name = name, .bytes = RING_BYTES, .consumers_max = 1};
    wr_ring *ring = NULL;
    CHECK_OK(wr_ring_new(&config, &ring, NULL));
    CHECK_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, consumer));
    return ring;
}

static bool wait_readable(int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, PATIENCE_MS) == 1;
}

/* Sends text and expects it back. */
static void expect_echo(fixture *f, int fd, const char *text) {
    check_t *check = f->check;
    char back[64];
    size_t want = strlen(text), got = 0;
    CHECK_EQ_I64(write(fd, text, want), (int64_t)want);
    while (got < want && wait_readable(fd)) {
        ssize_t len = read(fd, back + got, sizeof back - got);
        if (len <= 0) break;
        got += (size_t)len;
    }
    CHECK_EQ_U64(got, want);
    CHECK_MEM(back, text, want);
}

static void read_events(fixture *f) {
    static _Alignas(8) uint8_t bytes[65536];
    check_t *check = f->check;
    uint32_t got;
    CHECK_OK(wr_loop_read_events(f->loop, bytes, sizeof bytes, &got));
    for (uint32_t at = 0; at < got;) {
        const wr_event *event = (const void *)(bytes + at);
        size_t used = strlen(f->events);
        int len = event->kind == WR_EVENT_LOST ? 0 : (int)event->len;
        snprintf(f->events + used, sizeof f->events - used, "%u:%u:%u %.*s\n", event->kind, event->source,
                 event->level, len, (const char *)(event + 1));
        at += event->size;
    }
}

/* Waits for an event "KIND:SOURCE:LEVEL text"; forgets what came before it. */
static void expect_event(fixture *f, const char *text) {
    check_t *check = f->check;
    int fd;
    CHECK_OK(wr_loop_events_fd(f->loop, &fd));
    char *found;
    read_events(f);
    while ((found = strstr(f->events, text)) == NULL && wait_readable(fd)) read_events(f);
    if (found == NULL) {
        CHECK_FAIL("no event \"%s\" in \"%s\"", text, f->events);
        return;
    }
    const char *rest = strchr(found, '\n') + 1;
    memmove(f->events, rest, strlen(rest) + 1);
}

/* ---- ports ---- */

static void bytes_go_through(check_t *check) {
    fixture f;
    new_fixture(&f, check, 0);
    uint32_t first = add_port(&f, "first", false, 0), second = add_port(&f, "second", true, 0);
    add_echo(&f, first);
    add_echo(&f, second);
    CHECK_OK(wr_loop_start(f.loop));
    CHECK_STATUS(wr_loop_start(f.loop), WR_BAD_STATE);
    int a = connect_port(&f, first, SOCK_STREAM), b = connect_port(&f, second, SOCK_DGRAM);
    for (int i = 0; i < 100; i++) {
        expect_echo(&f, a, "hello");
        expect_echo(&f, b, "world");
    }
    wr_port_stats stats;
    CHECK_OK(wr_loop_port_stats(f.loop, first, &stats));
    CHECK(stats.up);
    CHECK_EQ_U64(stats.rx_bytes, 500);
    CHECK_EQ_U64(stats.tx_bytes, 500);
    CHECK_EQ_U64(stats.downs, 0);
    close(a);
    close(b);
    tear_down(&f);
}

static void a_port_that_ends_is_reported_and_comes_back(check_t *check) {
    fixture f;
    new_fixture(&f, check, 0);
    uint32_t port = add_port(&f, "line", false, 0);
    add_echo(&f, port);
    CHECK_OK(wr_loop_start(f.loop));
    for (int i = 0; i < 3; i++) {
        int peer = connect_port(&f, port, SOCK_STREAM);
        expect_event(&f, "3:0:1 port line is up");
        expect_event(&f, "1:0:1 port 0 up"); /* the plugin's own words */
        expect_echo(&f, peer, "hello");
        close(peer);
        expect_event(&f, "3:0:0 port line is down: end of file");
        expect_event(&f, "1:0:1 port 0 down");
    }
    int old = connect_port(&f, port, SOCK_STREAM), young = connect_port(&f, port, SOCK_STREAM);
    expect_event(&f, "3:0:0 port line is down: replaced");
    char byte;
    CHECK_EQ_I64(read(old, &byte, 1), 0); /* closed */
    expect_echo(&f, young, "again");
    CHECK_OK(wr_loop_set_port_fd(f.loop, port, -1));
    expect_event(&f, "3:0:0 port line is down: closed by the host");
    CHECK_EQ_I64(read(young, &byte, 1), 0);
    wr_port_stats stats;
    CHECK_OK(wr_loop_port_stats(f.loop, port, &stats));
    CHECK_EQ_U64(stats.downs, 5);
    CHECK(!stats.up);
    close(old);
    close(young);
    tear_down(&f);
}

static void a_terminal_that_hangs_up_is_reported(check_t *check) {
    fixture f;
    new_fixture(&f, check, 0);
    uint32_t port = add_port(&f, "tty", false, 0);
    add_echo(&f, port);
    CHECK_OK(wr_loop_start(f.loop));
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    REQUIRE(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    REQUIRE(slave >= 0);
    CHECK_OK(wr_loop_set_port_fd(f.loop, port, slave));
    expect_event(&f, "port tty is up");
    CHECK_EQ_I64(write(master, "hello\n", 6), 6);
    CHECK(wait_readable(master));
    close(master);
    expect_event(&f, "port tty is down");
    tear_down(&f);
}

static void a_slow_peer_blocks_nobody_else(check_t *check) {
    fixture f;
    new_fixture(&f, check, 0);
    const uint32_t total = 1 << 20;
    uint32_t slow = add_port(&f, "slow", false, total), fast = add_port(&f, "fast", false, 0);
    add_echo(&f, slow);
    add_echo(&f, fast);
    CHECK_OK(wr_loop_start(f.loop));
    int a = connect_port(&f, slow, SOCK_STREAM), b = connect_port(&f, fast, SOCK_STREAM);
    CHECK_EQ_I64(write(a, "b", 1), 1);
    expect_event(&f, "1:0:1 full");
    for (int i = 0; i < 100; i++) expect_echo(&f, b, "hello");
    wr_port_stats stats;
    CHECK_OK(wr_loop_port_stats(f.loop, slow, &stats));
    CHECK(stats.tx_bytes < total);
    uint64_t got = 0;
    static char bytes[65536];
    while (got < total && wait_readable(a)) {
        ssize_t len = read(a, bytes, sizeof bytes);
        REQUIRE(len > 0);
        got += (uint64_t)len;
    }
    CHECK_EQ_U64(got, total);
    close(a);
    close(b);
    tear_down(&f);
}

static void wrong_numbers_are_refused(check_t *check) {
    fixture f;
    new_fixture(&f, check, 0);
    wr_port_config config = {.name = NULL};
    uint32_t number;
    wr_port_stats port_stats;
    wr_stage_stats stage_stats;
    CHECK_STATUS(wr_loop_add_port(f.loop, &config, &number), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_loop_set_port_fd(f.loop, 0, -1), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_loop_port_stats(f.loop, 0, &port_stats), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_loop_stage_stats(f.loop, 0, &stage_stats), WR_BAD_ARGUMENT);
    uint32_t port = add_port(&f, "line", false, 0);
    add_echo(&f, port);
    wr_module *module = load_plugin(check, f.engine, "echo");
    wr_error error = {.message = ""};
    wr_stage_config second = {
        .name = "second", .module = module, .hal_grants = ALL, .port_count = 1, .ports = {port}};
    CHECK_STATUS(wr_loop_add_stage(f.loop, &second, &number, &error), WR_BAD_ARGUMENT);
    CHECK_STR(error.message, "stage \"second\": port 0 does not exist or belongs to a stage already");
    wr_module_release(module);
    tear_down(&f);
}

/* ---- stages ---- */

/* Waits at the sink's doorbell until count samples came; checks that none is missing or double. */
static void expect_samples(check_t *check, wr_ring *ring, uint32_t consumer, uint32_t first, uint32_t count) {
    static wr_record records[256];
    int fd;
    uint32_t seen = 0, got;
    int64_t last_ns = 0;
    CHECK_OK(wr_ring_doorbell(ring, consumer, &fd));
    while (seen < count) {
        REQUIRE_OK(wr_ring_read(ring, consumer, records, sizeof records, &got));
        if (got == 0) REQUIRE(wait_readable(fd));
        for (uint32_t i = 0; i < got / sizeof *records; i++, seen++) {
            CHECK_EQ_U64(records[i].seq, first + seen);
            CHECK(records[i].time_ns >= last_ns);
            last_ns = records[i].time_ns;
        }
    }
    CHECK_OK(wr_ring_release(ring, consumer));
}

static void a_chain_carries_every_record(check_t *check) {
    fixture f;
    new_fixture(&f, check, 0);
    uint32_t consumers[3], period_us = 100;
    wr_ring *rings[3];
    for (int i = 0; i < 3; i++) rings[i] = new_ring(check, "ring", &consumers[i]);
    wr_stage_config source = {.config = (const uint8_t *)&period_us,
                              .config_bytes = sizeof period_us,
                              .out_count = 1,
                              .out_rings = {rings[0]}};
    add_stage(&f, "source", &source);
    for (int i = 0; i < 2; i++) {
        wr_stage_config relay = {.in_count = 1,
                                 .in_rings = {rings[i]},
                                 .in_consumers = {consumers[i]},
                                 .out_count = 1,
                                 .out_rings = {rings[i + 1]}};
        add_stage(&f, "imp", &relay);
    }
    CHECK_OK(wr_loop_start(f.loop));
    expect_samples(check, rings[2], consumers[2], 0, 500);
    wr_loop_stop(f.loop);
    CHECK_OK(wr_loop_start(f.loop)); /* goes on where it was */
    wr_stage_stats stats;
    CHECK_OK(wr_loop_stage_stats(f.loop, 2, &stats));
    CHECK(stats.records_out >= 500);
    CHECK_EQ_U64(stats.traps, 0);
    tear_down(&f);
    for (int i = 0; i < 3; i++) wr_ring_free(rings[i]);
}

static void write_tags(check_t *check, wr_ring *ring, const uint32_t *tags, uint32_t count, uint32_t seq) {
    for (uint32_t i = 0; i < count; i++) {
        wr_record record = {.size = sizeof record, .kind = WR_KIND_SAMPLE, .tag = tags[i], .seq = seq + i};
        CHECK_OK(wr_ring_write(ring, &record, sizeof record));
    }
}

/* The host writes while the loop sleeps; the second stage is added while it runs; the first one traps in between. */
static void a_trap_stops_neither_loop_nor_neighbour(check_t *check) {
    fixture f;
    new_fixture(&f, check, 0);
    enum { STORE_TO_INPUT = 100 };
    uint32_t in_consumer, middle_consumer, out_consumer;
    wr_ring *in = new_ring(check, "in", &in_consumer), *middle = new_ring(check, "middle", &middle_consumer),
            *out = new_ring(check, "out", &out_consumer);
    wr_stage_config first = {
        .in_count = 1, .in_rings = {in}, .in_consumers = {in_consumer}, .out_count = 1, .out_rings = {middle}};
    wr_stage_config second = {
        .in_count = 1, .in_rings = {middle}, .in_consumers = {middle_consumer}, .out_count = 1, .out_rings = {out}};
    CHECK_OK(wr_loop_start(f.loop));
    add_stage(&f, "imp", &first);
    write_tags(check, in, (uint32_t[]){1, 2, 3}, 3, 0);
    add_stage(&f, "imp", &second);
    expect_samples(check, out, out_consumer, 0, 3);
    write_tags(check, in, (uint32_t[]){STORE_TO_INPUT, 1}, 2, 3);
    expect_samples(check, out, out_consumer, 4, 1);
    expect_event(&f, "2:0:3 trap in stage imp: store to read-only memory");
    wr_stage_stats stats;
    CHECK_OK(wr_loop_stage_stats(f.loop, 0, &stats));
    CHECK_EQ_U64(stats.traps, 1);
    CHECK_OK(wr_loop_stage_stats(f.loop, 1, &stats));
    CHECK_EQ_U64(stats.traps, 0);
    tear_down(&f);
    wr_ring_free(in);
    wr_ring_free(middle);
    wr_ring_free(out);
}

static void two_loops_share_a_ring(check_t *check) {
    fixture a, b;
    new_fixture(&a, check, 0);
    new_fixture(&b, check, 0);
    uint32_t in_consumer, middle_consumer, out_consumer;
    wr_ring *in = new_ring(check, "in", &in_consumer), *middle = new_ring(check, "middle", &middle_consumer),
            *out = new_ring(check, "out", &out_consumer);
    wr_stage_config first = {
        .in_count = 1, .in_rings = {in}, .in_consumers = {in_consumer}, .out_count = 1, .out_rings = {middle}};
    wr_stage_config second = {
        .in_count = 1, .in_rings = {middle}, .in_consumers = {middle_consumer}, .out_count = 1, .out_rings = {out}};
    add_stage(&a, "imp", &first);
    add_stage(&b, "imp", &second);
    CHECK_OK(wr_loop_start(a.loop));
    CHECK_OK(wr_loop_start(b.loop));
    const uint32_t block = RING_BYTES / 2 / sizeof(wr_record);
    static uint32_t tags[RING_BYTES / sizeof(wr_record)];
    for (uint32_t i = 0; i < 20; i++) { /* each round fills more than the rings' rest, so both sides wait for room */
        write_tags(check, in, tags, block, i * block);
        expect_samples(check, out, out_consumer, i * block, block);
    }
    tear_down(&a);
    tear_down(&b);
    wr_ring_free(in);
    wr_ring_free(middle);
    wr_ring_free(out);
}

static void metrics_and_lost_events_are_seen(check_t *check) {
    fixture f;
    new_fixture(&f, check, 128);
    uint32_t port = add_port(&f, "line", true, 0), stage = add_echo(&f, port), count = 0;
    CHECK_OK(wr_loop_start(f.loop));
    int peer = connect_port(&f, port, SOCK_DGRAM);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ_I64(write(peer, "k", 1), 1); /* logs */
        expect_echo(&f, peer, "hello");
    }
    CHECK_EQ_I64(write(peer, "m", 1), 1);
    expect_echo(&f, peer, "hello");
    wr_metric metric;
    CHECK_OK(wr_loop_stage_metrics(f.loop, stage, &metric, 1, &count));
    CHECK_EQ_U64(count, 1);
    CHECK_STR(metric.name, "orders");
    CHECK_EQ_I64(metric.value, 1);
    expect_event(&f, "5:0:0");
    close(peer);
    tear_down(&f);
}

typedef struct stress {
    fixture *f;
    uint32_t port;
    uint64_t failures;
} stress;

static void *ask_for_stats(void *arg) {
    stress *s = arg;
    for (int i = 0; i < 500; i++) {
        wr_port_stats stats;
        wr_stage_stats stage;
        s->failures += wr_loop_port_stats(s->f->loop, s->port, &stats) != WR_OK;
        s->failures += wr_loop_stage_stats(s->f->loop, 0, &stage) != WR_OK;
    }
    return NULL;
}

static void many_threads_may_ask(check_t *check) {
    fixture f;
    new_fixture(&f, check, 0);
    uint32_t port = add_port(&f, "line", false, 0);
    add_echo(&f, port);
    CHECK_OK(wr_loop_start(f.loop));
    int peer = connect_port(&f, port, SOCK_STREAM);
    pthread_t threads[3];
    stress asks[3];
    for (int i = 0; i < 3; i++) {
        asks[i] = (stress){.f = &f, .port = port};
        REQUIRE(pthread_create(&threads[i], NULL, ask_for_stats, &asks[i]) == 0);
    }
    for (int i = 0; i < 200; i++) expect_echo(&f, peer, "hello");
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQ_U64(asks[i].failures, 0);
    }
    close(peer);
    tear_down(&f);
}

static const check_test TESTS[] = {
    CHECK_TEST(bytes_go_through),
    CHECK_TEST(a_port_that_ends_is_reported_and_comes_back),
    CHECK_TEST(a_terminal_that_hangs_up_is_reported),
    CHECK_TEST(a_slow_peer_blocks_nobody_else),
    CHECK_TEST(wrong_numbers_are_refused),
    CHECK_TEST(a_chain_carries_every_record),
    CHECK_TEST(a_trap_stops_neither_loop_nor_neighbour),
    CHECK_TEST(two_loops_share_a_ring),
    CHECK_TEST(metrics_and_lost_events_are_seen),
    CHECK_TEST(many_threads_may_ask),
};
CHECK_MAIN(TESTS)
