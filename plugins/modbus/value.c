#include "value.h"
#include "pen_utf8.h"

enum { ORDER_WORDS_SWAPPED = 1, ORDER_BYTES_SWAPPED = 2 }; /* bits of enum modbus_tag_order */

static const struct value no_value = {PEN_NONE, PEN_BAD, 0};

static uint64_t bits_of(double number) {
    union {
        double number;
        uint64_t bits;
    } pun = {.number = number};
    return pun.bits;
}

static double number_of(uint64_t bits) {
    union {
        uint64_t bits;
        double number;
    } pun = {.bits = bits};
    return pun.number;
}

static double single_of(uint32_t bits) {
    union {
        uint32_t bits;
        float number;
    } pun = {.bits = bits};
    return (double)pun.number;
}

/* Registers are sent high byte first; `order` says how the device deals its bytes to them. */
static uint64_t assemble(const uint8_t *registers, uint32_t count, uint8_t order) {
    uint32_t high = order & ORDER_BYTES_SWAPPED ? 1 : 0;
    uint64_t raw = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *word = registers + 2 * (order & ORDER_WORDS_SWAPPED ? count - 1 - i : i);
        raw = raw << 16 | (uint64_t)word[high] << 8 | word[high ^ 1];
    }
    return raw;
}

static struct value read_bcd(uint64_t raw) {
    uint64_t number = 0;
    for (int shift = 28; shift >= 0; shift -= 4) {
        uint32_t digit = raw >> shift & 15;
        if (digit > 9) return no_value;
        number = number * 10 + digit;
    }
    return (struct value){PEN_U64, PEN_GOOD, number};
}

static struct value read_float(double number) {
    bool is_finite = number - number == 0.0;
    return is_finite ? (struct value){PEN_F64, PEN_GOOD, bits_of(number)} : no_value;
}

static struct value read_number(const struct point *point, uint64_t raw) {
    uint32_t unused = 64u - 16u * point->span;
    switch (point->type) {
    case MODBUS_TAG_TYPE_I16:
    case MODBUS_TAG_TYPE_I32:
    case MODBUS_TAG_TYPE_I64: return (struct value){PEN_I64, PEN_GOOD, (uint64_t)((int64_t)(raw << unused) >> unused)};
    case MODBUS_TAG_TYPE_F32: return read_float(single_of((uint32_t)raw));
    case MODBUS_TAG_TYPE_F64: return read_float(number_of(raw));
    case MODBUS_TAG_TYPE_BCD16:
    case MODBUS_TAG_TYPE_BCD32: return read_bcd(raw);
    default: return (struct value){PEN_U64, PEN_GOOD, raw};
    }
}

double value_number(const struct value *value) {
    if (value->type == PEN_F64) return number_of(value->bits);
    return value->type == PEN_I64 ? (double)(int64_t)value->bits : (double)value->bits;
}

bool value_is_nan(const struct point *point, uint64_t raw) {
    uint64_t used = UINT64_MAX >> (64u - 16u * point->span);
    return point->tag->has_nan_value && ((raw ^ point->tag->nan_value) & used) == 0;
}

static struct value read_checked(const struct point *point, uint64_t raw) {
    const struct modbus_tag *tag = point->tag;
    if (value_is_nan(point, raw)) return no_value;
    struct value value = read_number(point, raw);
    if (value.type == PEN_NONE) return value;
    double number = value_number(&value);
    if ((tag->has_min && number < tag->min) || (tag->has_max && number > tag->max)) value.quality = PEN_BAD;
    return value;
}

static bool is_utf8(const char *text, uint32_t len) {
    const uint8_t *bytes = (const uint8_t *)text;
    for (uint32_t at = 0; at < len;) {
        uint32_t step = pen_utf8_length(bytes + at, len - at);
        if (step == 0) return false;
        at += step;
    }
    return true;
}

/* Ends at the first NUL, without trailing spaces. What is not UTF-8 gets '?' for each byte above ASCII. */
static struct value read_text(const struct point *point, const uint8_t *registers) {
    uint32_t swap = point->tag->order & ORDER_BYTES_SWAPPED ? 1 : 0;
    uint32_t len = 0;
    for (; len < point->span * 2u && registers[len ^ swap] != 0; len++) point->text[len] = (char)registers[len ^ swap];
    while (len > 0 && point->text[len - 1] == ' ') len--;
    if (!is_utf8(point->text, len)) {
        for (uint32_t i = 0; i < len; i++) {
            if (point->text[i] & 0x80) point->text[i] = '?';
        }
    }
    return (struct value){PEN_BYTES, PEN_GOOD, len};
}

struct value value_read(const struct point *point, const uint8_t *data, uint16_t address) {
    uint32_t offset = (uint32_t)point->address - address;
    if (point->function <= 2) {
        return (struct value){PEN_BOOL, PEN_GOOD, data[offset / 8] >> (offset % 8) & 1};
    }
    const uint8_t *registers = data + 2 * offset;
    if (point->type == MODBUS_TAG_TYPE_STRING) return read_text(point, registers);
    uint64_t raw = assemble(registers, point->span, point->tag->order);
    if (point->type == MODBUS_TAG_TYPE_BOOL) {
        bool is_set = point->tag->has_bit ? raw >> point->tag->bit & 1 : raw != 0;
        return (struct value){PEN_BOOL, PEN_GOOD, is_set};
    }
    return read_checked(point, raw);
}

/* ---- numbers to registers ---- */

/* False: beyond 64 bits. */
static bool to_integer(const struct value *value, bool *is_negative, uint64_t *magnitude) {
    double number = __builtin_rint(value_number(value));
    *is_negative = number < 0;
    *magnitude = value->bits;
    if (value->type == PEN_I64 && *is_negative) *magnitude = 0 - value->bits;
    if (value->type != PEN_F64) return true;
    double size = __builtin_fabs(number);
    if (size >= 0x1p64) return false;
    *magnitude = (uint64_t)size;
    return true;
}

static bool encode_bcd(uint64_t number, uint32_t digits, uint64_t *raw) {
    *raw = 0;
    for (uint32_t i = 0; i < digits; i++, number /= 10) *raw |= number % 10 << (4 * i);
    return number == 0;
}

static bool encode_integer(const struct point *point, const struct value *value, uint64_t *raw) {
    uint32_t bits = 16u * point->span;
    uint64_t highest = UINT64_MAX >> (64u - bits);
    bool is_negative;
    uint64_t magnitude;
    if (!to_integer(value, &is_negative, &magnitude)) return false;
    *raw = is_negative ? (0 - magnitude) & highest : magnitude;
    switch (point->type) {
    case MODBUS_TAG_TYPE_I16:
    case MODBUS_TAG_TYPE_I32:
    case MODBUS_TAG_TYPE_I64: return magnitude <= (highest >> 1) + is_negative;
    case MODBUS_TAG_TYPE_BCD16:
    case MODBUS_TAG_TYPE_BCD32: return !is_negative && encode_bcd(magnitude, bits / 4, raw);
    default: return !is_negative && magnitude <= highest;
    }
}

static bool encode_single(double number, uint64_t *raw) {
    union {
        float number;
        uint32_t bits;
    } pun = {.number = (float)number};
    *raw = pun.bits;
    return pun.number - pun.number == 0;
}

bool value_encode(const struct point *point, const struct value *value, uint64_t *raw) {
    if (point->type == MODBUS_TAG_TYPE_F32) return encode_single(value_number(value), raw);
    if (point->type != MODBUS_TAG_TYPE_F64) return encode_integer(point, value, raw);
    *raw = bits_of(value_number(value));
    return true;
}

void value_spread(uint64_t raw, uint32_t count, uint8_t order, uint8_t *registers) {
    uint32_t high = order & ORDER_BYTES_SWAPPED ? 1 : 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *word = registers + 2 * (order & ORDER_WORDS_SWAPPED ? count - 1 - i : i);
        uint32_t part = (uint32_t)(raw >> (16 * (count - 1 - i)));
        word[high] = (uint8_t)(part >> 8);
        word[high ^ 1] = (uint8_t)part;
    }
}
