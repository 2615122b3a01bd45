#include "mutator.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 8, SECTIONS_MAX = 64, CODE_SECTION = 10, SIZE_BYTES_MAX = 5, CHANGES_MAX = 4 };

/* Bytes from..end; its size in front begins at size_at. */
typedef struct part {
    size_t size_at;
    size_t from;
    size_t end;
    uint8_t id;
} part;

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t end) { return end == 0 ? 0 : (size_t)(next_random(state) % end); }

/* ---- LEB128 sizes ---- */

static bool read_size(const uint8_t *bytes, size_t end, size_t *at, size_t *size) {
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 35 && *at < end; shift += 7) {
        uint8_t byte = bytes[(*at)++];
        value |= (uint32_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *size = value;
            return value <= end - *at;
        }
    }
    return false;
}

static size_t write_size(uint8_t *out, size_t size) {
    size_t len = 0;
    do {
        out[len] = (uint8_t)((size & 0x7F) | (size > 0x7F ? 0x80 : 0));
        size >>= 7;
        len++;
    } while (size != 0);
    return len;
}

/* ---- changes ---- */

static size_t flip_bit(uint8_t *bytes, size_t len, size_t max, uint64_t *state) {
    (void)max;
    bytes[below(state, len)] ^= (uint8_t)(1u << below(state, 8));
    return len;
}

static size_t set_byte(uint8_t *bytes, size_t len, size_t max, uint64_t *state) {
    static const uint8_t EDGES[] = {0x00, 0x01, 0x0B, 0x40, 0x7E, 0x7F, 0x80, 0xFC, 0xFD, 0xFE, 0xFF};
    (void)max;
    bytes[below(state, len)] = below(state, 2) ? EDGES[below(state, sizeof EDGES)] : (uint8_t)next_random(state);
    return len;
}

static size_t remove_range(uint8_t *bytes, size_t len, size_t max, uint64_t *state) {
    size_t at = below(state, len), count = 1 + below(state, 8);
    (void)max;
    if (at + count >= len) return len;
    memmove(bytes + at, bytes + at + count, len - at - count);
    return len - count;
}

static size_t repeat_range(uint8_t *bytes, size_t len, size_t max, uint64_t *state) {
    size_t at = below(state, len), count = 1 + below(state, 16);
    if (at + count > len || len + count > max) return len;
    memmove(bytes + at + count, bytes + at, len - at);
    return len + count;
}

static size_t copy_range(uint8_t *bytes, size_t len, size_t max, uint64_t *state) {
    size_t from = below(state, len), to = below(state, len), count = 1 + below(state, 32);
    (void)max;
    if (from + count > len || to + count > len) return len;
    memmove(bytes + to, bytes + from, count);
    return len;
}

static size_t change_some(uint8_t *bytes, size_t len, size_t max, uint64_t *state) {
    static size_t (*const CHANGES[])(uint8_t *, size_t, size_t, uint64_t *) = {flip_bit,     set_byte,     set_byte,
                                                                               remove_range, repeat_range, copy_range};
    for (size_t left = 1 + below(state, CHANGES_MAX); left > 0 && len > 0; left--) {
        len = CHANGES[below(state, sizeof CHANGES / sizeof CHANGES[0])](bytes, len, max, state);
    }
    return len;
}

/* ---- parts ---- */

static size_t find_sections(const uint8_t *bytes, size_t len, part *sections) {
    size_t count = 0;
    for (size_t at = HEADER_BYTES; at < len && count < SECTIONS_MAX; count++) {
        part *one = &sections[count];
        size_t size = 0;
        one->id = bytes[at++];
        one->size_at = at;
        if (!read_size(bytes, len, &at, &size)) break;
        one->from = at;
        one->end = at += size;
    }
    return count;
}

/* One of the bodies of a code section. */
static bool pick_body(const uint8_t *bytes, const part *section, uint64_t *state, part *body) {
    size_t at = section->from, count = 0, size = 0;
    size_t stop = section->end;
    for (int i = 0; i < SIZE_BYTES_MAX && at < stop && bytes[at] >= 0x80; i++) at++;
    at++; /* how many there are */
    size_t first = at;
    for (; at < stop; count++) {
        if (!read_size(bytes, stop, &at, &size)) break;
        at += size;
    }
    size_t chosen = below(state, count);
    at = first;
    for (size_t i = 0; i < count; i++) {
        body->size_at = at;
        if (!read_size(bytes, stop, &at, &size)) return false;
        body->from = at;
        body->end = at += size;
        if (i == chosen) return true;
    }
    return false;
}

/* Puts content in the place of a part's, with its size; 0: no room. */
static size_t replace(uint8_t *bytes, size_t len, size_t max, const part *where, const uint8_t *content, size_t size) {
    uint8_t head[SIZE_BYTES_MAX];
    size_t head_len = write_size(head, size);
    size_t tail = len - where->end;
    size_t total = where->size_at + head_len + size + tail;
    if (total > max) return 0;
    memmove(bytes + where->size_at + head_len + size, bytes + where->end, tail);
    memcpy(bytes + where->size_at, head, head_len);
    if (size != 0) memcpy(bytes + where->size_at + head_len, content, size);
    return total;
}

/* The content of a section after a change, in work; a change inside a body keeps the body's size right, too. */
static size_t change_content(uint8_t *work, size_t len, size_t max, const part *section, uint64_t *state,
                             mutate_fn change) {
    part body, whole = {0, 0, len, section->id};
    if (section->id == CODE_SECTION && below(state, 8) != 0 && pick_body(work, &whole, state, &body)) {
        size_t size = body.end - body.from, room = size + (max - len);
        uint8_t *copy = malloc(room + 1);
        if (copy == NULL || room == 0) {
            free(copy);
            return len;
        }
        memcpy(copy, work + body.from, size);
        size = change != NULL ? change(copy, size, room) : change_some(copy, size, room, state);
        size_t total = replace(work, len, max, &body, copy, size);
        free(copy);
        return total != 0 ? total : len;
    }
    if (max == 0) return len;
    return change != NULL ? change(work, len, max) : change_some(work, len, max, state);
}

size_t mutate_module(uint8_t *bytes, size_t len, size_t max, uint64_t seed, mutate_fn change) {
    part sections[SECTIONS_MAX];
    uint64_t state = seed;
    size_t count = len > HEADER_BYTES ? find_sections(bytes, len, sections) : 0;
    if (count == 0) return change != NULL ? change(bytes, len, max) : change_some(bytes, len, max, &state);
    const part *section = &sections[below(&state, count)];
    for (size_t i = 0; i < count && below(&state, 2) == 0; i++) {
        if (sections[i].id == CODE_SECTION) section = &sections[i];
    }
    if (section->end - section->from >= max) return len;
    uint8_t *work = malloc(max);
    if (work == NULL) return len;
    size_t size = section->end - section->from;
    memcpy(work, bytes + section->from, size);
    size = change_content(work, size, max - (len - size), section, &state, change);
    size_t total = replace(bytes, len, max, section, work, size);
    free(work);
    return total != 0 ? total : len;
}
