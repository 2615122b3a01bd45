/* What a fuzzer does with one input: loads it, links it with made-up imports and calls what it exports, all under small
 * limits: with guard pages in two stores, with checked bounds and, for some inputs, short of memory. */
#ifndef WR_FUZZ_DRIVE_H
#define WR_FUZZ_DRIVE_H
#include <stddef.h>
#include <stdint.h>

typedef struct drive_counts {
    uint64_t inputs;
    uint64_t loaded;
    uint64_t instantiated;
    uint64_t calls;
    uint64_t traps;
} drive_counts;

/* Ends the process by abort() if these do not give the same, or a status has a class that is impossible there. */
void drive_input(const uint8_t *bytes, size_t len, drive_counts *counts);

#endif
