/* Adds an offset to numbers; everything else passes unchanged. See docs/plugin-abi.md. */
#include "pen.h"
#include "pen_config.h"
#include "@NAME@_config.h" /* made from plugin.toml */

PEN_ABI_MARKER()

enum { RINGS_MAX = 16 };

static struct {
    struct pen_config config;
    struct pen_ring *out;
    struct pen_ring *in[RINGS_MAX];
    int64_t changed;
} self;

static bool is_number(const struct pen_record *record) {
    return record->kind == PEN_SAMPLE && record->type >= PEN_BOOL && record->type <= PEN_F64;
}

static double number_of(const struct pen_record *record) {
    if (record->type == PEN_F64) return record->value.f64;
    return record->type == PEN_I64 ? (double)record->value.i64 : (double)record->value.u64;
}

static void copy(struct pen_record *to, const struct pen_record *from) {
    const uint64_t *source = (const uint64_t *)from;
    uint64_t *target = (uint64_t *)to;
    for (uint32_t words = from->size / sizeof(uint64_t); words > 0; words--) *target++ = *source++;
}

static void change(struct pen_record *record, const struct @NAME@_tag *tag) {
    record->value.f64 = number_of(record) + tag->offset;
    record->type = PEN_F64;
    self.changed++;
}

/* Called once. Anything but 0 refuses to start. */
int32_t PEN_EXPORT(pen_init)(void) {
    self.out = pen_ring_out(0);
    for (int32_t i = 0; i < RINGS_MAX; i++) self.in[i] = pen_ring_in(i);
    return self.out != NULL && pen_config_load(&self.config, 0, sizeof(struct @NAME@_tag)) ? 0 : 1;
}

/* Called while there are records. Returns when the input is empty or the output full: it is called again. */
void PEN_EXPORT(pen_on_records)(int32_t ring) {
    struct pen_ring *in = self.in[ring];
    for (const struct pen_record *record; (record = pen_ring_peek(in)) != NULL;) {
        struct pen_record *result = pen_ring_room(self.out, record->size);
        if (result == NULL) break;
        copy(result, record);
        const struct @NAME@_tag *tag = is_number(record) ? pen_config_tag(&self.config, record->tag) : NULL;
        if (tag != NULL && tag->offset != 0) change(result, tag);
        pen_ring_put(self.out, result); /* first the output, then the input: so a trap loses at most one record */
        pen_ring_taken(in, record);
    }
    hal_metric("changed_total", 13, PEN_COUNTER, self.changed);
}
