/* Escape times of 64 x 64 points, n times at slightly different places. */
#include "kernel.h"

enum { SIZE = 64, ITERATIONS = 200 };

static int escape(double cr, double ci) {
    double zr = 0, zi = 0;
    int i = 0;
    for (; i < ITERATIONS; i++) {
        double rr = zr * zr, ii = zi * zi;
        if (rr + ii > 4) break;
        zi = 2 * zr * zi + ci;
        zr = rr - ii + cr;
    }
    return i;
}

int32_t run(int32_t n) {
    int32_t sum = 0;
    for (int32_t round = 0; round < n; round++) {
        for (int y = 0; y < SIZE; y++) {
            for (int x = 0; x < SIZE; x++) {
                sum += escape(x * (3.0 / SIZE) - 2.0 - round * 1e-4, y * (2.5 / SIZE) - 1.25);
            }
        }
    }
    return sum;
}
