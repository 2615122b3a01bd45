/* Writes one sample per timer tick to ring 0, every CONFIG microseconds, stamped with the time of the tick. */
#include "pen.h"

PEN_ABI_MARKER()

static struct pen_ring *out;
static uint32_t period_us, seq;

int32_t PEN_EXPORT(pen_init)(void) {
    hal_config(&period_us, sizeof period_us);
    out = pen_ring_out(0);
    return hal_timer(0, period_us);
}

void PEN_EXPORT(pen_on_timer)(int32_t id) {
    struct pen_record *record = pen_ring_room(out, sizeof *record);
    hal_timer(id, period_us);
    if (record == NULL) return;
    *record = (struct pen_record){
        .size = sizeof *record, .kind = PEN_SAMPLE, .type = PEN_I64, .seq = seq++, .time_ns = hal_now(PEN_CLOCK_UNIX)};
    pen_ring_put(out, record);
}
