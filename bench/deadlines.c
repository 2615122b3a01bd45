/* What does not end by itself, for bench/deadlines.py: each way that a plugin can keep the processor. */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name))) name
#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
#define KEEP(x) __asm__ volatile("" : "+r"(x))

WASI(sched_yield) int32_t sched_yield(void);
WASI(poll_oneoff) int32_t poll_oneoff(const void *in, void *out, int32_t count, int32_t *done);

void EXPORT(loop)(void);
void EXPORT(branch_table)(void);
int32_t EXPORT(recursion)(int32_t n);
void EXPORT(host_calls)(void);
void EXPORT(memory_fill)(void);
void EXPORT(memory_copy)(void);
void EXPORT(straight_code)(void);
void EXPORT(waiting)(void);

enum { BIG = 32 << 20 };
static uint8_t big[2 * BIG];

void loop(void) {
    for (uint32_t i = 0;; i++) KEEP(i);
}

void branch_table(void) {
    uint32_t state = 0;
    for (;;) {
        switch (state) {
        case 0: state = 3; break;
        case 1: state = 4; break;
        case 2: state = 0; break;
        case 3: state = 5; break;
        case 4: state = 2; break;
        default: state = 1; break;
        }
        KEEP(state);
    }
}

int32_t recursion(int32_t n) { return n < 2 ? n : recursion(n - 1) + recursion(n - 2); }

void host_calls(void) {
    for (;;) sched_yield();
}

void memory_fill(void) {
    for (;;) __builtin_memset(big, 1, BIG);
}

void memory_copy(void) {
    for (;;) __builtin_memcpy(big, big + BIG, BIG);
}

#define TWICE(CODE) CODE CODE
#define STEP x = x * 31 + y; y = y ^ (x >> 3); KEEP(x);

/* Some 100,000 instructions between two jumps. */
void straight_code(void) {
    uint32_t x = 1, y = 2;
    for (;;) {
        TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(STEP))))))))))))
    }
}

void waiting(void) {
    /* subscription to the monotonic clock, in an hour: userdata, tag, id, timeout, precision, flags */
    static uint64_t in[6] = {0, 0, 1, 3600ull * 1000000000ull, 0, 0};
    static uint64_t out[4];
    int32_t done = 0;
    for (;;) poll_oneoff(in, out, 1, &done);
}
