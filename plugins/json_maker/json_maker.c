/* Batches of samples as JSON payloads.
 *
 * A sample stays in its input ring until the payload that holds it is in the output ring: a batch is a range of unread
 * records, its text is written straight into the output ring, then the cursors move. Nothing is kept in between, so a
 * restart of the stage loses no batch. */
#include "json.h"
#include "json_maker_config.h"
#include "pen.h"
#include "pen_config.h"

PEN_ABI_MARKER()

enum { RINGS_MAX = 16, TIMER_AGE = 0 };
static const char seq_key[] = "seq";

struct input {
    struct pen_ring *ring;
    uint64_t cursor;  /* where this stage left it: the host moves the cursor of a consumer that may drop */
    uint64_t seen;    /* up to here records are counted */
    uint32_t waiting; /* records from cursor to seen */
};

static struct {
    struct pen_config config;
    const struct json_maker_config *settings;
    struct pen_ring *out;
    struct input inputs[RINGS_MAX];
    uint32_t input_count;
    uint32_t topic_len;
    uint32_t seq;  /* of the next payload */
    bool is_due;   /* what waits goes out, however little */
    bool is_armed; /* the age timer runs */
    struct {
        int64_t payloads;
        int64_t samples;
        int64_t oversize;
    } totals;
} self;

static void publish_metrics(void) {
    hal_metric("payloads_total", 14, PEN_COUNTER, self.totals.payloads);
    hal_metric("samples_total", 13, PEN_COUNTER, self.totals.samples);
    hal_metric("oversize_total", 14, PEN_COUNTER, self.totals.oversize);
}

/* ---- what waits ---- */

static const struct pen_record *record_at(const struct pen_ring *ring, uint64_t cursor) {
    struct pen_ring window = *ring;
    window.cursor = cursor;
    return pen_ring_peek(&window);
}

static void count_waiting(struct input *input) {
    if (input->ring->cursor != input->cursor) {
        input->cursor = input->ring->cursor;
        input->seen = input->cursor;
        input->waiting = 0;
    }
    for (const struct pen_record *record; (record = record_at(input->ring, input->seen)) != NULL;) {
        input->seen += record->size;
        input->waiting++;
    }
}

/* Half of a ring is kept free for its producer. */
static bool is_crowded(const struct pen_ring *ring) { return pen_ring_left(ring) > ring->capacity / 2; }

static uint32_t waiting(bool *crowded) {
    uint32_t sum = 0;
    *crowded = false;
    for (uint32_t i = 0; i < self.input_count; i++) {
        sum += self.inputs[i].waiting;
        *crowded |= is_crowded(self.inputs[i].ring);
    }
    return sum;
}

/* ---- payloads ---- */

struct batch {
    struct pen_text text;
    uint64_t cursors[RINGS_MAX]; /* how far each input is in it */
    uint32_t samples;
};

static bool is_sample(const struct pen_record *record) { return record->kind != PEN_HEARTBEAT; }

/* False: the payload is full, the record is for the next one. */
static bool add_record(struct batch *batch, const struct pen_record *record) {
    struct pen_text *text = &batch->text;
    uint32_t before = text->len;
    if (!is_sample(record)) return true;
    if (batch->samples == self.settings->batch_max) return false;
    if (batch->samples > 0) pen_text_add_byte(text, ',');
    json_add_sample(text, record, pen_config_tag(&self.config, record->tag));
    if (!text->full) {
        batch->samples++;
        return true;
    }
    text->full = false;
    text->len = before;
    if (batch->samples > 0) return false;
    self.totals.oversize++; /* fits no payload: left out */
    return true;
}

static void add_input(struct batch *batch, uint32_t index) {
    const struct pen_ring *ring = self.inputs[index].ring;
    const struct pen_record *record;
    while ((record = record_at(ring, batch->cursors[index])) != NULL && add_record(batch, record)) {
        batch->cursors[index] += record->size;
    }
}

static void add_head(struct pen_text *text, int64_t time_ns) {
    pen_text_add_bytes(text, self.settings->topic, self.topic_len);
    PEN_TEXT_LITERAL(text, "{\"seq\":");
    pen_text_add_u64(text, self.seq);
    PEN_TEXT_LITERAL(text, ",\"t\":");
    pen_text_add_i64(text, time_ns / 1000000);
    PEN_TEXT_LITERAL(text, ",\"samples\":[");
}

static void put_payload(struct pen_record *record, const struct pen_text *text, int64_t time_ns) {
    uint32_t padded = (text->len + 7u) & ~7u;
    for (uint32_t i = text->len; i < padded; i++) text->bytes[i] = '\0';
    record->size = (uint32_t)sizeof *record + padded;
    record->kind = PEN_PAYLOAD;
    record->quality = PEN_GOOD;
    record->type = PEN_BYTES;
    record->tag = PEN_NO_TAG;
    record->seq = self.seq++;
    record->time_ns = time_ns;
    record->value.bytes.len = text->len;
    record->value.bytes.topic_len = (uint16_t)self.topic_len;
    record->value.bytes.qos = self.settings->qos;
    record->value.bytes.flags = self.settings->retain ? 1 : 0;
    /* First the number, then the payload: a stage that is restarted in between skips a number but repeats none. */
    hal_kv_put(seq_key, sizeof seq_key - 1, &self.seq, sizeof self.seq);
    pen_ring_put(self.out, record);
    self.totals.payloads++;
}

static void take_inputs(const struct batch *batch) {
    for (uint32_t i = 0; i < self.input_count; i++) {
        struct input *input = &self.inputs[i];
        input->ring->cursor = batch->cursors[i];
        input->cursor = batch->cursors[i];
        input->seen = batch->cursors[i];
        input->waiting = 0;
        count_waiting(input);
    }
}

static uint32_t text_bytes_max(void) { return self.topic_len + self.settings->payload_bytes_max; }

static uint32_t record_bytes_max(void) { return (uint32_t)sizeof(struct pen_record) + ((text_bytes_max() + 7u) & ~7u); }

/* One payload of what waits. False: the output ring has no room for it now. */
static bool write_payload(void) {
    static const char tail[] = "]}";
    uint32_t tail_len = sizeof tail - 1;
    struct pen_record *record = pen_ring_room(self.out, record_bytes_max());
    if (record == NULL) return false;
    struct batch batch = {{(char *)(record + 1), text_bytes_max() - tail_len, 0, false}, {0}, 0};
    int64_t time_ns = hal_now(PEN_CLOCK_UNIX);
    add_head(&batch.text, time_ns);
    for (uint32_t i = 0; i < self.input_count; i++) {
        batch.cursors[i] = self.inputs[i].ring->cursor;
        add_input(&batch, i);
    }
    if (batch.samples > 0) {
        batch.text.cap += tail_len;
        pen_text_add_bytes(&batch.text, tail, tail_len);
        put_payload(record, &batch.text, time_ns);
    }
    take_inputs(&batch);
    self.totals.samples += batch.samples;
    return true;
}

/* Writes what is due, then sets the timer for the rest. */
static void flush(void) {
    bool is_blocked = false;
    bool is_crowded_now;
    uint32_t count;
    while ((count = waiting(&is_crowded_now)) > 0 && !is_blocked) {
        if (!self.is_due && !is_crowded_now && count < self.settings->batch_max) break;
        is_blocked = !write_payload();
        self.is_armed = false;
    }
    if (is_blocked) return;
    self.is_due = false;
    if (count > 0 && !self.is_armed) hal_timer(TIMER_AGE, (int64_t)self.settings->batch_ms * 1000);
    if (count == 0) hal_timer(TIMER_AGE, -1);
    self.is_armed = count > 0;
    publish_metrics();
}

/* ---- entry points ---- */

static bool refuse(const char *problem, uint32_t len) {
    hal_log(PEN_ERROR, problem, (int32_t)len);
    return false;
}
#define REFUSE(problem) refuse(problem, sizeof(problem) - 1)

static bool configure(void) {
    if (!pen_config_load(&self.config, sizeof(struct json_maker_config), sizeof(struct json_maker_tag))) {
        return REFUSE("no memory for the configuration, or not of this version");
    }
    self.settings = self.config.config;
    while (self.settings->topic[self.topic_len] != '\0') self.topic_len++;
    self.out = pen_ring_out(0);
    if (self.topic_len == 0) return REFUSE("topic: is empty");
    /* A ring with a reader that may drop takes no more than its half at once. */
    if (self.out == NULL || record_bytes_max() > self.out->capacity / 2) {
        return REFUSE("the output ring is too small: it must hold two payloads of payload_bytes_max");
    }
    for (struct pen_ring *ring; self.input_count < RINGS_MAX; self.input_count++) {
        if ((ring = pen_ring_in((int32_t)self.input_count)) == NULL) break;
        self.inputs[self.input_count] = (struct input){ring, ring->cursor, ring->cursor, 0};
    }
    hal_kv_get(seq_key, sizeof seq_key - 1, &self.seq, sizeof self.seq);
    publish_metrics();
    return true;
}

int32_t PEN_EXPORT(pen_init)(void) { return configure() ? 0 : 1; }

void PEN_EXPORT(pen_on_records)(int32_t ring) {
    count_waiting(&self.inputs[ring]);
    if (self.settings->batch_ms == 0) self.is_due = true;
    flush();
}

void PEN_EXPORT(pen_on_timer)(int32_t id) {
    (void)id;
    self.is_due = true;
    self.is_armed = false;
    flush();
}

/* ---- another version ----
 * What waits is in the rings; the number of the next payload is in the values. Only the counters are handed over. */

enum { STATE_VERSION = 1 };

int32_t PEN_EXPORT(pen_save)(void) {
    hal_state_put(&self.totals, sizeof self.totals);
    return STATE_VERSION;
}

int32_t PEN_EXPORT(pen_load)(int32_t version) {
    if (version != STATE_VERSION || hal_state_get(&self.totals, sizeof self.totals) != sizeof self.totals) return 1;
    hal_kv_get(seq_key, sizeof seq_key - 1, &self.seq, sizeof self.seq); /* the present one */
    return 0;
}
