/* Runs a kernel natively and prints its result and how long it took, as runtime_c/tools/bench_call.c does. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/kernel.h"

static int64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

int main(int argc, char **argv) {
    int32_t n = argc > 1 ? (int32_t)strtol(argv[1], NULL, 10) : 0;
    int64_t begin = now_ns();
    int32_t result = run(n);
    printf("{\"result\": %" PRId32 ", \"ns\": %" PRId64 "}\n", result, now_ns() - begin);
    return 0;
}
