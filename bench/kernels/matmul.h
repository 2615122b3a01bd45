/* Products of square matrices of REAL. */
#include "kernel.h"

enum { SIZE = 48 };

static REAL a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

int32_t run(int32_t n) {
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = (REAL)((i * SIZE + j) % 7 - 3);
            b[i][j] = (REAL)((i * SIZE + j) % 11 - 5);
        }
    }
    REAL trace = 0;
    for (int32_t round = 0; round < n; round++) {
        for (int i = 0; i < SIZE; i++) {
            for (int j = 0; j < SIZE; j++) {
                REAL sum = 0;
                for (int k = 0; k < SIZE; k++) sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
        }
        trace += c[round % SIZE][round % SIZE];
    }
    return (int32_t)trace;
}
