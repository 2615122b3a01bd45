/* Raw values to SI units: value * gain + offset, range, rounding. Everything but numbers passes unchanged. */
#include "pen.h"
#include "pen_config.h"
#include "pen_record.h"
#include "scale_config.h"

PEN_ABI_MARKER()

enum { RINGS_MAX = 16 };

static struct {
    struct pen_config config;
    struct pen_ring *out;
    struct pen_ring *in[RINGS_MAX];
} self;

static double round_to(double value, uint32_t decimals) {
    double power = 1;
    while (decimals-- > 0) power *= 10;
    double scaled = value * power;
    return pen_is_finite(scaled) ? __builtin_rint(scaled) / power : value;
}

/* Whether there is more to do than gain and offset: three flags behind each other, looked at as one. */
static bool has_rest(const struct scale_tag *tag) {
    enum { FLAGS = offsetof(struct scale_tag, decimals) };
    _Static_assert(offsetof(struct scale_tag, has_min) == FLAGS + 1, "order");
    _Static_assert(offsetof(struct scale_tag, has_max) == FLAGS + 2, "order");
    _Static_assert(offsetof(struct scale_tag, has_decimals) == FLAGS + 3, "order");
    uint32_t flags;
    __builtin_memcpy(&flags, &tag->decimals, sizeof flags);
    return flags >> 8 != 0;
}

static double finish(struct pen_record *record, const struct scale_tag *tag, double value) {
    if (tag->has_decimals) value = round_to(value, tag->decimals);
    bool is_below = tag->has_min && value < tag->min;
    bool is_above = tag->has_max && value > tag->max;
    if (is_below) value = tag->min;
    if (is_above) value = tag->max;
    if (is_below || is_above) pen_record_mark_bad(record);
    return value;
}

/* Nothing to do keeps the type, too: bools stay bools, 64-bit counters stay exact. */
static void apply(struct pen_record *record, const struct scale_tag *tag) {
    bool rest = has_rest(tag);
    if (tag->gain == 1 && tag->offset == 0 && !rest) return;
    double value = pen_record_number(record) * tag->gain + tag->offset;
    if (rest) value = finish(record, tag, value);
    record->type = PEN_F64;
    record->value.f64 = value;
}

static bool handle(struct pen_record *record, const struct pen_config *config) {
    if (!pen_record_is_number(record)) return true;
    const struct scale_tag *tag = pen_config_tag(config, record->tag);
    if (tag != NULL) apply(record, tag);
    if (record->type == PEN_F64 && !pen_is_finite(record->value.f64)) pen_record_mark_bad(record);
    return true;
}

int32_t PEN_EXPORT(pen_init)(void) {
    self.out = pen_ring_out(0);
    for (int32_t i = 0; i < RINGS_MAX; i++) self.in[i] = pen_ring_in(i);
    return self.out != NULL && pen_config_load(&self.config, 0, sizeof(struct scale_tag)) ? 0 : 1;
}

void PEN_EXPORT(pen_on_records)(int32_t ring) { pen_record_relay(self.in[ring], self.out, &self.config, handle); }
