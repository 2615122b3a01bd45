/* Modbus Application Protocol V1.1b3 (requests), Modbus Messaging on TCP/IP V1.0b (MBAP), Modbus over Serial Line V1.02
 * (CRC). Lengths are exact: a request with more behind it could hide another one. */
#include "guard.h"

#include <stdio.h>

enum { MBAP_BYTES = 7, CRC_BYTES = 2, CRC_POLYNOMIAL = 0xA001 };
enum {
    READ_COILS = 1,
    READ_INPUT_REGISTERS = 4,
    WRITE_COIL = 5,
    WRITE_REGISTER = 6,
    WRITE_COILS = 15,
    WRITE_REGISTERS = 16
};

typedef struct bus_request {
    uint8_t unit;
    const uint8_t *pdu; /* function code, then what belongs to it */
    uint32_t len;
} bus_request;

static uint32_t big_endian(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }

/* Of a frame with its own CRC behind it: 0. */
static uint32_t crc_of(const uint8_t *bytes, uint32_t len) {
    uint32_t crc = 0xFFFF;
    for (uint32_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? crc >> 1 ^ CRC_POLYNOMIAL : crc >> 1;
    }
    return crc;
}

static bool open_frame(wr_bus bus, const uint8_t *frame, uint32_t len, bus_request *out) {
    if (bus == WR_BUS_MODBUS_TCP) {
        if (len <= MBAP_BYTES || big_endian(frame + 2) != 0 || big_endian(frame + 4) != len - 6) return false;
        *out = (bus_request){frame[6], frame + MBAP_BYTES, len - MBAP_BYTES};
        return true;
    }
    if (len < 2 + CRC_BYTES || crc_of(frame, len) != 0) return false;
    *out = (bus_request){frame[0], frame + 1, len - 1 - CRC_BYTES};
    return true;
}

/* How many coils or registers a request is about; 0: it is not one. */
static uint32_t count_of(const bus_request *request) {
    const uint8_t *pdu = request->pdu;
    if (request->len < 5) return 0;
    uint32_t count = big_endian(pdu + 3);
    bool is_short = request->len == 5;
    switch (pdu[0]) {
    case WRITE_COIL:
    case WRITE_REGISTER: return is_short ? 1 : 0;
    case WRITE_COILS:
    case WRITE_REGISTERS: {
        uint32_t bytes = pdu[0] == WRITE_COILS ? (count + 7) / 8 : 2 * count;
        return request->len == 6 + bytes && pdu[5] == bytes ? count : 0;
    }
    default: return is_short ? count : 0;
    }
}

static bool is_in(const wr_guard *guard, const bus_request *request, wr_bus_table table, uint32_t first,
                  uint32_t last) {
    for (uint32_t i = 0; i < guard->count; i++) {
        const wr_write_rule *rule = &guard->rules[i];
        if ((rule->any_unit || rule->unit == request->unit) && rule->table == table && rule->first <= first &&
            last <= rule->last) {
            return true;
        }
    }
    return false;
}

bool wr_guard_allows(const wr_guard *guard, const uint8_t *frame, uint32_t len, char why[WR_GUARD_WHY_BYTES]) {
    bus_request request;
    uint32_t count = open_frame(guard->bus, frame, len, &request) ? count_of(&request) : 0;
    if (count == 0) {
        snprintf(why, WR_GUARD_WHY_BYTES, "%u bytes are not one Modbus request", len);
        return false;
    }
    uint32_t function = request.pdu[0], first = big_endian(request.pdu + 1), last = first + count - 1;
    if (function >= READ_COILS && function <= READ_INPUT_REGISTERS) return true;
    bool is_coil = function == WRITE_COIL || function == WRITE_COILS;
    if (!is_coil && function != WRITE_REGISTER && function != WRITE_REGISTERS) {
        snprintf(why, WR_GUARD_WHY_BYTES, "function %u is neither a read nor a write with a rule", function);
        return false;
    }
    if (is_in(guard, &request, is_coil ? WR_BUS_COIL : WR_BUS_HOLDING, first, last)) return true;
    int used = snprintf(why, WR_GUARD_WHY_BYTES, "unit %u %s %u", request.unit, is_coil ? "coil" : "holding", first);
    if (count > 1) used += snprintf(why + used, WR_GUARD_WHY_BYTES - (size_t)used, "-%u", last);
    snprintf(why + used, WR_GUARD_WHY_BYTES - (size_t)used, " is not in writes of the stage's config");
    return false;
}
