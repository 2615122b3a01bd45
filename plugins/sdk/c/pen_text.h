/* Text built in a buffer of fixed size. What does not fit is left out and `full` is set; nothing is written behind. */
#ifndef PEN_TEXT_H
#define PEN_TEXT_H
#include "pen.h"

struct pen_text {
    char *bytes;
    uint32_t cap;
    uint32_t len;
    bool full;
};

PEN_OUTLINE void pen_text_add_byte(struct pen_text *text, char byte) {
    if (text->len == text->cap) {
        text->full = true;
    } else {
        text->bytes[text->len++] = byte;
    }
}

/* All of them or, when they do not fit, none. */
PEN_OUTLINE void pen_text_add_bytes(struct pen_text *text, const void *bytes, uint32_t len) {
    if (len > text->cap - text->len) {
        text->full = true;
    } else {
        __builtin_memcpy(text->bytes + text->len, bytes, len);
        text->len += len;
    }
}

#define PEN_TEXT_LITERAL(text, literal) pen_text_add_bytes(text, literal, sizeof(literal) - 1)

/* NUL-terminated. */
PEN_OUTLINE void pen_text_add(struct pen_text *text, const char *string) {
    while (*string != '\0') pen_text_add_byte(text, *string++);
}

/* At least min_digits digits, with leading zeros; at most 20. */
PEN_OUTLINE void pen_text_add_digits(struct pen_text *text, uint64_t value, uint32_t min_digits) {
    char digits[20];
    uint32_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0 || count < min_digits);
    while (count > 0) pen_text_add_byte(text, digits[--count]);
}

PEN_OUTLINE void pen_text_add_u64(struct pen_text *text, uint64_t value) { pen_text_add_digits(text, value, 1); }

PEN_OUTLINE void pen_text_add_i64(struct pen_text *text, int64_t value) {
    if (value < 0) pen_text_add_byte(text, '-');
    pen_text_add_u64(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static inline void pen_text_log(const struct pen_text *text, int32_t level) {
    hal_log(level, text->bytes, (int32_t)text->len);
}

#endif
