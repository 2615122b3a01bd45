/* Doubles as decimal text: rounded to 15 significant digits, trailing zeros left out.
 *
 * Every decimal number of up to 15 digits comes back as it was written (0.1 * 3 gives 0.3), integers up to 10^15 are
 * exact. Works on 64-bit integers only, so that all hosts give the same bytes. */
#ifndef PEN_FLOAT_H
#define PEN_FLOAT_H
#include "pen_text.h"

enum { PEN_FLOAT_DIGITS = 15 };
#define PEN_FLOAT_HIGH 1000000000000000u /* the smallest of 16 */

struct pen_scaled { /* mantissa * 2^exponent, highest bit of the mantissa set */
    uint64_t mantissa;
    int32_t exponent;
};

PEN_OUTLINE uint64_t pen_float_mul_high(uint64_t a, uint64_t b) {
    uint64_t a_low = (uint32_t)a;
    uint64_t a_high = a >> 32;
    uint64_t b_low = (uint32_t)b;
    uint64_t b_high = b >> 32;
    uint64_t middle = a_high * b_low + (a_low * b_low >> 32);
    __asm__("" : "+r"(middle)); /* clang would see a 128-bit product and call compiler-rt, which is not there */
    uint64_t carry = a_low * b_high + (uint32_t)middle;
    return a_high * b_high + (middle >> 32) + (carry >> 32);
}

PEN_OUTLINE struct pen_scaled pen_float_mul(struct pen_scaled a, struct pen_scaled b) {
    struct pen_scaled product = {pen_float_mul_high(a.mantissa, b.mantissa), a.exponent + b.exponent + 64};
    if (product.mantissa >> 63 == 0) {
        product.mantissa <<= 1;
        product.exponent--;
    }
    return product;
}

/* 10^n by squaring; the relative error stays below 2^-54 for every n that doubles need. */
static inline struct pen_scaled pen_float_power_of_ten(int32_t n) {
    struct pen_scaled power = {0x8000000000000000u, -63};
    struct pen_scaled base = {0xA000000000000000u, -60};
    if (n < 0) {
        base = (struct pen_scaled){0xCCCCCCCCCCCCCCCDu, -67};
        n = -n;
    }
    for (; n > 0; n >>= 1) {
        if (n & 1) power = pen_float_mul(power, base);
        base = pen_float_mul(base, base);
    }
    return power;
}

/* value = *digits * 10^(*exponent - 14) rounded, *digits having exactly 15 digits; value is finite and above 0. */
static inline void pen_float_decimal(uint64_t bits, uint64_t *digits, int32_t *exponent) {
    int32_t biased = (int32_t)(bits >> 52);
    uint64_t fraction = bits & 0xFFFFFFFFFFFFFu;
    uint64_t mantissa = biased == 0 ? fraction : fraction | 0x10000000000000u;
    int32_t shift = __builtin_clzll(mantissa);
    struct pen_scaled value = {mantissa << shift, (biased == 0 ? 1 : biased) - 1075 - shift};
    int32_t guess = (value.exponent + 63) * 1233 >> 12; /* log10(2) = 1233/4096: right or one too low */
    for (;; guess++) {
        struct pen_scaled scaled = pen_float_mul(value, pen_float_power_of_ten(PEN_FLOAT_DIGITS - 1 - guess));
        int32_t drop = -scaled.exponent;
        *digits = ((scaled.mantissa >> (drop - 1)) + 1) >> 1;
        *exponent = guess;
        if (*digits < PEN_FLOAT_HIGH) return;
    }
}

PEN_OUTLINE void pen_float_plain(struct pen_text *text, uint64_t digits, int32_t count, int32_t exponent) {
    int32_t after_point = count - 1 - exponent;
    if (after_point <= 0) {
        for (; after_point < 0; after_point++) digits *= 10;
        pen_text_add_u64(text, digits);
        return;
    }
    uint64_t power = 1;
    for (int32_t i = 0; i < after_point; i++) power *= 10;
    pen_text_add_u64(text, digits / power);
    pen_text_add_byte(text, '.');
    pen_text_add_digits(text, digits % power, (uint32_t)after_point);
}

static inline void pen_float_scientific(struct pen_text *text, uint64_t digits, int32_t count, int32_t exponent) {
    pen_float_plain(text, digits, count, 0);
    pen_text_add_byte(text, 'e');
    pen_text_add_i64(text, exponent);
}

/* False, nothing added: not a finite number. */
PEN_OUTLINE bool pen_text_add_f64(struct pen_text *text, double value) {
    union {
        double value;
        uint64_t bits;
    } pun = {.value = value};
    uint64_t magnitude = pun.bits & 0x7FFFFFFFFFFFFFFFu;
    uint64_t digits;
    int32_t exponent;
    if (magnitude >> 52 == 0x7FF) return false;
    if (magnitude == 0) {
        pen_text_add_byte(text, '0');
        return true;
    }
    if (magnitude != pun.bits) pen_text_add_byte(text, '-');
    pen_float_decimal(magnitude, &digits, &exponent);
    int32_t count = PEN_FLOAT_DIGITS;
    for (; digits % 10 == 0; count--) digits /= 10;
    if (exponent >= -5 && exponent <= PEN_FLOAT_DIGITS) {
        pen_float_plain(text, digits, count, exponent);
    } else {
        pen_float_scientific(text, digits, count, exponent);
    }
    return true;
}

#endif
