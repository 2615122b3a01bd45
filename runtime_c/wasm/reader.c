#include "reader.h"

/* LEB128 (5.2.2): at most ceil(bits / 7) bytes; the unused bits of the last one repeat the sign, or are zero. */
static wr_status read_leb(wr_reader *reader, unsigned bits, bool is_signed, uint64_t *out) {
    uint64_t value = 0;
    unsigned shift = 0;
    for (;;) {
        uint8_t byte;
        WR_TRY(wr_read_byte(reader, &byte));
        value |= (uint64_t)(byte & 0x7F) << shift;
        unsigned used = bits - shift; /* bits of this byte that count */
        if (used < 7) {
            if ((byte & 0x80) != 0) return WR_INT_TOO_LONG;
            unsigned rest = byte & 0x7Fu & ~((1u << used) - 1);
            bool negative = is_signed && (byte >> (used - 1) & 1) != 0;
            if (rest != (negative ? (0x7Fu & ~((1u << used) - 1)) : 0)) return WR_INT_TOO_LARGE;
        }
        shift += 7;
        if ((byte & 0x80) == 0) {
            if (is_signed && shift < 64 && (byte & 0x40) != 0) value |= ~UINT64_C(0) << shift;
            *out = value;
            return WR_OK;
        }
        if (shift >= bits) return WR_INT_TOO_LONG;
    }
}

/* Numbers of up to five bytes, which linkers like, are read without a check for each; others are left to read_leb. */
enum { SHORT_BYTES = 5 };

/* Returns how many bytes it takes, or 0. */
static inline unsigned peek_short(const wr_reader *reader, uint64_t *out) {
    uint64_t value = 0;
    if (wr_reader_left(reader) < SHORT_BYTES) return 0;
    for (unsigned i = 0; i < SHORT_BYTES; i++) {
        const uint8_t byte = reader->at[i];
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if ((byte & 0x80) != 0) continue;
        *out = value;
        return i + 1;
    }
    return 0;
}

static inline unsigned peek_short_signed(const wr_reader *reader, int64_t *out) {
    uint64_t value = 0;
    const unsigned bytes = peek_short(reader, &value), unused = 64 - 7 * bytes;
    if (bytes != 0) *out = (int64_t)(value << unused) >> unused;
    return bytes;
}

wr_status wr_read_u32_slow(wr_reader *reader, uint32_t *out) {
    uint64_t value = 0;
    const unsigned bytes = peek_short(reader, &value);
    if (bytes != 0 && value <= UINT32_MAX) {
        reader->at += bytes;
    } else {
        WR_TRY(read_leb(reader, 32, false, &value));
    }
    *out = (uint32_t)value;
    return WR_OK;
}

wr_status wr_read_u64(wr_reader *reader, uint64_t *out) {
    const unsigned bytes = peek_short(reader, out);
    reader->at += bytes;
    return bytes != 0 ? WR_OK : read_leb(reader, 64, false, out);
}

wr_status wr_read_s32_slow(wr_reader *reader, int32_t *out) {
    int64_t number = 0;
    uint64_t value = 0;
    const unsigned bytes = peek_short_signed(reader, &number);
    if (bytes != 0 && number == (int32_t)number) {
        reader->at += bytes;
        *out = (int32_t)number;
        return WR_OK;
    }
    WR_TRY(read_leb(reader, 32, true, &value));
    *out = (int32_t)(uint32_t)value;
    return WR_OK;
}

wr_status wr_read_s33(wr_reader *reader, int64_t *out) {
    uint64_t value = 0;
    WR_TRY(read_leb(reader, 33, true, &value));
    *out = (int64_t)value;
    return WR_OK;
}

wr_status wr_read_s64(wr_reader *reader, int64_t *out) {
    uint64_t value = 0;
    const unsigned bytes = peek_short_signed(reader, out);
    reader->at += bytes;
    if (bytes != 0) return WR_OK;
    WR_TRY(read_leb(reader, 64, true, &value));
    *out = (int64_t)value;
    return WR_OK;
}

static wr_status read_fixed(wr_reader *reader, unsigned bytes, uint64_t *out) {
    if (wr_reader_left(reader) < bytes) return WR_UNEXPECTED_END;
    *out = 0;
    for (unsigned i = 0; i < bytes; i++) *out |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += bytes;
    return WR_OK;
}

wr_status wr_read_fixed32(wr_reader *reader, uint32_t *out) {
    uint64_t value = 0;
    WR_TRY(read_fixed(reader, 4, &value));
    *out = (uint32_t)value;
    return WR_OK;
}

wr_status wr_read_fixed64(wr_reader *reader, uint64_t *out) { return read_fixed(reader, 8, out); }

wr_status wr_read_bytes(wr_reader *reader, uint32_t len, const uint8_t **out) {
    if (wr_reader_left(reader) < len) return WR_LENGTH_BOUNDS;
    *out = reader->at;
    reader->at += len;
    return WR_OK;
}

wr_status wr_read_count(wr_reader *reader, uint32_t *out) {
    WR_TRY(wr_read_u32(reader, out));
    return *out > wr_reader_left(reader) ? WR_UNEXPECTED_END : WR_OK;
}

/* RFC 3629: shortest form only, no surrogates, nothing above U+10FFFF. */
bool wr_utf8_valid(const uint8_t *bytes, size_t len) {
    size_t i = 0;
    while (i < len) {
        uint8_t lead = bytes[i++];
        if (lead < 0x80) continue;
        if (lead < 0xC2 || lead > 0xF4) return false;
        unsigned more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
        if (len - i < more) return false;
        uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (bytes[i] < low || bytes[i] > high) return false;
        for (unsigned k = 1; k < more; k++) {
            if ((bytes[i + k] & 0xC0) != 0x80) return false;
        }
        i += more;
    }
    return true;
}
