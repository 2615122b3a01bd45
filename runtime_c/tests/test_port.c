/* What ports and stages are made of: byte queues, values, events, and descriptors. */
#include "../flow/port.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "plugin_files.h"

/* ---- fifo ---- */

static void put_text(check_t *check, wr_fifo *fifo, const char *text) {
    CHECK(wr_fifo_put(fifo, text, (uint32_t)strlen(text)));
}

static const char *take_text(wr_fifo *fifo, uint32_t cap) {
    static char text[256];
    text[wr_fifo_take(fifo, text, cap)] = '\0';
    return text;
}

static void a_stream_keeps_its_bytes_in_order(check_t *check) {
    wr_fifo fifo;
    REQUIRE_OK(wr_fifo_init(&fifo, 8, false));
    for (int i = 0; i < 20; i++) { /* moves through the buffer */
        put_text(check, &fifo, "abc");
        put_text(check, &fifo, "de");
        CHECK(!wr_fifo_put(&fifo, "1234", 4)); /* all or nothing */
        CHECK_STR(take_text(&fifo, 4), "abcd");
        put_text(check, &fifo, "1234567");
        CHECK_STR(take_text(&fifo, 100), "e1234567");
        CHECK_STR(take_text(&fifo, 100), "");
    }
    wr_fifo_free(&fifo);
}

static void a_stream_makes_room_by_forgetting_the_oldest(check_t *check) {
    wr_fifo fifo;
    REQUIRE_OK(wr_fifo_init(&fifo, 8, false));
    put_text(check, &fifo, "abcdef");
    CHECK_EQ_U64(wr_fifo_make_room(&fifo, 2), 0);
    CHECK_EQ_U64(wr_fifo_make_room(&fifo, 5), 3);
    put_text(check, &fifo, "12345");
    CHECK_STR(take_text(&fifo, 100), "def12345");
    wr_fifo_free(&fifo);
}

static void datagrams_stay_whole(check_t *check) {
    wr_fifo fifo;
    REQUIRE_OK(wr_fifo_init(&fifo, 32, true));
    for (int i = 0; i < 20; i++) {
        put_text(check, &fifo, "first");
        put_text(check, &fifo, "second");
        CHECK(!wr_fifo_put(&fifo, "0123456789", 10)); /* its length needs room, too */
        CHECK_EQ_U64(wr_fifo_make_room(&fifo, 10), 5);
        put_text(check, &fifo, "0123456789");
        CHECK_STR(take_text(&fifo, 3), "sec"); /* cut: the rest is gone */
        CHECK_STR(take_text(&fifo, 100), "0123456789");
        CHECK_STR(take_text(&fifo, 100), "");
    }
    CHECK(!wr_fifo_put(&fifo, "0123456789012345678901234567890", 29));
    wr_fifo_free(&fifo);
}

/* ---- values ---- */

static const char *value_of(const wr_kv *kv, const char *key) {
    static char text[64];
    uint32_t len;
    const uint8_t *value = wr_kv_get(kv, key, (uint32_t)strlen(key), &len);
    if (value == NULL) return "(none)";
    snprintf(text, sizeof text, "%.*s", (int)len, (const char *)value);
    return text;
}

static wr_status put_value(wr_kv *kv, const char *key, const char *value) {
    return wr_kv_put(kv, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value));
}

static void values_are_kept_replaced_and_removed(check_t *check) {
    wr_kv kv;
    REQUIRE_OK(wr_kv_init(&kv, 64));
    CHECK_OK(put_value(&kv, "a", "one"));
    CHECK_OK(put_value(&kv, "ab", "two"));
    CHECK_OK(put_value(&kv, "b", "three"));
    CHECK_OK(put_value(&kv, "a", "longer"));
    CHECK_STR(value_of(&kv, "a"), "longer");
    CHECK_STR(value_of(&kv, "ab"), "two");
    CHECK_STR(value_of(&kv, "b"), "three");
    CHECK_OK(put_value(&kv, "ab", ""));
    CHECK_STR(value_of(&kv, "ab"), "(none)");
    CHECK_OK(put_value(&kv, "ab", "")); /* removing nothing */
    CHECK_STR(value_of(&kv, "b"), "three");
    wr_kv_free(&kv);
}

static void values_beyond_the_quota_are_refused(check_t *check) {
    wr_kv kv;
    REQUIRE_OK(wr_kv_init(&kv, 32));
    CHECK_OK(put_value(&kv, "k", "0123456789")); /* 8 + 1 + 10 */
    CHECK_STATUS(put_value(&kv, "l", "01234"), WR_FULL);
    CHECK_OK(put_value(&kv, "l", "0123"));
    CHECK_STATUS(put_value(&kv, "k", "01234567890"), WR_FULL);
    CHECK_STR(value_of(&kv, "k"), "0123456789");
    CHECK_STATUS(wr_kv_put(&kv, "k", 1, "", UINT32_MAX), WR_FULL);
    wr_kv_free(&kv);
}

/* ---- events ---- */

static bool readable(int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, 0) == 1;
}

static void events_are_bounded_and_losses_counted(check_t *check) {
    wr_events *events;
    REQUIRE_OK(wr_events_new(4 * 32, &events));
    CHECK(!readable(wr_events_fd(events)));
    for (uint32_t i = 0; i < 10; i++) wr_events_postf(events, WR_EVENT_LOG, 1, i, 100 + i, "text %u", i);
    CHECK(readable(wr_events_fd(events)));
    _Alignas(8) uint8_t bytes[256];
    CHECK_EQ_U64(wr_events_read(events, bytes, 80), 64); /* whole events */
    CHECK_EQ_U64(wr_events_read(events, bytes, sizeof bytes), 64 + sizeof(wr_event));
    const wr_event *first = (const void *)bytes, *lost = (const void *)(bytes + 64);
    CHECK_EQ_U64(first->source, 2);
    CHECK_EQ_U64(first->len, 6);
    CHECK_MEM(first + 1, "text 2", 6);
    CHECK_EQ_U64(lost->kind, WR_EVENT_LOST);
    CHECK_EQ_U64(lost->len, 6);
    CHECK_EQ_I64(lost->time_ns, 104);
    CHECK(!readable(wr_events_fd(events)));
    wr_events_post(events, WR_EVENT_PORT, 0, 1, 200, "", 0);
    CHECK_EQ_U64(wr_events_read(events, bytes, sizeof bytes), sizeof(wr_event));
    wr_events_free(events);
}

static void long_texts_are_cut(check_t *check) {
    wr_events *events;
    REQUIRE_OK(wr_events_new(4096, &events));
    static char text[WR_EVENT_TEXT_MAX + 100];
    _Alignas(8) uint8_t bytes[1024];
    memset(text, 'a', sizeof text);
    wr_events_post(events, WR_EVENT_LOG, 1, 0, 0, text, sizeof text);
    CHECK_EQ_U64(wr_events_read(events, bytes, sizeof bytes), sizeof(wr_event) + WR_EVENT_TEXT_MAX);
    wr_events_free(events);
}

static void *post_many(void *arg) {
    for (uint32_t i = 0; i < 20000; i++) wr_events_postf(arg, WR_EVENT_LOG, 1, i, 0, "%u", i);
    return NULL;
}

static void every_event_is_read_or_counted(check_t *check) {
    wr_events *events;
    REQUIRE_OK(wr_events_new(1024, &events));
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, post_many, events) == 0);
    _Alignas(8) uint8_t bytes[4096];
    uint64_t total = 0;
    while (total < 20000) {
        struct pollfd wait = {.fd = wr_events_fd(events), .events = POLLIN};
        REQUIRE(poll(&wait, 1, 10000) == 1);
        uint32_t got = wr_events_read(events, bytes, sizeof bytes);
        for (uint32_t at = 0; at < got;) {
            const wr_event *event = (const void *)(bytes + at);
            total += event->kind == WR_EVENT_LOST ? event->len : 1;
            at += event->size;
        }
    }
    CHECK_EQ_U64(total, 20000);
    pthread_join(thread, NULL);
    wr_events_free(events);
}

/* ---- descriptors ---- */

typedef struct fixture {
    wr_engine *engine;
    wr_exec *exec;
    wr_events *events;
    wr_module *module;
    wr_port port;
    int peer, epoll_fd;
} fixture;

/* A port of the echo plugin on one end of a pair, the test on the other. */
static void new_fixture(fixture *f, check_t *check, int type, uint32_t tx_bytes) {
    *f = (fixture){.port = {.name = "p", .datagram = type == SOCK_DGRAM, .rx_bytes = 256, .tx_bytes = tx_bytes}};
    CHECK_OK(wr_engine_new(NULL, &f->engine));
    CHECK_OK(wr_exec_new(f->engine, 0, &f->exec));
    CHECK_OK(wr_events_new(65536, &f->events));
    f->module = load_plugin(check, f->engine, "echo");
    wr_stage_config config = {.name = "echo",
                              .module = f->module,
                              .hal_grants = UINT32_MAX,
                              .memory_bytes_max = 1 << 20,
                              .deadline_us = 60000000, /* emulators are slow */
                              .port_count = 1};
    wr_stage_port_config port = {
        .datagram = f->port.datagram, .up = true, .rx_bytes = f->port.rx_bytes, .tx_bytes = tx_bytes};
    wr_stage_env env = {.engine = f->engine, .exec = f->exec, .events = f->events};
    CHECK_OK(wr_stage_new(&env, &config, &port, wr_instant_now(), &f->port.stage, NULL));
    int pair[2];
    CHECK(socketpair(AF_UNIX, type, 0, pair) == 0);
    int small = 4096;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    f->peer = pair[1];
    f->epoll_fd = epoll_create1(0);
    CHECK_OK(wr_port_open(&f->port, f->epoll_fd, pair[0]));
}

static void tear_down(fixture *f) {
    wr_stage_free(f->port.stage);
    if (f->port.fd >= 0) wr_port_close(&f->port);
    close(f->peer);
    close(f->epoll_fd);
    wr_events_free(f->events);
    wr_exec_free(f->exec);
    wr_module_release(f->module);
    wr_engine_free(f->engine);
}

static wr_port_end receive(fixture *f, uint32_t events) {
    static uint8_t scratch[65536];
    return wr_port_receive(&f->port, events, scratch, sizeof scratch);
}

static void a_descriptor_is_made_non_blocking(check_t *check) {
    fixture f;
    new_fixture(&f, check, SOCK_STREAM, 256);
    CHECK((fcntl(f.port.fd, F_GETFL) & O_NONBLOCK) != 0);
    wr_port_end end = receive(&f, EPOLLIN);
    CHECK(!wr_port_has_ended(&end));
    CHECK_EQ_U64(f.port.rx_total, 0);
    tear_down(&f);
}

static void a_stream_ends_with_its_peer(check_t *check) {
    fixture f;
    new_fixture(&f, check, SOCK_STREAM, 256);
    CHECK_EQ_I64(write(f.peer, "last", 4), 4);
    shutdown(f.peer, SHUT_WR);
    wr_port_end end = receive(&f, EPOLLIN | EPOLLHUP); /* the bytes come first */
    CHECK(!wr_port_has_ended(&end));
    CHECK_EQ_U64(f.port.rx_total, 4);
    end = receive(&f, EPOLLIN);
    CHECK_STR(end.reason, "end of file");
    close(f.peer);
    f.peer = -1;
    end = wr_port_send(&f.port);
    CHECK_STR(end.reason, "Broken pipe");
    tear_down(&f);
}

static void partial_writes_lose_nothing(check_t *check) {
    fixture f;
    const uint32_t total = 1 << 20;
    new_fixture(&f, check, SOCK_STREAM, total);
    CHECK_EQ_I64(write(f.peer, "b", 1), 1); /* echo fills its transmit buffer */
    receive(&f, EPOLLIN);
    wr_port_end end = wr_port_send(&f.port);
    CHECK(!wr_port_has_ended(&end));
    CHECK(f.port.is_blocked);
    CHECK(f.port.tx_total > 0 && f.port.tx_total < total);
    wr_port_watch(&f.port, f.epoll_fd);
    CHECK((f.port.watched & EPOLLOUT) != 0);
    uint64_t got = 0;
    static char bytes[10000];
    while (got < total) {
        ssize_t len = read(f.peer, bytes, sizeof bytes);
        REQUIRE(len > 0);
        for (ssize_t i = 0; i < len; i++) CHECK(bytes[i] == 'x');
        got += (uint64_t)len;
        end = wr_port_send(&f.port);
        CHECK(!wr_port_has_ended(&end));
    }
    CHECK_EQ_U64(f.port.tx_total, total);
    CHECK(!f.port.is_blocked);
    wr_port_watch(&f.port, f.epoll_fd);
    CHECK((f.port.watched & EPOLLOUT) == 0);
    tear_down(&f);
}

static void datagrams_keep_their_borders(check_t *check) {
    fixture f;
    new_fixture(&f, check, SOCK_DGRAM, 256);
    CHECK_EQ_I64(write(f.peer, "one", 3), 3);
    CHECK_EQ_I64(write(f.peer, "second", 6), 6);
    for (int i = 0; i < 2; i++) receive(&f, EPOLLIN);
    wr_port_end end = wr_port_send(&f.port);
    CHECK(!wr_port_has_ended(&end));
    char bytes[16];
    CHECK_EQ_I64(read(f.peer, bytes, sizeof bytes), 3);
    CHECK_EQ_I64(read(f.peer, bytes, sizeof bytes), 6);
    close(f.peer);
    f.peer = -1;
    wr_instant now = wr_instant_now();
    wr_stage_feed(f.port.stage, 0, "nobody", 6, now);
    end = wr_port_send(&f.port); /* lost, as datagrams are; the port stays */
    CHECK(!wr_port_has_ended(&end));
    uint32_t left;
    CHECK(wr_stage_tx(f.port.stage, 0, &left) == NULL);
    tear_down(&f);
}

static void a_descriptor_that_cannot_be_watched_is_refused(check_t *check) {
    int epoll_fd = epoll_create1(0), file = open("/proc/self/exe", O_RDONLY);
    wr_port port = {.name = "p", .fd = -1};
    CHECK_STATUS(wr_port_open(&port, epoll_fd, file), WR_SYSTEM);
    CHECK_EQ_I64(port.fd, -1);
    CHECK_EQ_I64(fcntl(file, F_GETFD), -1); /* closed */
    close(epoll_fd);
}

static const check_test TESTS[] = {
    CHECK_TEST(a_stream_keeps_its_bytes_in_order),
    CHECK_TEST(a_stream_makes_room_by_forgetting_the_oldest),
    CHECK_TEST(datagrams_stay_whole),
    CHECK_TEST(values_are_kept_replaced_and_removed),
    CHECK_TEST(values_beyond_the_quota_are_refused),
    CHECK_TEST(events_are_bounded_and_losses_counted),
    CHECK_TEST(long_texts_are_cut),
    CHECK_TEST(every_event_is_read_or_counted),
    CHECK_TEST(a_descriptor_is_made_non_blocking),
    CHECK_TEST(a_stream_ends_with_its_peer),
    CHECK_TEST(partial_writes_lose_nothing),
    CHECK_TEST(datagrams_keep_their_borders),
    CHECK_TEST(a_descriptor_that_cannot_be_watched_is_refused),
};

/* The loop's thread has SIGPIPE blocked; so has this one. */
int main(int argc, char **argv) {
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
    return check_run(TESTS, sizeof TESTS / sizeof *TESTS, argc, argv);
}
