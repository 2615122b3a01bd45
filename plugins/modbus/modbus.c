/* Modbus driver: polls the servers behind one port and carries out commands, one request at a time.
 *
 * A cycle has two passes. First all units that are online are read; then units whose backoff is over are tried once, so
 * that a dead unit costs the others at most one timeout per backoff, behind their own readings.
 *
 * A command is two requests: write, read back. It goes before the next request of a cycle, but between two commands one
 * request of the cycle is made, so that commands take at most half of the line. */
#include "frame.h"
#include "output.h"
#include "pen.h"
#include "pen_text.h"
#include "state.h"
#include "write.h"

PEN_ABI_MARKER()

enum { COMMAND_RINGS_MAX = 16, REPORT_BYTES = WRITE_REPORT_BYTES + (int)sizeof(struct pen_record) };
enum { TIMER_STEP = 0, RETRY_NS = 10000000 /* when a ring or a transmit buffer is full */ };
enum { EXCEPTION_GATEWAY_PATH = 0x0A, EXCEPTION_GATEWAY_TARGET = 0x0B };
enum { SILENCE_US_FAST = 1750, SILENCE_BAUD_MAX = 19200, BITS_PER_CHARACTER = 11 };
static const int64_t never = INT64_MAX;

enum state {
    DOWN,    /* the port is */
    RESTING, /* between cycles */
    POLLING, /* in a cycle, no request on the way */
    WAITING, /* for the reply to the current request */
    WRITING  /* for the reply to the write, or to its reading back */
};

#define METRICS(X)                       \
    X(requests_total, PEN_COUNTER)       \
    X(responses_total, PEN_COUNTER)      \
    X(timeouts_total, PEN_COUNTER)       \
    X(retries_total, PEN_COUNTER)        \
    X(exceptions_total, PEN_COUNTER)     \
    X(crc_errors_total, PEN_COUNTER)     \
    X(foreign_total, PEN_COUNTER)        \
    X(garbage_bytes_total, PEN_COUNTER)  \
    X(postponed_total, PEN_COUNTER)      \
    X(cycles_total, PEN_COUNTER)         \
    X(cycles_skipped_total, PEN_COUNTER) \
    X(cycle_time_us, PEN_GAUGE)          \
    X(cycle_delay_us, PEN_GAUGE)         \
    X(units_down, PEN_GAUGE)             \
    X(writes_total, PEN_COUNTER)         \
    X(writes_refused_total, PEN_COUNTER) \
    X(writes_failed_total, PEN_COUNTER)

#define METRIC_INDEX(name, kind) M_##name,
enum metric { METRICS(METRIC_INDEX) METRIC_COUNT };
#define METRIC_ROW(name, kind) {#name, sizeof #name - 1, kind},
static const struct {
    const char *name;
    int32_t len;
    int32_t kind;
} metrics[] = {METRICS(METRIC_ROW)};

static struct {
    const struct modbus_config *config;
    struct plan plan;
    struct frame_reader reader;
    struct pen_ring *out;
    struct pen_ring *commands[COMMAND_RINGS_MAX];
    uint32_t command_rings;
    struct write_rules rules;
    struct write write;
    bool polls_next;        /* a request of the cycle comes before the next command */
    bool is_resting;        /* the state to go back to after a command: between cycles */
    uint32_t write_attempts; /* of the request that is sent for it now */
    enum state state;
    int32_t pass;       /* 0: units online, 1: units in backoff */
    uint32_t at;        /* next or current request of the plan */
    uint32_t attempts;  /* of the current request */
    uint32_t probes;    /* sent in pass 1 of this cycle */
    uint32_t stale_due; /* points that wait for room for their stale record */
    int64_t now_ns;  /* monotonic time of the event being handled */
    int64_t wake_ns; /* when to go on without another event */
    int64_t next_cycle_ns;
    int64_t cycle_start_ns;
    int64_t line_free_ns; /* no request before */
    int64_t reply_due_ns; /* WAITING: given up then */
    int64_t values[METRIC_COUNT];
    int64_t published[METRIC_COUNT];
} self;

/* ---- reports ---- */

static void publish_metric(uint32_t index) {
    self.published[index] = self.values[index];
    hal_metric(metrics[index].name, metrics[index].len, metrics[index].kind, self.values[index]);
}

static void publish_changed_metrics(void) {
    self.values[M_crc_errors_total] = (int64_t)self.reader.crc_errors;
    self.values[M_foreign_total] = (int64_t)self.reader.foreign;
    self.values[M_garbage_bytes_total] = (int64_t)self.reader.garbage_bytes;
    for (uint32_t i = 0; i < METRIC_COUNT; i++) {
        if (self.values[i] != self.published[i]) publish_metric(i);
    }
}

/* PREFIX NUMBER SUFFIX: only changes of state are logged. */
static void log_number(int32_t level, const char *prefix, uint32_t number, const char *suffix) {
    char bytes[160];
    struct pen_text text = {bytes, sizeof bytes, 0, false};
    pen_text_add(&text, prefix);
    pen_text_add_u64(&text, number);
    pen_text_add(&text, suffix);
    pen_text_log(&text, level);
}

static void log_exception(const struct request *request, uint8_t exception) {
    char bytes[160];
    struct pen_text text = {bytes, sizeof bytes, 0, false};
    const uint32_t numbers[] = {self.plan.units[request->unit].id, request->function, request->address, request->count,
                                exception};
    static const char *const names[] = {"unit ", " function ", " address ", " count ", ": exception "};
    for (uint32_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        pen_text_add(&text, names[i]);
        pen_text_add_u64(&text, numbers[i]);
    }
    pen_text_log(&text, PEN_WARNING);
}

/* ---- units ---- */

static void mark_stale(uint32_t first, uint32_t count) {
    for (uint32_t i = first; i < first + count; i++) {
        struct point *point = &self.plan.points[i];
        if (point->is_stale || point->stale_due) continue;
        point->stale_due = true;
        self.stale_due++;
    }
}

static void write_stale(void) {
    int64_t time_ns = hal_now(PEN_CLOCK_UNIX);
    for (uint32_t i = 0; i < self.plan.point_count && self.stale_due > 0; i++) {
        struct point *point = &self.plan.points[i];
        if (!point->stale_due) continue;
        if (!output_stale(self.out, point, time_ns)) return;
        point->stale_due = false;
        self.stale_due--;
    }
}

static void unit_failed(struct unit *unit) {
    if (unit->state != UNIT_BACKOFF) {
        self.values[M_units_down]++;
        log_number(PEN_WARNING, "unit ", unit->id, " does not answer");
    }
    unit->state = UNIT_BACKOFF;
    unit->retry_ns = self.now_ns + (int64_t)unit->backoff_ms * 1000000;
    uint32_t doubled = unit->backoff_ms * 2;
    unit->backoff_ms = doubled < self.config->backoff_max_ms ? doubled : self.config->backoff_max_ms;
}

static void unit_answered(struct unit *unit) {
    if (unit->state == UNIT_BACKOFF) {
        unit->state = UNIT_BEHIND;
        self.values[M_units_down]--;
        log_number(PEN_INFO, "unit ", unit->id, " answers again");
    }
    unit->backoff_ms = self.config->backoff_min_ms;
}

static void reset_units(void) {
    for (uint32_t i = 0; i < self.plan.unit_count; i++) {
        struct unit *unit = &self.plan.units[i];
        unit->state = UNIT_ONLINE;
        unit->backoff_ms = self.config->backoff_min_ms;
        unit->quiet_ns = 0;
    }
    self.values[M_units_down] = 0;
}

/* ---- requests and replies ---- */

static bool is_serial(void) { return self.config->framing == MODBUS_FRAMING_RTU; }

static int64_t characters_ns(uint64_t count) {
    return (int64_t)(count * BITS_PER_CHARACTER * 1000000000u / self.config->baudrate);
}

static int64_t silence_ns(void) {
    if (!is_serial()) return 0;
    if (self.config->has_silence_us) return (int64_t)self.config->silence_us * 1000;
    return self.config->baudrate > SILENCE_BAUD_MAX ? SILENCE_US_FAST * 1000 : characters_ns(7) / 2;
}

static void line_busy_until(int64_t time_ns) {
    if (time_ns > self.line_free_ns) self.line_free_ns = time_ns;
}

static struct request *current(void) { return &self.plan.requests[self.at]; }
static struct unit *current_unit(void) { return &self.plan.units[current()->unit]; }

static int64_t timeout_ns(const struct frame_request *request) {
    int64_t transmission = is_serial() ? characters_ns(8 + 5 + frame_data_bytes(request)) : 0;
    return (int64_t)self.config->timeout_ms * 1000000 + transmission;
}

static uint16_t next_transaction(void) { return (uint16_t)++self.plan.kept->transaction; }

/* False: the port takes nothing now, it is tried again soon. */
static bool transmit(const struct frame_request *frame, const uint8_t *data) {
    uint8_t bytes[FRAME_REQUEST_BYTES_MAX];
    int32_t len = (int32_t)frame_write(self.reader.kind, frame, data, bytes);
    if (hal_tx(0, bytes, len) != len) {
        line_busy_until(self.now_ns + RETRY_NS);
        return false;
    }
    frame_expect(&self.reader, frame);
    self.reply_due_ns = self.now_ns + timeout_ns(frame);
    self.values[M_requests_total]++;
    return true;
}

/* Sends the current request, or has it tried again soon when the port takes nothing now. */
static void send(void) {
    const struct request *request = current();
    struct frame_request frame = {current_unit()->id, request->function, request->address, request->count,
                                  next_transaction()};
    if (!transmit(&frame, NULL)) return;
    if (self.attempts++ > 0) self.values[M_retries_total]++;
    if (self.pass == 1) self.probes++;
    self.polls_next = false;
    self.state = WAITING;
}

static void next_request(void) {
    self.state = POLLING;
    self.at++;
    self.attempts = 0;
}

/* A server that answers late may have answered an earlier attempt: its answers to the later ones are then on their way,
 * as far apart as the attempts were, and would pass for the answer to another request of the same shape. Transaction
 * numbers tell them apart, RTU has none. */
static void await_late_answers(struct unit *unit, uint32_t answers) {
    if (self.reader.kind == FRAME_RTU) unit->quiet_ns = self.now_ns + answers * timeout_ns(&self.reader.expected);
}

static void timed_out(void) {
    struct unit *unit = current_unit();
    bool is_probe = unit->state == UNIT_BACKOFF;
    frame_expect_nothing(&self.reader);
    self.values[M_timeouts_total]++;
    self.state = POLLING;
    line_busy_until(self.now_ns + silence_ns());
    if (!is_probe && self.attempts <= self.config->retries) return;
    await_late_answers(unit, 1);
    unit_failed(unit);
    mark_stale(unit->first, unit->points);
    next_request();
}

static void got_data(const uint8_t *data) {
    struct request *request = current();
    int64_t time_ns = hal_now(PEN_CLOCK_UNIX);
    request->exception = 0;
    for (uint32_t i = request->first; i < request->first + request->points; i++) {
        struct point *point = &self.plan.points[i];
        output_reading(self.out, point, value_read(point, data, request->address), time_ns);
    }
}

static bool is_gateway_timeout(uint8_t exception) {
    return exception == EXCEPTION_GATEWAY_PATH || exception == EXCEPTION_GATEWAY_TARGET;
}

/* A gateway that got no answer behind it has cost its bus a timeout: such a unit is left alone like a silent one. */
static void gateway_timed_out(struct unit *unit, const struct request *answered) {
    uint32_t behind = answered->first + answered->points;
    unit_failed(unit);
    mark_stale(unit->first, answered->first - unit->first);
    mark_stale(behind, unit->first + unit->points - behind);
}

static void got_exception(uint8_t exception) {
    struct request *request = current();
    int64_t time_ns = hal_now(PEN_CLOCK_UNIX);
    self.values[M_exceptions_total]++;
    if (request->exception != exception) log_exception(request, exception);
    request->exception = exception;
    for (uint32_t i = request->first; i < request->first + request->points; i++) {
        output_failed(self.out, &self.plan.points[i], time_ns);
    }
}

static void got_reply(const struct frame_reply *reply) {
    struct unit *unit = current_unit();
    self.values[M_responses_total]++;
    if (self.attempts > 1) await_late_answers(unit, self.attempts);
    if (reply->verdict == FRAME_DATA) {
        got_data(reply->data);
    } else {
        got_exception(reply->exception);
    }
    if (reply->verdict == FRAME_EXCEPTION && is_gateway_timeout(reply->exception)) {
        gateway_timed_out(unit, current());
    } else {
        unit_answered(unit);
    }
    line_busy_until(self.now_ns + (int64_t)self.config->pause_us * 1000);
    next_request();
}

/* ---- commands ---- */

static struct point *written_point(void) { return &self.plan.points[self.write.point]; }

static struct unit *unit_of(uint32_t point) {
    struct unit *unit = self.plan.units;
    while (point >= unit->first + unit->points) unit++;
    return unit;
}

/* Room for the report was made sure of before the command was begun. */
static void report(enum write_result result, const struct pen_text *why) {
    static const uint8_t counters[] = {M_writes_total, M_writes_refused_total, M_writes_failed_total,
                                       M_writes_failed_total};
    write_report(self.out, written_point(), &self.write, result, why, hal_now(PEN_CLOCK_UNIX));
    self.values[counters[result]]++;
    self.write.phase = WRITE_NONE;
    self.polls_next = true;
}

static void report_failure(const char *problem) {
    char bytes[64];
    struct pen_text why = {bytes, sizeof bytes, 0, false};
    if (self.write.phase == WRITE_CHECK) pen_text_add(&why, "written, but not read back: ");
    pen_text_add(&why, problem);
    report(WRITE_FAILED, &why);
}

static void begin_write(uint32_t position, const struct pen_record *command) {
    char bytes[WRITE_REPORT_BYTES];
    struct pen_text why = {bytes, sizeof bytes, 0, false};
    struct point *point = &self.plan.points[position];
    bool is_made = write_make(&self.write, &self.rules, self.config, point, command, &why);
    self.write.point = position;
    self.write_attempts = 0;
    if (!is_made) {
        report(WRITE_REFUSED, &why);
    } else if (self.state == DOWN) {
        report_failure("the port is down");
    } else if (unit_of(position)->state == UNIT_BACKOFF) {
        report_failure("the unit does not answer");
    }
}

/* The next command of a tag that is ours; those of other drivers are passed over. NULL: there is none. */
static const struct pen_record *next_command(struct pen_ring **ring, uint32_t *position) {
    for (uint32_t i = 0; i < self.command_rings; i++) {
        const struct pen_record *record;
        *ring = self.commands[i];
        while ((record = pen_ring_peek(*ring)) != NULL) {
            *position = plan_find_tag(&self.plan, record->tag);
            if (*position < self.plan.point_count) return record;
            pen_ring_taken(*ring, record);
        }
    }
    return NULL;
}

/* Takes commands until one is to be sent. False: there is none, or no room for a report now. */
static bool find_command(void) {
    while (self.write.phase == WRITE_NONE) {
        struct pen_ring *ring;
        uint32_t position;
        const struct pen_record *record = next_command(&ring, &position);
        if (record == NULL || self.stale_due > 0 || pen_ring_left(self.out) < REPORT_BYTES) return false;
        begin_write(position, record);
        pen_ring_taken(ring, record);
    }
    return true;
}

static void send_write(void) {
    struct frame_request frame =
        self.write.phase == WRITE_SET ? self.write.set : write_check(&self.write, written_point());
    frame.transaction = next_transaction();
    self.is_resting = self.state == RESTING;
    if (!transmit(&frame, self.write.data)) return;
    if (self.write_attempts++ > 0) self.values[M_retries_total]++;
    self.state = WRITING;
}

static void write_over(void) { self.state = self.is_resting ? RESTING : POLLING; }

static void write_timed_out(void) {
    uint32_t position = self.write.point;
    frame_expect_nothing(&self.reader);
    self.values[M_timeouts_total]++;
    line_busy_until(self.now_ns + silence_ns());
    write_over();
    if (self.write_attempts <= self.config->retries) return;
    struct unit *unit = unit_of(position);
    report_failure("no answer");
    await_late_answers(unit, 1);
    unit_failed(unit);
    mark_stale(unit->first, unit->points);
}

static void write_refused_by(uint8_t exception) {
    char bytes[24];
    struct pen_text text = {bytes, sizeof bytes - 1, 0, false};
    pen_text_add(&text, "exception ");
    pen_text_add_u64(&text, exception);
    bytes[text.len] = '\0';
    self.values[M_exceptions_total]++;
    report_failure(bytes);
}

static void write_checked(const uint8_t *data) {
    char bytes[WRITE_REPORT_BYTES];
    struct pen_text why = {bytes, sizeof bytes, 0, false};
    bool is_right = write_is_right(&self.write, written_point(), data, &why);
    report(is_right ? WRITE_DONE : WRITE_MISMATCH, &why);
}

static void got_write_reply(const struct frame_reply *reply) {
    struct unit *unit = unit_of(self.write.point);
    self.values[M_responses_total]++;
    if (self.write_attempts > 1) await_late_answers(unit, self.write_attempts);
    write_over();
    line_busy_until(self.now_ns + (int64_t)self.config->pause_us * 1000);
    if (reply->verdict == FRAME_EXCEPTION) {
        write_refused_by(reply->exception);
    } else if (self.write.phase == WRITE_CHECK) {
        write_checked(reply->data);
    } else {
        self.write.phase = WRITE_CHECK;
        self.write_attempts = 0;
    }
}

/* ---- cycles ---- */

static void begin_cycle(void) {
    int64_t period_ns = (int64_t)self.config->poll_ms * 1000000;
    int64_t skipped = (self.now_ns - self.next_cycle_ns) / period_ns;
    int64_t planned_ns = self.next_cycle_ns + skipped * period_ns;
    self.next_cycle_ns = planned_ns + period_ns;
    self.cycle_start_ns = self.now_ns;
    self.values[M_cycles_skipped_total] += skipped;
    self.values[M_cycle_delay_us] = (self.now_ns - planned_ns) / 1000;
    self.state = POLLING;
    self.pass = 0;
    self.at = 0;
    self.attempts = 0;
    self.probes = 0;
}

static void end_cycle(void) {
    for (uint32_t i = 0; i < self.plan.unit_count; i++) {
        if (self.plan.units[i].state == UNIT_BEHIND) self.plan.units[i].state = UNIT_ONLINE;
    }
    self.values[M_cycles_total]++;
    self.values[M_cycle_time_us] = (self.now_ns - self.cycle_start_ns) / 1000;
    self.state = RESTING;
}

static bool is_due(const struct unit *unit) {
    if (self.pass == 0) return unit->state == UNIT_ONLINE;
    if (self.probes > 0 && self.now_ns >= self.next_cycle_ns) return false; /* the others come first again */
    return unit->state == UNIT_BEHIND || (unit->state == UNIT_BACKOFF && self.now_ns >= unit->retry_ns);
}

/* Moves to the next request that is due in this cycle. False: there is none left. */
static bool find_request(void) {
    for (; self.pass < 2; self.pass++, self.at = 0) {
        for (; self.at < self.plan.request_count; self.at++) {
            if (self.attempts > 0 || is_due(current_unit())) return true;
        }
    }
    return false;
}

/* The earliest time for the current request. Repeating a request need not wait for late answers: they are the same. */
static int64_t request_time(void) {
    int64_t quiet_ns = self.attempts > 0 ? 0 : current_unit()->quiet_ns;
    return quiet_ns > self.line_free_ns ? quiet_ns : self.line_free_ns;
}

static bool wait_until(int64_t time_ns) {
    self.wake_ns = time_ns;
    return false;
}

/* Sends the current request when its time has come and its records will have room. */
static bool step_polling(void) {
    if (!find_request()) {
        end_cycle();
        return true;
    }
    if (self.now_ns < request_time()) return wait_until(request_time());
    if (self.stale_due > 0 || pen_ring_left(self.out) < current()->room) {
        self.values[M_postponed_total]++;
        return wait_until(self.now_ns + RETRY_NS);
    }
    send();
    return true;
}

/* Commands are answered at once: what was asked for while the port was down is not done when it is up again. */
static bool step_down(void) {
    bool is_waiting = find_command() || self.stale_due > 0;
    struct pen_ring *ring;
    uint32_t position;
    is_waiting |= next_command(&ring, &position) != NULL;
    return wait_until(is_waiting ? self.now_ns + RETRY_NS : never);
}

/* Whether a command comes before what the cycle would do now. */
static bool is_command_next(void) {
    bool is_begun = self.write.phase != WRITE_NONE;
    return is_begun || (!(self.polls_next && self.state == POLLING) && find_command());
}

static bool step_writing(void) {
    struct unit *unit = unit_of(self.write.point);
    int64_t quiet_ns = self.write_attempts > 0 ? 0 : unit->quiet_ns;
    int64_t time_ns = quiet_ns > self.line_free_ns ? quiet_ns : self.line_free_ns;
    if (self.now_ns < time_ns) return wait_until(time_ns);
    send_write();
    return true;
}

/* True: something was done, go on. False: nothing to do before wake_ns or another event. */
static bool step(void) {
    switch (self.state) {
    case DOWN: return step_down();
    case RESTING:
        if (is_command_next()) return step_writing();
        if (self.now_ns < self.next_cycle_ns) return wait_until(self.next_cycle_ns);
        begin_cycle();
        return true;
    case POLLING: return is_command_next() ? step_writing() : step_polling();
    case WAITING:
    case WRITING: return wait_until(self.reply_due_ns);
    }
    return false;
}

/* The end of every entry point: go as far as possible, then set the one timer. */
static void advance(void) {
    if (self.stale_due > 0) write_stale();
    while (step()) {
    }
    hal_timer(TIMER_STEP, self.wake_ns == never ? -1 : (self.wake_ns - self.now_ns + 999) / 1000);
    publish_changed_metrics();
}

/* ---- entry points ---- */

static bool refuse(const char *problem) {
    struct pen_text text = {(char *)(uintptr_t)problem, 0, 0, false};
    while (problem[text.len] != '\0') text.len++;
    pen_text_log(&text, PEN_ERROR);
    return false;
}

static bool refuse_tag(uint32_t tag, const char *problem) {
    char bytes[160];
    struct pen_text text = {bytes, sizeof bytes, 0, false};
    pen_text_add(&text, "tag[");
    pen_text_add_u64(&text, tag);
    pen_text_add(&text, "] modbus.");
    pen_text_add(&text, problem);
    pen_text_log(&text, PEN_ERROR);
    return false;
}

/* A ring with a reader that may drop takes no more than its half at once. */
static bool configure(void) {
    struct pen_config config;
    uint32_t tag;
    if (!pen_config_load(&config, sizeof(struct modbus_config), sizeof(struct modbus_tag))) {
        return refuse("no memory for the configuration, or not of this version");
    }
    self.config = config.config;
    self.out = pen_ring_out(0);
    if (self.out == NULL) return refuse("no output ring");
    if (self.config->backoff_min_ms > self.config->backoff_max_ms) {
        return refuse("backoff_min_ms is above backoff_max_ms");
    }
    const char *problem = plan_make(&self.plan, &config, self.out->capacity / 2, &tag);
    if (problem != NULL) return tag == PEN_NO_TAG ? refuse(problem) : refuse_tag(tag, problem);
    problem = write_rules_make(&self.rules, self.config);
    if (problem != NULL) return refuse(problem);
    for (struct pen_ring *ring; self.command_rings < COMMAND_RINGS_MAX; self.command_rings++) {
        if ((ring = pen_ring_in((int32_t)self.command_rings)) == NULL) break;
        self.commands[self.command_rings] = ring;
    }
    self.reader.kind = self.config->framing == MODBUS_FRAMING_TCP ? FRAME_TCP : FRAME_RTU;
    reset_units();
    for (uint32_t i = 0; i < METRIC_COUNT; i++) publish_metric(i);
    return true;
}

int32_t PEN_EXPORT(pen_init)(void) { return configure() ? 0 : 1; }

static void port_up(void) {
    self.state = RESTING;
    self.next_cycle_ns = self.now_ns + (int64_t)self.config->connect_pause_ms * 1000000;
    self.line_free_ns = self.next_cycle_ns;
}

/* The unit that was being asked may be why the connection broke, and break the next one too: the others come first. */
static void port_down(void) {
    struct unit *asked = self.state == WAITING ? current_unit() : NULL;
    if (self.state == WRITING) asked = unit_of(self.write.point);
    if (self.write.phase != WRITE_NONE) report_failure("the port went down");
    reset_units();
    if (asked != NULL) asked->state = UNIT_BEHIND;
    self.state = DOWN;
    mark_stale(0, self.plan.point_count);
}

void PEN_EXPORT(pen_on_port)(int32_t port, int32_t is_up) {
    (void)port;
    self.now_ns = hal_now(PEN_CLOCK_MONOTONIC);
    frame_reset(&self.reader);
    if (is_up) {
        port_up();
    } else {
        port_down();
    }
    advance();
}

void PEN_EXPORT(pen_on_rx)(int32_t port) {
    uint8_t bytes[256];
    self.now_ns = hal_now(PEN_CLOCK_MONOTONIC);
    for (int32_t len; (len = hal_rx(port, bytes, sizeof bytes)) > 0;) {
        for (int32_t i = 0; i < len; i++) {
            struct frame_reply reply = frame_take(&self.reader, bytes[i]);
            if (reply.verdict == FRAME_INCOMPLETE) continue;
            if (self.state == WAITING) got_reply(&reply);
            if (self.state == WRITING) got_write_reply(&reply);
        }
    }
    line_busy_until(self.now_ns + silence_ns());
    advance();
}

void PEN_EXPORT(pen_on_timer)(int32_t id) {
    (void)id;
    self.now_ns = hal_now(PEN_CLOCK_MONOTONIC);
    bool is_over = self.now_ns >= self.reply_due_ns;
    if (self.state == WAITING && is_over) {
        timed_out();
    } else if (self.state == WRITING && is_over) {
        write_timed_out();
    }
    advance();
}

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    (void)ring;
    self.now_ns = hal_now(PEN_CLOCK_MONOTONIC);
    advance();
}

/* ---- another version ---- */

_Static_assert((int)METRIC_COUNT <= (int)STATE_METRICS_MAX, "the state holds all metrics");

int32_t PEN_EXPORT(pen_save)(void) {
    struct state_place place = {.current = state_of_request(&self.plan, self.pass < 2 ? self.at : UINT32_MAX),
                                .phase = (uint8_t)self.state,
                                .pass = self.pass,
                                .attempts = self.attempts,
                                .probes = self.probes,
                                .transaction = (uint16_t)self.plan.kept->transaction,
                                .metric_count = METRIC_COUNT,
                                .polls_next = self.polls_next,
                                .is_resting = self.is_resting,
                                .write_attempts = self.write_attempts,
                                .write = self.write,
                                .write_tag = self.write.phase == WRITE_NONE ? PEN_NO_TAG : written_point()->tag->tag,
                                .next_cycle_ns = self.next_cycle_ns,
                                .cycle_start_ns = self.cycle_start_ns,
                                .line_free_ns = self.line_free_ns,
                                .reply_due_ns = self.reply_due_ns};
    for (uint32_t i = 0; i < METRIC_COUNT; i++) place.metrics[i] = self.values[i];
    state_save(&place, &self.reader, &self.plan);
    return STATE_VERSION;
}

/* A command for a tag that this version does not know has its answer ignored. */
static void resume_write(const struct state_place *place) {
    self.polls_next = place->polls_next;
    self.is_resting = place->is_resting;
    self.write_attempts = place->write_attempts;
    self.write = place->write;
    self.write.point = plan_find_tag(&self.plan, place->write_tag);
    if (self.write.point < self.plan.point_count) return;
    self.write.phase = WRITE_NONE;
    if (self.state != WRITING) return;
    frame_expect_nothing(&self.reader);
    line_busy_until(self.reply_due_ns);
    write_over();
}

/* A request on the way that this version would not send has its answer ignored, and the cycle ends. */
static void resume_at(const struct state_place *place) {
    self.state = (enum state)place->phase;
    self.at = state_find_request(&self.plan, &place->current);
    resume_write(place);
    if (self.state != WAITING || self.at < self.plan.request_count) return;
    frame_expect_nothing(&self.reader);
    line_busy_until(self.reply_due_ns);
    self.state = RESTING;
}

int32_t PEN_EXPORT(pen_load)(int32_t version) {
    struct state_place place;
    if (version != STATE_VERSION || !state_load(&place, &self.reader, &self.plan) || place.phase > WRITING) return 1;
    self.pass = place.pass;
    self.attempts = place.attempts;
    self.probes = place.probes;
    self.plan.kept->transaction = place.transaction;
    self.next_cycle_ns = place.next_cycle_ns;
    self.cycle_start_ns = place.cycle_start_ns;
    self.line_free_ns = place.line_free_ns;
    self.reply_due_ns = place.reply_due_ns;
    for (uint32_t i = 0; i < METRIC_COUNT && i < place.metric_count; i++) {
        self.values[i] = self.published[i] = place.metrics[i];
    }
    for (uint32_t i = 0; i < self.plan.point_count; i++) self.stale_due += self.plan.points[i].stale_due;
    resume_at(&place);
    hal_timer(TIMER_STEP, 0); /* goes on with the next event: what is written here reaches nobody */
    return 0;
}
