/* Other versions for stages of a running loop: a native thread writes records, this one swaps, reads and counts. */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "check.h"
#include "loop_rig.h"
#include "plugin_files.h"
#include "wr.h"

enum { RECORDS = 20000, SWAPS = 40 };
enum { FINE, SAVE_TRAPS, SAVE_NOT_NOW, SAVE_TOO_MUCH, SAVE_NOTHING, LOAD_TRAPS, LOAD_REFUSES, LOAD_LOOPS, TRAP_ALWAYS };

static void write_one(loop_rig *f) {
    wr_record record = {.size = sizeof record, .kind = WR_KIND_SAMPLE, .seq = f->written};
    while (wr_ring_write(f->in, &record, sizeof record) == WR_FULL) sched_yield();
    f->written++;
}

static void *write_all(void *user) {
    for (int i = 0; i < RECORDS; i++) write_one(user);
    return NULL;
}

/* What has come out goes on from what came before, in `seq` of the writer and in `value` of the plugin. */
static void read_out(loop_rig *f) {
    check_t *check = f->check;
    static wr_record records[RIG_RING_BYTES / sizeof(wr_record)];
    uint32_t got;
    CHECK_OK(wr_ring_read(f->out, f->consumer, records, sizeof records, &got));
    for (uint32_t i = 0; i < got / sizeof *records; i++) {
        bool goes_on = records[i].seq == (uint32_t)f->read && records[i].value == f->read;
        if (!goes_on) CHECK_FAIL("seq %u value %u", records[i].seq, (unsigned)records[i].value);
        f->read = (uint64_t)records[i].seq + 1;
    }
    CHECK_OK(wr_ring_release(f->out, f->consumer));
}

static void expect_through(loop_rig *f, uint64_t count) {
    while (f->read < count) {
        read_out(f);
        sched_yield();
    }
}

static wr_stage_stats stats_of(loop_rig *f) {
    check_t *check = f->check;
    wr_stage_stats stats;
    CHECK_OK(wr_loop_stage_stats(f->loop, f->stage, &stats));
    return stats;
}

static wr_status swap_to(loop_rig *f, uint32_t wrong, bool carries, wr_swap_result *result, wr_error *error) {
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
    loop_rig f;
    pthread_t writer;
    rig_open(&f, check, "keeper", FINE);
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
    rig_close(&f);
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
        loop_rig f;
        rig_open(&f, check, "keeper", cases[i].running);
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
        rig_close(&f);
    }
}

static void a_trap_in_pen_save_is_the_running_versions(check_t *check) {
    loop_rig f;
    rig_open(&f, check, "keeper", SAVE_TRAPS);
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
    rig_close(&f);
}

static void without_state_it_begins_anew_and_counters_go_on(check_t *check) {
    static const uint32_t saves[] = {SAVE_NOTHING, FINE};
    for (size_t i = 0; i < 2; i++) {
        loop_rig f;
        rig_open(&f, check, "keeper", saves[i]);
        for (int k = 0; k < 3; k++) write_one(&f);
        expect_through(&f, 3);
        wr_swap_result result = {0};
        CHECK_OK(swap_to(&f, FINE, saves[i] == SAVE_NOTHING, &result, NULL));
        CHECK_EQ_U64(result.state_version, 0);
        CHECK_EQ_U64(result.state_bytes, 0);
        f.read = f.written = 0;
        write_one(&f);
        expect_through(&f, 1);
        CHECK_EQ_U64(stats_of(&f).records_in, 4);
        wr_metric metric = {.value = 0};
        uint32_t count;
        CHECK_OK(wr_loop_stage_metrics(f.loop, f.stage, &metric, 1, &count));
        CHECK_EQ_I64(metric.value, 4);
        rig_close(&f);
    }
}

static void a_stopped_stage_runs_again(check_t *check) {
    loop_rig f;
    rig_open(&f, check, "keeper", TRAP_ALWAYS);
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
    rig_close(&f);
}

static void a_candidate_is_for_the_version_it_was_made_beside(check_t *check) {
    loop_rig f;
    rig_open(&f, check, "keeper", FINE);
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
    rig_close(&f);
}

static void what_does_not_fit_is_refused(check_t *check) {
    loop_rig f;
    rig_open(&f, check, "keeper", FINE);
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
    rig_close(&f);
}

/* A plugin without state gets its ports told, and bytes that wait to be sent stay. */
static void ports_stay_with_the_stage(check_t *check) {
    loop_rig f;
    int line = rig_open_at_port(&f, check, "echo");
    for (int i = 0; i < 5; i++) {
        wr_swap_result result;
        CHECK_OK(swap_to(&f, FINE, true, &result, NULL));
        rig_expect_echo(&f, line, "hello");
    }
    wr_port_stats stats;
    CHECK_OK(wr_loop_port_stats(f.loop, f.config.ports[0], &stats));
    CHECK_EQ_U64(stats.tx_bytes, 25);
    CHECK_EQ_U64(stats.downs, 0);
    close(line);
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
