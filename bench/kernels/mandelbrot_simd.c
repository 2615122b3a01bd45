/* The same as mandelbrot.c in single precision, four points at a time. */
#include "kernel.h"

enum { SIZE = 64, ITERATIONS = 200 };

typedef float floats __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));

static floats splat(float x) { return (floats){x, x, x, x}; }

static ints escape(floats cr, floats ci) {
    floats zr = splat(0), zi = splat(0);
    ints count = {0, 0, 0, 0};
    for (int i = 0; i < ITERATIONS; i++) {
        floats rr = zr * zr, ii = zi * zi;
        ints inside = rr + ii <= splat(4);
        if ((inside[0] | inside[1] | inside[2] | inside[3]) == 0) break;
        count -= inside;
        zi = (zr + zr) * zi + ci;
        zr = rr - ii + cr;
    }
    return count;
}

int32_t run(int32_t n) {
    ints sum = {0, 0, 0, 0};
    for (int32_t round = 0; round < n; round++) {
        for (int y = 0; y < SIZE; y++) {
            for (int x = 0; x < SIZE; x += 4) {
                floats place = {(float)x, (float)(x + 1), (float)(x + 2), (float)(x + 3)};
                floats left = splat(2.0f + (float)round * 1e-4f);
                sum += escape(place * splat(3.0f / SIZE) - left, splat((float)y * (2.5f / SIZE) - 1.25f));
            }
        }
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}
