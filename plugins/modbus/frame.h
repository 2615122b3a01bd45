/* Modbus framing: requests to bytes, bytes to the one reply that is waited for. No I/O, no time.
 *
 * Sources: MODBUS Application Protocol Specification V1.1b3 (sections 6.1 to 6.6, 6.11, 6.12, 7), MODBUS Messaging on
 * TCP/IP Implementation Guide V1.0b (section 3.1.3, MBAP header), MODBUS over Serial Line V1.02 (2.5.1, 6.2.2). */
#ifndef FRAME_H
#define FRAME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_REQUEST_BYTES_MAX = 24, FRAME_DATA_BYTES_MAX = 8, FRAME_REGISTERS_MAX = 125, FRAME_BITS_MAX = 2000 };

enum frame_kind { FRAME_TCP, FRAME_RTU };

struct frame_request {
    uint8_t unit;
    uint8_t function; /* reads 1 coils, 2 discrete inputs, 3 holding, 4 input registers; writes 5 a coil, 6 a register,
                         15 coils, 16 registers */
    uint16_t address;
    uint16_t count; /* bits or registers; of functions 5 and 6 the value */
    uint16_t transaction; /* MBAP only */
};

enum frame_verdict { FRAME_INCOMPLETE, FRAME_DATA, FRAME_EXCEPTION };

struct frame_reply {
    enum frame_verdict verdict;
    const uint8_t *data; /* DATA: registers or bits that were read, valid until the next byte is given */
    uint8_t exception; /* EXCEPTION: its code */
};

struct frame_reader {
    enum frame_kind kind;
    bool expecting;
    struct frame_request expected;
    uint32_t fill;
    uint64_t foreign; /* whole valid frames that nobody waited for */
    uint64_t crc_errors; /* replies with the right head and length and a wrong CRC */
    uint64_t garbage_bytes; /* bytes in no frame */
    uint8_t bytes[512]; /* TCP: the frame so far; RTU: what came since the last frame or request */
};

/* Bytes of a reply to the request behind function and one more byte. */
uint32_t frame_data_bytes(const struct frame_request *request);
/* data: of functions 15 and 16 what is written, at most FRAME_DATA_BYTES_MAX; else not read. Returns the length. */
uint32_t frame_write(enum frame_kind kind, const struct frame_request *request, const uint8_t *data,
                     uint8_t out[FRAME_REQUEST_BYTES_MAX]);
uint16_t frame_crc(const uint8_t *bytes, uint32_t len);

/* The port is new: forget what came before. */
void frame_reset(struct frame_reader *reader);
void frame_expect(struct frame_reader *reader, const struct frame_request *request);
void frame_expect_nothing(struct frame_reader *reader);
/* Taking single bytes makes the result independent of how reads cut the stream. */
struct frame_reply frame_take(struct frame_reader *reader, uint8_t byte);

#endif
