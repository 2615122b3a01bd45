#include "state.h"
#include "pen.h"

/* Behind the place and the reader: so many entries of each kind, in this order. */
struct counts {
    uint32_t requests;
    uint32_t units;
    uint32_t points;
    uint32_t reader_fill;
    uint64_t foreign;
    uint64_t crc_errors;
    uint64_t garbage_bytes;
    struct frame_request expected;
    uint16_t is_expecting;
};

struct unit_entry {
    uint8_t id;
    uint8_t state;
    uint16_t reserved;
    uint32_t backoff_ms;
    int64_t retry_ns;
    int64_t quiet_ns;
};

struct point_entry { /* then text_len bytes */
    uint32_t tag;
    uint32_t seq;
    uint32_t event_seq;
    uint32_t padding;
    uint64_t value;
    uint8_t value_type;
    uint8_t is_stale;
    uint8_t stale_due;
    uint8_t reserved;
    uint32_t text_len;
};

/* ---- requests ---- */

struct state_request state_of_request(const struct plan *plan, uint32_t at) {
    if (at >= plan->request_count) return (struct state_request){0};
    const struct request *request = &plan->requests[at];
    return (struct state_request){.unit = plan->units[request->unit].id,
                                  .function = request->function,
                                  .exception = request->exception,
                                  .address = request->address,
                                  .count = request->count};
}

static bool is_request(const struct plan *plan, uint32_t at, const struct state_request *wanted) {
    const struct request *request = &plan->requests[at];
    return plan->units[request->unit].id == wanted->unit && request->function == wanted->function &&
           request->address == wanted->address && request->count == wanted->count;
}

uint32_t state_find_request(const struct plan *plan, const struct state_request *wanted) {
    uint32_t at = 0;
    while (at < plan->request_count && !is_request(plan, at, wanted)) at++;
    return at;
}

/* ---- saving ---- */

static void put(const void *bytes, uint32_t len) { hal_state_put(bytes, (int32_t)len); }

static void put_units(const struct plan *plan) {
    for (uint32_t i = 0; i < plan->unit_count; i++) {
        const struct unit *unit = &plan->units[i];
        struct unit_entry entry = {.id = unit->id,
                                   .state = (uint8_t)unit->state,
                                   .backoff_ms = unit->backoff_ms,
                                   .retry_ns = unit->retry_ns,
                                   .quiet_ns = unit->quiet_ns};
        put(&entry, sizeof entry);
    }
}

static void put_points(const struct plan *plan) {
    for (uint32_t i = 0; i < plan->point_count; i++) {
        const struct point *point = &plan->points[i];
        struct point_entry entry = {.tag = point->tag->tag,
                                    .seq = point->numbers->sample,
                                    .event_seq = point->numbers->event,
                                    .value = point->value,
                                    .value_type = point->value_type,
                                    .is_stale = point->is_stale,
                                    .stale_due = point->stale_due,
                                    .text_len = point->value_type == PEN_BYTES ? (uint32_t)point->value : 0};
        put(&entry, sizeof entry);
        if (entry.text_len > 0) put(point->text, entry.text_len);
    }
}

void state_save(const struct state_place *place, const struct frame_reader *reader, const struct plan *plan) {
    struct counts counts = {.requests = plan->request_count,
                            .units = plan->unit_count,
                            .points = plan->point_count,
                            .reader_fill = reader->fill,
                            .foreign = reader->foreign,
                            .crc_errors = reader->crc_errors,
                            .garbage_bytes = reader->garbage_bytes,
                            .expected = reader->expected,
                            .is_expecting = reader->expecting};
    put(place, sizeof *place);
    put(&counts, sizeof counts);
    put(reader->bytes, reader->fill);
    for (uint32_t i = 0; i < plan->request_count; i++) {
        struct state_request entry = state_of_request(plan, i);
        put(&entry, sizeof entry);
    }
    put_units(plan);
    put_points(plan);
}

/* ---- loading ---- */

static bool get(void *into, uint32_t len) { return hal_state_get(into, (int32_t)len) == (int32_t)len; }

static bool get_requests(struct plan *plan, uint32_t count) {
    struct state_request entry;
    for (uint32_t i = 0; i < count; i++) {
        if (!get(&entry, sizeof entry)) return false;
        uint32_t at = i < plan->request_count && is_request(plan, i, &entry) ? i : state_find_request(plan, &entry);
        if (at < plan->request_count) plan->requests[at].exception = entry.exception;
    }
    return true;
}

static bool get_units(struct plan *plan, uint32_t count) {
    struct unit_entry entry;
    while (count-- > 0) {
        if (!get(&entry, sizeof entry) || entry.state > UNIT_BEHIND) return false;
        for (uint32_t i = 0; i < plan->unit_count; i++) {
            struct unit *unit = &plan->units[i];
            if (unit->id != entry.id) continue;
            unit->state = (enum unit_state)entry.state;
            unit->backoff_ms = entry.backoff_ms;
            unit->retry_ns = entry.retry_ns;
            unit->quiet_ns = entry.quiet_ns;
        }
    }
    return true;
}

/* The points of both plans mostly stand in the same order: the search begins where the last one ended. */
static struct point *point_of(const struct plan *plan, uint32_t tag, uint32_t *near) {
    for (uint32_t i = 0; i < plan->point_count; i++, (*near)++) {
        if (*near >= plan->point_count) *near = 0;
        if (plan->points[*near].tag->tag == tag) return &plan->points[*near];
    }
    return NULL;
}

/* Bytes that nobody wants are read over. */
static bool get_text(char *into, uint32_t len, uint32_t room) {
    char rest[64];
    uint32_t kept = into == NULL ? 0 : len < room ? len : room;
    if (kept > 0 && !get(into, kept)) return false;
    for (uint32_t left = len - kept, part; left > 0; left -= part) {
        part = left < sizeof rest ? left : sizeof rest;
        if (!get(rest, part)) return false;
    }
    return true;
}

static bool is_known(const struct point *point, const struct point_entry *entry) {
    return point->text == NULL ? entry->value_type != PEN_BYTES
                               : entry->value_type != PEN_BYTES || entry->text_len <= point->span * 2u;
}

static bool get_points(struct plan *plan, uint32_t count) {
    struct point_entry entry;
    uint32_t near = 0;
    while (count-- > 0) {
        if (!get(&entry, sizeof entry)) return false;
        struct point *point = point_of(plan, entry.tag, &near);
        char *text = point == NULL ? NULL : point->text;
        if (!get_text(text, entry.text_len, text == NULL ? 0 : point->span * 2u)) return false;
        if (point == NULL) continue;
        near++;
        point->numbers->sample = entry.seq;
        point->numbers->event = entry.event_seq;
        point->is_stale = entry.is_stale != 0;
        point->stale_due = entry.stale_due != 0;
        if (!is_known(point, &entry)) continue;
        point->value_type = entry.value_type;
        point->value = entry.value;
    }
    return true;
}

bool state_load(struct state_place *place, struct frame_reader *reader, struct plan *plan) {
    struct counts counts;
    if (!get(place, sizeof *place) || place->metric_count > STATE_METRICS_MAX) return false;
    if (!get(&counts, sizeof counts) || counts.reader_fill > sizeof reader->bytes) return false;
    reader->expecting = counts.is_expecting != 0;
    reader->expected = counts.expected;
    reader->fill = counts.reader_fill;
    reader->foreign = counts.foreign;
    reader->crc_errors = counts.crc_errors;
    reader->garbage_bytes = counts.garbage_bytes;
    return (counts.reader_fill == 0 || get(reader->bytes, counts.reader_fill)) && get_requests(plan, counts.requests) &&
           get_units(plan, counts.units) && get_points(plan, counts.points);
}
