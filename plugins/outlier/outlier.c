/* Values too far off the mean of the values before them are marked, left out or replaced; a new level is recognised.
 *
 * Only what was accepted is in the window, so outliers do not widen what is accepted next. Mean and deviation are taken
 * anew for each value, in two passes: no sum is carried on, so no rounding adds up and the values are the whole state.
 * Integers (i64, u64) are reckoned with in integers, other numbers (f64) in doubles. */
#include "outlier_config.h"
#include "pen.h"
#include "pen_config.h"
#include "pen_record.h"
#include "pen_state.h"

PEN_ABI_MARKER()

/* Integers: distances from the mean in 1/256. Far distances are cut off, so that products fit in 64 bits. */
enum { UNITS = 256, DEVIATION_BITS = 18, STATE_VERSION = 1 };
static const uint64_t distance_max = 1ull << 46;
static const uint64_t sign_bit = 1ull << 63;

struct track { /* one tag */
    uint64_t key;   /* tag, and size in the high half */
    uint32_t first; /* place of its values in self.values */
    uint32_t size;  /* most values */
    uint32_t fill;
    uint32_t type;    /* PEN_ type of all values */
    uint32_t strikes; /* outliers in a row */
    uint32_t seq;     /* of the next record, where outliers are left out */
};

static struct {
    struct pen_config config;
    struct pen_ring *out;
    struct track *tracks; /* one for each tag of the configuration */
    uint64_t *values;     /* accepted ones, oldest first; ordered(), so that they compare as unsigned integers */
    uint32_t value_count;
    int64_t outliers_total;
    int64_t shifts_total;
} self;

static void publish_metrics(void) {
    hal_metric("outliers_total", 14, PEN_COUNTER, self.outliers_total);
    hal_metric("shifts_total", 12, PEN_COUNTER, self.shifts_total);
}

/* ---- values ---- */

/* The bits of a record's value so that unsigned integers keep its order; negative doubles are the other way round. */
static uint64_t ordered(uint32_t type, uint64_t bits) {
    if (type == PEN_U64) return bits;
    return type == PEN_F64 && bits & sign_bit ? ~bits : bits ^ sign_bit;
}

static uint64_t bits_of(uint32_t type, uint64_t value) {
    if (type == PEN_U64) return value;
    return type == PEN_F64 && !(value & sign_bit) ? ~value : value ^ sign_bit;
}

static double number_of(uint64_t value) {
    union {
        uint64_t bits;
        double number;
    } pun = {.bits = bits_of(PEN_F64, value)};
    return pun.number;
}

static int64_t distance(uint64_t value, uint64_t origin) {
    uint64_t size = value > origin ? value - origin : origin - value;
    if (size > distance_max) size = distance_max;
    return value > origin ? (int64_t)size : -(int64_t)size;
}

/* ---- the window ---- */

static uint64_t *values_of(const struct track *track) { return self.values + track->first; }

static void add(struct track *track, uint64_t value) {
    uint64_t *values = values_of(track);
    if (track->fill == track->size) {
        track->fill--;
        __builtin_memmove(values, values + 1, track->fill * sizeof value);
    }
    values[track->fill++] = value;
}

/* In units, from a mean that counts in units from the oldest value. */
static uint64_t deviation(const struct track *track, uint64_t value, int64_t mean) {
    int64_t off = distance(value, values_of(track)[0]) * UNITS - mean;
    return off < 0 ? 0 - (uint64_t)off : (uint64_t)off;
}

/* x is too far when (x - mean)^2 > sigma^2 * sum((v - mean)^2) / (n - 1). All deviations lose as many low bits as the
 * largest has too many. */
static bool is_far_integer(const struct track *track, const struct outlier_tag *tag, uint64_t value) {
    const uint64_t *values = values_of(track);
    int64_t sum = 0;
    for (uint32_t i = 0; i < track->fill; i++) sum += distance(values[i], values[0]);
    int64_t mean = sum * UNITS / (int64_t)track->fill;
    uint64_t off = deviation(track, value, mean);
    if (off <= (uint64_t)(tag->tolerance * (double)UNITS)) return false;
    uint64_t all = off;
    for (uint32_t i = 0; i < track->fill; i++) all |= deviation(track, values[i], mean);
    uint32_t shift = 0;
    while (all >> shift >> DEVIATION_BITS != 0) shift++;
    uint64_t squares = 0;
    for (uint32_t i = 0; i < track->fill; i++) {
        uint64_t rest = deviation(track, values[i], mean) >> shift;
        squares += rest * rest;
    }
    off >>= shift;
    return off * off * (track->fill - 1) * UNITS > squares * (uint64_t)(tag->sigma * tag->sigma * (double)UNITS);
}

static bool is_far_number(const struct track *track, const struct outlier_tag *tag, uint64_t value) {
    const uint64_t *values = values_of(track);
    double origin = number_of(values[0]);
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < track->fill; i++) sum += number_of(values[i]) - origin;
    double mean = origin + sum / track->fill;
    for (uint32_t i = 0; i < track->fill; i++) {
        double deviation = number_of(values[i]) - mean;
        squares += deviation * deviation;
    }
    double off = number_of(value) - mean;
    return __builtin_fabs(off) > tag->tolerance && off * off * (track->fill - 1) > tag->sigma * tag->sigma * squares;
}

/* Of an even count the lower one of the two middle values. */
static uint64_t median(const struct track *track) {
    const uint64_t *values = values_of(track);
    uint32_t rank = (track->fill - 1) / 2;
    for (uint32_t i = 0;; i++) {
        uint64_t candidate = values[i];
        uint32_t below = 0;
        uint32_t equal = 0;
        for (uint32_t k = 0; k < track->fill; k++) {
            below += values[k] < candidate;
            equal += values[k] == candidate;
        }
        if (rank - below < equal) return candidate;
    }
}

/* ---- records ---- */

/* True: accepted. */
static bool judge(struct track *track, const struct outlier_tag *tag, uint32_t type, uint64_t value) {
    if (type != track->type) track->fill = 0;
    track->type = type;
    uint32_t enough = tag->min_samples < track->size ? tag->min_samples : track->size;
    bool is_outlier = track->fill >= enough &&
                      (type == PEN_F64 ? is_far_number(track, tag, value) : is_far_integer(track, tag, value));
    if (is_outlier && ++track->strikes < tag->shift_after) return false;
    track->strikes = 0;
    if (is_outlier) {
        track->fill = 0;
        self.shifts_total++;
    }
    add(track, value);
    return true;
}

/* False: to be left out. */
static bool correct(const struct track *track, const struct outlier_tag *tag, struct pen_record *record) {
    self.outliers_total++;
    if (tag->action == OUTLIER_TAG_ACTION_DROP) return false;
    if (tag->action == OUTLIER_TAG_ACTION_MARK) {
        record->quality = PEN_BAD;
    } else {
        uint64_t value = tag->action == OUTLIER_TAG_ACTION_LAST ? values_of(track)[track->fill - 1] : median(track);
        record->value.u64 = bits_of(track->type, value);
    }
    return true;
}

/* The record as it goes on. False: to be left out. */
static bool handle(struct pen_record *record, const struct pen_config *config) {
    const struct outlier_tag *tag = pen_config_tag(config, record->tag);
    if (record->kind != PEN_SAMPLE || tag == NULL || !tag->has_window) return true;
    struct track *track = &self.tracks[tag - (const struct outlier_tag *)(const void *)config->tags];
    if (record->type == PEN_F64 && !pen_is_finite(record->value.f64)) pen_record_mark_bad(record);
    bool is_checked = record->quality == PEN_GOOD && record->type >= PEN_I64 && record->type <= PEN_F64;
    if (is_checked && !judge(track, tag, record->type, ordered(record->type, record->value.u64)) &&
        !correct(track, tag, record)) {
        return false;
    }
    if (tag->action == OUTLIER_TAG_ACTION_DROP) record->seq = track->seq++;
    return true;
}

/* ---- entry points ---- */

static bool make_tracks(void) {
    uint32_t count = self.config.tag_count;
    const struct outlier_tag *tags = (const void *)self.config.tags;
    for (uint32_t i = 0; i < count; i++) self.value_count += tags[i].window;
    uint32_t bytes = count * (uint32_t)sizeof *self.tracks;
    bytes += self.value_count * (uint32_t)sizeof(uint64_t);
    self.tracks = pen_memory_take(bytes);
    if (self.tracks == NULL) return false;
    self.values = (uint64_t *)(self.tracks + count);
    uint32_t first = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = tags[i].window;
        self.tracks[i] = (struct track){(uint64_t)size << 32 | tags[i].tag, first, size, 0, 0, 0, 0};
        first += size;
    }
    hal_keep(self.tracks, (int32_t)bytes);
    return true;
}

int32_t PEN_EXPORT(pen_init)(void) {
    self.out = pen_ring_out(0);
    if (self.out == NULL || !pen_config_load(&self.config, 0, sizeof(struct outlier_tag))) return 1;
    publish_metrics();
    return make_tracks() ? 0 : 1;
}

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    pen_record_relay(pen_ring_in(ring), self.out, &self.config, handle);
    publish_metrics();
}

int32_t PEN_EXPORT(pen_save)(void) {
    uint32_t tracks_bytes = self.config.tag_count * (uint32_t)sizeof *self.tracks;
    pen_state_save(self.tracks, tracks_bytes + self.value_count * (uint32_t)sizeof(uint64_t));
    return STATE_VERSION;
}

int32_t PEN_EXPORT(pen_load)(int32_t version) {
    int32_t bytes = (int32_t)(self.value_count * sizeof(uint64_t));
    bool is_ours = version == STATE_VERSION &&
                   pen_state_load(self.tracks, self.config.tag_count, sizeof *self.tracks) &&
                   hal_state_get(self.values, bytes) == bytes;
    return is_ours ? 0 : 1;
}
