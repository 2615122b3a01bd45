/* The operators of the opcode table as functions, for handlers that compute more than one thing. */
#ifndef WR_EVAL_H
#define WR_EVAL_H
#include <string.h>

#include "numeric.h"
#include "opcode.h"

#define EVAL_I32 uint32_t
#define EVAL_I64 uint64_t
#define EVAL_F32 float
#define EVAL_F64 double
#define EVAL_BINARY(C, NAME, TEXT, T, COMM, EXPR) \
    static inline EVAL_##T eval_##NAME(EVAL_##T a, EVAL_##T b) { return (EVAL_##T)(EXPR); }
#define EVAL_FLOAT(C, NAME, TEXT, T, EXPR) \
    static inline EVAL_##T eval_##NAME(EVAL_##T a, EVAL_##T b) { return (EVAL_##T)(EXPR); }
#define EVAL_COMPARE(C, NAME, TEXT, T, INV, SWAP, EXPR) \
    static inline int eval_##NAME(EVAL_##T a, EVAL_##T b) { return EXPR; }
/* Loads give what the slot will hold, stores take it. */
#define EVAL_LOAD(C, NAME, TEXT, V, S, M, ALIGN, CAST)    \
    enum { SIZE_##NAME = sizeof(M) };                     \
    static inline uint64_t load_##NAME(const uint8_t *at) { \
        M value;                                          \
        memcpy(&value, at, sizeof value);                 \
        return (uint64_t)(CAST value);                                \
    }
#define EVAL_STORE(C, NAME, TEXT, V, S, M, ALIGN)                    \
    enum { SIZE_##NAME = sizeof(M) };                                \
    static inline void store_##NAME(uint8_t *at, EVAL_##S bits) {    \
        const M value = (M)bits;                                     \
        memcpy(at, &value, sizeof value);                            \
    }

WR_INT_BINARY(EVAL_BINARY)
WR_FLOAT_BINARY(EVAL_FLOAT)

/* Floats as the processor makes them, for those who see to NaN themselves. */
#undef CANON_F32
#undef CANON_F64
#define CANON_F32(EXPR) (EXPR)
#define CANON_F64(EXPR) (EXPR)
#define EVAL_PLAIN(C, NAME, TEXT, T, EXPR) \
    static inline EVAL_##T plain_##NAME(EVAL_##T a, EVAL_##T b) { return (EVAL_##T)(EXPR); }
WR_FLOAT_BINARY(EVAL_PLAIN)
#undef CANON_F32
#undef CANON_F64
#define CANON_F32(EXPR) wr_canon_f32(EXPR)
#define CANON_F64(EXPR) wr_canon_f64(EXPR)

WR_INT_COMPARE(EVAL_COMPARE)
WR_LOAD(EVAL_LOAD)
WR_STORE(EVAL_STORE)

#endif
