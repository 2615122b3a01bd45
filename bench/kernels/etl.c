/* What a driver and its filters do to a reply of a field device: check the CRC, decode floats in big-endian words,
 * scale, drop outliers, smooth, write records; n frames of 16 floats. */
#include "kernel.h"

enum { FLOATS = 16, HEADER = 3, FRAME = HEADER + 4 * FLOATS + 2, RING = 256 };

struct record {
    uint32_t tag, sequence;
    int64_t time_ns;
    double value;
};

static uint8_t frame[FRAME];
static struct record ring[RING];
static double smooth[FLOATS];

static uint16_t crc16(const uint8_t *at, int len) {
    uint16_t crc = 0xFFFF;
    for (int i = 0; i < len; i++) crc = crc16_byte(crc, at[i]);
    return crc;
}

static void fill_frame(uint32_t *seed) {
    frame[0] = 17;
    frame[1] = 3;
    frame[2] = 4 * FLOATS;
    for (int i = 0; i < FLOATS; i++) {
        union {
            float real;
            uint32_t bits;
        } value = {(float)next_random(seed) * (1.0f / 65536.0f)};
        uint8_t *at = frame + HEADER + 4 * i;
        at[0] = (uint8_t)(value.bits >> 24);
        at[1] = (uint8_t)(value.bits >> 16);
        at[2] = (uint8_t)(value.bits >> 8);
        at[3] = (uint8_t)value.bits;
    }
    uint16_t crc = crc16(frame, FRAME - 2);
    frame[FRAME - 2] = (uint8_t)crc;
    frame[FRAME - 1] = (uint8_t)(crc >> 8);
}

static float decode(const uint8_t *at) {
    union {
        uint32_t bits;
        float real;
    } value = {(uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]};
    return value.real;
}

static uint32_t take_frame(uint32_t head, int64_t time_ns) {
    uint16_t crc = (uint16_t)(frame[FRAME - 2] | frame[FRAME - 1] << 8);
    if (crc16(frame, FRAME - 2) != crc) return head;
    for (int i = 0; i < FLOATS; i++) {
        double value = decode(frame + HEADER + 4 * i) * 0.1 - 4;
        double change = value - smooth[i];
        if (change > 20 || change < -20) value = smooth[i] + (change > 0 ? 2 : -2);
        smooth[i] += 0.25 * (value - smooth[i]);
        ring[head % RING] = (struct record){(uint32_t)i, head, time_ns, smooth[i]};
        head++;
    }
    return head;
}

int32_t run(int32_t n) {
    uint32_t seed = 3, head = 0;
    for (int i = 0; i < FLOATS; i++) smooth[i] = 0;
    for (int32_t round = 0; round < n; round++) {
        fill_frame(&seed);
        head = take_frame(head, round * INT64_C(1000000));
    }
    double sum = 0;
    for (int i = 0; i < RING; i++) sum += ring[i].value * (ring[i].sequence & 15);
    return (int32_t)(sum * 1000);
}
