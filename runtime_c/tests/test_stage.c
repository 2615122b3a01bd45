/* Stages as state machines: real plugins, no ports, a clock that stands still until a test moves it. */
#include "../flow/stage.h"
#include "check.h"
#include "loop_rig.h"
#include "plugin_files.h"

enum { RING_BYTES = RIG_RING_BYTES, ALL = (1 << WR_HAL_COUNT) - 1, DEADLINE_US = 200000 };

/* Tags that tests/plugins/imp.c misbehaves on. */
enum {
    STORE_TO_INPUT = 100,
    LOOP_FOR_EVER,
    UNREACHABLE,
    CURSOR_IN_RECORD,
    BAD_SIZE,
    TRAP_AFTER_PUT,
    TRAP_AFTER_TAKEN,
    INPUT_IN_RECORD,
    RX_INTO_INPUT,
    SPOIL_OUTPUT,
    STALL,
    OUTSIDE_OF_MEMORY,
    INPUT_BACK,
    TRAP_IN_INIT_NEXT,
    CONFIG_BEYOND_MEMORY,
    RECURSE
};

/* One stage between two rings; the test is the host at both ends. */
typedef struct fixture {
    check_t *check;
    wr_engine *engine;
    wr_exec *exec;
    wr_events *events;
    wr_module *module;
    wr_ring *in, *out;
    uint32_t out_consumer;
    wr_stage_config config;
    wr_stage_port_config ports[2];
    wr_stage *stage;
    wr_instant now;
    uint32_t next_seq; /* of the records written */
    char events_text[8192];
} fixture;

static void set_up(fixture *f, check_t *check, const char *plugin) {
    *f = (fixture){.check = check, .now = {.unix_ns = 5000, .mono_ns = 1000000}};
    CHECK_OK(wr_engine_new(NULL, &f->engine));
    CHECK_OK(wr_exec_new(f->engine, 0, &f->exec));
    CHECK_OK(wr_events_new(65536, &f->events));
    f->module = load_plugin(check, f->engine, plugin);
    f->config = (wr_stage_config){.name = plugin,
                                  .module = f->module,
                                  .hal_grants = ALL,
                                  .memory_bytes_max = 1 << 20,
                                  .deadline_us = DEADLINE_US};
    f->in = rig_ring(check, "in", RING_BYTES, 1, WR_POLICY_BLOCK, &f->config.in_consumers[0]);
    f->out = rig_ring(check, "out", RING_BYTES, 1, WR_POLICY_BLOCK, &f->out_consumer);
    f->config.in_rings[0] = f->in;
    f->config.out_rings[0] = f->out;
    f->config.in_count = f->config.out_count = 1;
    for (int i = 0; i < 2; i++) f->ports[i] = (wr_stage_port_config){.rx_bytes = 64, .tx_bytes = 64, .up = true};
}

static wr_status start(fixture *f, wr_error *error) {
    wr_stage_env env = {.engine = f->engine, .exec = f->exec, .events = f->events, .number = 3};
    return wr_stage_new(&env, &f->config, f->ports, f->now, &f->stage, error);
}

static void start_or_fail(fixture *f) {
    check_t *check = f->check;
    wr_error error = {.message = ""};
    if (!CHECK_OK(start(f, &error))) {
        CHECK_FAIL("%s", error.message);
        exit(EXIT_FAILURE);
    }
}

static void new_fixture(fixture *f, check_t *check, const char *plugin) {
    set_up(f, check, plugin);
    start_or_fail(f);
}

static void tear_down(fixture *f) {
    wr_stage_free(f->stage);
    wr_ring_free(f->in);
    wr_ring_free(f->out);
    wr_events_free(f->events);
    wr_exec_free(f->exec);
    wr_module_release(f->module);
    wr_engine_free(f->engine);
}

static void write_tag(fixture *f, uint32_t tag) {
    check_t *check = f->check;
    wr_record record = {.size = sizeof record, .kind = WR_KIND_SAMPLE, .tag = tag, .seq = f->next_seq++};
    CHECK_OK(wr_ring_write(f->in, &record, sizeof record));
}

/* Runs until nothing is ready; bounded, as everything must come to rest. */
static void settle(fixture *f) {
    check_t *check = f->check;
    int rounds = 0;
    while (wr_stage_ready(f->stage) && rounds++ < 10000) wr_stage_run(f->stage, f->now);
    CHECK(rounds < 10000);
}

static void run_tag(fixture *f, uint32_t tag) {
    write_tag(f, tag);
    settle(f);
}

/* The seq numbers that came out, as text: "0 1 2". */
static const char *seqs_out(fixture *f) {
    static char text[8192];
    static wr_record records[RING_BYTES / sizeof(wr_record)];
    check_t *check = f->check;
    uint32_t got, used = 0;
    text[0] = '\0';
    CHECK_OK(wr_ring_read(f->out, f->out_consumer, records, sizeof records, &got));
    CHECK_OK(wr_ring_release(f->out, f->out_consumer));
    for (uint32_t i = 0; i < got / sizeof *records && used < sizeof text - 16; i++) {
        used += (uint32_t)snprintf(text + used, sizeof text - used, "%s%u", i > 0 ? " " : "", records[i].seq);
    }
    return text;
}

/* Texts of all events since the last look, each on a line. */
static const char *events_of(fixture *f) {
    static uint8_t bytes[65536];
    check_t *check = f->check;
    uint32_t got = wr_events_read(f->events, bytes, sizeof bytes);
    size_t used = 0;
    f->events_text[0] = '\0';
    for (uint32_t at = 0; at < got;) {
        wr_event event;
        memcpy(&event, bytes + at, sizeof event);
        CHECK_EQ_U64(event.source, 3);
        CHECK(event.size % 8 == 0 && event.size >= sizeof event + event.len);
        used += (size_t)snprintf(f->events_text + used, sizeof f->events_text - used, "%u %.*s\n", event.kind,
                                 (int)event.len, (const char *)bytes + at + sizeof event);
        at += event.size;
    }
    return f->events_text;
}

static const char *sent(fixture *f, uint32_t port) {
    static char text[256];
    uint32_t len;
    const uint8_t *bytes = wr_stage_tx(f->stage, port, &len);
    snprintf(text, sizeof text, "%.*s", bytes == NULL ? 0 : (int)len, bytes == NULL ? "" : (const char *)bytes);
    wr_stage_sent(f->stage, port, len);
    return text;
}

static void feed(fixture *f, uint32_t port, const char *text) {
    wr_stage_feed(f->stage, port, text, (uint32_t)strlen(text), f->now);
}

/* ---- linking ---- */

static void expect_refused(check_t *check, const char *plugin, uint32_t grants, wr_status status, const char *text) {
    fixture f;
    wr_error error = {.message = ""};
    set_up(&f, check, plugin);
    f.config.hal_grants = grants;
    CHECK_STATUS(start(&f, &error), status);
    CHECK_CONTAINS(error.message, text);
    CHECK(f.stage == NULL);
    tear_down(&f);
}

static void refuses_modules_that_do_not_fit(check_t *check) {
    expect_refused(check, "imp", ALL & ~(1u << WR_HAL_CONFIG), WR_UNKNOWN_IMPORT,
                   "stage \"imp\": import hal.config is not granted");
    expect_refused(check, "echo", ALL & ~(1u << WR_HAL_KV_PUT), WR_UNKNOWN_IMPORT, "hal.kv_put is not granted");
    expect_refused(check, "outsider", ALL, WR_UNKNOWN_IMPORT, "unknown import hal.reboot");
    expect_refused(check, "miscalled", ALL, WR_IMPORT_TYPE, "import hal.now has a wrong type: expected (i) -> (l)");
    expect_refused(check, "stranger", ALL, WR_NOT_FOUND, "does not export pen_abi_1");
    expect_refused(check, "mistyped", ALL, WR_IMPORT_TYPE, "export pen_on_rx must be a function (i) -> ()");
}

static void refuses_rings_of_another_schema(check_t *check) {
    fixture f;
    wr_error error = {.message = ""};
    set_up(&f, check, "imp");
    f.config.in_schema = 1;
    f.config.out_schema = 2;
    CHECK_STATUS(start(&f, &error), WR_SCHEMA);
    CHECK_STR(error.message, "stage \"imp\": output 0 is of schema 2 (payloads), ring \"out\" of schema 1 (samples)");
    f.config.out_schema = 1;
    start_or_fail(&f); /* the ends were given back */
    run_tag(&f, 1);
    CHECK_STR(seqs_out(&f), "0");
    tear_down(&f);
}

static void refuses_wrong_rings_and_ports(check_t *check) {
    fixture f;
    wr_error error = {.message = ""};
    set_up(&f, check, "imp");
    f.config.in_consumers[0] = 1;
    CHECK_STATUS(start(&f, &error), WR_BAD_ARGUMENT);
    CHECK_CONTAINS(error.message, "input 0: that end of ring \"in\" is taken or not attached");
    f.config.in_consumers[0] = 0;
    f.config.out_count = 2;
    CHECK_STATUS(start(&f, &error), WR_BAD_ARGUMENT);
    CHECK_CONTAINS(error.message, "output 1 has no ring");
    f.config.out_rings[1] = f.out;
    CHECK_STATUS(start(&f, &error), WR_BAD_ARGUMENT);
    CHECK_CONTAINS(error.message, "output 1: that end of ring \"out\" is taken");
    f.config.out_count = WR_STAGE_RINGS_MAX + 1;
    CHECK_STATUS(start(&f, &error), WR_BAD_ARGUMENT);
    CHECK_CONTAINS(error.message, "17 output rings; at most 16 are allowed");
    tear_down(&f);
}

static void an_init_that_refuses_refuses_the_stage(check_t *check) {
    fixture f;
    wr_error error = {.message = ""};
    uint32_t code = 7;
    set_up(&f, check, "imp");
    f.config.config = (const uint8_t *)&code;
    f.config.config_bytes = sizeof code;
    CHECK_STATUS(start(&f, &error), WR_BAD_STATE);
    CHECK_CONTAINS(error.message, "pen_init returned 7");
    tear_down(&f);
}

static void memory_beyond_the_limit_is_refused(check_t *check) {
    fixture f;
    wr_error error = {.message = ""};
    set_up(&f, check, "imp");
    f.config.memory_bytes_max = 65535;
    CHECK_STATUS(start(&f, &error), WR_LIMIT_MEMORY_BYTES);
    CHECK_CONTAINS(error.message, "stage \"imp\": ");
    tear_down(&f);
}

/* ---- records ---- */

static void relays_records_in_order(check_t *check) {
    fixture f;
    new_fixture(&f, check, "imp");
    for (uint32_t i = 0; i < 3; i++) write_tag(&f, i);
    settle(&f);
    CHECK_STR(seqs_out(&f), "0 1 2");
    wr_stage_stats stats;
    wr_stage_stats_get(f.stage, &stats);
    CHECK_EQ_U64(stats.records_in, 3);
    CHECK_EQ_U64(stats.records_out, 3);
    CHECK_EQ_U64(stats.calls, 2); /* pen_init, one pen_on_records */
    CHECK_EQ_U64(stats.stalls, 0);
    CHECK(stats.memory_bytes > 0 && stats.memory_bytes <= 1 << 20);
    CHECK_STR(events_of(&f), "");
    tear_down(&f);
}

/* Each misdeed: its trap's text, and what of records 0 (good), 1 (the misdeed) and 2 (good) comes out. */
static void a_trap_loses_at_most_one_record_and_repeats_none(check_t *check) {
    static const struct {
        uint32_t tag;
        const char *trap, *out;
    } cases[] = {
        {STORE_TO_INPUT, "store to read-only memory", "0 2"},
        {LOOP_FOR_EVER, "deadline exceeded", "0 2"},
        {UNREACHABLE, "unreachable", "0 2"},
        {CURSOR_IN_RECORD, "ring cursor or record out of range", "0 2"},
        {BAD_SIZE, "ring cursor or record out of range", "0 2"},
        {TRAP_AFTER_PUT, "unreachable", "0 1 2"},
        {TRAP_AFTER_TAKEN, "unreachable", "0 1"}, /* 2 is at the cursor: it counts as being read */
        {INPUT_IN_RECORD, "ring cursor or record out of range", "0 2"},
        {INPUT_BACK, "ring cursor or record out of range", "0 2"},
        {RX_INTO_INPUT, "store to read-only memory", "0 2"},
        {OUTSIDE_OF_MEMORY, "out of bounds memory access", "0 2"},
        {CONFIG_BEYOND_MEMORY, "out of bounds memory access", "0 2"},
        {RECURSE, "call stack exhausted", "0 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        new_fixture(&f, check, "imp");
        run_tag(&f, 1);
        write_tag(&f, cases[i].tag);
        write_tag(&f, 1);
        settle(&f);
        const char *events = events_of(&f);
        CHECK_CONTAINS(events, "2 trap in stage imp: ");
        CHECK_CONTAINS(events, cases[i].trap);
        if (!CHECK_STR(seqs_out(&f), cases[i].out)) printf("    tag %u\n", cases[i].tag);
        run_tag(&f, 1);
        CHECK_STR(seqs_out(&f), "3");
        wr_stage_stats stats;
        wr_stage_stats_get(f.stage, &stats);
        CHECK_EQ_U64(stats.traps, 1);
        CHECK_EQ_U64(stats.restarts, 1);
        CHECK_EQ_U64(stats.state, WR_STAGE_RUNNING);
        wr_consumer_stats seen;
        CHECK_OK(wr_ring_consumer_stats(f.in, 0, &seen));
        CHECK_EQ_U64(seen.records + seen.dropped, 4);
        tear_down(&f);
    }
}

static void a_trap_names_function_and_offset(check_t *check) {
    fixture f;
    new_fixture(&f, check, "imp");
    run_tag(&f, STORE_TO_INPUT);
    const char *text = events_of(&f);
    CHECK_CONTAINS(text, "2 trap in stage imp: store to read-only memory in ");
    CHECK_CONTAINS(text, "pen_on_records@0x");
    tear_down(&f);
}

static void a_spoiled_ring_hurts_only_its_own_records(check_t *check) {
    fixture f;
    new_fixture(&f, check, "imp");
    for (int i = 0; i < 5; i++) write_tag(&f, 1);
    settle(&f);
    run_tag(&f, SPOIL_OUTPUT);
    CHECK_STR(seqs_out(&f), ""); /* five records are gone, and counted */
    run_tag(&f, 1);
    CHECK_STR(seqs_out(&f), "6");
    wr_consumer_stats seen;
    CHECK_OK(wr_ring_consumer_stats(f.out, f.out_consumer, &seen));
    CHECK_EQ_U64(seen.dropped, 5);
    CHECK_EQ_U64(seen.records, 1);
    tear_down(&f);
}

static void the_fourth_trap_in_thirty_seconds_stops(check_t *check) {
    fixture f;
    new_fixture(&f, check, "imp");
    for (int i = 0; i < 3; i++) run_tag(&f, UNREACHABLE);
    f.now.mono_ns += WR_STAGE_TRAPS_NS + 1;
    for (int i = 0; i < 3; i++) run_tag(&f, UNREACHABLE);
    CHECK_EQ_U64(f.stage->stats.state, WR_STAGE_RUNNING);
    events_of(&f);
    f.now.mono_ns += WR_STAGE_TRAPS_NS;
    run_tag(&f, UNREACHABLE);
    CHECK_EQ_U64(f.stage->stats.state, WR_STAGE_STOPPED);
    CHECK_EQ_U64(f.stage->stats.traps, 7);
    CHECK_EQ_U64(f.stage->stats.restarts, 6);
    CHECK_CONTAINS(events_of(&f), "4 stage imp stopped: more than 3 traps in 30 s");
    for (uint32_t i = 0; i < 3 * RING_BYTES / sizeof(wr_record); i++) write_tag(&f, 1); /* and none of it blocks */
    CHECK(!wr_stage_ready(f.stage));
    wr_consumer_stats seen;
    CHECK_OK(wr_ring_consumer_stats(f.in, 0, &seen));
    CHECK(seen.dropped >= 2 * RING_BYTES / sizeof(wr_record));
    wr_stage_stats stats;
    wr_stage_stats_get(f.stage, &stats);
    CHECK_EQ_U64(stats.memory_bytes, 0);
    feed(&f, 0, "nobody reads this");
    wr_stage_set_port(f.stage, 0, false, f.now);
    tear_down(&f);
}

static void an_init_that_traps_on_restart_stops_too(check_t *check) {
    fixture f;
    new_fixture(&f, check, "imp");
    run_tag(&f, TRAP_IN_INIT_NEXT);
    CHECK_EQ_U64(f.stage->stats.state, WR_STAGE_STOPPED);
    CHECK_EQ_U64(f.stage->stats.traps, 4);
    CHECK_EQ_U64(f.stage->stats.restarts, 0);
    CHECK_CONTAINS(events_of(&f), "pen_init@0x");
    tear_down(&f);
}

static void back_pressure_waits_for_room_without_spinning(check_t *check) {
    fixture f;
    new_fixture(&f, check, "imp");
    const uint32_t full = RING_BYTES / sizeof(wr_record);
    for (uint32_t i = 0; i < full; i++) write_tag(&f, 1);
    settle(&f);
    for (uint32_t i = 0; i < 100; i++) write_tag(&f, 1);
    settle(&f);
    uint64_t calls = f.stage->stats.calls;
    CHECK_EQ_U64(f.stage->stats.records_out, full);
    CHECK_EQ_U64(f.stage->stats.stalls, 1);
    settle(&f);
    CHECK_EQ_U64(f.stage->stats.calls, calls);
    seqs_out(&f); /* reads and releases everything */
    settle(&f);
    CHECK_EQ_U64(f.stage->stats.records_out, full + 100);
    wr_ring_stats stats;
    wr_ring_stats_get(f.out, &stats);
    CHECK_EQ_U64(stats.high_water, RING_BYTES);
    tear_down(&f);
}

static void a_dropping_reader_never_holds_a_stage(check_t *check) {
    fixture f;
    set_up(&f, check, "imp");
    wr_ring_free(f.out);
    f.out = rig_ring(check, "out", RING_BYTES, 1, WR_POLICY_DROP_OLDEST, &f.out_consumer);
    f.config.out_rings[0] = f.out;
    start_or_fail(&f);
    const uint32_t total = 10 * RING_BYTES / sizeof(wr_record);
    for (uint32_t i = 0; i < total; i++) {
        write_tag(&f, 1);
        if (i % 500 == 499) settle(&f);
    }
    settle(&f);
    CHECK_EQ_U64(f.stage->stats.records_out, total);
    wr_consumer_stats before, after;
    CHECK_OK(wr_ring_consumer_stats(f.out, f.out_consumer, &before));
    seqs_out(&f);
    CHECK_OK(wr_ring_consumer_stats(f.out, f.out_consumer, &after));
    CHECK_EQ_U64(after.dropped, before.dropped);
    CHECK_EQ_U64(after.records + after.dropped, total);
    CHECK(after.dropped >= total - RING_BYTES / sizeof(wr_record));
    tear_down(&f);
}

static void a_stall_waits_for_another_event(check_t *check) {
    fixture f;
    set_up(&f, check, "imp");
    f.config.port_count = 1;
    start_or_fail(&f);
    run_tag(&f, STALL);
    uint64_t calls = f.stage->stats.calls;
    CHECK_EQ_U64(f.stage->stats.stalls, 1);
    CHECK(!wr_stage_ready(f.stage));
    run_tag(&f, 1); /* more records are one */
    CHECK_EQ_U64(f.stage->stats.calls, calls + 1);
    wr_stage_set_port(f.stage, 0, false, f.now); /* so is an event, though imp does not listen to it */
    CHECK(wr_stage_ready(f.stage));
    settle(&f);
    CHECK_EQ_U64(f.stage->stats.calls, calls + 2);
    tear_down(&f);
}

static void a_long_backlog_is_offered_in_batches(check_t *check) {
    fixture f;
    new_fixture(&f, check, "imp");
    for (uint32_t i = 0; i < 1000; i++) write_tag(&f, 1);
    settle(&f);
    CHECK_EQ_U64(f.stage->stats.calls, 1 + 4);
    CHECK_EQ_U64(f.stage->stats.records_out, 1000);
    tear_down(&f);
}

static void neighbours_go_on(check_t *check) {
    fixture first, second;
    new_fixture(&first, check, "imp");
    set_up(&second, check, "imp");
    second.config.in_rings[0] = first.out;
    second.config.in_consumers[0] = first.out_consumer;
    start_or_fail(&second);
    const uint32_t tags[] = {1, STORE_TO_INPUT, 2, LOOP_FOR_EVER, 3, OUTSIDE_OF_MEMORY, 4, UNREACHABLE, 5};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        write_tag(&first, tags[i]);
        settle(&first);
        settle(&second);
    }
    CHECK_EQ_U64(first.stage->stats.state, WR_STAGE_STOPPED);
    CHECK_EQ_U64(second.stage->stats.state, WR_STAGE_RUNNING);
    CHECK_EQ_U64(second.stage->stats.traps, 0);
    CHECK_STR(seqs_out(&second), "0 2 4 6");
    tear_down(&second);
    tear_down(&first);
}

/* ---- ports, timers, values ---- */

static void new_echo(fixture *f, check_t *check, uint32_t ports) {
    set_up(f, check, "echo");
    f->config.in_count = f->config.out_count = 0;
    f->config.port_count = ports;
    start_or_fail(f);
}

static void ports_that_are_up_are_told_after_init(check_t *check) {
    fixture f;
    set_up(&f, check, "echo");
    f.config.in_count = f.config.out_count = 0;
    f.config.port_count = 2;
    f.ports[0].up = false;
    start_or_fail(&f);
    CHECK_STR(events_of(&f), "1 init\n1 port 1 up\n");
    wr_stage_set_port(f.stage, 1, false, f.now);
    wr_stage_set_port(f.stage, 1, false, f.now); /* no news */
    wr_stage_set_port(f.stage, 0, true, f.now);
    CHECK_STR(events_of(&f), "1 port 1 down\n1 port 0 up\n");
    tear_down(&f);
}

static void bytes_come_in_and_go_out(check_t *check) {
    fixture f;
    new_echo(&f, check, 2);
    feed(&f, 0, "hello");
    feed(&f, 1, "world");
    CHECK_STR(sent(&f, 0), "hello");
    CHECK_STR(sent(&f, 1), "world");
    CHECK_STR(sent(&f, 0), "");
    feed(&f, 0, "lost");
    wr_stage_set_port(f.stage, 0, false, f.now); /* what was to be sent is dropped with the line */
    wr_stage_set_port(f.stage, 0, true, f.now);
    CHECK_STR(sent(&f, 0), "");
    feed(&f, 0, "b");
    CHECK_EQ_U64(strlen(sent(&f, 0)), 64); /* tx_bytes */
    CHECK_CONTAINS(events_of(&f), "1 full");
    tear_down(&f);
}

static void a_plugin_that_does_not_read_loses_the_oldest_bytes(check_t *check) {
    fixture f;
    set_up(&f, check, "imp"); /* has no pen_on_rx */
    f.config.port_count = 1;
    start_or_fail(&f);
    for (int i = 0; i < 10; i++) feed(&f, 0, "0123456789");
    CHECK_EQ_U64(f.stage->ports[0].rx.count, 64);
    CHECK_EQ_U64(f.stage->ports[0].rx_overflows, 36);
    tear_down(&f);
}

static void timers_fire_in_order_at_their_time(check_t *check) {
    fixture f;
    new_echo(&f, check, 1);
    events_of(&f);
    feed(&f, 0, "t");
    CHECK_EQ_I64(wr_stage_next_timer(f.stage), f.now.mono_ns + 1000000);
    f.now.mono_ns += 999999;
    wr_stage_run_timers(f.stage, f.now);
    CHECK_STR(events_of(&f), "");
    f.now.mono_ns += 1;
    wr_stage_run_timers(f.stage, f.now);
    CHECK_STR(events_of(&f), "1 timer\n");
    f.now.mono_ns += 50000000; /* far too late: fires once, the re-armed one later */
    wr_stage_run_timers(f.stage, f.now);
    CHECK_STR(events_of(&f), "1 timer\n");
    CHECK_EQ_I64(wr_stage_next_timer(f.stage), f.now.mono_ns + 1000000);
    f.now.mono_ns += 1000000;
    wr_stage_run_timers(f.stage, f.now);
    CHECK_STR(events_of(&f), "1 timer\n");
    CHECK_EQ_I64(wr_stage_next_timer(f.stage), WR_NEVER);
    tear_down(&f);
}

static void a_restart_keeps_values_and_drops_timers_and_the_frame(check_t *check) {
    fixture f;
    new_echo(&f, check, 2);
    feed(&f, 0, "k");
    feed(&f, 0, "k");
    feed(&f, 0, "t");
    feed(&f, 0, "m");
    events_of(&f);
    feed(&f, 0, "!");
    const char *events = events_of(&f);
    CHECK_CONTAINS(events, "2 trap in stage echo: unreachable in ");
    CHECK_CONTAINS(events, "1 init\n1 port 0 up\n1 port 1 up\n");
    CHECK_EQ_I64(wr_stage_next_timer(f.stage), WR_NEVER);
    CHECK_EQ_U64(f.stage->ports[0].rx.count, 0);
    feed(&f, 0, "k");
    CHECK_STR(events_of(&f), "1 kv=3\n");
    CHECK_EQ_U64(f.stage->metric_count, 1);
    CHECK_STR(f.stage->metrics[0].name, "orders");
    tear_down(&f);
}

static void a_full_quota_is_told_once_and_names_the_rule(check_t *check) {
    fixture f;
    set_up(&f, check, "echo");
    f.config.in_count = f.config.out_count = 0;
    f.config.port_count = 1;
    f.config.kv_bytes_max = 9; /* an entry costs 8 bytes beside key and value */
    start_or_fail(&f);
    events_of(&f);
    feed(&f, 0, "k");
    CHECK_STR(events_of(&f), "1 kv_put refused: its values may have 9 bytes in all, capabilities.kv_bytes\n1 kv=1\n");
    feed(&f, 0, "k");
    CHECK_STR(events_of(&f), "1 kv=1\n");
    tear_down(&f);
}

/* Many values take long to look through: each call for one looks at the limits. */
static void values_look_at_the_limits(check_t *check) {
    fixture f;
    new_echo(&f, check, 1);
    events_of(&f);
    wr_exec_interrupt(f.stage->env.exec);
    feed(&f, 0, "k");
    CHECK_CONTAINS(events_of(&f), "interrupted");
    feed(&f, 0, "k");
    CHECK_CONTAINS(events_of(&f), "kv=");
    tear_down(&f);
}

static void what_the_bus_does_not_allow_is_not_sent(check_t *check) {
    static const uint8_t read[] = {0x11, 0x03, 0x00, 0x6B, 0x00, 0x03, 0x76, 0x87};
    static const uint8_t write[] = {0x11, 0x06, 0x00, 0x01, 0x00, 0x03, 0x9A, 0x9B};
    const wr_write_rule rule = {.unit = 17, .first = 2, .last = 9, .table = WR_BUS_HOLDING};
    fixture f;
    uint32_t len;
    set_up(&f, check, "echo");
    f.config.port_count = 1;
    f.config.bus = WR_BUS_MODBUS_RTU;
    f.config.writes = &rule;
    f.config.write_count = 1;
    start_or_fail(&f);
    events_of(&f);
    wr_stage_feed(f.stage, 0, read, sizeof read, f.now);
    CHECK(wr_stage_tx(f.stage, 0, &len) != NULL);
    CHECK_EQ_U64(len, sizeof read);
    for (int i = 0; i < 2; i++) wr_stage_feed(f.stage, 0, write, sizeof write, f.now);
    wr_stage_tx(f.stage, 0, &len);
    CHECK_EQ_U64(len, sizeof read); /* nothing has been added */
    CHECK_STR(events_of(&f), "1 tx refused: unit 17 holding 1 is not in writes of the stage's config\n");
    wr_stage_stats stats;
    wr_stage_stats_get(f.stage, &stats);
    CHECK_EQ_U64(stats.refused, 2);
    tear_down(&f);
}

static void an_endless_loop_ends_at_the_deadline(check_t *check) {
    fixture f;
    new_echo(&f, check, 1);
    events_of(&f);
    feed(&f, 0, "~");
    CHECK_CONTAINS(events_of(&f), "deadline exceeded");
    CHECK(f.stage->stats.longest_ns >= UINT64_C(1000) * DEADLINE_US);
    feed(&f, 0, "again");
    CHECK_STR(sent(&f, 0), "again");
    tear_down(&f);
}

static void time_stands_still_in_a_call(check_t *check) {
    fixture f;
    set_up(&f, check, "source");
    f.config.in_count = 0;
    uint32_t period_us = 250;
    f.config.config = (const uint8_t *)&period_us;
    f.config.config_bytes = sizeof period_us;
    start_or_fail(&f);
    for (int i = 0; i < 3; i++) {
        f.now.mono_ns += 250000;
        f.now.unix_ns += 250000;
        wr_stage_run_timers(f.stage, f.now);
    }
    wr_record records[4];
    uint32_t got;
    CHECK_OK(wr_ring_read(f.out, f.out_consumer, records, sizeof records, &got));
    CHECK_EQ_U64(got, 3 * sizeof(wr_record));
    for (int i = 0; i < 3; i++) CHECK_EQ_I64(records[i].time_ns, 5000 + 250000 * (i + 1));
    tear_down(&f);
}

static void hal_names_are_found(check_t *check) {
    CHECK_EQ_I64(wr_hal_by_name("tx"), WR_HAL_TX);
    CHECK_EQ_I64(wr_hal_by_name("port_state"), WR_HAL_PORT_STATE);
    CHECK_EQ_I64(wr_hal_by_name("reboot"), -1);
}

static const check_test TESTS[] = {
    CHECK_TEST(refuses_modules_that_do_not_fit),
    CHECK_TEST(refuses_rings_of_another_schema),
    CHECK_TEST(refuses_wrong_rings_and_ports),
    CHECK_TEST(an_init_that_refuses_refuses_the_stage),
    CHECK_TEST(memory_beyond_the_limit_is_refused),
    CHECK_TEST(relays_records_in_order),
    CHECK_TEST(a_trap_loses_at_most_one_record_and_repeats_none),
    CHECK_TEST(a_trap_names_function_and_offset),
    CHECK_TEST(a_spoiled_ring_hurts_only_its_own_records),
    CHECK_TEST(the_fourth_trap_in_thirty_seconds_stops),
    CHECK_TEST(an_init_that_traps_on_restart_stops_too),
    CHECK_TEST(back_pressure_waits_for_room_without_spinning),
    CHECK_TEST(a_dropping_reader_never_holds_a_stage),
    CHECK_TEST(a_stall_waits_for_another_event),
    CHECK_TEST(a_long_backlog_is_offered_in_batches),
    CHECK_TEST(neighbours_go_on),
    CHECK_TEST(ports_that_are_up_are_told_after_init),
    CHECK_TEST(bytes_come_in_and_go_out),
    CHECK_TEST(a_plugin_that_does_not_read_loses_the_oldest_bytes),
    CHECK_TEST(timers_fire_in_order_at_their_time),
    CHECK_TEST(a_restart_keeps_values_and_drops_timers_and_the_frame),
    CHECK_TEST(a_full_quota_is_told_once_and_names_the_rule),
    CHECK_TEST(what_the_bus_does_not_allow_is_not_sent),
    CHECK_TEST(an_endless_loop_ends_at_the_deadline),
    CHECK_TEST(values_look_at_the_limits),
    CHECK_TEST(time_stands_still_in_a_call),
    CHECK_TEST(hal_names_are_found),
};
CHECK_MAIN(TESTS)
