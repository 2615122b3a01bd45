/* Loops that compiled code counts beforehand and runs without checks, and such as look like them: ends of the memory,
 * addresses and counters that wrap around, arrays that overlap, rounds that need what earlier ones stored. */
#include <stddef.h>
#include <stdint.h>

#define EXPORT(NAME) __attribute__((export_name(#NAME), noinline))
enum { SIZE = 6000, WIDTH = 24, MEMORY = 131072 };

static int32_t numbers[SIZE], others[SIZE];
static float reals[SIZE];
static double wides[SIZE];
static uint8_t bytes[SIZE];
static float left[WIDTH][WIDTH], right[WIDTH][WIDTH], product[WIDTH][WIDTH];

static uint32_t sum(void) {
    uint32_t total = 0;
    for (int i = 0; i < SIZE; i++) total = total * 31 + (uint32_t)numbers[i] + bytes[i] + (uint32_t)(int64_t)wides[i];
    return total;
}

EXPORT(fill) uint32_t fill(uint32_t n, uint32_t from) {
    for (uint32_t i = 0; i < n % SIZE; i++) numbers[i] = (int32_t)(from + i * 3);
    return sum();
}

EXPORT(fill_down) uint32_t fill_down(uint32_t n, uint32_t from) {
    for (int32_t i = (int32_t)(n % SIZE); i >= 0; i--) numbers[i] = (int32_t)from - i;
    return sum();
}

EXPORT(in_place) uint32_t in_place(uint32_t n, int32_t by) {
    for (uint32_t i = 0; i < n % SIZE; i++) numbers[i] = numbers[i] * by + 1;
    return sum();
}

/* Any distance: each round may need the one before. */
EXPORT(shift) uint32_t shift(uint32_t n, uint32_t distance, uint32_t back) {
    distance %= SIZE / 2;
    n %= SIZE / 2;
    int32_t *volatile to = back & 1 ? numbers + distance : numbers, *volatile from =
                                                                        back & 1 ? numbers : numbers + distance;
    int32_t *a = to, *b = from;
    for (uint32_t i = 0; i < n; i++) a[i] = b[i] + 1;
    return sum();
}

EXPORT(recurrence) uint32_t recurrence(uint32_t n, int32_t by) {
    n %= SIZE - 8;
    for (uint32_t i = 0; i < n; i++) numbers[i + 1] = numbers[i] + by;
    for (uint32_t i = 0; i < n; i++) numbers[i] = numbers[i + 5] ^ by;
    for (uint32_t i = 4; i < n; i++) numbers[i] = numbers[i - 4] + 1;
    return sum();
}

EXPORT(scaled) uint32_t scaled(uint32_t n, float by) {
    for (uint32_t i = 0; i < n % SIZE; i++) reals[i] = (float)(int32_t)(i % 977) * 0.5f;
    for (uint32_t i = 0; i < n % SIZE; i++) wides[i] = (double)(reals[i] * 3 + 1) + (double)(numbers[i] & 1023);
    float most = by != by ? 0 : by;
    for (uint32_t i = 0; i < n % SIZE; i++) most = reals[i] > most ? reals[i] : most;
    return sum() + (most > 1e6f ? 0 : (uint32_t)(int32_t)most);
}

EXPORT(widths) uint32_t widths(uint32_t n, uint32_t from) {
    for (uint32_t i = 0; i < n % SIZE; i++) bytes[i] = (uint8_t)(from >> (i & 7));
    uint32_t total = 0;
    for (uint32_t i = 0; i < n % SIZE; i++) total += bytes[i];
    for (uint32_t i = 0; i < n % SIZE; i++) others[i] = (int8_t)bytes[i] * 5;
    uint64_t wide = 1;
    for (uint32_t i = 0; i < n % SIZE; i++) wide = wide * 3 + (uint64_t)(int64_t)others[i];
    return total + (uint32_t)wide + (uint32_t)(wide >> 32) + sum();
}

EXPORT(some_rounds) uint32_t some_rounds(uint32_t n, uint32_t mask) {
    for (uint32_t i = 0; i < n % SIZE; i++) {
        if ((numbers[i] & mask) == 0) numbers[i] = (int32_t)i;
    }
    return sum();
}

EXPORT(left_early) uint32_t left_early(uint32_t n, int32_t what) {
    uint32_t i = 0;
    for (; i < n % SIZE; i++) {
        if (numbers[i] == what % 64) break;
        numbers[i]++;
    }
    return sum() + i;
}

EXPORT(strides) uint32_t strides(uint32_t n, uint32_t step, uint32_t from) {
    step = step % 37 + 1;
    for (uint32_t i = from % SIZE; i < n % SIZE; i += step) numbers[i]++;
    for (uint32_t i = from % 50; i < n % SIZE; i += 7) numbers[i] -= 3;
    return sum();
}

EXPORT(nests) uint32_t nests(uint32_t n, uint32_t shape) {
    float *volatile where[3] = {&left[0][0], &right[0][0], &product[0][0]};
    float *a = where[shape % 3], *b = where[shape / 3 % 3], *c = where[shape / 9 % 3] + shape / 27 % 3;
    const int rows = (int)(n % (WIDTH - 3));
    for (int i = 0; i < WIDTH * WIDTH; i++) left[0][i] = (float)(i % 7 - 3), right[0][i] = (float)(i % 11 - 5);
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < WIDTH; j++) {
            float total = 0;
            for (int k = 0; k < WIDTH; k++) total += a[i * WIDTH + k] * b[k * WIDTH + j];
            c[i * WIDTH + j] = total;
        }
    }
    float total = 0;
    for (int i = 0; i < WIDTH * WIDTH; i++) total = total * 0.5f + product[0][i] + left[0][i];
    return (uint32_t)(int32_t)(total < 1e9f && total > -1e9f ? total : 1);
}

EXPORT(columns) uint32_t columns(uint32_t n) {
    for (int i = 0; i < WIDTH; i++) {
        for (int j = 0; j < WIDTH; j++) product[i][j] = left[j][i] + (float)(n % 1000);
    }
    for (int j = 0; j < WIDTH; j++) {
        for (int i = 1; i < WIDTH; i++) product[i][j] += product[i - 1][j] * 0.25f;
    }
    float total = 0;
    for (int i = 0; i < WIDTH * WIDTH; i++) total = total * 0.5f + product[0][i];
    return (uint32_t)(int32_t)total;
}

/* Up to the end of the memory and over it; from below 0. */
EXPORT(over_the_end) uint32_t over_the_end(uint32_t n, uint32_t from) {
    volatile uint8_t *at = (volatile uint8_t *)(uintptr_t)(__builtin_wasm_memory_size(0) * 65536u - from % 5000);
    for (uint32_t i = 0; i < n % 6000; i++) at[i] = (uint8_t)(i + 1);
    return sum();
}

EXPORT(around) uint32_t around(uint32_t n, uint32_t from) {
    int32_t *volatile start = (int32_t *)(uintptr_t)(0u - from % 4096 * 4);
    int32_t *at = start;
    uint32_t total = 0;
    for (uint32_t i = 0; i < n % 6000; i++) total += (uint32_t)at[i];
    return total;
}

EXPORT(below) uint32_t below(uint32_t n, uint32_t from) {
    int32_t *volatile start = numbers + from % SIZE;
    int32_t *at = start;
    uint32_t total = 0;
    for (uint32_t i = 0; i < n % 40000; i++) total = total * 3 + (uint32_t)at[-(int32_t)i];
    return total;
}

EXPORT(all) uint32_t all(uint32_t n) {
    uint32_t total = 0;
    for (uint32_t round = 0; round < n % 5; round++) {
        total += fill(5999, round) + in_place(5998, 3) + recurrence(5000, (int32_t)round) + nests(20, 2 + 3 + 0) +
                 columns(round);
    }
    return total;
}
