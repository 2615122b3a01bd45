/* Calls through a table of functions. */
#include "kernel.h"

static int32_t add(int32_t x, int32_t y) { return (int32_t)((uint32_t)x + (uint32_t)y); }
static int32_t mix(int32_t x, int32_t y) { return x ^ y << 3; }
static int32_t spread(int32_t x, int32_t y) { return (int32_t)((uint32_t)x * 31u) - y; }
static int32_t turn(int32_t x, int32_t y) { return (int32_t)((uint32_t)x << 5 | (uint32_t)x >> 27) + (y & 7); }

int32_t run(int32_t n) {
    static int32_t (*const table[])(int32_t, int32_t) = {add, mix, spread, turn};
    int32_t x = 1;
    for (int32_t i = 0; i < n; i++) x = table[(uint32_t)(i * 7 ^ i >> 2) & 3](x, i & 0xFFF);
    return x;
}
