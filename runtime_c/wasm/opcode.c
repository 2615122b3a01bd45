/* Names of opcodes, and so which exist, from the opcode table. */
#include "opcode.h"
#include "opcode_atomic.h"

#include "module.h"

enum { NAMES_FC = 256, NAMES_FE = NAMES_FC + 32, NAMES_COUNT = NAMES_FE + 80 };
#define NAME_AT(CODE) ((CODE) < 0x100 ? (CODE) : ((CODE) < 0xFE00 ? NAMES_FC : NAMES_FE) + ((CODE)&0xFF))
#define NAME_BINARY(C, NAME, TEXT, T, X1, EXPR) [NAME_AT(C)] = TEXT,
#define NAME_FLOAT(C, NAME, TEXT, T, EXPR) [NAME_AT(C)] = TEXT,
#define NAME_COMPARE(C, NAME, TEXT, T, INV, SWAP, EXPR) [NAME_AT(C)] = TEXT,
#define NAME_UNARY(C, NAME, TEXT, R, A, EXPR) [NAME_AT(C)] = TEXT,
#define NAME_UNARY_TRAP(C, NAME, TEXT, R, A, CHECK, EXPR) [NAME_AT(C)] = TEXT,
#define NAME_LOAD(C, NAME, TEXT, V, S, M, ALIGN, CAST) [NAME_AT(C)] = TEXT,
#define NAME_STORE(C, NAME, TEXT, V, S, M, ALIGN) [NAME_AT(C)] = TEXT,
#define NAME_ATOMIC(C, NAME, TEXT, T, M, ALIGN) [NAME_AT(C)] = TEXT,
#define NAME_ATOMIC_RMW(C, NAME, TEXT, T, M, ALIGN, FN) [NAME_AT(C)] = TEXT,
#define NAME_STRUCTURED(C, NAME, TEXT) [NAME_AT(C)] = TEXT,

static const char *const names[NAMES_COUNT] = {
    WR_INT_BINARY(NAME_BINARY) WR_INT_DIVIDE(NAME_BINARY) WR_FLOAT_BINARY(NAME_FLOAT) WR_INT_COMPARE(NAME_COMPARE)
        WR_FLOAT_COMPARE(NAME_FLOAT) WR_UNARY(NAME_UNARY) WR_UNARY_TRAP(NAME_UNARY_TRAP) WR_LOAD(NAME_LOAD)
            WR_STORE(NAME_STORE) WR_STRUCTURED(NAME_STRUCTURED) WR_ATOMIC_LOAD(NAME_ATOMIC) WR_ATOMIC_STORE(NAME_ATOMIC)
                WR_ATOMIC_RMW(NAME_ATOMIC_RMW) WR_ATOMIC_CMPXCHG(NAME_ATOMIC) WR_ATOMIC_WAIT(NAME_ATOMIC)};

#ifndef WR_NO_SIMD
#define NAME_SIMD(C, NAME, TEXT, ...) [C] = TEXT,
static const char *const simd_names[] = {WR_SIMD_ROWS(NAME_SIMD)};
#endif

const char *wr_opcode_name(uint32_t code) {
#ifndef WR_NO_SIMD
    if (code >= WR_CODE_SIMD) {
        uint32_t number = code - WR_CODE_SIMD;
        return number < sizeof simd_names / sizeof *simd_names ? simd_names[number] : NULL;
    }
#endif
    uint32_t at = NAME_AT(code);
    return at < NAMES_COUNT ? names[at] : NULL;
}
