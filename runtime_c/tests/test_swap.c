/* Other versions for stages of a running loop: a native thread writes records, this one swaps, reads and counts. */
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "plugin_files.h"
#include "wr.h"

enum { RING_BYTES = 65536, ALL = (1 << WR_HAL_COUNT) - 1, DEADLINE_US = 200000, RECORDS = 20000, SWAPS = 40 };
enum { FINE, SAVE_TRAPS, SAVE_NOT_NOW, SAVE_TOO_MUCH, SAVE_NOTHING, LOAD_TRAPS, LOAD_REFUSES, LOAD_LOOPS, TRAP_ALWAYS };

typedef struct fixture {
    check_t *check;
    wr_engine *engine;
    wr_loop *loop;
    wr_module *module;
    wr_ring *in, *out;
    uint32_t consumer;
    uint32_t stage;
    wr_stage_config config;
    uint32_t wrong;    /* the configuration of the stage */
    uint32_t written;  /* records */
    uint64_t expected; /* number of the next record that comes out */
} fixture;

static wr_ring *new_ring(check_t *check, const char *name, uint32_t schema, uint32_t *consumer) {
    wr_ring_config config = {.name = name, .bytes = RING_BYTES, .consumers_max = 1, .schema = schema};
    wr_ring *ring = NULL;
    CHECK_OK(wr_ring_new(&config, &ring, NULL));
    CHECK_OK(wr_ring_attach(ring, WR_POLICY_BLOCK, consumer));
    return ring;
}

static void set_up(fixture *f, check_t *check, uint32_t wrong) {
    *f = (fixture){.check = check, .wrong = wrong};
    CHECK_OK(wr_engine_new(NULL, &f->engine));
    CHECK_OK(wr_loop_new(f->engine, NULL, &f->loop, NULL));
    f->module = load_plugin(check, f->engine, "keeper");
    f->config = (wr_stage_config){.name = "keeper",
                                  .module = f->module,
                                  .hal_grants = ALL,
                                  .config = (const uint8_t *)&f->wrong,
                                  .config_bytes = sizeof f->wrong,
                                  .memory_bytes_max = 1 << 20,
                                  .deadline_us = DEADLINE_US,
                                  .state_bytes_max = 4096,
                                  .in_count = 1,
                                  .out_count = 1};
    f->in = new_ring(check, "in", 1, &f->config.in_consumers[0]);
    f->out = new_ring(check, "out", 1, &f->consumer);
    f->config.in_rings[0] = f->in;
    f->config.out_rings[0] = f->out;
    CHECK_OK(wr_loop_add_stage(f->loop, &f->config, &f->stage, NULL));
    CHECK_OK(wr_loop_start(f->loop));
}

static void tear_down(fixture *f) {
    wr_loop_free(f->loop);
    wr_ring_free(f->in);
    wr_ring_free(f->out);
    wr_module_release(f->module);
    wr_engine_free(f->engine);
}

static void write_one(fixture *f) {
    wr_record record = {.size = sizeof record, .kind = WR_KIND_SAMPLE, .seq = f->written};
    while (wr_ring_write(f->in, &record, sizeof record) == WR_FULL) sched_yield();
    f->written++;
}

static void *write_all(void *user) {
    for (int i = 0; i < RECORDS; i++) write_one(user);
    return NULL;
}

/* What has come out goes on from what came before, in `seq` of the writer and in `value` of the plugin. */
static void read_out(fixture *f) {
    check_t *check = f->check;
    static wr_record records[RING_BYTES / sizeof(wr_record)];
    uint32_t got;
    CHECK_OK(wr_ring_read(f->out, f->consumer, records, sizeof records, &got));
    for (uint32_t i = 0; i < got / sizeof *records; i++) {
        bool goes_on = records[i].seq == (uint32_t)f->expected && records[i].value == f->expected;
        if (!goes_on) CHECK_FAIL("seq %u value %u", records[i].seq, (unsigned)records[i].value);
        f->expected = (uint64_t)records[i].seq + 1;
    }
    CHECK_OK(wr_ring_release(f->out, f->consumer));
}

static void expect_through(fixture *f, uint64_t count) {
    while (f->expected < count) {
        read_out(f);
        sched_yield();
    }
}

static wr_stage_stats stats_of(fixture *f) {
    check_t *check = f->check;
    wr_stage_stats stats;
    CHECK_OK(wr_loop_stage_stats(f->loop, f->stage, &stats));
    return stats;
}

static wr_status swap_to(fixture *f, uint32_t wrong, bool carries, wr_swap_result *result, wr_error *error) {
    wr_swap *swap = NULL;
    wr_stage_config config = f->config;
    config.config = (const uint8_t *)&wrong;
    wr_status status = wr_swap_new(f->loop, f->stage, &config, carries, &swap, error);
    if (status != WR_OK) return status;
    status = wr_swap_commit(swap, result, error);
    wr_swap_free(swap);
    return status;
}

/* ---- tests ---- */

static void nothing_is_lost_or_repeated(check_t *check) {
    fixture f;
    pthread_t writer;
    set_up(&f, check, FINE);
    REQUIRE(pthread_create(&writer, NULL, write_all, &f) == 0);
    for (uint64_t i = 0; i < SWAPS; i++) {
        wr_swap_result result = {0};
        wr_error error = {.message = ""};
        if (!CHECK_OK(swap_to(&f, FINE, true, &result, &error))) CHECK_FAIL("%s", error.message);
        CHECK_EQ_U64(result.state_version, 7);
        CHECK_EQ_U64(result.state_bytes, 8);
        CHECK_EQ_U64(result.generation, i + 2);
        read_out(&f);
    }
    expect_through(&f, RECORDS);
    pthread_join(writer, NULL);
    wr_stage_stats stats = stats_of(&f);
    CHECK_EQ_U64(stats.records_in, RECORDS);
    CHECK_EQ_U64(stats.records_out, RECORDS);
    CHECK_EQ_U64(stats.generation, SWAPS + 1);
    CHECK_EQ_U64(stats.traps + stats.restarts, 0);
    CHECK(stats.longest_pause_ns >= stats.last_pause_ns && stats.last_pause_ns > 0);
    wr_metric metric;
    uint32_t count;
    CHECK_OK(wr_loop_stage_metrics(f.loop, f.stage, &metric, 1, &count));
    CHECK_EQ_U64(count, 1);
    CHECK_EQ_I64(metric.value, RECORDS);
    tear_down(&f);
}

static void what_fails_leaves_the_running_version(check_t *check) {
    static const struct {
        uint32_t running, next;
        wr_status status;
        const char *message;
    } cases[] = {
        {SAVE_NOT_NOW, FINE, WR_BAD_STATE, "pen_save of the running version returned -1: not now"},
        {SAVE_TOO_MUCH, FINE, WR_FULL, "the state is larger than 4096 bytes; raise limits.state_bytes"},
        {FINE, LOAD_TRAPS, WR_TRAP_UNREACHABLE, "pen_load of the new version: trap in stage keeper: unreachable in "},
        {FINE, LOAD_REFUSES, WR_BAD_STATE, "pen_load returned 1: it does not take state of version 7"},
        {FINE, LOAD_LOOPS, WR_TRAP_DEADLINE, "pen_load of the new version: trap in stage keeper: deadline exceeded"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        set_up(&f, check, cases[i].running);
        write_one(&f);
        expect_through(&f, 1);
        wr_swap_result result = {0};
        wr_error error = {.message = ""};
        CHECK_STATUS(swap_to(&f, cases[i].next, true, &result, &error), cases[i].status);
        CHECK_CONTAINS(error.message, cases[i].message);
        write_one(&f);
        expect_through(&f, 2); /* with its count: the same instance */
        CHECK_EQ_U64(stats_of(&f).generation, 1);
        CHECK_EQ_U64(stats_of(&f).traps, 0);
        tear_down(&f);
    }
}

static void a_trap_in_pen_save_is_the_running_versions(check_t *check) {
    fixture f;
    set_up(&f, check, SAVE_TRAPS);
    wr_swap_result result = {0};
    wr_error error = {.message = ""};
    CHECK_STATUS(swap_to(&f, FINE, true, &result, &error), WR_TRAP_UNREACHABLE);
    CHECK_CONTAINS(error.message, "pen_save of the running version: trap in stage keeper");
    CHECK_EQ_U64(stats_of(&f).traps, 1);
    CHECK_EQ_U64(stats_of(&f).restarts, 1);
    CHECK_OK(swap_to(&f, FINE, false, &result, &error)); /* without its state */
    CHECK_EQ_U64(result.state_version, 0);
    write_one(&f);
    expect_through(&f, 1);
    CHECK_EQ_U64(stats_of(&f).traps, 1);
    tear_down(&f);
}

static void without_state_it_begins_anew_and_counters_go_on(check_t *check) {
    static const uint32_t saves[] = {SAVE_NOTHING, FINE};
    for (size_t i = 0; i < 2; i++) {
        fixture f;
        set_up(&f, check, saves[i]);
        for (int k = 0; k < 3; k++) write_one(&f);
        expect_through(&f, 3);
        wr_swap_result result = {0};
        CHECK_OK(swap_to(&f, FINE, saves[i] == SAVE_NOTHING, &result, NULL));
        CHECK_EQ_U64(result.state_version, 0);
        CHECK_EQ_U64(result.state_bytes, 0);
        f.expected = f.written = 0;
        write_one(&f);
        expect_through(&f, 1);
        CHECK_EQ_U64(stats_of(&f).records_in, 4);
        wr_metric metric = {.value = 0};
        uint32_t count;
        CHECK_OK(wr_loop_stage_metrics(f.loop, f.stage, &metric, 1, &count));
        CHECK_EQ_I64(metric.value, 4);
        tear_down(&f);
    }
}

static void a_stopped_stage_runs_again(check_t *check) {
    fixture f;
    set_up(&f, check, TRAP_ALWAYS);
    for (int i = 0; i < 4; i++) write_one(&f);
    while (stats_of(&f).state != WR_STAGE_STOPPED) sched_yield();
    CHECK_EQ_U64(stats_of(&f).traps, 4);
    wr_swap_result result = {0};
    CHECK_OK(swap_to(&f, FINE, true, &result, NULL));
    f.written = 0;
    for (int i = 0; i < 5; i++) write_one(&f);
    expect_through(&f, 5);
    CHECK_EQ_U64(stats_of(&f).state, WR_STAGE_RUNNING);
    CHECK_EQ_U64(stats_of(&f).traps, 4);
    CHECK_OK(swap_to(&f, TRAP_ALWAYS, true, &result, NULL));
    write_one(&f); /* a new version may trap as often again */
    while (stats_of(&f).traps == 4) sched_yield();
    CHECK_EQ_U64(stats_of(&f).state, WR_STAGE_RUNNING);
    tear_down(&f);
}

static void a_candidate_is_for_the_version_it_was_made_beside(check_t *check) {
    fixture f;
    set_up(&f, check, FINE);
    wr_swap *late = NULL, *unused = NULL;
    wr_swap_result result = {0};
    wr_error error = {.message = ""};
    CHECK_OK(wr_swap_new(f.loop, f.stage, &f.config, true, &late, NULL));
    CHECK_OK(wr_swap_new(f.loop, f.stage, &f.config, true, &unused, NULL));
    CHECK_OK(swap_to(&f, FINE, true, &result, NULL));
    CHECK_STATUS(wr_swap_commit(late, &result, &error), WR_BAD_STATE);
    CHECK_CONTAINS(error.message, "it was swapped after this candidate was made");
    wr_swap_free(late);
    wr_swap_free(unused);
    write_one(&f);
    expect_through(&f, 1);
    CHECK_STATUS(wr_swap_new(f.loop, 99, &f.config, true, &late, &error), WR_BAD_ARGUMENT);
    CHECK_CONTAINS(error.message, "stage 99");
    tear_down(&f);
}

static void what_does_not_fit_is_refused(check_t *check) {
    fixture f;
    set_up(&f, check, FINE);
    wr_module *relay = load_plugin(check, f.engine, "imp");
    struct {
        wr_stage_config config;
        wr_status status;
        const char *message;
    } cases[] = {
        {f.config, WR_SCHEMA, "output 0 is of schema 2 (payloads), ring \"out\" of schema 1 (samples)"},
        {f.config, WR_UNKNOWN_IMPORT, "is not granted"},
        {f.config, WR_LIMIT_MEMORY_BYTES, "memory"},
        {f.config, WR_NOT_FOUND, "the new one does not take it (no pen_load)"},
    };
    cases[0].config.out_schema = 2;
    cases[1].config.hal_grants = 0;
    cases[2].config.memory_bytes_max = 1;
    cases[3].config.module = relay;
    cases[3].config.config_bytes = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wr_swap *swap = NULL;
        wr_error error = {.message = ""};
        CHECK_STATUS(wr_swap_new(f.loop, f.stage, &cases[i].config, true, &swap, &error), cases[i].status);
        CHECK_CONTAINS(error.message, cases[i].message);
        write_one(&f);
        expect_through(&f, i + 1);
    }
    wr_module_release(relay);
    tear_down(&f);
}

/* A plugin without state gets its ports told, and bytes that wait to be sent stay. */
static void ports_stay_with_the_stage(check_t *check) {
    fixture f = {.check = check};
    CHECK_OK(wr_engine_new(NULL, &f.engine));
    CHECK_OK(wr_loop_new(f.engine, NULL, &f.loop, NULL));
    f.module = load_plugin(check, f.engine, "echo");
    wr_port_config port = {.name = "port"};
    int pair[2];
    char back[8] = "";
    f.config = (wr_stage_config){.name = "echo", .module = f.module, .hal_grants = ALL, .port_count = 1};
    CHECK_OK(wr_loop_add_port(f.loop, &port, &f.config.ports[0]));
    CHECK_OK(wr_loop_add_stage(f.loop, &f.config, &f.stage, NULL));
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK_OK(wr_loop_set_port_fd(f.loop, f.config.ports[0], pair[0]));
    CHECK_OK(wr_loop_start(f.loop));
    for (int i = 0; i < 5; i++) {
        wr_swap_result result;
        CHECK_OK(swap_to(&f, FINE, true, &result, NULL));
        CHECK_EQ_I64(write(pair[1], "hello", 5), 5);
        CHECK_EQ_I64(recv(pair[1], back, 5, MSG_WAITALL), 5);
        CHECK_STR(back, "hello");
    }
    wr_port_stats stats;
    CHECK_OK(wr_loop_port_stats(f.loop, f.config.ports[0], &stats));
    CHECK_EQ_U64(stats.tx_bytes, 25);
    CHECK_EQ_U64(stats.downs, 0);
    close(pair[1]);
    wr_loop_free(f.loop);
    wr_module_release(f.module);
    wr_engine_free(f.engine);
}

static const check_test TESTS[] = {
    CHECK_TEST(nothing_is_lost_or_repeated),
    CHECK_TEST(what_fails_leaves_the_running_version),
    CHECK_TEST(a_trap_in_pen_save_is_the_running_versions),
    CHECK_TEST(without_state_it_begins_anew_and_counters_go_on),
    CHECK_TEST(a_stopped_stage_runs_again),
    CHECK_TEST(a_candidate_is_for_the_version_it_was_made_beside),
    CHECK_TEST(what_does_not_fit_is_refused),
    CHECK_TEST(ports_stay_with_the_stage),
};
CHECK_MAIN(TESTS)
