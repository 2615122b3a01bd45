/* Which bytes are UTF-8 (RFC 3629): shortest forms only, no surrogates, at most U+10FFFF. */
#ifndef PEN_UTF8_H
#define PEN_UTF8_H
#include "pen.h"

/* Bytes of the character that starts at `at`, or 0: the byte there starts none within `left` bytes. */
static inline uint32_t pen_utf8_length(const uint8_t *at, uint32_t left) {
    uint32_t lead = at[0];
    if (lead < 0x80) return 1;
    uint32_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || length > left) return 0;
    uint32_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint32_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high) return 0;
    for (uint32_t i = 2; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) return 0;
    }
    return length;
}

#endif
