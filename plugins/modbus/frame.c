#include "frame.h"

enum {
    MBAP_BYTES = 6,        /* transaction, protocol, length: what comes before the counted part */
    MBAP_LENGTH_MIN = 3,   /* unit, function, one byte */
    MBAP_LENGTH_MAX = 254, /* unit and a PDU of 253 bytes */
    RTU_OVERHEAD = 5,      /* unit, function, byte count or exception code, CRC */
    RTU_FRAME_MAX = 256,
    EXCEPTION_FLAG = 0x80,
    ECHO_BYTES = 3 /* of a reply to a write, behind function and the first byte: it repeats address and count */
};

static uint16_t get_be16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void put_be16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static bool reads_bits(const struct frame_request *request) { return request->function <= 2; }
static bool is_write(const struct frame_request *request) { return request->function > 4; }

uint32_t frame_data_bytes(const struct frame_request *request) {
    if (is_write(request)) return ECHO_BYTES;
    return reads_bits(request) ? (request->count + 7u) / 8u : request->count * 2u;
}

/* CRC-16/MODBUS: polynomial 0xA001 (reflected 0x8005), start 0xFFFF; four bits at a time. */
uint16_t frame_crc(const uint8_t *bytes, uint32_t len) {
    static const uint16_t step[16] = {0x0000, 0xCC01, 0xD801, 0x1400, 0xF001, 0x3C00, 0x2800, 0xE401,
                                      0xA001, 0x6C00, 0x7800, 0xB401, 0x5000, 0x9C01, 0x8801, 0x4400};
    uint32_t crc = 0xFFFF;
    for (uint32_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ step[crc & 15];
        crc = crc >> 4 ^ step[crc & 15];
    }
    return (uint16_t)crc;
}

/* The CRC is sent low byte first, and a frame with its CRC has CRC 0. */
static bool crc_holds(const uint8_t *frame, uint32_t len) { return frame_crc(frame, len) == 0; }

/* Bits or registers of functions 15 and 16, with their length before them. */
static uint32_t put_data(const struct frame_request *request, const uint8_t *data, uint8_t *at) {
    if (request->function < 15) return 0;
    uint32_t bytes = request->function == 15 ? (request->count + 7u) / 8u : request->count * 2u;
    at[0] = (uint8_t)bytes;
    for (uint32_t i = 0; i < bytes; i++) at[1 + i] = data[i];
    return 1 + bytes;
}

uint32_t frame_write(enum frame_kind kind, const struct frame_request *request, const uint8_t *data,
                     uint8_t out[FRAME_REQUEST_BYTES_MAX]) {
    uint8_t *adu = kind == FRAME_TCP ? out + MBAP_BYTES : out;
    adu[0] = request->unit;
    adu[1] = request->function;
    put_be16(adu + 2, request->address);
    put_be16(adu + 4, request->count);
    uint32_t len = 6 + put_data(request, data, adu + 6);
    if (kind == FRAME_TCP) {
        put_be16(out, request->transaction);
        put_be16(out + 2, 0);
        put_be16(out + 4, (uint16_t)len);
        return MBAP_BYTES + len;
    }
    uint16_t crc = frame_crc(adu, len);
    adu[len] = (uint8_t)crc;
    adu[len + 1] = (uint8_t)(crc >> 8);
    return len + 2;
}

static void drop_front(struct frame_reader *reader, uint32_t count) {
    reader->fill -= count;
    reader->garbage_bytes += count;
    for (uint32_t i = 0; i < reader->fill; i++) reader->bytes[i] = reader->bytes[i + count];
}

void frame_reset(struct frame_reader *reader) {
    drop_front(reader, reader->fill);
    reader->expecting = false;
}

void frame_expect(struct frame_reader *reader, const struct frame_request *request) {
    /* A serial line was silent before a request is sent, so that no frame is half way; in a TCP stream one may be. */
    if (reader->kind == FRAME_RTU) drop_front(reader, reader->fill);
    reader->expected = *request;
    reader->expecting = true;
}

void frame_expect_nothing(struct frame_reader *reader) { reader->expecting = false; }

/* A server that limits a value may say so in its reply to functions 5 and 6; what it holds is read back anyway. */
static bool is_echo(const struct frame_request *request, const uint8_t *adu) {
    bool is_single = request->function < 15;
    return get_be16(adu + 2) == request->address && (is_single || get_be16(adu + 4) == request->count);
}

/* adu: unit, function, ...; adu_len counts from there, without CRC. */
static struct frame_reply judge(struct frame_reader *reader, const uint8_t *adu, uint32_t adu_len) {
    const struct frame_request *expected = &reader->expected;
    uint32_t data_bytes = frame_data_bytes(expected);
    struct frame_reply reply = {FRAME_INCOMPLETE, NULL, 0};
    if (!reader->expecting || adu[0] != expected->unit) return reply;
    bool is_right = is_write(expected) ? is_echo(expected, adu) : adu[2] == data_bytes;
    if (adu[1] == expected->function && adu_len == 3 + data_bytes && is_right) {
        reply.verdict = FRAME_DATA;
        reply.data = adu + 3;
    } else if (adu[1] == (expected->function | EXCEPTION_FLAG) && adu_len == 3) {
        reply.verdict = FRAME_EXCEPTION;
        reply.exception = adu[2];
    }
    return reply;
}

static void finish(struct frame_reader *reader, const struct frame_reply *reply) {
    reader->fill = 0;
    if (reply->verdict == FRAME_INCOMPLETE) {
        reader->foreign++;
    } else {
        reader->expecting = false;
    }
}

/* A stream in step starts with a header that makes sense. If it does not, bytes are dropped until one does. */
static bool mbap_makes_sense(const uint8_t *header) {
    uint32_t length = get_be16(header + 4);
    return get_be16(header + 2) == 0 && length >= MBAP_LENGTH_MIN && length <= MBAP_LENGTH_MAX;
}

static struct frame_reply take_tcp(struct frame_reader *reader) {
    struct frame_reply reply = {FRAME_INCOMPLETE, NULL, 0};
    while (reader->fill >= MBAP_BYTES && !mbap_makes_sense(reader->bytes)) drop_front(reader, 1);
    if (reader->fill < MBAP_BYTES) return reply;
    uint32_t length = get_be16(reader->bytes + 4);
    if (reader->fill < MBAP_BYTES + length) return reply;
    if (get_be16(reader->bytes) == reader->expected.transaction) {
        reply = judge(reader, reader->bytes + MBAP_BYTES, length);
    }
    finish(reader, &reply);
    return reply;
}

/* The reply that is waited for, if it ends with the last byte: whatever came before it does not matter. */
static struct frame_reply take_rtu_suffix(struct frame_reader *reader, uint32_t len) {
    struct frame_reply reply = {FRAME_INCOMPLETE, NULL, 0};
    if (reader->fill < len) return reply;
    const uint8_t *frame = reader->bytes + reader->fill - len;
    struct frame_reply found = judge(reader, frame, len - 2);
    if (found.verdict == FRAME_INCOMPLETE) return reply;
    if (!crc_holds(frame, len)) {
        reader->crc_errors++;
        return reply;
    }
    reader->garbage_bytes += reader->fill - len;
    finish(reader, &found);
    return found;
}

/* Length of the frame whose first bytes are given, requests and replies of other masters and functions too. 0: not
 * known. */
static uint32_t rtu_length(const uint8_t *frame, uint32_t fill) {
    if (fill < RTU_OVERHEAD) return 0;
    if (frame[1] & EXCEPTION_FLAG) return RTU_OVERHEAD;
    if (frame[1] >= 1 && frame[1] <= 4) return RTU_OVERHEAD + frame[2];
    return frame[1] == 5 || frame[1] == 6 || frame[1] == 15 || frame[1] == 16 ? 8 : 0;
}

static struct frame_reply take_rtu(struct frame_reader *reader) {
    uint32_t data_bytes = frame_data_bytes(&reader->expected);
    struct frame_reply reply = take_rtu_suffix(reader, RTU_OVERHEAD + data_bytes);
    if (reply.verdict == FRAME_INCOMPLETE) reply = take_rtu_suffix(reader, RTU_OVERHEAD);
    if (reply.verdict != FRAME_INCOMPLETE) return reply;
    if (rtu_length(reader->bytes, reader->fill) == reader->fill && crc_holds(reader->bytes, reader->fill)) {
        finish(reader, &reply);
    }
    return reply;
}

struct frame_reply frame_take(struct frame_reader *reader, uint8_t byte) {
    if (reader->fill == sizeof reader->bytes) drop_front(reader, reader->fill - RTU_FRAME_MAX);
    reader->bytes[reader->fill++] = byte;
    return reader->kind == FRAME_TCP ? take_tcp(reader) : take_rtu(reader);
}
