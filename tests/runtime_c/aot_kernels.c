/* Small kernels for comparing engines: the same file is compiled natively and to WebAssembly.
 *
 * Each takes how much work to do and returns a checksum of the result, by which the runs are compared. */
#include <stdint.h>

#ifdef __wasm__
#define KERNEL(name) int32_t __attribute__((export_name(#name))) name(int32_t n)
#else
#define KERNEL(name) int32_t name(int32_t n)
#endif

KERNEL(fib);
KERNEL(sieve);
KERNEL(matmul);
KERNEL(crc16);
KERNEL(dispatch);
KERNEL(etl);

static int32_t fib_of(int32_t n) { return n < 2 ? n : fib_of(n - 1) + fib_of(n - 2); }

KERNEL(fib) { return fib_of(n); }

KERNEL(sieve) {
    static uint8_t composite[1 << 16];
    int32_t found = 0;
    for (int32_t round = 0; round < n; round++) {
        for (uint32_t i = 0; i < sizeof composite; i++) composite[i] = 0;
        for (uint32_t i = 2; i < sizeof composite; i++) {
            if (composite[i]) continue;
            found++;
            for (uint32_t j = i * 2; j < sizeof composite; j += i) composite[j] = 1;
        }
    }
    return found;
}

KERNEL(matmul) {
    enum { SIZE = 48 };
    static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];
    for (int i = 0; i < SIZE * SIZE; i++) {
        a[i / SIZE][i % SIZE] = i % 7 - 3;
        b[i / SIZE][i % SIZE] = i % 11 - 5;
    }
    double trace = 0;
    for (int32_t round = 0; round < n; round++) {
        for (int i = 0; i < SIZE; i++) {
            for (int j = 0; j < SIZE; j++) {
                double sum = 0;
                for (int k = 0; k < SIZE; k++) sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
        }
        trace += c[round % SIZE][round % SIZE];
    }
    return (int32_t)trace;
}

KERNEL(crc16) {
    uint32_t crc = 0xFFFF;
    for (int32_t i = 0; i < n; i++) {
        crc ^= (uint32_t)(i & 0xFF);
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0xA001 : crc >> 1;
    }
    return (int32_t)crc;
}

static int32_t add(int32_t x, int32_t y) { return (int32_t)((uint32_t)x + (uint32_t)y); }
static int32_t mix(int32_t x, int32_t y) { return x ^ y << 3; }
static int32_t spread(int32_t x, int32_t y) { return (int32_t)((uint32_t)x * 31u) - y; }
static int32_t turn(int32_t x, int32_t y) { return (int32_t)((uint32_t)x << 5 | (uint32_t)x >> 27) + (y & 7); }

KERNEL(dispatch) {
    static int32_t (*const table[])(int32_t, int32_t) = {add, mix, spread, turn};
    int32_t x = 1;
    for (int32_t i = 0; i < n; i++) x = table[(uint32_t)(x ^ i) & 3](x, i & 0xFFF);
    return x;
}

/* What a scaling stage does to each record: read, scale, limit, write. */
struct sample {
    uint32_t tag, quality;
    int64_t time_ns;
    double value;
};

KERNEL(etl) {
    enum { COUNT = 256 };
    static struct sample in[COUNT], out[COUNT];
    for (int i = 0; i < COUNT; i++) in[i] = (struct sample){(uint32_t)i & 15, 0, i * 1000, i * 3.0 - 100};
    double sum = 0;
    for (int32_t round = 0; round < n; round++) {
        for (int i = 0; i < COUNT; i++) {
            out[i] = in[i];
            double value = in[i].value * 0.1 + in[i].tag;
            out[i].quality = value < 0 || value > 60;
            out[i].value = value < 0 ? 0 : value > 60 ? 60 : value;
        }
        sum += out[round % COUNT].value;
    }
    return (int32_t)sum;
}
