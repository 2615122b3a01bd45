/* What compiled code must do as the interpreter does, down to the place of a trap: compiled to WebAssembly by
 * test_aot.py, with names and without optimisation of what is to trap. */
#include <stdint.h>

#define CASE(name) __attribute__((export_name(#name), noinline))
#define HIDDEN __attribute__((noinline)) static

__attribute__((import_module("env"), import_name("host"))) int32_t host(int32_t x);

static volatile int32_t cell;
static int32_t numbers[1024];
static double samples[256];

CASE(divide) int32_t divide(int32_t a, int32_t b) { return a / b + a % b; }
CASE(divide_long) int64_t divide_long(int64_t a, int64_t b) { return a / b ^ a % b; }
CASE(divide_unsigned) uint64_t divide_unsigned(uint64_t a, uint32_t b) { return a / b + (uint32_t)a % b; }

HIDDEN int32_t inner(int32_t depth) { return depth == 0 ? numbers[0] / cell : inner(depth - 1) + 1; }
CASE(trap_far_in) int32_t trap_far_in(int32_t depth) { return inner(depth & 31); }

CASE(load_at) int32_t load_at(uint32_t address) { return *(volatile int32_t *)(uintptr_t)address; }
CASE(load_unused) void load_unused(uint32_t address) { (void)*(volatile uint8_t *)(uintptr_t)address; }
CASE(store_at) void store_at(uint32_t address, int64_t value) { *(volatile int64_t *)(uintptr_t)address = value; }
/* The store before the access that traps must have happened, those behind it not. */
CASE(store_order) void store_order(uint32_t address) {
    numbers[5]++;
    *(volatile uint16_t *)(uintptr_t)address = 7;
    numbers[6]++;
}

HIDDEN int32_t deeper(int32_t n) { return n == 0 ? 0 : 1 + deeper(n - 1); }
CASE(recurse) int32_t recurse(int32_t n) { return deeper(n & 0xFFFFF); }
CASE(recurse_forever) int32_t recurse_forever(int32_t n) { return 1 + recurse_forever(n + 1); }

CASE(fib) int32_t fib(int32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
CASE(fibs) int32_t fibs(int32_t n) { return fib(n & 15); }

CASE(nested) int32_t nested(int32_t n) {
    int32_t sum = 0;
    for (int32_t i = 0; i < (n & 63); i++) {
        for (int32_t k = 0; k < i; k++) {
            if ((numbers[k] ^ k) % 7 == 3) continue;
            if (k > 40) break;
            numbers[k] = numbers[k] * 5 + i;
            sum += numbers[k];
        }
    }
    return sum;
}
CASE(search) int32_t search(int32_t key) {
    for (int32_t i = 0; i < 1024; i++) {
        if (numbers[i] == (key & 15)) return i;
    }
    return -1;
}
CASE(endless) int32_t endless(int32_t n) {
    for (;;) cell += n;
}
CASE(calls_in_loop) int32_t calls_in_loop(int32_t n) {
    int32_t sum = 0;
    for (int32_t i = 0; i < (n & 31); i++) sum += host(i) + deeper(i & 3);
    return sum;
}

HIDDEN int32_t plus(int32_t a) { return a + 1; }
HIDDEN int32_t times(int32_t a) { return a * 3; }
HIDDEN int64_t other(int64_t a, double b) { return a + (int64_t)b; }
static void *const table[] = {(void *)plus, (void *)times, (void *)other, 0};
CASE(indirect) int32_t indirect(uint32_t which, int32_t a) {
    return ((int32_t (*)(int32_t))((void *const volatile *)table)[which & 3])(a);
}
CASE(indirect_any) int32_t indirect_any(uint32_t element) { return ((int32_t (*)(int32_t))(uintptr_t)element)(4); }

CASE(choose) int32_t choose(uint32_t n) {
    switch (n % 12) {
    case 0: return 5;
    case 1: return (int32_t)n;
    case 2: cell++; /* falls through */
    case 3: return cell;
    case 4: return host((int32_t)n);
    case 5: return -1;
    case 6: return 77;
    case 7: return (int32_t)(n >> 3);
    default: return (int32_t)(n * 3);
    }
}

CASE(floats) double floats(double a, float b) {
    double sum = 0;
    for (int i = 0; i < 256; i++) {
        samples[i] = samples[i] * 0.5 + a / (i + 1) - (double)b;
        sum += __builtin_floor(samples[i]) + __builtin_sqrt(__builtin_fabs(samples[i])) + __builtin_rint(a * i);
    }
    return sum + __builtin_ceil(a) + __builtin_trunc((double)b);
}
CASE(to_int) int32_t to_int(double a) { return (int32_t)a; }
CASE(to_long) uint64_t to_long(float a) { return (uint64_t)a; }
CASE(from_long) float from_long(uint64_t a) { return (float)a + (float)(int64_t)a; }
CASE(rotate) uint64_t rotate(uint64_t a, uint32_t n) {
    return (a << (n & 63) | a >> (-n & 63)) ^ (uint64_t)__builtin_popcountll(a) ^
           (uint64_t)__builtin_clz((uint32_t)a | 1);
}

CASE(grow) int32_t grow(uint32_t pages) {
    const int32_t before = (int32_t)__builtin_wasm_memory_grow(0, pages & 3);
    return before * 1000 + (int32_t)__builtin_wasm_memory_size(0);
}
CASE(copy) void copy(uint32_t to, uint32_t from, uint32_t len) {
    __builtin_memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, len);
}
CASE(fill) void fill(uint32_t to, uint32_t value, uint32_t len) {
    __builtin_memset((void *)(uintptr_t)to, (int)value, len & 0xFFFF);
}
/* More calls than one budget has, and between them what looks at the limits by itself: the next budget must be taken up
 * behind each. */
HIDDEN uint32_t step(uint32_t x) { return x * 31 ^ x >> 7; }
CASE(budgets) uint32_t budgets(uint32_t seed) {
    static uint8_t room[1 << 15];
    uint32_t x = seed;
    for (uint32_t i = 0; i < 400; i++) {
        for (uint32_t k = 0; k < 50 + (seed & 7); k++) x = step(x);
        __builtin_memset(room, (int)x, sizeof room);
        if ((i & 15) == (seed & 15)) x += (uint32_t)host((int32_t)x);
    }
    return x + room[seed & 0x7FFF];
}
HIDDEN uint32_t odd_steps(uint32_t x, uint32_t count);
HIDDEN uint32_t steps(uint32_t x, uint32_t count) {
    if (count == 0) return x;
    __attribute__((musttail)) return odd_steps(step(x), count - 1);
}
HIDDEN uint32_t odd_steps(uint32_t x, uint32_t count) {
    if (count == 0) return ~x;
    __attribute__((musttail)) return steps(step(x), count - 1);
}
CASE(tail_budgets) uint32_t tail_budgets(uint32_t seed) {
    uint32_t x = seed;
    for (uint32_t i = 0; i < 300; i++) x = steps(x, 50 + (seed & 7)) + step(x);
    return x;
}
/* The host calls it from within host(), and goes on after its trap. */
CASE(swallowed) int32_t swallowed(int32_t a) { return 7 / a; }
CASE(give_up) void give_up(int32_t n) {
    if (n > 5) __builtin_trap();
}

/* What compilers write as a comparison and a choice between the same two. */
CASE(extremes) int64_t extremes(int32_t a, int32_t b, int64_t c, int64_t d) {
    const int32_t low = a < b ? a : b, high = a > b ? a : b, inside = low > 1000 ? 1000 : low;
    const int64_t least = c < d ? c : d, most = c >= d ? c : d, clamped = most < -5 ? -5 : most;
    return low + 3 * (int64_t)high + 5 * (int64_t)inside + 7 * least + 11 * most + 13 * clamped;
}
/* Small enough to become part of its caller; its loop runs out of fuel there. */
HIDDEN uint32_t last_digit(uint32_t n) {
    while (n >= 10) n = n / 10 ^ 3;
    return n;
}
CASE(digits) uint32_t digits(uint32_t n) { return last_digit(n) + 10 * last_digit(n ^ 0x5A5A5A5A); }
