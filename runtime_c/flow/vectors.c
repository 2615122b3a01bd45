/* A plugin's test vectors: a line script drives one stage, with no ports, no clock and no other thread.
 *
 * '#' starts a comment line; bytes are hex without blanks, '-' is "nothing". Numbers are decimal but for grants.
 *     case NAME            everything starts anew
 *     grants MASK_HEX      memory BYTES       deadline US      ports N          kv BYTES
 *     in N SCHEMA [BYTES]  out N SCHEMA [BYTES]                config HEX       clock UNIX_NS
 *     start                instantiate, pen_init           refuse TEXT   the same, must fail with TEXT
 *     port N up|down       rx N HEX           advance US       in N HEX         what happens
 *     tx N HEX             out N HEX          log TEXT         trap TEXT        metric NAME VALUE   what must follow
 * Ends at the first mismatch. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stage.h"

enum {
    EVENTS_BYTES = 1 << 20,
    TEXT_MAX = 512,
    PORT_BYTES = 4096,
    RING_BYTES = 65536,
    CALLS_MAX = 100000, /* per step: a stage that is never done is a mistake */
    /* Vectors test what a plugin does, not how fast an emulator on a busy machine is. */
    DEADLINE_FACTOR = 50,
    HELD_MAX = 6
};
#define TIME_MAX_NS (INT64_C(60) * 1000000000)
#define MONO_START INT64_C(1000000000)

typedef struct runner {
    const char *name; /* of the script */
    unsigned line;
    char case_name[TEXT_MAX];
    unsigned cases;
    bool bytewise;

    jmp_buf failed; /* report says why */
    char *report;
    size_t report_bytes, report_used;
    void *held[HELD_MAX]; /* freed by whoever catches */
    int64_t until_ns;

    wr_engine *engine;
    const wr_module *module;
    wr_exec *exec;
    wr_events *events;

    wr_stage_config config; /* of the case; its rings are the runner's */
    uint32_t out_consumers[WR_STAGE_RINGS_MAX];
    uint8_t *config_bytes;
    wr_stage *stage; /* NULL before start */
    wr_instant now;
    char *logs;  /* texts since the last check, each on a line */
    char *traps; /* likewise */
} runner;

/* ---- failing ---- */

__attribute__((format(printf, 2, 3))) static void tell(runner *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t room = run->report_bytes - run->report_used;
    int wrote = vsnprintf(run->report + run->report_used, room, format, args);
    va_end(args);
    if (wrote > 0) run->report_used += (size_t)wrote < room ? (size_t)wrote : room - 1;
}

static void dump(runner *run, const char *what, const uint8_t *bytes, uint32_t len) {
    tell(run, "  %s ", what);
    for (uint32_t i = 0; i < len; i++) tell(run, "%02x", bytes[i]);
    tell(run, "%s\n", len == 0 ? "-" : "");
}

__attribute__((noreturn, format(printf, 2, 3))) static void fail(runner *run, const char *format, ...) {
    char text[2 * TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tell(run, "%s:%u: case \"%s\": %s\n", run->name, run->line, run->case_name, text);
    if (run->logs != NULL && run->logs[0] != '\0') tell(run, "  log: %s\n", run->logs);
    longjmp(run->failed, 1);
}

static void dump_records(runner *run, const char *what, const uint8_t *bytes, uint32_t len) {
    uint32_t size;
    for (uint32_t at = 0; (size = wr_record_size(bytes + at, len - at)) != 0; at += size) {
        wr_record r;
        memcpy(&r, bytes + at, sizeof r);
        tell(run, "  %s kind %u tag %u seq %u quality %u type %u time %lld value %016llx", what, r.kind, r.tag, r.seq,
             r.quality, r.type, (long long)r.time_ns, (unsigned long long)r.value);
        if (size > sizeof r) tell(run, " \"%.*s\"", (int)(size - sizeof r), (const char *)bytes + at + sizeof r);
        tell(run, "\n");
    }
}

/* Memory that is freed by drop, or when the run ends. */
static void *hold(runner *run, size_t bytes) {
    int at = 0;
    while (at < HELD_MAX && run->held[at] != NULL) at++;
    void *memory = at < HELD_MAX ? malloc(bytes) : NULL;
    if (memory == NULL) fail(run, "out of memory");
    run->held[at] = memory;
    return memory;
}

static void drop(runner *run, void *memory) {
    for (int at = 0; at < HELD_MAX; at++) {
        if (run->held[at] == memory) run->held[at] = NULL;
    }
    free(memory);
}

static void expect_bytes(runner *run, const char *what, const uint8_t *want, uint32_t want_len, const uint8_t *got,
                         uint32_t got_len) {
    if (want_len == got_len && (want_len == 0 || memcmp(want, got, want_len) == 0)) return;
    uint32_t at = 0;
    while (at < want_len && at < got_len && want[at] == got[at]) at++;
    if (what[0] == 'o') {
        dump_records(run, "expected", want, want_len);
        dump_records(run, "got     ", got, got_len);
    } else {
        dump(run, "expected", want, want_len);
        dump(run, "got     ", got, got_len);
    }
    fail(run, "%s: expected %u bytes, got %u; they differ from byte %u on", what, want_len, got_len, at);
}

/* ---- reading arguments ---- */

static char *word(runner *run, char **rest) {
    char *start = *rest + strspn(*rest, " ");
    size_t len = strcspn(start, " ");
    if (len == 0) fail(run, "an argument is missing");
    *rest = start + len;
    if (**rest != '\0') *(*rest)++ = '\0';
    return start;
}

static uint64_t number(runner *run, char **rest, int base, uint64_t max) {
    const char *text = word(run, rest);
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, base);
    if (errno != 0 || *end != '\0' || value > max) {
        fail(run, "\"%s\" is not a number up to %llu", text, (unsigned long long)max);
    }
    return value;
}

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, c | 0x20);
    return at == NULL ? -1 : (int)(at - digits);
}

/* The rest of the line as bytes, aligned for records; to be dropped. */
static uint8_t *hex(runner *run, char *rest, uint32_t *len) {
    rest += strspn(rest, " ");
    size_t digits = strcmp(rest, "-") == 0 ? 0 : strlen(rest);
    if (digits % 2 != 0) fail(run, "bytes need an even number of hex digits");
    uint8_t *bytes = hold(run, digits / 2 + 8);
    for (size_t i = 0; i < digits / 2; i++) {
        int high = hex_digit(rest[2 * i]), low = hex_digit(rest[2 * i + 1]);
        if (high < 0 || low < 0) fail(run, "\"%.2s\" is not hex", rest + 2 * i);
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    *len = (uint32_t)(digits / 2);
    return bytes;
}

/* ---- the stage ---- */

static void append_line(runner *run, char **text, const char *line, uint32_t len) {
    size_t before = *text == NULL ? 0 : strlen(*text);
    char *grown = realloc(*text, before + len + 2);
    if (grown == NULL) fail(run, "out of memory");
    memcpy(grown + before, line, len);
    memcpy(grown + before + len, "\n", 2);
    *text = grown;
}

static void collect_events(runner *run) {
    static const size_t bytes = 65536;
    uint8_t *into = hold(run, bytes);
    uint32_t got;
    while ((got = wr_events_read(run->events, into, (uint32_t)bytes)) > 0) {
        for (uint32_t at = 0; at < got;) {
            wr_event event;
            memcpy(&event, into + at, sizeof event);
            if (event.kind == WR_EVENT_LOST) fail(run, "%u events were lost", event.len);
            bool trap = event.kind == WR_EVENT_TRAP || event.kind == WR_EVENT_STAGE;
            append_line(run, trap ? &run->traps : &run->logs, (const char *)into + at + sizeof event, event.len);
            at += event.size;
        }
    }
    drop(run, into);
}

/* Lets the stage work until it has nothing left to do. */
static void settle(runner *run) {
    for (int calls = 0; wr_stage_ready(run->stage); calls++) {
        if (calls == CALLS_MAX) fail(run, "pen_on_records is never done");
        wr_stage_run(run->stage, run->now);
    }
    collect_events(run);
}

static void forget(char **text) {
    free(*text);
    *text = NULL;
}

static void free_case(runner *run) {
    wr_stage_free(run->stage);
    run->stage = NULL;
    for (uint32_t i = 0; i < run->config.in_count; i++) wr_ring_free(run->config.in_rings[i]);
    for (uint32_t i = 0; i < run->config.out_count; i++) wr_ring_free(run->config.out_rings[i]);
    run->config.in_count = run->config.out_count = 0;
    drop(run, run->config_bytes);
    run->config_bytes = NULL;
    forget(&run->logs);
    forget(&run->traps);
    wr_events_free(run->events);
    run->events = NULL;
}

static void end_case(runner *run) {
    if (run->traps != NULL) fail(run, "unexpected %s", run->traps);
    free_case(run);
}

/* ---- before start ---- */

static void do_case(runner *run, char *rest) {
    end_case(run);
    snprintf(run->case_name, sizeof run->case_name, "%s", rest);
    run->cases++;
    run->config = (wr_stage_config){.name = "plugin", .module = run->module};
    run->now = (wr_instant){.unix_ns = 0, .mono_ns = MONO_START};
    if (wr_events_new(EVENTS_BYTES, &run->events) != WR_OK) fail(run, "out of memory");
}

static void do_grants(runner *run, char *rest) {
    run->config.hal_grants = (uint32_t)number(run, &rest, 16, UINT32_MAX);
}

static void do_memory(runner *run, char *rest) { run->config.memory_bytes_max = number(run, &rest, 10, UINT64_MAX); }

static void do_deadline(runner *run, char *rest) {
    run->config.deadline_us = number(run, &rest, 10, UINT32_MAX) * DEADLINE_FACTOR;
}

static void do_kv(runner *run, char *rest) { run->config.kv_bytes_max = (uint32_t)number(run, &rest, 10, UINT32_MAX); }

static void do_ports(runner *run, char *rest) {
    run->config.port_count = (uint32_t)number(run, &rest, 10, WR_STAGE_PORTS_MAX);
}

static void do_clock(runner *run, char *rest) { run->now.unix_ns = (int64_t)number(run, &rest, 10, INT64_MAX); }

static void do_config(runner *run, char *rest) {
    drop(run, run->config_bytes);
    run->config_bytes = hex(run, rest, &run->config.config_bytes);
    run->config.config = run->config_bytes;
}

/* Rings are declared in order: the next number. Returns the ring with one blocking consumer. */
static wr_ring *new_ring(runner *run, char *rest, const char *name, uint32_t *count, uint32_t *consumer) {
    uint64_t index = number(run, &rest, 10, WR_STAGE_RINGS_MAX - 1);
    if (index != *count) fail(run, "ring %u comes next", *count);
    wr_ring_config config = {.name = name, .bytes = RING_BYTES, .consumers_max = 1};
    config.schema = (uint32_t)number(run, &rest, 10, UINT32_MAX);
    if (rest[strspn(rest, " ")] != '\0') config.bytes = (uint32_t)number(run, &rest, 10, WR_RING_BYTES_MAX);
    wr_ring *ring = NULL;
    wr_error error;
    if (wr_ring_new(&config, &ring, &error) != WR_OK) fail(run, "%s", error.message);
    if (wr_ring_attach(ring, WR_POLICY_BLOCK, consumer) != WR_OK) fail(run, "cannot attach to ring %s", name);
    *count += 1;
    return ring;
}

static wr_status boot(runner *run, wr_error *error) {
    wr_stage_port_config ports[WR_STAGE_PORTS_MAX];
    for (uint32_t i = 0; i < WR_STAGE_PORTS_MAX; i++) {
        ports[i] = (wr_stage_port_config){.rx_bytes = PORT_BYTES, .tx_bytes = PORT_BYTES};
    }
    wr_stage_env env = {.engine = run->engine, .exec = run->exec, .events = run->events};
    wr_status status = wr_stage_new(&env, &run->config, ports, run->now, &run->stage, error);
    collect_events(run);
    return status;
}

static void do_start(runner *run, char *rest) {
    (void)rest;
    wr_error error = {.message = ""};
    if (boot(run, &error) != WR_OK) fail(run, "does not start: %s", error.message);
    settle(run);
}

static void do_refuse(runner *run, char *rest) {
    wr_error error = {.message = ""};
    if (boot(run, &error) == WR_OK) fail(run, "starts, though it should refuse with \"%s\"", rest);
    bool told = strstr(error.message, rest) != NULL || (run->logs != NULL && strstr(run->logs, rest) != NULL);
    if (!told) fail(run, "refuses with \"%s\", expected \"%s\"", error.message, rest);
}

/* ---- what happens ---- */

static uint32_t port_number(runner *run, char **rest) {
    if (run->config.port_count == 0) fail(run, "the case has no ports");
    return (uint32_t)number(run, rest, 10, run->config.port_count - 1);
}

static void do_port(runner *run, char *rest) {
    uint32_t port = port_number(run, &rest);
    const char *state = word(run, &rest);
    if (strcmp(state, "up") != 0 && strcmp(state, "down") != 0) fail(run, "\"%s\" is neither up nor down", state);
    wr_stage_set_port(run->stage, port, strcmp(state, "up") == 0, run->now);
    settle(run);
}

static void do_rx(runner *run, char *rest) {
    uint32_t len, port = port_number(run, &rest);
    uint8_t *bytes = hex(run, rest, &len);
    if (!run->stage->ports[port].up) fail(run, "port %u is down", port);
    uint32_t step = run->bytewise ? 1 : len;
    for (uint32_t at = 0; at < len; at += step) {
        wr_stage_feed(run->stage, port, bytes + at, step, run->now);
        settle(run);
    }
    drop(run, bytes);
}

static void do_advance(runner *run, char *rest) {
    int64_t delta = (int64_t)number(run, &rest, 10, INT64_MAX / WR_NS_PER_US / 2) * WR_NS_PER_US;
    int64_t until = run->now.mono_ns + delta, offset = run->now.unix_ns - run->now.mono_ns;
    int64_t next;
    for (int calls = 0; (next = wr_stage_next_timer(run->stage)) <= until; calls++) {
        if (calls == CALLS_MAX) fail(run, "timers fire without end");
        if (next > run->now.mono_ns) run->now.mono_ns = next;
        run->now.unix_ns = run->now.mono_ns + offset;
        wr_stage_run_timers(run->stage, run->now);
        settle(run);
    }
    run->now = (wr_instant){.unix_ns = until + offset, .mono_ns = until};
}

static void do_in(runner *run, char *rest) {
    if (run->stage == NULL) {
        uint32_t index = run->config.in_count, consumer = 0;
        run->config.in_rings[index] = new_ring(run, rest, "in", &run->config.in_count, &consumer);
        run->config.in_consumers[index] = consumer;
        return;
    }
    if (run->config.in_count == 0) fail(run, "the case has no input ring");
    uint32_t len, ring = (uint32_t)number(run, &rest, 10, run->config.in_count - 1);
    uint8_t *records = hex(run, rest, &len);
    uint32_t size;
    for (uint32_t at = 0; at < len; at += size) { /* one by one: a ring takes no more than its half at once */
        size = wr_record_size(records + at, len - at);
        if (size == 0) fail(run, "malformed record at byte %u", at);
        wr_status status = wr_ring_write(run->config.in_rings[ring], records + at, size);
        if (status != WR_OK) fail(run, "input ring %u: %s", ring, wr_status_text(status));
    }
    drop(run, records);
    settle(run);
}

/* ---- what must follow ---- */

static void do_tx(runner *run, char *rest) {
    uint32_t want_len, port = port_number(run, &rest), got_len;
    uint8_t *want = hex(run, rest, &want_len);
    const uint8_t *got = wr_stage_tx(run->stage, port, &got_len);
    expect_bytes(run, "tx", want, want_len, got, got == NULL ? 0 : got_len);
    wr_stage_sent(run->stage, port, got_len);
    drop(run, want);
}

static void do_out(runner *run, char *rest) {
    if (run->stage == NULL) {
        uint32_t index = run->config.out_count;
        run->config.out_rings[index] = new_ring(run, rest, "out", &run->config.out_count, &run->out_consumers[index]);
        return;
    }
    if (run->config.out_count == 0) fail(run, "the case has no output ring");
    uint32_t index = (uint32_t)number(run, &rest, 10, run->config.out_count - 1), want_len, got_len;
    uint8_t *want = hex(run, rest, &want_len);
    wr_ring *ring = run->config.out_rings[index];
    uint8_t *got = hold(run, ring->capacity);
    wr_status status = wr_ring_read(ring, run->out_consumers[index], got, ring->capacity, &got_len);
    if (status != WR_OK) fail(run, "output ring %u: %s", index, wr_status_text(status));
    expect_bytes(run, "out", want, want_len, got, got_len);
    wr_ring_release(ring, run->out_consumers[index]);
    drop(run, got);
    drop(run, want);
    settle(run); /* there is room again */
}

/* Takes everything up to the line that contains the text. */
static void expect_text(runner *run, const char *what, char **texts, const char *want) {
    char *found = *texts == NULL ? NULL : strstr(*texts, want);
    if (found == NULL) fail(run, "no %s contains \"%s\", there is: %s", what, want, *texts == NULL ? "none" : *texts);
    char *next = strchr(found, '\n') + 1;
    if (*next == '\0') {
        forget(texts);
    } else {
        memmove(*texts, next, strlen(next) + 1);
    }
}

static void do_log(runner *run, char *rest) { expect_text(run, "log", &run->logs, rest); }
static void do_trap(runner *run, char *rest) { expect_text(run, "trap", &run->traps, rest); }

static void do_metric(runner *run, char *rest) {
    const char *name = word(run, &rest), *value = word(run, &rest);
    for (uint32_t i = 0; i < run->stage->metric_count; i++) {
        const wr_metric *metric = &run->stage->metrics[i];
        if (strcmp(metric->name, name) != 0) continue;
        if (metric->value != strtoll(value, NULL, 10)) {
            fail(run, "metric %s: expected %s, got %lld", name, value, (long long)metric->value);
        }
        return;
    }
    fail(run, "metric %s: expected %s, but it was never set", name, value);
}

/* ---- the script ---- */

typedef enum phase { BEFORE_START, AFTER_START, EITHER, OUTSIDE } phase;

static const struct command {
    const char *name;
    void (*run)(runner *run, char *rest);
    phase phase;
    bool is_check; /* may follow a trap that is not checked yet */
} COMMANDS[] = {
    {"case", do_case, OUTSIDE, false},
    {"grants", do_grants, BEFORE_START, false},
    {"memory", do_memory, BEFORE_START, false},
    {"deadline", do_deadline, BEFORE_START, false},
    {"kv", do_kv, BEFORE_START, false},
    {"ports", do_ports, BEFORE_START, false},
    {"config", do_config, BEFORE_START, false},
    {"clock", do_clock, BEFORE_START, false},
    {"start", do_start, BEFORE_START, false},
    {"refuse", do_refuse, BEFORE_START, false},
    {"in", do_in, EITHER, false},
    {"out", do_out, EITHER, true},
    {"port", do_port, AFTER_START, false},
    {"rx", do_rx, AFTER_START, false},
    {"advance", do_advance, AFTER_START, false},
    {"tx", do_tx, AFTER_START, true},
    {"log", do_log, AFTER_START, true},
    {"trap", do_trap, AFTER_START, true},
    {"metric", do_metric, AFTER_START, true},
};

static void run_line(runner *run, char *line) {
    size_t len = strcspn(line, " ");
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        const struct command *command = &COMMANDS[i];
        if (strlen(command->name) != len || memcmp(command->name, line, len) != 0) continue;
        if (command->phase != OUTSIDE && run->cases == 0) fail(run, "a script begins with a case");
        if (command->phase == BEFORE_START && run->stage != NULL) fail(run, "%s comes before start", command->name);
        if (command->phase == AFTER_START && run->stage == NULL) fail(run, "%s comes after start", command->name);
        if (!command->is_check && run->traps != NULL) fail(run, "unexpected %s", run->traps);
        command->run(run, line + len + (line[len] == ' '));
        return;
    }
    fail(run, "unknown command \"%.*s\"", (int)len, line);
}

static void run_script(runner *run, char *script) {
    for (char *line = script, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) *next++ = '\0';
        run->line++;
        if (line[0] != '\0' && line[0] != '#') run_line(run, line);
        if (wr_mono_ns() > run->until_ns)
            fail(run, "the vectors take longer than %d s", (int)(TIME_MAX_NS / 1000000000));
    }
    end_case(run);
    tell(run, "%u cases passed%s\n", run->cases, run->bytewise ? ", bytes delivered one by one" : "");
}

static bool passes(runner *run, char *script) {
    if (setjmp(run->failed) != 0) return false;
    run_script(run, script);
    return true;
}

wr_status wr_vectors_run(wr_engine *engine, const wr_module *module, const wr_vectors *vectors, char *report,
                         size_t report_bytes) {
    runner *run = calloc(1, sizeof *run);
    char *script = malloc(vectors->len + 1);
    wr_status status = run == NULL || script == NULL || report_bytes == 0 ? WR_NO_MEMORY : WR_OK;
    if (status == WR_OK) {
        *run = (runner){.name = vectors->name,
                        .case_name = "none",
                        .bytewise = vectors->bytewise,
                        .report = report,
                        .report_bytes = report_bytes,
                        .until_ns = wr_mono_ns() + TIME_MAX_NS,
                        .engine = engine,
                        .module = module};
        report[0] = '\0';
        memcpy(script, vectors->script, vectors->len);
        script[vectors->len] = '\0';
        status = wr_exec_new(engine, 0, &run->exec);
    }
    if (status == WR_OK) {
        if (!passes(run, script)) status = WR_BAD_STATE;
        free_case(run);
        for (int at = 0; at < HELD_MAX; at++) free(run->held[at]);
        wr_exec_free(run->exec);
    }
    free(script);
    free(run);
    return status;
}
