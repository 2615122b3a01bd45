/* PID controllers: one for each tag with a command. output = kp * deviation + integral - kd * d(value)/dt, limited.
 *
 * The integral stands still while the output is at a limit and would go beyond it (no windup); the derivative is of the
 * value, so that a new setpoint makes no jump in it. Integers (i64, u64) are reckoned with in integers, other values
 * (f64) in doubles. */
#include "integer.h"
#include "pen.h"
#include "pen_config.h"
#include "pen_record.h"
#include "pen_state.h"
#include "pen_text.h"

PEN_ABI_MARKER()

enum { STATE_VERSION = 1, NS_PER_MS = 1000000 };

struct reading { /* a number as a record has it; PEN_NONE: there is none */
    uint64_t bits;
    uint32_t type;
    uint32_t reserved;
};

struct loop { /* one controller */
    uint64_t key; /* the tag */
    uint32_t at;  /* its settings: position in the configuration */
    uint32_t seq; /* of the next command */
    bool has_begun;
    bool has_sent;
    struct reading last; /* value to go on from */
    struct reading setpoint; /* what another tag says; none: as configured */
    int64_t time_ns;     /* capture time of the last value */
    double integral;
    int64_t integral_units; /* the same for integers; of the two the one that the last value used is right */
    double sent;            /* the last output that was sent */
};

static struct {
    struct pen_config config;
    const struct pid_tag *tags;
    struct pen_ring *commands;
    struct loop *loops;
    struct integer_gains *gains; /* of each loop */
    uint32_t loop_count;
    int64_t commands_total;
    int64_t limited_total;
} self;

static void publish_metrics(void) {
    hal_metric("commands_total", 14, PEN_COUNTER, self.commands_total);
    hal_metric("limited_total", 13, PEN_COUNTER, self.limited_total);
}

static double clamp(double value, double low, double high) { return value < low ? low : value > high ? high : value; }

static bool is_integer(uint32_t type) { return type == PEN_I64 || type == PEN_U64; }

static double number_of(struct reading reading) {
    union {
        uint64_t bits;
        double number;
    } pun = {.bits = reading.bits};
    if (reading.type == PEN_F64) return pun.number;
    return reading.type == PEN_I64 ? (double)(int64_t)reading.bits : (double)reading.bits;
}

static int64_t value_of(struct reading reading) {
    return reading.type == PEN_F64 ? integer_value_of(number_of(reading))
                                   : integer_value(reading.type == PEN_I64, reading.bits);
}

/* ---- one step ---- */

static double deviation_of(const struct loop *loop, const struct pid_tag *tag, double value) {
    double setpoint = loop->setpoint.type == PEN_NONE ? tag->setpoint : number_of(loop->setpoint);
    double deviation = setpoint - value;
    if (__builtin_fabs(deviation) <= tag->deadband) return 0;
    return tag->acting == PID_TAG_ACTING_DIRECT ? -deviation : deviation;
}

/* dt_ms 0: there is nothing to go on from. */
static double control_number(struct loop *loop, const struct pid_tag *tag, double value, int64_t dt_ms) {
    double deviation = deviation_of(loop, tag, value);
    double proportional = tag->kp * deviation;
    double derivative = 0;
    if (dt_ms > 0) {
        double seconds = (double)dt_ms / 1000;
        double slope = (number_of(loop->last) - value) / seconds;
        derivative = tag->kd * (tag->acting == PID_TAG_ACTING_DIRECT ? -slope : slope);
        double more = tag->ki * deviation * seconds;
        double before = proportional + loop->integral + derivative;
        bool is_windup = (more > 0 && before >= tag->out_max) || (more < 0 && before <= tag->out_min);
        if (!is_windup) loop->integral = clamp(loop->integral + more, tag->out_min, tag->out_max);
    }
    return proportional + loop->integral + derivative;
}

static double control_integer(struct loop *loop, struct reading value, int64_t dt_ms) {
    const struct integer_gains *gains = &self.gains[loop - self.loops];
    struct integer_step step = {loop->setpoint.type == PEN_NONE ? gains->setpoint : value_of(loop->setpoint),
                                value_of(value), value_of(loop->last), dt_ms};
    return integer_number(integer_control(gains, &step, &loop->integral_units));
}

/* So that the first output is the one to begin with, as far as the limits of the integral allow. */
static void begin(struct loop *loop, const struct pid_tag *tag, double value) {
    double start = tag->has_start ? tag->start : tag->out_min;
    loop->integral = clamp(start - tag->kp * deviation_of(loop, tag, value), tag->out_min, tag->out_max);
    loop->integral_units = integer_output_of(loop->integral);
    loop->has_begun = true;
}

static double control(struct loop *loop, const struct pid_tag *tag, struct reading value, int64_t dt_ms) {
    bool is_now = is_integer(value.type);
    if (!loop->has_begun) begin(loop, tag, number_of(value));
    if (is_now && !is_integer(loop->last.type)) loop->integral_units = integer_output_of(loop->integral);
    if (!is_now && is_integer(loop->last.type)) loop->integral = integer_number(loop->integral_units);
    return is_now ? control_integer(loop, value, dt_ms) : control_number(loop, tag, number_of(value), dt_ms);
}

/* ---- samples ---- */

static void put_command(struct loop *loop, const struct pid_tag *tag, double output, int64_t time_ns) {
    struct pen_record *record = pen_ring_room(self.commands, sizeof *record);
    if (record == NULL) return; /* not in a ring that drops the oldest */
    *record =
        (struct pen_record){sizeof *record, PEN_COMMAND, PEN_GOOD, PEN_F64, tag->command, loop->seq++, time_ns, {0}};
    record->value.f64 = output;
    pen_ring_put(self.commands, record);
    loop->sent = output;
    loop->has_sent = true;
    self.commands_total++;
}

static void take_value(struct loop *loop, const struct pen_record *record) {
    const struct pid_tag *tag = &self.tags[loop->at];
    struct reading value = {record->value.u64, record->type, 0};
    int64_t dt_ms = (record->time_ns - loop->time_ns) / NS_PER_MS;
    bool goes_on = loop->time_ns != 0 && dt_ms <= (int64_t)tag->gap_ms;
    if (goes_on && (dt_ms <= 0 || dt_ms < (int64_t)tag->interval_ms)) return;
    double wanted = control(loop, tag, value, goes_on ? dt_ms : 0);
    double output = clamp(wanted, tag->out_min, tag->out_max);
    self.limited_total += output != wanted;
    loop->last = value;
    loop->time_ns = record->time_ns;
    bool is_news = !loop->has_sent || (output != loop->sent && __builtin_fabs(output - loop->sent) >= tag->step);
    if (is_news) put_command(loop, tag, output, record->time_ns);
}

/* A value that is not good changes nothing; after a pause the controller goes on from the next good one. */
static void handle(const struct pen_record *record) {
    if (record->quality != PEN_GOOD || !pen_record_is_finite(record)) return;
    for (uint32_t i = 0; i < self.loop_count; i++) {
        struct loop *loop = &self.loops[i];
        const struct pid_tag *tag = &self.tags[loop->at];
        if (tag->has_setpoint_tag && tag->setpoint_tag == record->tag) {
            loop->setpoint = (struct reading){record->value.u64, record->type, 0};
        }
        if (tag->tag == record->tag) take_value(loop, record);
    }
}

/* ---- entry points ---- */

static bool refuse(const char *problem) {
    struct pen_text text = {(char *)(uintptr_t)problem, 0, 0, false};
    while (problem[text.len] != '\0') text.len++;
    pen_text_log(&text, PEN_ERROR);
    return false;
}

static bool make_loops(void) {
    for (uint32_t i = 0; i < self.config.tag_count; i++) self.loop_count += self.tags[i].has_command;
    self.loops = pen_memory_take(self.loop_count * (uint32_t)(sizeof *self.loops + sizeof *self.gains));
    if (self.loops == NULL) return refuse("not enough memory for the controllers: raise limits.memory_bytes");
    self.gains = (struct integer_gains *)(self.loops + self.loop_count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < self.config.tag_count; i++) {
        const struct pid_tag *tag = &self.tags[i];
        if (!tag->has_command) continue;
        if (tag->out_min > tag->out_max) return refuse("pid.out_min is above pid.out_max");
        self.loops[count].key = tag->tag;
        self.loops[count].at = i;
        self.gains[count++] = integer_gains_of(tag);
    }
    hal_keep(self.loops, (int32_t)(count * sizeof *self.loops));
    return true;
}

static bool configure(void) {
    self.commands = pen_ring_out(0);
    if (self.commands == NULL)
        return refuse("nobody takes the commands: a driver must name this stage in its commands");
    if (!pen_config_load(&self.config, 0, sizeof(struct pid_tag)))
        return refuse("not the configuration of this version");
    self.tags = (const void *)self.config.tags;
    publish_metrics();
    return make_loops();
}

int32_t PEN_EXPORT(pen_init)(void) { return configure() ? 0 : 1; }

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    struct pen_ring *in = pen_ring_in(ring);
    for (const struct pen_record *record; (record = pen_ring_peek(in)) != NULL;) {
        handle(record);
        pen_ring_taken(in, record);
    }
    publish_metrics();
}

/* ---- another version: integral, last value and last output go on without a jump ---- */

int32_t PEN_EXPORT(pen_save)(void) {
    pen_state_save(self.loops, self.loop_count * (uint32_t)sizeof *self.loops);
    hal_state_put(&self.commands_total, sizeof self.commands_total);
    hal_state_put(&self.limited_total, sizeof self.limited_total);
    return STATE_VERSION;
}

static bool take_number(int64_t *into) { return hal_state_get(into, sizeof *into) == sizeof *into; }

int32_t PEN_EXPORT(pen_load)(int32_t version) {
    bool is_ours = version == STATE_VERSION && pen_state_load(self.loops, self.loop_count, sizeof *self.loops) &&
                   take_number(&self.commands_total) && take_number(&self.limited_total);
    return is_ours ? 0 : 1;
}
