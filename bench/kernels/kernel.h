/* What every kernel is: run(n) does n units of work and returns a checksum, by which the engines are compared.
 *
 * The same file is compiled natively and to WebAssembly; one kernel per file, which is found by being here. */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H
#include <stdint.h>

#ifdef __wasm__
__attribute__((export_name("run")))
#endif
int32_t run(int32_t n);

#ifdef KERNEL_WORK /* for an interpreter that passes no arguments */
__attribute__((export_name("fixed"))) int32_t fixed(void);
int32_t fixed(void) { return run(KERNEL_WORK); }
#endif

/* The next number of a sequence that looks random. */
static inline uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* CRC-16/MODBUS with a table for half bytes, not bit by bit: some compilers know that loop and put a table in its
 * place, others do not, and the engines would be compared by that. */
static inline uint16_t crc16_byte(uint16_t crc, uint8_t byte) {
    static const uint16_t table[16] = {0x0000, 0xCC01, 0xD801, 0x1400, 0xF001, 0x3C00, 0x2800, 0xE401,
                                       0xA001, 0x6C00, 0x7800, 0xB401, 0x5000, 0x9C01, 0x8801, 0x4400};
    crc ^= byte;
    crc = (uint16_t)(crc >> 4 ^ table[crc & 15]);
    return (uint16_t)(crc >> 4 ^ table[crc & 15]);
}

#endif
