/* What passes to a field bus: frames as on the wire, each one request. */
#include "../flow/guard.h"

#include <string.h>

#include "check.h"

#define FRAME(...) {(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})}

typedef struct frame {
    const uint8_t *bytes;
    uint32_t len;
} frame;

static const wr_guard TCP = {.bus = WR_BUS_MODBUS_TCP,
                             .count = 3,
                             .rules = {{.unit = 1, .first = 20, .last = 29, .table = WR_BUS_HOLDING},
                                       {.any_unit = true, .first = 7, .last = 7, .table = WR_BUS_COIL},
                                       {.unit = 77, .first = 256, .last = 264, .table = WR_BUS_COIL}}};

static void reads_and_allowed_writes_pass(check_t *check) {
    const frame frames[] = {
        FRAME(0, 1, 0, 0, 0, 6, 9, 1, 0, 0, 0, 16),
        FRAME(0, 1, 0, 0, 0, 6, 9, 4, 0xFF, 0xFF, 0, 1),
        FRAME(0, 1, 0, 0, 0, 6, 1, 6, 0, 20, 0xAB, 0xCD),
        FRAME(0, 1, 0, 0, 0, 6, 1, 6, 0, 29, 0, 0),
        FRAME(0, 1, 0, 0, 0, 6, 200, 5, 0, 7, 0xFF, 0),
        FRAME(0, 1, 0, 0, 0, 8, 3, 15, 0, 7, 0, 1, 1, 1),
        FRAME(0, 1, 0, 0, 0, 11, 1, 16, 0, 28, 0, 2, 4, 1, 2, 3, 4),
        FRAME(0, 1, 0, 0, 0, 8, 77, 15, 1, 0, 0, 8, 1, 0xFF),
        FRAME(0, 1, 0, 0, 0, 9, 77, 15, 1, 0, 0, 9, 2, 0xFF, 1),
    };
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        char why[WR_GUARD_WHY_BYTES] = "";
        if (!CHECK(wr_guard_allows(&TCP, frames[i].bytes, frames[i].len, why))) CHECK_FAIL("frame %zu: %s", i, why);
    }
}

static void everything_else_is_refused_by_name(check_t *check) {
    const struct {
        frame frame;
        const char *why;
    } cases[] = {
        {FRAME(0, 1, 0, 0, 0, 6, 1, 6, 0, 19, 0, 0), "unit 1 holding 19 is not in writes of the stage's config"},
        {FRAME(0, 1, 0, 0, 0, 6, 1, 6, 0, 30, 0, 0), "unit 1 holding 30 is not in writes of the stage's config"},
        {FRAME(0, 1, 0, 0, 0, 6, 2, 6, 0, 20, 0, 0), "unit 2 holding 20 is not in writes of the stage's config"},
        {FRAME(0, 1, 0, 0, 0, 6, 1, 5, 0, 20, 0, 0), "unit 1 coil 20 is not in writes of the stage's config"},
        {FRAME(0, 1, 0, 0, 0, 11, 1, 16, 0, 29, 0, 2, 4, 1, 2, 3, 4),
         "unit 1 holding 29-30 is not in writes of the stage's config"},
        {FRAME(0, 1, 0, 0, 0, 8, 3, 15, 0, 6, 0, 2, 1, 1), "unit 3 coil 6-7 is not in writes of the stage's config"},
        {FRAME(0, 1, 0, 0, 0, 6, 1, 8, 0, 1, 0, 1), "function 8 is neither a read nor a write with a rule"},
        {FRAME(0, 1, 0, 0, 0, 6, 1, 22, 0, 20, 0, 1), "function 22 is neither a read nor a write with a rule"},
        {FRAME(0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 0), "12 bytes are not one Modbus request"},        /* no register */
        {FRAME(0, 1, 0, 0, 0, 2, 1, 7), "8 bytes are not one Modbus request"},                      /* short */
        {FRAME(0, 1, 0, 1, 0, 6, 1, 3, 0, 0, 0, 1), "12 bytes are not one Modbus request"},        /* protocol */
        {FRAME(0, 1, 0, 0, 0, 7, 1, 3, 0, 0, 0, 1), "12 bytes are not one Modbus request"},        /* length */
        {FRAME(0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1, 6), "13 bytes are not one Modbus request"},     /* and one more */
        {FRAME(0, 1, 0, 0, 0, 7, 1, 6, 0, 20, 0, 1, 6), "13 bytes are not one Modbus request"},    /* ditto, inside */
        {FRAME(0, 1, 0, 0, 0, 11, 1, 16, 0, 20, 0, 1, 4, 1, 2, 3, 4), "17 bytes are not one Modbus request"},
        {FRAME(0, 1, 0, 0, 0, 9, 1, 16, 0, 20, 0, 1, 4, 1, 2), "15 bytes are not one Modbus request"},
        {FRAME(0, 1, 0, 0, 0, 7, 1, 16, 0, 20, 0, 0, 0), "13 bytes are not one Modbus request"},
        {FRAME(0, 1, 0, 0, 0, 7, 1, 3, 0, 0, 0, 1, 9), "13 bytes are not one Modbus request"}, /* a read, and more */
        {FRAME(0), "1 bytes are not one Modbus request"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[WR_GUARD_WHY_BYTES] = "";
        if (!CHECK(!wr_guard_allows(&TCP, cases[i].frame.bytes, cases[i].frame.len, why))) CHECK_FAIL("case %zu", i);
        CHECK_STR(why, cases[i].why);
    }
}

static void serial_frames_have_a_checksum(check_t *check) {
    const frame read = FRAME(0x11, 0x03, 0x00, 0x6B, 0x00, 0x03, 0x76, 0x87);
    const frame write = FRAME(0x11, 0x06, 0x00, 0x01, 0x00, 0x03, 0x9A, 0x9B);
    const frame twice =
        FRAME(0x11, 0x03, 0x00, 0x6B, 0x00, 0x03, 0x76, 0x87, 0x11, 0x06, 0x00, 0x01, 0x00, 0x03, 0x9A, 0x9B);
    wr_guard guard = {.bus = WR_BUS_MODBUS_RTU};
    char why[WR_GUARD_WHY_BYTES] = "";
    uint8_t wrong[8];
    CHECK(wr_guard_allows(&guard, read.bytes, read.len, why));
    CHECK(!wr_guard_allows(&guard, write.bytes, write.len, why));
    CHECK_STR(why, "unit 17 holding 1 is not in writes of the stage's config");
    CHECK(!wr_guard_allows(&guard, twice.bytes, twice.len, why));
    CHECK_STR(why, "16 bytes are not one Modbus request");
    const frame empty = FRAME(0xFF, 0xFF); /* its checksum is right */
    CHECK(!wr_guard_allows(&guard, empty.bytes, empty.len, why));
    CHECK_STR(why, "2 bytes are not one Modbus request");
    guard.count = 1;
    guard.rules[0] = (wr_write_rule){.unit = 17, .first = 0, .last = 65535, .table = WR_BUS_HOLDING};
    CHECK(wr_guard_allows(&guard, write.bytes, write.len, why));
    for (uint32_t i = 0; i < write.len; i++) {
        memcpy(wrong, write.bytes, sizeof wrong);
        wrong[i] ^= 1;
        CHECK(!wr_guard_allows(&guard, wrong, sizeof wrong, why));
    }
}

static const check_test TESTS[] = {
    CHECK_TEST(reads_and_allowed_writes_pass),
    CHECK_TEST(everything_else_is_refused_by_name),
    CHECK_TEST(serial_frames_have_a_checksum),
};
CHECK_MAIN(TESTS)
