/* Commands from one stage to another, and what a stage keeps over a trap. */
#include "../flow/stage.h"
#include "check.h"
#include "loop_rig.h"
#include "plugin_files.h"

enum { RING_BYTES = 4096, ALL = (1 << WR_HAL_COUNT) - 1, KEEP_MAX = 4096 };
enum { TRAP = 100, COMMAND, SPOIL, NOTHING, KEEP_MUCH }; /* tags that tests/plugins/clerk.c knows */

/* `source` gives commands to `driver`; the test writes and reads their samples. */
typedef struct fixture {
    check_t *check;
    wr_engine *engine;
    wr_exec *exec;
    wr_events *events;
    wr_module *module;
    wr_ring *in, *out, *commands, *driver_out;
    uint32_t out_consumer, driver_consumer;
    wr_stage_config source_config, driver_config;
    wr_stage *source, *driver;
    wr_instant now;
} fixture;

static wr_stage_config config_of(const fixture *f, const char *name) {
    return (wr_stage_config){.name = name,
                             .module = f->module,
                             .hal_grants = ALL,
                             .memory_bytes_max = 1 << 20,
                             .state_bytes_max = KEEP_MAX,
                             .in_schema = WR_SCHEMA_SAMPLES,
                             .out_schema = WR_SCHEMA_SAMPLES};
}

static wr_status start(fixture *f, const wr_stage_config *config, wr_stage **stage, wr_error *error) {
    wr_stage_env env = {.engine = f->engine, .exec = f->exec, .events = f->events};
    return wr_stage_new(&env, config, NULL, f->now, stage, error);
}

static void set_up(fixture *f, check_t *check) {
    *f = (fixture){.check = check, .now = {.unix_ns = 5000, .mono_ns = 1000000}};
    CHECK_OK(wr_engine_new(NULL, &f->engine));
    CHECK_OK(wr_exec_new(f->engine, 0, &f->exec));
    CHECK_OK(wr_events_new(65536, &f->events));
    f->module = load_plugin(check, f->engine, "clerk");
    wr_stage_config *source = &f->source_config, *driver = &f->driver_config;
    *source = config_of(f, "source");
    *driver = config_of(f, "driver");
    f->in = rig_ring(check, "in", RING_BYTES, WR_SCHEMA_SAMPLES, WR_POLICY_BLOCK, &source->in_consumers[0]);
    f->out = rig_ring(check, "out", RING_BYTES, WR_SCHEMA_SAMPLES, WR_POLICY_BLOCK, &f->out_consumer);
    f->driver_out = rig_ring(check, "driver", RING_BYTES, WR_SCHEMA_SAMPLES, WR_POLICY_BLOCK, &f->driver_consumer);
    f->commands =
        rig_ring(check, "commands", RING_BYTES, WR_SCHEMA_COMMANDS, WR_POLICY_DROP_OLDEST, &driver->in_consumers[1]);
    source->in_rings[0] = f->in;
    source->in_count = 1;
    source->out_rings[0] = f->out;
    source->out_rings[1] = f->commands;
    source->out_count = 2;
    source->out_commands = 1;
    CHECK_OK(wr_ring_attach(f->out, WR_POLICY_DROP_OLDEST, &driver->in_consumers[0]));
    driver->in_rings[0] = f->out;
    driver->in_rings[1] = f->commands;
    driver->in_count = 2;
    driver->in_commands = 1;
    driver->out_rings[0] = f->driver_out;
    driver->out_count = 1;
}

static void tear_down(fixture *f) {
    wr_stage_free(f->source);
    wr_stage_free(f->driver);
    wr_ring_free(f->in);
    wr_ring_free(f->out);
    wr_ring_free(f->commands);
    wr_ring_free(f->driver_out);
    wr_events_free(f->events);
    wr_exec_free(f->exec);
    wr_module_release(f->module);
    wr_engine_free(f->engine);
}

static void settle(fixture *f, wr_stage *stage) {
    check_t *check = f->check;
    int rounds = 0;
    while (wr_stage_ready(stage) && rounds++ < 1000) wr_stage_run(stage, f->now);
    CHECK(rounds < 1000);
}

static void run_source(fixture *f, uint32_t tag, uint64_t value) {
    check_t *check = f->check;
    wr_record record = {
        .size = sizeof record, .kind = WR_KIND_SAMPLE, .type = WR_VALUE_U64, .tag = tag, .value = value};
    CHECK_OK(wr_ring_write(f->in, &record, sizeof record));
    settle(f, f->source);
}

/* The records of a ring; returns how many. */
static uint32_t take(fixture *f, wr_ring *ring, uint32_t consumer, wr_record *into, uint32_t cap) {
    check_t *check = f->check;
    uint32_t got = 0;
    CHECK_OK(wr_ring_read(ring, consumer, into, cap * (uint32_t)sizeof *into, &got));
    CHECK_OK(wr_ring_release(ring, consumer));
    return got / (uint32_t)sizeof *into;
}

static uint64_t count_out(fixture *f) {
    wr_record records[RING_BYTES / sizeof(wr_record)];
    uint32_t got = take(f, f->out, f->out_consumer, records, RING_BYTES / sizeof(wr_record));
    return got == 0 ? UINT64_MAX : records[got - 1].value;
}

/* ---- commands ---- */

static void a_command_reaches_the_driver(check_t *check) {
    fixture f;
    set_up(&f, check);
    REQUIRE_OK(start(&f, &f.source_config, &f.source, NULL));
    REQUIRE_OK(start(&f, &f.driver_config, &f.driver, NULL));
    run_source(&f, COMMAND, 77);
    CHECK(wr_stage_ready(f.driver));
    settle(&f, f.driver);
    wr_record got[4];
    REQUIRE(take(&f, f.driver_out, f.driver_consumer, got, 4) == 1);
    CHECK_EQ_U64(got[0].kind, WR_KIND_EVENT);
    CHECK_EQ_U64(got[0].value, 77);
    CHECK_EQ_U64(count_out(&f), UINT64_MAX); /* nothing among the samples */
    wr_stage_stats stats;
    wr_stage_stats_get(f.source, &stats);
    CHECK_EQ_U64(stats.records_out, 1);
    tear_down(&f);
}

/* A driver that takes nothing costs its commands, never the stage that gives them. */
static void a_reader_that_stands_still_loses_the_oldest(check_t *check) {
    enum { GIVEN = 1000 };
    fixture f;
    set_up(&f, check);
    REQUIRE_OK(start(&f, &f.source_config, &f.source, NULL));
    for (uint64_t i = 0; i < GIVEN; i++) run_source(&f, COMMAND, i);
    REQUIRE_OK(start(&f, &f.driver_config, &f.driver, NULL));
    settle(&f, f.driver);
    wr_record got[RING_BYTES / sizeof(wr_record)];
    uint32_t count = take(&f, f.driver_out, f.driver_consumer, got, RING_BYTES / sizeof(wr_record));
    REQUIRE(count > 0 && count < GIVEN);
    for (uint32_t i = 0; i < count; i++) CHECK_EQ_U64(got[i].value, GIVEN - count + i);
    wr_consumer_stats stats;
    CHECK_OK(wr_ring_consumer_stats(f.commands, f.driver_config.in_consumers[1], &stats));
    CHECK_EQ_U64(stats.dropped, GIVEN - count);
    CHECK_EQ_U64(stats.records, count);
    tear_down(&f);
}

static void without_a_reader_there_is_no_output_for_them(check_t *check) {
    fixture f;
    set_up(&f, check);
    f.source_config.out_count = 1;
    f.source_config.out_commands = 0;
    REQUIRE_OK(start(&f, &f.source_config, &f.source, NULL));
    run_source(&f, COMMAND, 1);
    run_source(&f, 1, 0);
    CHECK_EQ_U64(count_out(&f), 0);
    tear_down(&f);
}

static void rings_of_other_records_are_refused(check_t *check) {
    fixture f;
    set_up(&f, check);
    wr_stage *stage = NULL;
    wr_error error = {.message = ""};
    f.source_config.out_rings[1] = f.driver_out;
    CHECK_STATUS(start(&f, &f.source_config, &stage, &error), WR_SCHEMA);
    CHECK_CONTAINS(error.message, "output 1 is of schema 3 (commands), ring \"driver\" of schema 1 (samples)");
    f.source_config.out_rings[1] = f.commands;
    f.source_config.out_commands = 0; /* then it is an output like the first one */
    CHECK_STATUS(start(&f, &f.source_config, &stage, &error), WR_SCHEMA);
    CHECK_CONTAINS(error.message, "output 1 is of schema 1 (samples), ring \"commands\" of schema 3 (commands)");
    f.driver_config.in_commands = 2;
    CHECK_STATUS(start(&f, &f.driver_config, &stage, &error), WR_SCHEMA);
    CHECK_CONTAINS(error.message, "input 0 is of schema 3 (commands), ring \"out\" of schema 1 (samples)");
    f.source_config.out_commands = 1; /* what was refused has given its ends back */
    f.driver_config.in_commands = 1;
    CHECK_OK(start(&f, &f.source_config, &f.source, &error));
    CHECK_OK(start(&f, &f.driver_config, &f.driver, &error));
    tear_down(&f);
}

/* ---- what is kept ---- */

static int64_t is_back(const fixture *f) { return f->source->metrics[0].value; }

static void what_is_kept_goes_on_after_a_trap(check_t *check) {
    fixture f;
    set_up(&f, check);
    REQUIRE_OK(start(&f, &f.source_config, &f.source, NULL));
    CHECK_EQ_I64(is_back(&f), 0);
    for (uint32_t i = 0; i < 5; i++) run_source(&f, 1, 0);
    CHECK_EQ_U64(count_out(&f), 4);
    for (uint64_t traps = 1; traps <= 5; traps++) {
        run_source(&f, TRAP, 0);
        CHECK_EQ_U64(count_out(&f), 4 + 2 * traps - 1); /* the record it trapped with was put out */
        CHECK_EQ_U64(f.source->stats.traps, traps);
        CHECK_EQ_I64(is_back(&f), 1);
        run_source(&f, 1, 0);
        CHECK_EQ_U64(count_out(&f), 4 + 2 * traps);
        f.now.mono_ns += WR_STAGE_TRAPS_NS;
    }
    tear_down(&f);
}

/* An instance that traps in its start has been given it in vain. */
static void what_makes_it_trap_is_given_up(check_t *check) {
    fixture f;
    set_up(&f, check);
    REQUIRE_OK(start(&f, &f.source_config, &f.source, NULL));
    run_source(&f, 1, 0);
    run_source(&f, SPOIL, 0);
    CHECK_EQ_U64(f.source->stats.state, WR_STAGE_RUNNING);
    CHECK_EQ_U64(f.source->stats.traps, 2);
    CHECK_EQ_I64(is_back(&f), 0);
    count_out(&f);
    run_source(&f, 1, 0);
    CHECK_EQ_U64(count_out(&f), 0);
    tear_down(&f);
}

/* The last start before the stage would be stopped is without, too. */
static void the_third_trap_is_the_last_that_keeps(check_t *check) {
    fixture f;
    set_up(&f, check);
    REQUIRE_OK(start(&f, &f.source_config, &f.source, NULL));
    for (uint64_t traps = 1; traps <= WR_STAGE_TRAPS_MAX; traps++) {
        run_source(&f, TRAP, 0);
        CHECK_EQ_U64(count_out(&f), traps - 1);
        CHECK_EQ_I64(is_back(&f), traps < WR_STAGE_TRAPS_MAX);
    }
    run_source(&f, 1, 0);
    CHECK_EQ_U64(count_out(&f), 0);
    tear_down(&f);
}

static void more_than_is_allowed_is_not_kept(check_t *check) {
    fixture f;
    set_up(&f, check);
    REQUIRE_OK(start(&f, &f.source_config, &f.source, NULL));
    run_source(&f, 1, 0);
    run_source(&f, KEEP_MUCH, 0);
    CHECK_EQ_U64(count_out(&f), (uint64_t)-WR_PEN_FULL);
    run_source(&f, TRAP, 0);
    count_out(&f);
    run_source(&f, 1, 0);
    CHECK_EQ_U64(count_out(&f), 2); /* what it kept before is still kept */
    tear_down(&f);
}

static const check_test TESTS[] = {
    CHECK_TEST(a_command_reaches_the_driver),
    CHECK_TEST(a_reader_that_stands_still_loses_the_oldest),
    CHECK_TEST(without_a_reader_there_is_no_output_for_them),
    CHECK_TEST(rings_of_other_records_are_refused),
    CHECK_TEST(what_is_kept_goes_on_after_a_trap),
    CHECK_TEST(what_makes_it_trap_is_given_up),
    CHECK_TEST(the_third_trap_is_the_last_that_keeps),
    CHECK_TEST(more_than_is_allowed_is_not_kept),
};
CHECK_MAIN(TESTS)
