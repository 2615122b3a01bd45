/* A module like those that compilers make: the raw material of test_hostile.c. It uses every group of instructions:
 * integer and floating-point arithmetic, loads and stores of all widths, bulk memory, calls, indirect calls, jump
 * tables, globals, data. */
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name))) name
#define IMPORT(name) __attribute__((import_module("env"), import_name(#name))) name

int32_t IMPORT(sample)(int32_t channel);
void IMPORT(report)(int64_t value, double mean);

static const char TEXT[] = "the quick brown fox jumps over the lazy dog";
static uint8_t buffer[1024];
static uint32_t seed = 12345;

static uint32_t next(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

uint32_t EXPORT(crc)(uint32_t len) {
    uint32_t crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < len; i++) {
        crc ^= buffer[i % sizeof buffer];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

static void sort(int16_t *items, int32_t count) {
    for (int32_t i = 1; i < count; i++) {
        int16_t item = items[i];
        int32_t k = i;
        for (; k > 0 && items[k - 1] > item; k--) {
            items[k] = items[k - 1];
        }
        items[k] = item;
    }
}

int32_t EXPORT(sorted)(int32_t count) {
    int16_t *items = (int16_t *)(void *)buffer;
    count = count < 0 || count > 500 ? 500 : count;
    for (int32_t i = 0; i < count; i++) {
        items[i] = (int16_t)next();
    }
    sort(items, count);
    return count > 0 ? items[count / 2] : 0;
}

typedef int64_t (*operation)(int64_t, int64_t);
static int64_t add(int64_t a, int64_t b) { return a + b; }
static int64_t divide(int64_t a, int64_t b) { return a / b; }
static int64_t rotate(int64_t a, int64_t b) { return (int64_t)((uint64_t)a << (b & 63) | (uint64_t)a >> (-b & 63)); }
static int64_t count_bits(int64_t a, int64_t b) {
    return __builtin_popcountll((uint64_t)a) + __builtin_clzll((uint64_t)b | 1) + __builtin_ctzll((uint64_t)a | 1);
}
static const operation OPERATIONS[] = {add, divide, rotate, count_bits};

int64_t EXPORT(operate)(uint32_t which, int64_t a, int64_t b) { return OPERATIONS[which % 4](a, b); }

double EXPORT(mean)(int32_t count) {
    double sum = 0;
    float low = 1e30F;
    for (int32_t i = 0; i < count; i++) {
        float value = (float)sample(i) * 0.25F;
        low = value < low ? value : low;
        sum += (double)value;
    }
    double result = __builtin_sqrt(__builtin_fabs(sum / count)) - __builtin_floor((double)low);
    report((int64_t)sum, result);
    return result;
}

int32_t EXPORT(parse)(int32_t state, int32_t symbol) {
    switch (state) {
    case 0: return symbol == 'a' ? 3 : 1;
    case 1: return sample(symbol);
    case 2: return symbol * 7;
    case 3: return (int8_t)symbol;
    case 4: return __builtin_bswap32((uint32_t)symbol) > 77;
    case 5: return (int16_t)(symbol >> 3);
    default: return -1;
    }
}

uint32_t EXPORT(copies)(uint32_t from, uint32_t len) {
    from %= sizeof TEXT;
    len = len > sizeof TEXT - from ? sizeof TEXT - from : len;
    __builtin_memset(buffer, (int)from, sizeof buffer);
    __builtin_memcpy(buffer + 3, TEXT + from, len);
    __builtin_memmove(buffer + 5, buffer + 3, len);
    return buffer[5] + (uint32_t)__builtin_wasm_memory_grow(0, 0);
}

uint32_t EXPORT(fib)(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
