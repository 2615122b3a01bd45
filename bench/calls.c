/* Loops that do nothing but call, for bench/calls.py and runtime_c/tools/bench_call.c. */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name))) name
#define HOST __attribute__((import_module("host"), import_name("add")))

int32_t EXPORT(add)(int32_t x, int32_t y);
int32_t EXPORT(nothing_loop)(int32_t n);
int32_t EXPORT(wasm_loop)(int32_t n);
#ifndef NO_IMPORTS
int32_t EXPORT(host_loop)(int32_t n);
HOST int32_t host_add(int32_t x, int32_t y);
#endif

int32_t add(int32_t x, int32_t y) { return (int32_t)((uint32_t)x + (uint32_t)y); }

static int32_t __attribute__((noinline)) own_add(int32_t x, int32_t y) { return (int32_t)((uint32_t)x + (uint32_t)y); }

/* The compiler is kept from computing the sum without the loop, and from unrolling it. */
#define LOOP(ADD)                          \
    int32_t x = 1;                         \
    _Pragma("clang loop unroll(disable)")  \
    for (int32_t i = 0; i < n; i++) {      \
        __asm__ volatile("" : "+r"(x));    \
        x = ADD;                           \
    }                                      \
    return x

int32_t nothing_loop(int32_t n) { LOOP((int32_t)((uint32_t)x + (uint32_t)i)); }
int32_t wasm_loop(int32_t n) { LOOP(own_add(x, i)); }
#ifndef NO_IMPORTS
int32_t host_loop(int32_t n) { LOOP(host_add(x, i)); }
#endif
