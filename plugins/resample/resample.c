/* One value per tag and interval. An interval of a tag ends when a sample of another one comes, or by the clock. */
#include "pen.h"
#include "pen_config.h"
#include "pen_record.h"
#include "pen_state.h"
#include "resample_config.h"

PEN_ABI_MARKER()

enum { TIMER_FLUSH = 0, RETRY_US = 10000 /* when the output is full */ };
enum { STATE_VERSION = 1 };

union number {
    int64_t i64;
    uint64_t u64;
    double f64;
};

struct track { /* one tag, and what it has collected of one interval */
    uint64_t key;        /* the tag */
    uint32_t seq;        /* of the next result */
    uint32_t count;      /* good values */
    uint8_t type;        /* of the good values */
    uint8_t quality;     /* of the last sample */
    bool is_open;        /* something was collected */
    bool has_closed;
    int64_t interval;
    int64_t closed;      /* the last interval put out */
    union number first;  /* doubles: sum counts from it */
    union number picked; /* the smallest, largest or last so far */
    union number mean;   /* integers: mean * count + rest is their sum; doubles: the sum of differences from first */
    int64_t rest;
};

static struct {
    struct pen_config config;
    const struct resample_config *settings;
    struct pen_ring *out;
    struct track *tracks; /* one for each tag of the configuration */
    int64_t late_total;
} self;

static int64_t divide_down(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static int64_t interval_ns(void) { return (int64_t)self.settings->interval_ms * 1000000; }

static int64_t interval_of(int64_t time_ns) { return divide_down(time_ns, interval_ns()); }

static const struct resample_tag *settings_of(const struct track *track) {
    return (const struct resample_tag *)(const void *)self.config.tags + (track - self.tracks);
}

/* ---- collecting ---- */

static bool is_less(uint32_t type, union number a, union number b) {
    if (type == PEN_F64) return a.f64 < b.f64;
    return type == PEN_I64 ? a.i64 < b.i64 : a.u64 < b.u64;
}

/* Exact, and no wider than the values: the mean so far moves by the whole part of (value + rest - mean) / count. */
static void add_integer(struct track *track, union number value) {
    int64_t more = value.i64 - track->mean.i64 + track->rest;
    int64_t step = divide_down(more, track->count);
    track->mean.i64 += step;
    track->rest = more - step * track->count;
}

static void collect(struct track *track, uint32_t type, union number value) {
    uint8_t wanted = settings_of(track)->value;
    if (track->count++ == 0) {
        track->type = (uint8_t)type;
        track->first = value;
        track->picked = value;
        track->mean = type == PEN_F64 ? (union number){0} : value;
        track->rest = 0;
        return;
    }
    if (type == PEN_F64) {
        track->mean.f64 += value.f64 - track->first.f64;
    } else {
        add_integer(track, value);
    }
    bool is_picked = wanted == RESAMPLE_TAG_VALUE_MIN   ? is_less(type, value, track->picked)
                     : wanted == RESAMPLE_TAG_VALUE_MAX ? is_less(type, track->picked, value)
                                                        : true;
    if (is_picked) track->picked = value;
}

/* ---- results ---- */

static union number mean_of(const struct track *track) {
    union number mean = track->mean;
    if (track->type == PEN_F64) {
        mean.f64 = track->first.f64 + track->mean.f64 / track->count;
    } else if (2 * track->rest >= track->count) {
        mean.i64++;
    }
    return mean;
}

/* False: the output has no room now. */
static bool put_result(struct track *track) {
    uint8_t wanted = settings_of(track)->value;
    struct pen_record *result = pen_ring_room(self.out, sizeof *result);
    if (result == NULL) return false;
    bool is_count = wanted == RESAMPLE_TAG_VALUE_COUNT;
    int64_t stamp = track->interval + (self.settings->stamp == RESAMPLE_STAMP_END);
    *result = (struct pen_record){
        sizeof *result,        PEN_SAMPLE, PEN_GOOD, track->type, (uint32_t)track->key, track->seq++,
        stamp * interval_ns(), {0}};
    union number value = wanted == RESAMPLE_TAG_VALUE_MEAN ? mean_of(track) : track->picked;
    result->value.u64 = value.u64;
    if (is_count) {
        result->type = PEN_U64;
        result->value.u64 = track->count;
    } else if (track->count == 0) {
        result->type = PEN_NONE;
        result->quality = track->quality;
        result->value.u64 = 0;
    }
    if (result->type == PEN_F64 && !pen_is_finite(result->value.f64)) pen_record_mark_bad(result);
    pen_ring_put(self.out, result);
    track->closed = track->interval;
    track->has_closed = true;
    track->is_open = false;
    track->count = 0;
    return true;
}

/* ---- records ---- */

/* An interval that was put out already, or the one before it. Older than that the clock was set back: begin there. */
static bool is_late(const struct track *track, int64_t interval) {
    return track->has_closed && interval <= track->closed && interval >= track->closed - 1;
}

/* False: the output has no room now, the record must wait. */
static bool take(struct track *track, const struct pen_record *record) {
    int64_t interval = interval_of(record->time_ns);
    bool is_good = record->quality == PEN_GOOD && pen_record_is_finite(record);
    if (is_late(track, interval)) {
        self.late_total++;
        return true;
    }
    bool is_other = interval != track->interval || (is_good && track->count > 0 && record->type != track->type);
    if (track->is_open && is_other && !put_result(track)) return false;
    track->interval = interval;
    track->is_open = true;
    track->quality = record->quality == PEN_GOOD ? PEN_BAD : record->quality;
    if (is_good) collect(track, record->type, (union number){.u64 = record->value.u64});
    return true;
}

static bool pass(const struct pen_record *record) {
    struct pen_record *result = pen_ring_room(self.out, record->size);
    if (result == NULL) return false;
    pen_record_copy(result, record);
    pen_ring_put(self.out, result);
    return true;
}

static bool handle(const struct pen_record *record) {
    const struct resample_tag *tag = pen_config_tag(&self.config, record->tag);
    bool is_passed =
        record->kind != PEN_SAMPLE || record->type == PEN_BYTES || tag == NULL || tag->value == RESAMPLE_TAG_VALUE_ALL;
    if (is_passed) return pass(record);
    return take(&self.tracks[tag - (const struct resample_tag *)(const void *)self.config.tags], record);
}

/* ---- entry points ---- */

static void publish_metrics(void) { hal_metric("late_total", 10, PEN_COUNTER, self.late_total); }

/* Puts out the intervals that are over, then waits for the end of the present one. */
static void flush(void) {
    int64_t now_ns = hal_now(PEN_CLOCK_UNIX) - (int64_t)self.settings->grace_ms * 1000000;
    int64_t present = interval_of(now_ns);
    int64_t delay_us = ((present + 1) * interval_ns() - now_ns + 999) / 1000;
    for (uint32_t i = 0; i < self.config.tag_count; i++) {
        struct track *track = &self.tracks[i];
        if (track->is_open && track->interval < present && !put_result(track)) delay_us = RETRY_US;
    }
    hal_timer(TIMER_FLUSH, delay_us);
}

int32_t PEN_EXPORT(pen_init)(void) {
    self.out = pen_ring_out(0);
    bool is_loaded = pen_config_load(&self.config, sizeof(struct resample_config), sizeof(struct resample_tag));
    if (self.out == NULL || !is_loaded) return 1;
    self.settings = self.config.config;
    self.tracks = pen_memory_take(self.config.tag_count * (uint32_t)sizeof *self.tracks);
    if (self.tracks == NULL) return 1;
    for (uint32_t i = 0; i < self.config.tag_count; i++) self.tracks[i].key = settings_of(&self.tracks[i])->tag;
    hal_keep(self.tracks, (int32_t)(self.config.tag_count * sizeof *self.tracks));
    publish_metrics();
    flush();
    return 0;
}

/* Ends when the input is empty or the output is full; then the host calls again when there is room. */
void PEN_EXPORT(pen_on_records)(int32_t ring) {
    struct pen_ring *in = pen_ring_in(ring);
    for (const struct pen_record *record; (record = pen_ring_peek(in)) != NULL && handle(record);) {
        pen_ring_taken(in, record);
    }
    publish_metrics();
}

void PEN_EXPORT(pen_on_timer)(int32_t id) {
    (void)id;
    flush();
}

int32_t PEN_EXPORT(pen_save)(void) {
    pen_state_save(self.tracks, self.config.tag_count * (uint32_t)sizeof *self.tracks);
    return STATE_VERSION;
}

int32_t PEN_EXPORT(pen_load)(int32_t version) {
    hal_timer(TIMER_FLUSH, 0);
    bool is_ours = version == STATE_VERSION && pen_state_load(self.tracks, self.config.tag_count, sizeof *self.tracks);
    return is_ours ? 0 : 1;
}
