/* Primes below 64 Ki, n times. */
#include "kernel.h"

static uint8_t composite[1 << 16];

int32_t run(int32_t n) {
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
