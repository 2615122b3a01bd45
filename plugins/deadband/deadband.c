/* Passes the samples that tell something new. Integers and bools are compared as integers, other numbers as doubles. */
#include "deadband_config.h"
#include "pen.h"
#include "pen_config.h"
#include "pen_record.h"
#include "pen_state.h"

PEN_ABI_MARKER()

enum { PARTS = 1000000 /* percent are kept in parts per million */, PARTS_OF_PERCENT = 10000, STATE_VERSION = 1 };

struct track { /* one tag */
    uint64_t key; /* the tag */
    uint64_t value; /* of the last record that passed */
    int64_t time_ns;
    uint32_t seq; /* of the next record */
    uint8_t type;
    uint8_t quality;
    bool has_passed;
};

static struct {
    struct pen_config config;
    struct pen_ring *out;
    struct track *tracks; /* one for each tag of the configuration */
    int64_t suppressed_total;
} self;

static double number_of(uint64_t bits) {
    union {
        uint64_t bits;
        double number;
    } pun = {.bits = bits};
    return pun.number;
}

/* Decimal steps are not exact in binary: 20.1 - 20.0 is a little more than 0.1, and must not count as more. */
static bool differs_number(const struct deadband_tag *tag, double value, double last) {
    double base = __builtin_fabs(tag->has_range ? tag->range : last);
    double share = tag->has_percent ? base * tag->percent / 100 : 0;
    double width = tag->has_absolute && tag->absolute > share ? tag->absolute : share;
    double distance = __builtin_fabs(value - last);
    return !(distance <= width + __builtin_fabs(last) * 0x1p-50); /* so written, NaN differs from everything */
}

/* Of whole numbers the distance is above a limit when it is above the limit without its fraction. */
static bool differs_integer(const struct deadband_tag *tag, uint32_t type, uint64_t value, uint64_t last) {
    bool is_above = type == PEN_I64 ? (int64_t)value > (int64_t)last : value > last;
    uint64_t distance = is_above ? value - last : last - value;
    uint64_t base = type == PEN_I64 && (int64_t)last < 0 ? 0 - last : last;
    if (tag->has_range) base = (uint64_t)tag->range;
    uint64_t parts = tag->has_percent ? (uint64_t)(tag->percent * (double)PARTS_OF_PERCENT) : 0;
    uint64_t share = base / PARTS * parts + base % PARTS * parts / PARTS;
    uint64_t absolute = tag->has_absolute ? (uint64_t)tag->absolute : 0;
    return distance > (absolute > share ? absolute : share);
}

static bool differs(const struct deadband_tag *tag, uint32_t type, uint64_t value, uint64_t last) {
    switch (type) {
    case PEN_I64:
    case PEN_U64: return differs_integer(tag, type, value, last);
    case PEN_F64: return differs_number(tag, number_of(value), number_of(last));
    case PEN_BOOL: return value != last;
    case PEN_NONE: return false;
    default: return true; /* texts are not kept */
    }
}

/* A clock that was set back ends a silence, too. */
static bool is_silent_long(const struct deadband_tag *tag, const struct track *track, int64_t time_ns) {
    int64_t silence_ns = time_ns - track->time_ns;
    return tag->has_silence_ms && (silence_ns < 0 || silence_ns >= (int64_t)tag->silence_ms * 1000000);
}

/* True: goes on. */
static bool handle(struct pen_record *record, const struct pen_config *config) {
    const struct deadband_tag *tag = pen_config_tag(config, record->tag);
    if (record->kind != PEN_SAMPLE || tag == NULL) return true;
    if (!tag->has_absolute && !tag->has_percent && !tag->has_silence_ms) return true;
    struct track *track = &self.tracks[tag - (const struct deadband_tag *)(const void *)config->tags];
    bool is_news = !track->has_passed || record->quality != track->quality || record->type != track->type ||
                   differs(tag, record->type, record->value.u64, track->value) ||
                   is_silent_long(tag, track, record->time_ns);
    if (!is_news) {
        self.suppressed_total++;
        return false;
    }
    *track =
        (struct track){track->key, record->value.u64, record->time_ns, track->seq, record->type, record->quality, true};
    record->seq = track->seq++;
    return true;
}

static void publish_metrics(void) { hal_metric("suppressed_total", 16, PEN_COUNTER, self.suppressed_total); }

int32_t PEN_EXPORT(pen_init)(void) {
    self.out = pen_ring_out(0);
    if (self.out == NULL || !pen_config_load(&self.config, 0, sizeof(struct deadband_tag))) return 1;
    self.tracks = pen_memory_take(self.config.tag_count * (uint32_t)sizeof *self.tracks);
    if (self.tracks == NULL) return 1;
    const struct deadband_tag *tags = (const void *)self.config.tags;
    for (uint32_t i = 0; i < self.config.tag_count; i++) self.tracks[i].key = tags[i].tag;
    hal_keep(self.tracks, (int32_t)(self.config.tag_count * sizeof *self.tracks));
    publish_metrics();
    return 0;
}

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    pen_record_relay(pen_ring_in(ring), self.out, &self.config, handle);
    publish_metrics();
}

int32_t PEN_EXPORT(pen_save)(void) {
    pen_state_save(self.tracks, self.config.tag_count * (uint32_t)sizeof *self.tracks);
    return STATE_VERSION;
}

int32_t PEN_EXPORT(pen_load)(int32_t version) {
    bool is_ours = version == STATE_VERSION && pen_state_load(self.tracks, self.config.tag_count, sizeof *self.tracks);
    return is_ours ? 0 : 1;
}
