/* Dispatch. The handler bodies (interp_ops.h) are compiled one of two ways:
 *
 * tail   each handler is a function that ends in a jump to the next one; its state stays in argument registers.
 *        clang says so (musttail, preserve_none); gcc does it for sibling calls when it optimises.
 * goto   one function with a label per handler, for unoptimised and instrumented builds and for 32-bit targets, where
 *        the state does not fit the argument registers. */
#include "interp.h"

#if defined(__GNUC__) && !defined(__clang__)
/* Each handler keeps its own jump: merged ones share an entry of the branch predictor and miss it all the time. */
#pragma GCC optimize("no-partial-inlining", "no-ipa-icf", "no-crossjumping", "no-gcse", "omit-frame-pointer")
#endif

#include "eval.h"
#include "numeric.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WR_INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define WR_INSTRUMENTED 1
#endif
#endif

#ifdef __has_attribute
#if __has_attribute(musttail) && __has_attribute(preserve_none) && defined(__clang__)
#define WR_HAS_MUSTTAIL 1
#endif
#endif

#if !defined(WR_DISPATCH_TAIL)
#if !defined(WR_INSTRUMENTED) && (defined(__x86_64__) || defined(__aarch64__)) && \
    (defined(WR_HAS_MUSTTAIL) || (defined(__OPTIMIZE__) && !defined(__clang__)))
#define WR_DISPATCH_TAIL 1
#else
#define WR_DISPATCH_TAIL 0
#endif
#endif

#if WR_DISPATCH_TAIL

#if defined(WR_HAS_MUSTTAIL)
#define WR_HANDLER_ABI __attribute__((preserve_none))
#define WR_TAIL __attribute__((musttail)) return
#else
#define WR_HANDLER_ABI
#define WR_TAIL return
#endif

typedef WR_HANDLER_ABI void (*wr_handler)(const wr_insn *pc, wr_slot *fp, uint8_t *mem, uint64_t mem_len,
                                          wr_exec *exec);

#define WR_SIMD_FUNCTION static inline __attribute__((always_inline))
#include "simd_ops.h"

#define GO() WR_TAIL((wr_handler)pc->op)(pc, fp, mem, mem_len, exec)
#define LEAVE() return
#define RETRY() WR_TAIL op_RETRY(pc, fp, mem, mem_len, exec)
#define GO_AWAY() WR_TAIL op_CALL_AWAY(pc, fp, mem, mem_len, exec)
#define WR_UNUSED __attribute__((unused)) /* the handlers that end the run */
#define HANDLER(NAME)                                                                                            \
    static WR_HANDLER_ABI void op_##NAME(WR_UNUSED const wr_insn *pc, WR_UNUSED wr_slot *fp, WR_UNUSED uint8_t *mem, \
                                         WR_UNUSED uint64_t mem_len, wr_exec *exec)
/* Inlined, what they call would make every branch and call save registers. */
__attribute__((noinline, cold)) HANDLER(RETRY);
__attribute__((noinline)) HANDLER(CALL_AWAY);
#include "interp_ops.h"
#include "interp_simd.h"
/* uses both: */
#include "interp_fused.h"
#undef HANDLER

#define ADDRESS(NAME) (uintptr_t)op_##NAME,

#else /* goto */

/* One function with the code of all vector instructions is more than compilers for 32-bit targets take well. */
#define WR_SIMD_FUNCTION static __attribute__((noinline))
#include "simd_ops.h"

#define GO() goto *(void *)pc->op
#define LEAVE() return NULL
#define RETRY() goto op_RETRY
#define GO_AWAY() goto op_CALL_AWAY

#endif

/* Generates one entry per wr_op, in the order of the enumeration (code.h). */
#define ALL_HANDLERS(X)                             \
    WR_INT_BINARY(X##_INT_BINARY)                   \
    WR_INT_DIVIDE(X##_INT_DIVIDE)                   \
    WR_FLOAT_BINARY(X##_FLOAT_BINARY)               \
    WR_INT_COMPARE(X##_INT_COMPARE)                 \
    WR_FLOAT_COMPARE(X##_FLOAT_COMPARE)             \
    WR_UNARY(X##_UNARY)                             \
    WR_UNARY_TRAP(X##_UNARY_TRAP)                   \
    WR_SIMD_COMPUTING(X##_SIMD)                     \
    X##_NONE WR_LOAD(X##_LOAD)                      \
    WR_STORE(X##_STORE)                             \
    WR_SIMD_ACCESSING(X##_SIMD)                     \
    WR_FUSED_MEMORY(X##_FUSED_MEMORY)               \
    WR_PAIRED_MEMORY(X##_PAIRED_MEMORY)             \
    WR_PRODUCTS(X##_PRODUCT)                        \
    X##_NONE WR_ATOMIC_LOAD(X##_ATOMIC)             \
    WR_ATOMIC_STORE(X##_ATOMIC)                     \
    WR_ATOMIC_RMW(X##_ATOMIC_RMW)                   \
    WR_ATOMIC_CMPXCHG(X##_ATOMIC)                   \
    WR_ATOMIC_WAIT(X##_ATOMIC)                      \
    WR_OPS_SPECIAL(X##_SPECIAL)                     \
    WR_FUSED(X##_FUSED)                             \
    WR_PAIRED(X##_PAIRED)
#define AT_INT_BINARY(C, NAME, TEXT, T, COMM, EXPR) ADDRESS(NAME##_RR) ADDRESS(NAME##_RI)
#define AT_INT_DIVIDE(C, NAME, TEXT, T, CHECK, EXPR) ADDRESS(NAME##_RR) ADDRESS(NAME##_RI)
#define AT_FLOAT_BINARY(C, NAME, TEXT, T, EXPR) ADDRESS(NAME##_RR) ADDRESS(NAME##_RK)
#define AT_INT_COMPARE(C, NAME, TEXT, T, INV, SWAP, EXPR) \
    ADDRESS(NAME##_RR) ADDRESS(NAME##_RI) ADDRESS(BR_##NAME##_RR) ADDRESS(BR_##NAME##_RI) ADDRESS(BR_##NAME##_RW)
#define AT_FLOAT_COMPARE(C, NAME, TEXT, T, EXPR)                          \
    ADDRESS(NAME##_RR) ADDRESS(BR_##NAME##_RR) ADDRESS(BRN_##NAME##_RR)   \
    ADDRESS(NAME##_RK) ADDRESS(BR_##NAME##_RK) ADDRESS(BRN_##NAME##_RK)
#define AT_UNARY(C, NAME, TEXT, R, A, EXPR) ADDRESS(NAME)
#define AT_UNARY_TRAP(C, NAME, TEXT, R, A, CHECK, EXPR) ADDRESS(NAME)
#define AT_ACCESS(NAME)                                        \
    ADDRESS(NAME##_G) ADDRESS(NAME##_C) ADDRESS(NAME##_XG)     \
    ADDRESS(NAME##_XC) ADDRESS(NAME##_AG) ADDRESS(NAME##_AC)
#define AT_LOAD(C, NAME, TEXT, V, S, M, ALIGN, CAST) AT_ACCESS(NAME)
#define AT_STORE(C, NAME, TEXT, V, S, M, ALIGN) AT_ACCESS(NAME)
#define AT_ATOMIC(C, NAME, TEXT, T, M, ALIGN) ADDRESS(NAME)
#define AT_ATOMIC_RMW(C, NAME, TEXT, T, M, ALIGN, FN) ADDRESS(NAME)
#define AT_SPECIAL(NAME) ADDRESS(NAME)
#define AT_SIMD_UNARY(C, NAME, TEXT, LANES, EXPR) ADDRESS(NAME)
#define AT_SIMD_BINARY(C, NAME, TEXT, LANES, EXPR) ADDRESS(NAME)
#define AT_SIMD_TERNARY(C, NAME, TEXT, LANES, LANES_C, EXPR) ADDRESS(NAME)
#define AT_SIMD_SHIFT(C, NAME, TEXT, LANES, EXPR) ADDRESS(NAME)
#define AT_SIMD_TEST(C, NAME, TEXT, LANES, EXPR) ADDRESS(NAME)
#define AT_SIMD_SPLAT(C, NAME, TEXT, T, LANES) ADDRESS(NAME)
#define AT_SIMD_EXTRACT(C, NAME, TEXT, T, COUNT, M, CAST) ADDRESS(NAME)
#define AT_SIMD_REPLACE(C, NAME, TEXT, T, COUNT, LANES) ADDRESS(NAME)
#define AT_SIMD_SPECIAL(NAME) ADDRESS(NAME)
#define AT_SIMD_LOAD(C, NAME, TEXT, M, ALIGN, EXPR) AT_ACCESS(NAME)
#define AT_SIMD_STORE(C, NAME, TEXT, ALIGN) AT_ACCESS(NAME)
#define AT_FUSED(T1, N1, F1, T2, N2, F2) ADDRESS(N1##_##F1##_TO_##N2##_##F2)
#define AT_FUSED_MEMORY(T1, N1, F1, T2, N2, F2) \
    ADDRESS(N1##_##F1##_TO_##N2##_##F2##_G) ADDRESS(N1##_##F1##_TO_##N2##_##F2##_C)
#define AT_PAIRED(T1, N1, F1, T2, N2, F2) ADDRESS(N1##_##F1##_AND_##N2##_##F2)
#define AT_PAIRED_MEMORY(T1, N1, F1, T2, N2, F2) \
    ADDRESS(N1##_##F1##_AND_##N2##_##F2##_G) ADDRESS(N1##_##F1##_AND_##N2##_##F2##_C)
#define AT_PRODUCT(T, NAME, LOAD, F1, F2) \
    ADDRESS(NAME##_OF_##LOAD##_##F1##_##F2##_G) ADDRESS(NAME##_OF_##LOAD##_##F1##_##F2##_C)
#define AT_NONE 0,

#if WR_DISPATCH_TAIL

static const uintptr_t handlers[OP_COUNT] = {0, ALL_HANDLERS(AT)};

const uintptr_t *wr_interp_handlers(void) { return handlers; }

void wr_interp_run(wr_exec *exec, const wr_insn *insn, wr_slot *fp) {
    const wr_memory *memory = exec->instance->module->memory_count != 0 ? exec->instance->memories[0] : NULL;
    ((wr_handler)insn->op)(insn, fp, memory != NULL ? memory->data : NULL, memory != NULL ? memory->len : 0, exec);
}

#else

/* With exec NULL returns the table of handlers. Labels exist only inside of the function. */
static const uintptr_t *run(wr_exec *exec, const wr_insn *pc, wr_slot *fp) {
#define ADDRESS(NAME) (uintptr_t)&&op_##NAME,
    static const uintptr_t handlers[OP_COUNT] = {0, ALL_HANDLERS(AT)};
    if (exec == NULL) return handlers;
    const wr_memory *first = exec->instance->module->memory_count != 0 ? exec->instance->memories[0] : NULL;
    uint8_t *mem = first != NULL ? first->data : NULL;
    uint64_t mem_len = first != NULL ? first->len : 0;
    GO();
#define HANDLER(NAME) op_##NAME:
#include "interp_ops.h"
#include "interp_simd.h"
/* uses both: */
#include "interp_fused.h"
#undef HANDLER
}

const uintptr_t *wr_interp_handlers(void) { return run(NULL, NULL, NULL); }

void wr_interp_run(wr_exec *exec, const wr_insn *insn, wr_slot *fp) { (void)run(exec, insn, fp); }

#endif
