/* Recursive calls: fib(n). */
#include "kernel.h"

static int32_t __attribute__((noinline)) fib(int32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

int32_t run(int32_t n) { return fib(n); }
