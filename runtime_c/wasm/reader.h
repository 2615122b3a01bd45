/* Reading the binary format. Every read is bounds-checked; errors are statuses of class MALFORMED. */
#ifndef WR_READER_H
#define WR_READER_H
#include "wr.h"

#define WR_TRY(EXPR)                          \
    do {                                      \
        wr_status try_ = (EXPR);              \
        if (try_ != WR_OK) return try_;       \
    } while (0)

typedef struct wr_reader {
    const uint8_t *base; /* first byte that is here */
    const uint8_t *at;
    const uint8_t *end;
    uint32_t origin; /* offset of the first byte in the module */
} wr_reader;

static inline size_t wr_reader_left(const wr_reader *reader) { return (size_t)(reader->end - reader->at); }
static inline uint32_t wr_reader_offset(const wr_reader *reader) {
    return reader->origin + (uint32_t)(reader->at - reader->base);
}

static inline wr_status wr_read_byte(wr_reader *reader, uint8_t *out) {
    if (reader->at == reader->end) return WR_UNEXPECTED_END;
    *out = *reader->at++;
    return WR_OK;
}

wr_status wr_read_u32_slow(wr_reader *reader, uint32_t *out);
wr_status wr_read_s32_slow(wr_reader *reader, int32_t *out);
wr_status wr_read_s33(wr_reader *reader, int64_t *out);
wr_status wr_read_s64(wr_reader *reader, int64_t *out);
wr_status wr_read_u64(wr_reader *reader, uint64_t *out);
wr_status wr_read_fixed32(wr_reader *reader, uint32_t *out);
wr_status wr_read_fixed64(wr_reader *reader, uint64_t *out);
/* len bytes in place. */
wr_status wr_read_bytes(wr_reader *reader, uint32_t len, const uint8_t **out);
/* Number of items that follow, each at least one byte long. */
wr_status wr_read_count(wr_reader *reader, uint32_t *out);
bool wr_utf8_valid(const uint8_t *bytes, size_t len);

static inline wr_status wr_read_u32(wr_reader *reader, uint32_t *out) {
    if (reader->at != reader->end && *reader->at < 0x80) {
        *out = *reader->at++;
        return WR_OK;
    }
    return wr_read_u32_slow(reader, out);
}

static inline wr_status wr_read_s32(wr_reader *reader, int32_t *out) {
    if (reader->at != reader->end && *reader->at < 0x80) {
        *out = (int32_t)((uint32_t)*reader->at++ << 25) >> 25;
        return WR_OK;
    }
    return wr_read_s32_slow(reader, out);
}

#endif
