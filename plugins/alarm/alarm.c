/* Alarms: a condition per tag, looked at whenever a tag in it gets a sample. What changes becomes an event record
 * behind the sample, and a command where one is asked for.
 *
 * An event that has no room waits; until it is written no further sample is taken, so none is lost or out of order. */
#include "expression.h"
#include "pen.h"
#include "pen_config.h"
#include "pen_float.h"
#include "pen_record.h"
#include "pen_state.h"

PEN_ABI_MARKER()

enum { TIMER_DELAY = 0, RETRY_NS = 10000000 /* when the output is full */, STATE_VERSION = 1, TEXT_MAX = 256 };
#define NOBODY UINT32_MAX
static const int64_t never = INT64_MAX;

struct track { /* one tag, and its alarm */
    uint64_t key; /* the tag */
    struct reading reading;
    uint32_t seq; /* of its next event */
    uint32_t command_seq; /* of its next command */
    bool is_raised;
    bool is_due; /* the event of the last change has to be written yet */
    uint8_t decider;
    struct reading decided; /* what the decider had then */
    int64_t change_ns; /* monotonic time at which the alarm changes if nothing else does; never: it does not */
    int64_t time_ns; /* of the last change, or of the sample that began the delay before one */
};

struct use { /* a term that looks at a tag: the uses of a tag are a list */
    uint32_t next;
    uint32_t alarm;
};

static struct {
    struct pen_config config;
    const struct alarm_config *settings;
    const struct alarm_tag *tags;
    struct pen_ring *out;
    struct pen_ring *commands; /* NULL: nobody takes them */
    struct track *tracks; /* one for each tag of the configuration */
    struct reading *readings; /* of each tag: as expression_holds wants them */
    uint32_t *first_terms; /* of each tag; behind the last one: of how many there are */
    uint32_t *first_uses; /* of each tag: the first term that looks at it, or NOBODY */
    struct term *terms;
    struct use *uses; /* one for each term */
    uint32_t due_count;
    int64_t now_ns; /* monotonic time of the event being handled */
    int64_t raised_total;
    int64_t active;
} self;

static void publish_metrics(void) {
    hal_metric("raised_total", 12, PEN_COUNTER, self.raised_total);
    hal_metric("active", 6, PEN_GAUGE, self.active);
}

/* ---- events and commands ---- */

static void add_number(struct pen_text *text, uint32_t type, uint64_t bits) {
    union {
        uint64_t bits;
        double number;
    } pun = {.bits = bits};
    if (type == PEN_F64) {
        pen_text_add_f64(text, pun.number);
    } else if (type == PEN_I64) {
        pen_text_add_i64(text, (int64_t)bits);
    } else {
        pen_text_add_u64(text, bits);
    }
}

/* raised LABEL: WHAT VALUE, limit SIGN LIMIT */
static void add_event(struct pen_text *text, uint32_t position) {
    const struct track *track = &self.tracks[position];
    const struct term *term = &self.terms[self.first_terms[position] + track->decider];
    pen_text_add(text, track->is_raised ? "raised " : "cleared ");
    pen_text_add(text, self.tags[position].label);
    pen_text_add(text, ": ");
    if (term->tag != position) {
        pen_text_add(text, self.tags[term->tag].name);
        pen_text_add_byte(text, ' ');
    }
    if (term->is_quality) {
        pen_text_add(text, "quality ");
        pen_text_add(text, expression_qualities[track->decided.quality]);
    } else {
        pen_text_add(text, "value ");
        add_number(text, track->decided.type, track->decided.bits);
    }
    pen_text_add(text, ", limit ");
    pen_text_add(text, expression_signs[term->comparison]);
    pen_text_add_byte(text, ' ');
    if (term->is_quality) {
        pen_text_add(text, expression_qualities[(uint32_t)term->limit]);
    } else {
        pen_text_add_f64(text, term->limit);
    }
}

/* Commands have a ring that drops the oldest: there is always room. */
static void put_command(const struct alarm_tag *tag, struct track *track) {
    bool is_asked = tag->has_command && (track->is_raised ? tag->has_on_raised : tag->has_on_cleared);
    struct pen_record *record = is_asked && self.commands != NULL ? pen_ring_room(self.commands, sizeof *record) : NULL;
    if (record == NULL) return;
    *record = (struct pen_record){sizeof *record, PEN_COMMAND,          PEN_GOOD,       PEN_F64,
                                  tag->command,   track->command_seq++, track->time_ns, {0}};
    record->value.f64 = track->is_raised ? tag->on_raised : tag->on_cleared;
    pen_ring_put(self.commands, record);
}

/* False: the output has no room now. */
static bool put_event(uint32_t position) {
    struct track *track = &self.tracks[position];
    struct pen_record *record = pen_ring_room(self.out, sizeof *record + TEXT_MAX);
    if (record == NULL) return false;
    struct pen_text text = {(char *)(record + 1), TEXT_MAX, 0, false};
    add_event(&text, position);
    *record = (struct pen_record){(uint32_t)sizeof *record + ((text.len + 7u) & ~7u),
                                  PEN_EVENT,
                                  PEN_GOOD,
                                  PEN_BYTES,
                                  self.tags[position].tag,
                                  track->seq++,
                                  track->time_ns,
                                  {.bytes = {.len = text.len}}};
    for (uint32_t i = text.len; i % 8 != 0; i++) text.bytes[i] = '\0';
    pen_ring_put(self.out, record);
    track->is_due = false;
    self.due_count--;
    return true;
}

/* False: some have to wait for room. */
static bool put_due_events(void) {
    for (uint32_t i = 0; i < self.config.tag_count && self.due_count > 0; i++) {
        if (self.tracks[i].is_due && !put_event(i)) return false;
    }
    return true;
}

/* ---- alarms ---- */

static void change(uint32_t position, uint32_t decider) {
    struct track *track = &self.tracks[position];
    track->is_raised = !track->is_raised;
    track->change_ns = never;
    track->decider = (uint8_t)decider;
    track->decided = self.readings[self.terms[self.first_terms[position] + decider].tag];
    track->is_due = true;
    self.due_count++;
    self.active += track->is_raised ? 1 : -1;
    self.raised_total += track->is_raised;
    put_command(&self.tags[position], track);
}

/* Looks at the alarm of a tag: a sample of time_ns may have changed what its condition says. */
static void look_at(uint32_t position, int64_t time_ns) {
    struct track *track = &self.tracks[position];
    const struct alarm_tag *tag = &self.tags[position];
    uint32_t first = self.first_terms[position];
    uint32_t decider = 0;
    bool holds = expression_holds(self.terms + first, self.first_terms[position + 1] - first, self.readings,
                                  track->is_raised, &decider);
    if (holds == track->is_raised) {
        track->change_ns = never;
        return;
    }
    if (track->change_ns == never) {
        track->change_ns = self.now_ns + (int64_t)(holds ? tag->on_delay_ms : tag->off_delay_ms) * 1000000;
        track->time_ns = time_ns;
    }
    if (self.now_ns < track->change_ns) return;
    track->time_ns = time_ns;
    change(position, decider);
}

/* What was not good says nothing about the value: the last good one stays. */
static void read_sample(uint32_t position, const struct pen_record *record) {
    struct reading *reading = &self.readings[position];
    bool is_nan = record->type == PEN_F64 && !pen_is_finite(record->value.f64);
    reading->is_known = true;
    reading->quality =
        record->quality > PEN_STALE || (is_nan && record->quality == PEN_GOOD) ? PEN_BAD : record->quality;
    if (reading->quality == PEN_GOOD && pen_record_is_number(record)) {
        reading->type = record->type;
        reading->bits = record->type == PEN_BOOL ? record->value.u64 & 1 : record->value.u64;
    }
    for (uint32_t use = self.first_uses[position]; use != NOBODY; use = self.uses[use].next) {
        look_at(self.uses[use].alarm, record->time_ns);
    }
}

/* Sets the timer for the next alarm that a delay ends for, or for events that wait for room. */
static void set_timer(void) {
    int64_t next_ns = self.due_count > 0 ? self.now_ns + RETRY_NS : never;
    for (uint32_t i = 0; i < self.config.tag_count && self.due_count == 0; i++) {
        if (self.tracks[i].change_ns < next_ns) next_ns = self.tracks[i].change_ns;
    }
    int64_t delay_us = next_ns > self.now_ns ? (next_ns - self.now_ns + 999) / 1000 : 0;
    hal_timer(TIMER_DELAY, next_ns == never ? -1 : delay_us);
}

/* ---- start ---- */

static bool refuse(const struct alarm_tag *tag, const char *problem) {
    char bytes[200];
    struct pen_text text = {bytes, sizeof bytes, 0, false};
    pen_text_add(&text, "alarm.when of tag \"");
    pen_text_add(&text, tag->name);
    pen_text_add(&text, "\" ");
    pen_text_add(&text, problem);
    pen_text_log(&text, PEN_ERROR);
    return false;
}

static bool count_terms(uint32_t *count) {
    struct expression expression;
    for (uint32_t i = 0; i < self.config.tag_count; i++) {
        if (!self.tags[i].has_when) continue;
        const char *problem = expression_parse(&expression, &self.config, &self.tags[i]);
        if (problem != NULL) return refuse(&self.tags[i], problem);
        *count += expression.count;
    }
    return true;
}

static void take_terms(uint32_t position, uint32_t *count) {
    struct expression expression;
    self.first_terms[position] = *count;
    if (!self.tags[position].has_when) return;
    expression_parse(&expression, &self.config, &self.tags[position]);
    for (uint32_t i = 0; i < expression.count; i++, *count += 1) {
        uint32_t *first_use = &self.first_uses[expression.terms[i].tag];
        self.terms[*count] = expression.terms[i];
        self.uses[*count] = (struct use){*first_use, position};
        *first_use = *count;
    }
}

static void count_alarms(void) {
    for (uint32_t i = 0; i < self.config.tag_count; i++) {
        self.due_count += self.tracks[i].is_due;
        self.active += self.tracks[i].is_raised;
    }
}

static bool make_alarms(void) {
    uint32_t tags = self.config.tag_count, terms = 0;
    if (!count_terms(&terms)) return false;
    uint32_t per_tag = (uint32_t)(sizeof *self.tracks + sizeof *self.readings + 2 * sizeof(uint32_t));
    uint32_t per_term = (uint32_t)(sizeof *self.terms + sizeof *self.uses);
    self.tracks = pen_memory_take(tags * per_tag + terms * per_term + (uint32_t)sizeof(uint64_t));
    if (self.tracks == NULL) return false;
    self.readings = (struct reading *)(self.tracks + tags);
    self.terms = (struct term *)(self.readings + tags);
    self.uses = (struct use *)(self.terms + terms);
    self.first_uses = (uint32_t *)(self.uses + terms);
    self.first_terms = self.first_uses + tags;
    for (uint32_t i = 0; i < tags; i++) {
        self.tracks[i] = (struct track){.key = self.tags[i].tag, .change_ns = never};
        self.first_uses[i] = NOBODY;
    }
    terms = 0;
    for (uint32_t i = 0; i < tags; i++) take_terms(i, &terms);
    self.first_terms[tags] = terms;
    if (hal_keep(self.tracks, (int32_t)(tags * (sizeof *self.tracks + sizeof *self.readings))) == 1) {
        count_alarms();
        hal_timer(TIMER_DELAY, 0);
    }
    return true;
}

int32_t PEN_EXPORT(pen_init)(void) {
    self.out = pen_ring_out(0);
    self.commands = pen_ring_out(1);
    bool is_loaded = pen_config_load(&self.config, sizeof(struct alarm_config), sizeof(struct alarm_tag));
    if (self.out == NULL || !is_loaded) return 1;
    self.settings = self.config.config;
    self.tags = (const void *)self.config.tags;
    if (!make_alarms()) return 1;
    publish_metrics();
    return 0;
}

/* ---- events of the host ---- */

/* False: the output has no room now, the record must wait. */
static bool handle(const struct pen_record *record) {
    bool is_passed = self.settings->samples || record->kind != PEN_SAMPLE;
    struct pen_record *result = pen_ring_room(self.out, record->size);
    if (is_passed && result == NULL) return false;
    if (is_passed) {
        pen_record_copy(result, record);
        pen_ring_put(self.out, result);
    }
    const struct alarm_tag *tag = pen_config_tag(&self.config, record->tag);
    if (record->kind == PEN_SAMPLE && tag != NULL) read_sample((uint32_t)(tag - self.tags), record);
    return true;
}

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    struct pen_ring *in = pen_ring_in(ring);
    self.now_ns = hal_now(PEN_CLOCK_MONOTONIC);
    for (const struct pen_record *record; put_due_events() && (record = pen_ring_peek(in)) != NULL && handle(record);) {
        pen_ring_taken(in, record);
    }
    set_timer();
    publish_metrics();
}

void PEN_EXPORT(pen_on_timer)(int32_t id) {
    (void)id;
    self.now_ns = hal_now(PEN_CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < self.config.tag_count && put_due_events(); i++) {
        if (self.tracks[i].change_ns <= self.now_ns) look_at(i, hal_now(PEN_CLOCK_UNIX));
    }
    put_due_events();
    set_timer();
    publish_metrics();
}

/* ---- another version ---- */

int32_t PEN_EXPORT(pen_save)(void) {
    for (uint32_t i = 0; i < self.config.tag_count; i++) self.tracks[i].reading = self.readings[i];
    pen_state_save(self.tracks, self.config.tag_count * (uint32_t)sizeof *self.tracks);
    hal_state_put(&self.raised_total, sizeof self.raised_total);
    return STATE_VERSION;
}

int32_t PEN_EXPORT(pen_load)(int32_t version) {
    if (version != STATE_VERSION || !pen_state_load(self.tracks, self.config.tag_count, sizeof *self.tracks)) return 1;
    if (hal_state_get(&self.raised_total, sizeof self.raised_total) != sizeof self.raised_total) return 1;
    for (uint32_t i = 0; i < self.config.tag_count; i++) {
        self.readings[i] = self.tracks[i].reading;
    }
    count_alarms();
    hal_timer(TIMER_DELAY, 0);
    return 0;
}
