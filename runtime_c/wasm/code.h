/* Register code: what the translator emits and the interpreter runs.
 *
 * A frame is an array of 8-byte slots: parameters, locals, two slots of return information, temporaries at the
 * height they have on the Wasm operand stack (v128 takes two). Instructions are of one size and name slots by number
 * (16 bits: frames of up to 65,536 slots); the slot number is scaled by the addressing mode, which is free on every
 * target and keeps an instruction at 16 bytes (12 on 32-bit hosts). */
#ifndef WR_CODE_H
#define WR_CODE_H
#include <string.h>

#include "fused.h"
#include "opcode.h"
#include "opcode_atomic.h"
#include "opcode_simd.h"
#include "wr.h"

typedef struct wr_insn {
    uintptr_t op;  /* a wr_op while translating, then the handler's address */
    uint16_t a, b; /* a: destination wherever there is one */
    union {
        struct {
            uint16_t c, d;
        };
        int32_t imm; /* constant, offset, or branch distance in instructions from this one */
        uint32_t uimm;
    };
} wr_insn;

/* Targets of a BR_TABLE fill whole instructions: distances from themselves, in words like they are one. */
enum { WR_TARGETS_PER_INSN = sizeof(wr_insn) / sizeof(int32_t) };
/* And 16 bytes take so many. */
enum { WR_BYTES_INSNS = (16 + sizeof(wr_insn) - 1) / sizeof(wr_insn) };

/* Instructions that are not rows of the opcode table. X(NAME): operands. */
#define WR_OPS_SPECIAL(X)                                                                         \
    X(DATA)            /* operand words of the instruction before; never executed */              \
    X(UNREACHABLE)                                                                                \
    X(BR)              /* imm: distance */                                                        \
    X(BR_AND)          /* a & b as a 16-bit constant not zero, imm */                             \
    X(BR_NAND)         /* ditto, zero */                                                          \
    X(LOOP_NE_I)       /* a += b as a 16-bit constant, branch if a != DATA.uimm, imm */           \
    X(LOOP_LT_S_I)     /* ditto, a < DATA.uimm */                                                 \
    X(LOOP_LT_U_I)                                                                                \
    X(LOOP_NE_R)       /* ditto with slot DATA.a */                                               \
    X(LOOP_LT_S_R)                                                                                \
    X(LOOP_LT_U_R)                                                                                \
    X(RSUB_I32)        /* a <- imm - b */                                                         \
    X(RSUB_I64)                                                                                   \
    X(BR_IF)           /* a: condition, imm */                                                    \
    X(BR_UNLESS)       /* a: condition, imm */                                                    \
    X(BR_TABLE)        /* a: index, uimm: n; n + 1 packed targets follow */                        \
    X(RETURN)          /* uimm: slot of the return information */                                 \
    X(RETURN1)         /* a: value, uimm: ditto */                                                \
    X(RETURN1K)        /* a: ditto, uimm: value */                                                \
    X(RETURN_N)        /* a: first value slot, b: slots, uimm: ditto */                           \
    X(CALL)            /* a: first argument slot, uimm: offset of its wr_code */                  \
    X(CALL_IMPORT)     /* a: first argument slot, uimm: imported function */                      \
    X(CALL_INDIRECT)   /* a: first argument slot, b: index, c: table, d: type */                  \
    X(RETURN_CALL)     /* a: first argument slot, b: slot of the return information, uimm: as CALL */ \
    X(RETURN_CALL_IMPORT)   /* ditto, uimm: imported function */                                  \
    X(RETURN_CALL_INDIRECT) /* a: first argument slot, b: index, c: table, d: type; DATA.uimm: return information */ \
    X(CALL_REF)        /* a: first argument slot, b: reference */                                 \
    X(RETURN_CALL_REF) /* a: first argument slot, b: reference, uimm: return information */       \
    X(BR_NULL)         /* a: reference, imm: distance */                                          \
    X(BR_NON_NULL)     /* a: reference, imm: distance */                                          \
    X(CHECK_NULL)      /* a: reference, traps if null */                                          \
    X(WORK)            /* uimm: counts towards the next look at the clock (runtime.h) */           \
    X(EXIT)            /* back to wr_call */                                                      \
    X(RETURN_INSTANCE) /* back into the instance that called across */                            \
    X(MOVE)            /* a <- b */                                                               \
    X(MOVE32)          /* a <- b, f32: as wide as it was written */                               \
    X(MOVE128)                                                                                    \
    X(COPY)            /* a: to, b: from, uimm: slots */                                          \
    X(CONST32)         /* a <- uimm */                                                            \
    X(CONST64)         /* a <- uimm | DATA.uimm << 32 */                                          \
    X(CONST64S)        /* a <- imm, sign-extended */                                              \
    X(CONST64H)        /* a <- uimm << 32 */                                                      \
    X(SELECT)          /* a <- d ? b : c */                                                       \
    X(SELECT32)                                                                                   \
    X(SELECT128)                                                                                  \
    X(GLOBAL_GET)      /* a <- uimm */                                                            \
    X(GLOBAL_SET)      /* uimm <- a */                                                            \
    X(GLOBAL_GET128)                                                                              \
    X(GLOBAL_SET128)                                                                              \
    X(USE_MEMORY)      /* the next loads and stores go to memory uimm */                          \
    X(MEMORY_SIZE)     /* a <- memory uimm */                                                     \
    X(MEMORY_GROW)     /* a <- b, memory uimm */                                                  \
    X(MEMORY_FILL)     /* a: address, b: value, c: length, d: memory */                           \
    X(MEMORY_COPY)     /* a: to, b: from, c: length, d: memories to | from << 8 */                \
    X(MEMORY_INIT)     /* a: to, b: from, c: length, d: memory; DATA.uimm: segment */             \
    X(DATA_DROP)       /* uimm: segment */                                                        \
    X(TABLE_GET)       /* a <- b, table uimm */                                                   \
    X(TABLE_SET)       /* a: index, b: value, table uimm */                                       \
    X(TABLE_SIZE)      /* a <- table uimm */                                                      \
    X(TABLE_GROW)      /* a <- b: value, c: delta, d: table */                                    \
    X(TABLE_FILL)      /* a: index, b: value, c: length, d: table */                              \
    X(TABLE_COPY)      /* a: to, b: from, c: length, d: tables to | from << 8 */                  \
    X(TABLE_INIT)      /* a: to, b: from, c: length, d: table; DATA.uimm: segment */              \
    X(ELEM_DROP)       /* uimm: segment */                                                        \
    X(REF_FUNC)        /* a <- function uimm */                                                   \
    WR_OPS_EXCEPTIONS(X)                                                                          \
    WR_OPS_MEMORY64(X)                                                                            \
    WR_OPS_THREADS(X)

/* Ditto, of features that a build may do without. */
#ifdef WR_NO_EXCEPTIONS
#define WR_OPS_EXCEPTIONS(X)
#else
#define WR_OPS_EXCEPTIONS(X)                              \
    X(THROW)           /* a: first value slot, uimm: tag */ \
    X(THROW_REF)       /* a: reference */
#endif
#ifdef WR_NO_MEMORY64
#define WR_OPS_MEMORY64(X)
#else
#define WR_OPS_MEMORY64(X)                                                                        \
    X(ADDRESS64)       /* a <- b + uimm as a 32-bit address; traps above */                       \
    X(INDEX64)         /* a <- b, at most UINT32_MAX */
#endif
#ifdef WR_NO_THREADS
#define WR_OPS_THREADS(X)
#else
#define WR_OPS_THREADS(X) X(FENCE)
#endif

/* Operand classes: R slot, I 32-bit constant (sign-extended), K 64-bit constant in the DATA that follows; BR_: compare
 * and branch, BRN_: branch if not. Compare-and-branch holds a constant in 16 bits in b (I) or in DATA.uimm (W).
 * Memory access: _G guard pages, _C checked, always in pairs. The address is a slot plus an offset, or (X) the sum of
 * two slots plus an offset of 16 bits in d, or (A) a slot plus a constant; sums wrap at 32 bits, offsets do not. */
#define WR_OP_INT_BINARY_(C, NAME, TEXT, T, COMM, EXPR) OP_##NAME##_RR, OP_##NAME##_RI,
#define WR_OP_INT_DIVIDE_(C, NAME, TEXT, T, CHECK, EXPR) OP_##NAME##_RR, OP_##NAME##_RI,
#define WR_OP_FLOAT_BINARY_(C, NAME, TEXT, T, EXPR) OP_##NAME##_RR, OP_##NAME##_RK,
#define WR_OP_INT_COMPARE_(C, NAME, TEXT, T, INV, SWAP, EXPR) \
    OP_##NAME##_RR, OP_##NAME##_RI, OP_BR_##NAME##_RR, OP_BR_##NAME##_RI, OP_BR_##NAME##_RW,
#define WR_OP_FLOAT_COMPARE_(C, NAME, TEXT, T, EXPR) \
    OP_##NAME##_RR, OP_BR_##NAME##_RR, OP_BRN_##NAME##_RR, OP_##NAME##_RK, OP_BR_##NAME##_RK, OP_BRN_##NAME##_RK,
#define WR_OP_UNARY_(C, NAME, TEXT, R, A, EXPR) OP_##NAME,
#define WR_OP_UNARY_TRAP_(C, NAME, TEXT, R, A, CHECK, EXPR) OP_##NAME,
#define WR_OP_ACCESS_(NAME) \
    OP_##NAME##_G, OP_##NAME##_C, OP_##NAME##_XG, OP_##NAME##_XC, OP_##NAME##_AG, OP_##NAME##_AC,
#define WR_OP_LOAD_(C, NAME, TEXT, V, S, M, ALIGN, CAST) WR_OP_ACCESS_(NAME)
#define WR_OP_STORE_(C, NAME, TEXT, V, S, M, ALIGN) WR_OP_ACCESS_(NAME)
/* Atomics: a: result, b: address, c: value or expected, d: replacement; DATA.uimm: offset. */
#define WR_OP_ATOMIC_(C, NAME, TEXT, T, M, ALIGN) OP_##NAME,
#define WR_OP_ATOMIC_RMW_(C, NAME, TEXT, T, M, ALIGN, FN) OP_##NAME,
#define WR_OP_SPECIAL_(NAME) OP_##NAME,
#define WR_OP_SIMD_UNARY(C, NAME, TEXT, LANES, EXPR) OP_##NAME,
#define WR_OP_SIMD_BINARY(C, NAME, TEXT, LANES, EXPR) OP_##NAME,
#define WR_OP_SIMD_TERNARY(C, NAME, TEXT, LANES, LANES_C, EXPR) OP_##NAME,
#define WR_OP_SIMD_SHIFT(C, NAME, TEXT, LANES, EXPR) OP_##NAME,
#define WR_OP_SIMD_TEST(C, NAME, TEXT, LANES, EXPR) OP_##NAME,
#define WR_OP_SIMD_SPLAT(C, NAME, TEXT, T, LANES) OP_##NAME,
#define WR_OP_SIMD_EXTRACT(C, NAME, TEXT, T, COUNT, M, CAST) OP_##NAME,
#define WR_OP_SIMD_REPLACE(C, NAME, TEXT, T, COUNT, LANES) OP_##NAME,
#define WR_OP_SIMD_SPECIAL(NAME) OP_##NAME,
#define WR_OP_SIMD_LOAD(C, NAME, TEXT, M, ALIGN, EXPR) WR_OP_ACCESS_(NAME)
#define WR_OP_SIMD_STORE(C, NAME, TEXT, ALIGN) WR_OP_ACCESS_(NAME)

typedef enum wr_op {
    OP_NONE,
    WR_INT_BINARY(WR_OP_INT_BINARY_) WR_INT_DIVIDE(WR_OP_INT_DIVIDE_) WR_FLOAT_BINARY(WR_OP_FLOAT_BINARY_)
        WR_INT_COMPARE(WR_OP_INT_COMPARE_) WR_FLOAT_COMPARE(WR_OP_FLOAT_COMPARE_) WR_UNARY(WR_OP_UNARY_)
            WR_UNARY_TRAP(WR_OP_UNARY_TRAP_) WR_SIMD_COMPUTING(WR_OP_SIMD) OP_MEMORY_FIRST, /* pairs _G, _C follow */
    WR_LOAD(WR_OP_LOAD_) WR_STORE(WR_OP_STORE_) WR_SIMD_ACCESSING(WR_OP_SIMD) WR_FUSED_MEMORY(WR_OP_FUSED_MEMORY_)
        WR_PAIRED_MEMORY(WR_OP_PAIRED_MEMORY_) WR_PRODUCTS(WR_OP_PRODUCT_) OP_MEMORY_LAST,
    WR_ATOMIC_LOAD(WR_OP_ATOMIC_) WR_ATOMIC_STORE(WR_OP_ATOMIC_) WR_ATOMIC_RMW(WR_OP_ATOMIC_RMW_)
        WR_ATOMIC_CMPXCHG(WR_OP_ATOMIC_) WR_ATOMIC_WAIT(WR_OP_ATOMIC_) WR_OPS_SPECIAL(WR_OP_SPECIAL_)
            WR_FUSED(WR_OP_FUSED_) WR_PAIRED(WR_OP_PAIRED_) OP_COUNT
} wr_op;

/* How many instructions behind one of this operation are operands through and through, without an operation. */
static inline uint32_t wr_raw_insns(uintptr_t op, const wr_insn *insn) {
    switch (op) {
    case OP_BR_TABLE: return insn->uimm / WR_TARGETS_PER_INSN + 1;
#ifndef WR_NO_SIMD
    case OP_CONST128:
    case OP_I8X16_SHUFFLE: return WR_BYTES_INSNS;
#endif
    default: return 0;
    }
}

/* What a try_table catches. Entries of inner blocks come first. */
enum { WR_CATCH_ALL = UINT32_MAX };
typedef struct wr_catch {
    uint32_t first, end; /* instructions it covers */
    uint32_t tag;        /* or WR_CATCH_ALL */
    uint32_t target;     /* instruction that goes on */
    uint16_t slot;       /* where the values go */
    bool with_ref;       /* the exception itself comes last */
} wr_catch;

/* The 64 bits behind the operation of a DATA: all there is on a 32-bit host. */
static inline uint64_t wr_insn_wide(const wr_insn *insn) {
    uint64_t value;
    memcpy(&value, (const char *)insn + offsetof(wr_insn, a), sizeof value);
    return value;
}
static inline void wr_insn_set_wide(wr_insn *insn, uint64_t value) {
    memcpy((char *)insn + offsetof(wr_insn, a), &value, sizeof value);
}

/* Translated function. Immutable. Behind its instructions lie, if it has any, the number of its catches and these, then
 * the distances of the instructions in the module's bytes (emit.c). */
typedef struct wr_code {
    const wr_insn *insns;
    uint32_t insn_count : 31;
    uint32_t has_catches : 1;
    uint32_t body_offset; /* of the first instruction in the module's bytes */
    uint16_t frame_slots; /* whole frame */
    uint16_t local_slots; /* zeroed on entry, behind the parameters */
    uint16_t param_slots;
    uint16_t info_slot;   /* return information: pc, then frame of the caller */
} wr_code;

/* NULL: none. */
static inline const wr_catch *wr_code_catches(const wr_code *code, uint32_t *count) {
    const uint32_t *head = (const uint32_t *)(const void *)(code->insns + code->insn_count);
    *count = code->has_catches ? *head : 0;
    return code->has_catches ? (const wr_catch *)(const void *)(head + 1) : NULL;
}

enum { WR_INFO_SLOTS = 2, WR_FRAME_SLOTS_MAX = 65535 };

#endif
