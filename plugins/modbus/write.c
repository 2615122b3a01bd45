#include "write.h"
#include "pen_float.h"
#include "value.h"

enum { READ_COILS = 1, READ_HOLDING = 3, COIL_ON = 0xFF00 };
enum { WRITE_COIL = 5, WRITE_REGISTER = 6, WRITE_COILS = 15, WRITE_REGISTERS = 16 };

/* ---- the allow-list: UNIT TABLE FIRST[-LAST], with commas between them ---- */

struct parser {
    const char *at;
};

static void skip_blanks(struct parser *parser) {
    while (*parser->at == ' ') parser->at++;
}

static bool take(struct parser *parser, const char *word) {
    skip_blanks(parser);
    const char *at = parser->at;
    for (; *word != '\0'; at++, word++) {
        if (*at != *word) return false;
    }
    parser->at = at;
    return true;
}

static bool take_number(struct parser *parser, uint32_t max, uint32_t *out) {
    skip_blanks(parser);
    const char *begin = parser->at;
    uint32_t number = 0;
    for (; *parser->at >= '0' && *parser->at <= '9' && number <= max; parser->at++) {
        number = number * 10 + (uint32_t)(*parser->at - '0');
    }
    *out = number;
    return parser->at > begin && number <= max;
}

static bool take_rule(struct parser *parser, struct write_rule *rule) {
    uint32_t unit = 0, first, last;
    rule->any_unit = take(parser, "*");
    if (!rule->any_unit && !take_number(parser, UINT8_MAX, &unit)) return false;
    bool is_coil = take(parser, "coil ");
    if (!is_coil && !take(parser, "holding ")) return false;
    if (!take_number(parser, UINT16_MAX, &first)) return false;
    last = first;
    if (take(parser, "-") && !take_number(parser, UINT16_MAX, &last)) return false;
    rule->unit = (uint8_t)unit;
    rule->function = is_coil ? READ_COILS : READ_HOLDING;
    rule->first = (uint16_t)first;
    rule->last = (uint16_t)last;
    return first <= last;
}

const char *write_rules_make(struct write_rules *rules, const struct modbus_config *config) {
    struct parser parser = {config->writes};
    rules->text = config->writes;
    skip_blanks(&parser);
    while (*parser.at != '\0') {
        if (rules->count == WRITE_RULES_MAX) return "writes: has more than 32 rules";
        if (!take_rule(&parser, &rules->rules[rules->count++])) {
            return "writes: each rule is UNIT TABLE FIRST or UNIT TABLE FIRST-LAST, such as 1 holding 100-119, * coil "
                   "3";
        }
        skip_blanks(&parser);
        if (*parser.at != '\0' && !take(&parser, ",")) return "writes: between two rules must be a comma";
        skip_blanks(&parser);
    }
    return NULL;
}

static bool is_allowed(const struct write_rules *rules, const struct point *point) {
    uint32_t last = (uint32_t)point->address + point->span - 1;
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct write_rule *rule = &rules->rules[i];
        if ((rule->any_unit || rule->unit == point->unit) && rule->function == point->function &&
            rule->first <= point->address && last <= rule->last) {
            return true;
        }
    }
    return false;
}

/* ---- texts ---- */

static void add_number(struct pen_text *text, uint8_t type, uint64_t bits) {
    union {
        uint64_t bits;
        double number;
    } pun = {.bits = bits};
    switch (type) {
    case PEN_F64:
        if (!pen_text_add_f64(text, pun.number)) pen_text_add(text, "not a number");
        break;
    case PEN_I64: pen_text_add_i64(text, (int64_t)bits); break;
    case PEN_BYTES:
    case PEN_NONE: pen_text_add(text, "no number"); break;
    default: pen_text_add_u64(text, bits);
    }
}

static bool refuse(struct pen_text *why, const char *problem) {
    pen_text_add(why, problem);
    return false;
}

static bool refuse_limit(struct pen_text *why, const char *limit, double value) {
    pen_text_add(why, limit);
    pen_text_add_f64(why, value);
    return false;
}

static void add_place(struct pen_text *text, const struct point *point) {
    pen_text_add(text, "unit ");
    pen_text_add_u64(text, point->unit);
    pen_text_add(text, point->function == READ_COILS ? " coil " : " holding ");
    pen_text_add_u64(text, point->address);
    if (point->span == 1) return;
    pen_text_add_byte(text, '-');
    pen_text_add_u64(text, (uint32_t)point->address + point->span - 1);
}

static bool refuse_place(struct pen_text *why, const struct write_rules *rules, const struct point *point) {
    add_place(why, point);
    if (rules->count == 0) return refuse(why, " is not allowed: the stage's config has no writes");
    pen_text_add(why, " is not in writes = \"");
    pen_text_add(why, rules->text);
    return refuse(why, "\"");
}

/* ---- values ---- */

static bool check_limits(const struct point *point, double number, struct pen_text *why) {
    const struct modbus_tag *tag = point->tag;
    if (tag->has_min && number < tag->min) return refuse_limit(why, "below modbus.min = ", tag->min);
    if (tag->has_max && number > tag->max) return refuse_limit(why, "above modbus.max = ", tag->max);
    return true;
}

static bool is_writable(const struct point *point, struct pen_text *why) {
    if (point->function != READ_COILS && point->function != READ_HOLDING) {
        return refuse(why, "discrete inputs and input registers cannot be written");
    }
    if (point->tag->has_bit) return refuse(why, "single bits of registers cannot be written");
    return point->type != MODBUS_TAG_TYPE_STRING || refuse(why, "texts cannot be written");
}

/* The raw bits of the registers of a number. */
static bool encode(const struct point *point, const struct pen_record *command, uint64_t *raw, struct pen_text *why) {
    struct value value = {command->type, PEN_GOOD, command->value.u64};
    if (command->type < PEN_BOOL || command->type > PEN_F64) return refuse(why, "not a number");
    if (command->type == PEN_BOOL) value.bits &= 1;
    double number = value_number(&value);
    if (number - number != 0) return refuse(why, "not a finite number");
    if (!check_limits(point, number, why)) return false;
    if (point->type == MODBUS_TAG_TYPE_BOOL) {
        *raw = number != 0;
        return true;
    }
    if (!value_encode(point, &value, raw)) return refuse(why, "does not fit the type of the tag");
    if (value_is_nan(point, *raw)) return refuse(why, "is nan_value of the tag");
    return true;
}

static void put_request(struct write *write, const struct modbus_config *config, const struct point *point,
                        uint64_t raw) {
    bool is_coil = point->function == READ_COILS;
    bool is_single = point->span == 1 && !config->write_multiple;
    write->set = (struct frame_request){.unit = point->unit, .address = point->address, .count = point->span};
    if (is_coil) {
        write->data[0] = (uint8_t)raw;
        write->data_bytes = 1;
        write->set.function = is_single ? WRITE_COIL : WRITE_COILS;
        if (is_single) write->set.count = raw != 0 ? COIL_ON : 0;
        return;
    }
    value_spread(raw, point->span, point->tag->order, write->data);
    write->data_bytes = (uint8_t)(point->span * 2);
    write->set.function = is_single ? WRITE_REGISTER : WRITE_REGISTERS;
    if (is_single) write->set.count = (uint16_t)(write->data[0] << 8 | write->data[1]);
}

bool write_make(struct write *write, const struct write_rules *rules, const struct modbus_config *config,
                const struct point *point, const struct pen_record *command, struct pen_text *why) {
    uint64_t raw;
    *write = (struct write){.phase = WRITE_SET, .type = command->type, .value = command->value.u64};
    if (!is_writable(point, why)) return false;
    if (!is_allowed(rules, point)) return refuse_place(why, rules, point);
    if (!encode(point, command, &raw, why)) return false;
    put_request(write, config, point, raw);
    return true;
}

/* ---- afterwards ---- */

struct frame_request write_check(const struct write *write, const struct point *point) {
    return (struct frame_request){
        .unit = write->set.unit, .function = point->function, .address = point->address, .count = point->span};
}

bool write_is_right(const struct write *write, const struct point *point, const uint8_t *data, struct pen_text *why) {
    bool is_right = true;
    for (uint32_t i = 0; i < write->data_bytes; i++) {
        uint8_t mask = point->function == READ_COILS ? 1 : UINT8_MAX;
        is_right &= ((data[i] ^ write->data[i]) & mask) == 0;
    }
    if (is_right) return true;
    struct value value = value_read(point, data, point->address);
    pen_text_add(why, "read back ");
    add_number(why, value.type, value.bits);
    return false;
}

bool write_report(struct pen_ring *ring, struct point *point, const struct write *write, enum write_result result,
                  const struct pen_text *why, int64_t time_ns) {
    static const char *const results[] = {"write done: ", "write refused: ", "write mismatch: ", "write failed: "};
    struct pen_record *record = pen_ring_room(ring, sizeof *record + WRITE_REPORT_BYTES);
    if (record == NULL) return false;
    struct pen_text text = {(char *)(record + 1), WRITE_REPORT_BYTES, 0, false};
    pen_text_add(&text, results[result]);
    add_number(&text, write->type, write->value);
    if (why->len > 0) pen_text_add(&text, ": ");
    for (uint32_t i = 0; i < why->len; i++) pen_text_add_byte(&text, why->bytes[i]);
    record->size = (uint32_t)sizeof *record + ((text.len + 7u) & ~7u);
    record->kind = PEN_EVENT;
    record->quality = result == WRITE_DONE ? PEN_GOOD : PEN_BAD;
    record->type = PEN_BYTES;
    record->tag = point->tag->tag;
    record->seq = point->numbers->event++;
    record->time_ns = time_ns;
    record->value.u64 = text.len;
    for (uint32_t i = text.len; i % 8 != 0; i++) text.bytes[i] = '\0';
    pen_ring_put(ring, record);
    return true;
}
