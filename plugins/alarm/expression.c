#include "expression.h"

enum { DIGITS_MAX = 15 /* so many digits are exact in a double */, NAME_BYTES = sizeof((struct alarm_tag *)0)->name };

/* The longer one first where another one starts alike. */
const char *const expression_signs[] = {">", ">=", "<", "<=", "==", "!="};
const char *const expression_qualities[3] = {"good", "bad", "stale"};
static const double integer_max = 0x1p62;

struct parser {
    const char *at;
    const char *problem; /* NULL: none */
    const struct pen_config *config;
    uint32_t own; /* position of the tag of the alarm */
};

/* ---- words ---- */

static void skip_blanks(struct parser *parser) {
    while (*parser->at == ' ' || *parser->at == '\t') parser->at++;
}

static bool is_word_byte(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '_';
}

/* Takes the word if it is what comes next; a word of letters must end there. */
static bool take(struct parser *parser, const char *word) {
    const char *at = parser->at;
    skip_blanks(parser);
    for (at = parser->at; *word != '\0'; at++, word++) {
        if (*at != *word) return false;
    }
    if (is_word_byte(at[-1]) && is_word_byte(*at)) return false;
    parser->at = at;
    return true;
}

static void complain(struct parser *parser, const char *problem) {
    if (parser->problem == NULL) parser->problem = problem;
}

/* ---- terms ---- */

static bool is_named(const struct alarm_tag *tag, const char *name, uint32_t len) {
    if (len >= NAME_BYTES || tag->name[len] != '\0') return false;
    for (uint32_t i = 0; i < len; i++) {
        if (tag->name[i] != name[i]) return false;
    }
    return true;
}

static uint32_t tag_named(struct parser *parser, const char *name, uint32_t len) {
    for (uint32_t i = 0; i < parser->config->tag_count; i++) {
        if (is_named(pen_config_tag_at(parser->config, i), name, len)) return i;
    }
    complain(parser, "names a tag that does not reach this stage");
    return parser->own;
}

static void parse_operand(struct parser *parser, struct term *term) {
    term->tag = parser->own;
    if (take(parser, "'")) {
        const char *name = parser->at;
        while (*parser->at != '\'' && *parser->at != '\0') parser->at++;
        term->tag = tag_named(parser, name, (uint32_t)(parser->at - name));
        if (!take(parser, "'")) complain(parser, "has a name that does not end; write 'name'");
    } else if (take(parser, "quality")) {
        term->is_quality = true;
    } else if (!take(parser, "value")) {
        complain(parser, "needs value, quality or the name of a tag in single quotes before each comparison");
    }
}

static void parse_comparison(struct parser *parser, struct term *term) {
    static const uint8_t order[] = {AT_LEAST, ABOVE, AT_MOST, BELOW, EQUAL, UNEQUAL};
    for (uint32_t i = 0; i < sizeof order; i++) {
        if (!take(parser, expression_signs[order[i]])) continue;
        term->comparison = order[i];
        return;
    }
    complain(parser, "has no comparison where one must be; known are > >= < <= == !=");
}

/* Of up to 15 digits; so is the quotient of two integers that a double holds exactly, rounded once. */
static double parse_decimal(struct parser *parser) {
    bool is_negative = take(parser, "-");
    int64_t digits = 0, power = 1;
    uint32_t count = 0;
    bool has_point = false;
    skip_blanks(parser);
    for (;; parser->at++) {
        if (*parser->at == '.' && !has_point && count > 0) {
            has_point = true;
        } else if (*parser->at >= '0' && *parser->at <= '9') {
            digits = digits * 10 + (*parser->at - '0');
            if (has_point) power *= 10;
            if (++count > DIGITS_MAX) break;
        } else {
            break;
        }
    }
    if (count == 0 || count > DIGITS_MAX || is_word_byte(*parser->at)) {
        complain(parser, "needs a number of at most 15 digits, true or false behind each comparison");
    }
    return (double)(is_negative ? -digits : digits) / (double)power;
}

static double parse_quality(struct parser *parser) {
    for (uint32_t i = 0; i < sizeof expression_qualities / sizeof expression_qualities[0]; i++) {
        if (take(parser, expression_qualities[i])) return (double)i;
    }
    complain(parser, "compares quality with what is not good, bad or stale");
    return 0;
}

static void parse_limit(struct parser *parser, struct term *term) {
    if (term->is_quality) {
        term->limit = parse_quality(parser);
        if (term->comparison < EQUAL) complain(parser, "compares quality by order; only == and != are known for it");
    } else if (take(parser, "true")) {
        term->limit = 1;
    } else {
        term->limit = take(parser, "false") ? 0 : parse_decimal(parser);
    }
}

static int64_t to_integer(double value) {
    return value > integer_max ? INT64_MAX : value < -integer_max ? INT64_MIN : (int64_t)value;
}

static struct range make_range(const struct term *term, double hysteresis) {
    struct range range = {-__builtin_inf(), __builtin_inf(), INT64_MIN, INT64_MAX};
    bool is_open = term->comparison == ABOVE || term->comparison == BELOW;
    if (term->comparison != BELOW && term->comparison != AT_MOST) {
        range.low = term->limit - hysteresis;
        range.low_integer = to_integer(is_open ? __builtin_floor(range.low) + 1 : __builtin_ceil(range.low));
    }
    if (term->comparison != ABOVE && term->comparison != AT_LEAST) {
        range.high = term->limit + hysteresis;
        range.high_integer = to_integer(is_open ? __builtin_ceil(range.high) - 1 : __builtin_floor(range.high));
    }
    return range;
}

const char *expression_parse(struct expression *out, const struct pen_config *config, const struct alarm_tag *tag) {
    struct parser parser = {tag->when, NULL, config, 0};
    parser.own = (uint32_t)(tag - (const struct alarm_tag *)pen_config_tag_at(config, 0));
    bool is_or = true;
    for (out->count = 0; parser.problem == NULL; out->count++) {
        if (out->count == TERMS_MAX) return "has more than 8 comparisons";
        struct term *term = &out->terms[out->count];
        *term = (struct term){.is_or = is_or};
        parse_operand(&parser, term);
        parse_comparison(&parser, term);
        parse_limit(&parser, term);
        bool has_way_back = term->comparison != UNEQUAL && !term->is_quality;
        term->fresh = make_range(term, 0);
        term->held = make_range(term, has_way_back ? tag->hysteresis : 0);
        is_or = take(&parser, "or");
        if (is_or || take(&parser, "and")) continue;
        skip_blanks(&parser);
        if (*parser.at != '\0') complain(&parser, "goes on behind a comparison without and, or");
        out->count++;
        break;
    }
    return parser.problem;
}

/* ---- what holds ---- */

static bool is_inside(const struct term *term, const struct range *range, uint32_t type, uint64_t bits) {
    union {
        uint64_t bits;
        double number;
    } pun = {.bits = bits};
    if (type == PEN_F64) {
        bool is_open = term->comparison == ABOVE || term->comparison == BELOW;
        return is_open ? pun.number > range->low && pun.number < range->high
                       : pun.number >= range->low && pun.number <= range->high;
    }
    int64_t value = type == PEN_U64 && bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    return value >= range->low_integer && value <= range->high_integer;
}

bool expression_term_holds(const struct term *term, const struct reading *reading, bool is_raised) {
    const struct range *range = is_raised ? &term->held : &term->fresh;
    bool is_known = term->is_quality ? reading->is_known : reading->type != PEN_NONE;
    if (!is_known) return is_raised;
    bool is_in = term->is_quality ? is_inside(term, range, PEN_U64, reading->quality)
                                  : is_inside(term, range, reading->type, reading->bits);
    return is_in != (term->comparison == UNEQUAL);
}

bool expression_holds(const struct term *terms, uint32_t count, const struct reading *readings, bool is_raised,
                      uint32_t *decider) {
    uint32_t at = 0;
    bool is_first = true;
    while (at < count) {
        uint32_t begin = at;
        while (at < count && (at == begin || !terms[at].is_or)) at++;
        uint32_t false_one = begin;
        while (false_one < at && expression_term_holds(&terms[false_one], &readings[terms[false_one].tag], is_raised)) {
            false_one++;
        }
        if (is_first || false_one == at) *decider = false_one == at ? begin : false_one;
        if (false_one == at) return true;
        is_first = false;
    }
    return false;
}
