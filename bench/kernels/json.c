/* Formats records as JSON: integers, fixed-point numbers, escaped strings; n documents of 16 records. */
#include "kernel.h"

enum { RECORDS = 16 };

static char text[8192];

static char *put_text(char *at, const char *from) {
    while (*from != 0) *at++ = *from++;
    return at;
}

static char *put_unsigned(char *at, uint32_t value) {
    char digits[10];
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count > 0) *at++ = digits[--count];
    return at;
}

/* Three decimals. */
static char *put_real(char *at, double value) {
    if (value < 0) {
        *at++ = '-';
        value = -value;
    }
    uint64_t scaled = (uint64_t)(value * 1000 + 0.5);
    at = put_unsigned(at, (uint32_t)(scaled / 1000));
    uint32_t rest = (uint32_t)(scaled % 1000);
    *at++ = '.';
    *at++ = (char)('0' + rest / 100);
    *at++ = (char)('0' + rest / 10 % 10);
    *at++ = (char)('0' + rest % 10);
    return at;
}

static char *put_string(char *at, const char *from) {
    static const char hex[] = "0123456789abcdef";
    *at++ = '"';
    for (; *from != 0; from++) {
        unsigned char c = (unsigned char)*from;
        if (c == '"' || c == '\\') {
            *at++ = '\\';
            *at++ = (char)c;
        } else if (c < 0x20) {
            at = put_text(at, "\\u00");
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        } else {
            *at++ = (char)c;
        }
    }
    *at++ = '"';
    return at;
}

static char *put_record(char *at, uint32_t number, double value) {
    static const char *const names[] = {"boiler/temperature", "pump \"A\"\tflow", "line\\3/pressure", "tank level"};
    at = put_text(at, "{\"name\":");
    at = put_string(at, names[number & 3]);
    at = put_text(at, ",\"seq\":");
    at = put_unsigned(at, number);
    at = put_text(at, ",\"value\":");
    at = put_real(at, value);
    at = put_text(at, ",\"quality\":\"good\"}");
    return at;
}

int32_t run(int32_t n) {
    uint32_t sum = 0, seed = 7;
    for (int32_t round = 0; round < n; round++) {
        char *at = text;
        *at++ = '[';
        for (uint32_t i = 0; i < RECORDS; i++) {
            if (i != 0) *at++ = ',';
            at = put_record(at, (uint32_t)round * RECORDS + i, ((int32_t)next_random(&seed) - 8388608) / 1024.0);
        }
        *at++ = ']';
        for (const char *c = text; c < at; c++) sum = (sum ^ (unsigned char)*c) * 16777619u;
    }
    return (int32_t)sum;
}
