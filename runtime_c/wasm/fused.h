/* Fused instructions: pairs that run without a jump in between. A pair's first instruction gets the fused handler;
 * nothing else changes, so branches to the second one, traps and retries need not know (fuse.c).
 *
 * In WR_FUSED the result of the first instruction is also an operand of the second and is handed on in a register;
 * in WR_PAIRED they are only neighbours. Rows are products of what compilers' output is made of, not of what one
 * program does: computing and loading on the one side, what uses a value on the other.
 *
 * X(type, NAME, FORM of the first, type, NAME, FORM of the second). A form tells operands (interp_fused.h):
 *   RR RI     as in code.h                             BR_RR BR_RI    compare and branch
 *   L LA      load, plain or with form A               IF UNLESS      branch on a value
 *   S SA      store, ditto                             SELF           an instruction without forms
 *   RC        as RR, the result is the right operand   BR_RW RK       with a constant behind it */
#ifndef WR_FUSED_H
#define WR_FUSED_H

/* Firsts: each list calls X(type, NAME, FORM, second...) */
#define WR_COMPUTE_I32(X, ...)         \
    X(I32, I32_ADD, RR, __VA_ARGS__)   \
    X(I32, I32_ADD, RI, __VA_ARGS__)   \
    X(I32, I32_SUB, RR, __VA_ARGS__)   \
    X(I32, I32_MUL, RR, __VA_ARGS__)   \
    X(I32, I32_MUL, RI, __VA_ARGS__)   \
    X(I32, I32_AND, RR, __VA_ARGS__)   \
    X(I32, I32_AND, RI, __VA_ARGS__)   \
    X(I32, I32_OR, RR, __VA_ARGS__)    \
    X(I32, I32_XOR, RR, __VA_ARGS__)   \
    X(I32, I32_SHL, RI, __VA_ARGS__)   \
    X(I32, I32_SHR_U, RI, __VA_ARGS__) \
    X(I32, I32_ROTL, RI, __VA_ARGS__)
/* The commonest of them, where seldom used seconds are to stay few. */
#define WR_COMMON_I32(X, ...)          \
    X(I32, I32_ADD, RR, __VA_ARGS__)   \
    X(I32, I32_ADD, RI, __VA_ARGS__)   \
    X(I32, I32_AND, RI, __VA_ARGS__)   \
    X(I32, I32_SHL, RI, __VA_ARGS__)   \
    X(I32, I32_SHR_U, RI, __VA_ARGS__)
#define WR_COMPUTE_I64(X, ...)         \
    X(I64, I64_ADD, RR, __VA_ARGS__)   \
    X(I64, I64_MUL, RR, __VA_ARGS__)   \
    X(I64, I64_AND, RR, __VA_ARGS__)   \
    X(I64, I64_XOR, RR, __VA_ARGS__)   \
    X(I64, I64_SHL, RI, __VA_ARGS__)   \
    X(I64, I64_SHR_U, RI, __VA_ARGS__)
#define WR_LOADING_I32(X, ...)              \
    X(I32, I32_LOAD, L, __VA_ARGS__)        \
    X(I32, I32_LOAD, LA, __VA_ARGS__)       \
    X(I32, I32_LOAD8_U, L, __VA_ARGS__)     \
    X(I32, I32_LOAD8_U, LA, __VA_ARGS__)    \
    X(I32, I32_LOAD16_U, L, __VA_ARGS__)    \
    X(I32, I32_LOAD16_S, L, __VA_ARGS__)
#define WR_LOADING_I64(X, ...)              \
    X(I64, I64_LOAD, L, __VA_ARGS__)        \
    X(I64, I64_LOAD32_U, L, __VA_ARGS__)
#define WR_COMPUTE_FLOAT(X, T, ...)    \
    X(T, T##_ADD, RR, __VA_ARGS__)     \
    X(T, T##_SUB, RR, __VA_ARGS__)     \
    X(T, T##_MUL, RR, __VA_ARGS__)
#define WR_LOADING_FLOAT(X, T, ...)    \
    X(T, T##_LOAD, L, __VA_ARGS__)     \
    X(T, T##_LOAD, LA, __VA_ARGS__)

/* Pairs without memory access. */
#define WR_FUSED(X)                            \
    WR_COMPUTE_I32(X, I32, I32_ADD, RR)        \
    WR_COMPUTE_I32(X, I32, I32_ADD, RI)        \
    WR_COMPUTE_I32(X, I32, I32_SUB, RR)        \
    WR_COMPUTE_I32(X, I32, I32_MUL, RR)        \
    WR_COMMON_I32(X, I32, I32_MUL, RI)        \
    WR_COMPUTE_I32(X, I32, I32_AND, RR)        \
    WR_COMPUTE_I32(X, I32, I32_AND, RI)        \
    WR_COMPUTE_I32(X, I32, I32_OR, RR)         \
    WR_COMPUTE_I32(X, I32, I32_XOR, RR)        \
    WR_COMPUTE_I32(X, I32, I32_SHL, RI)        \
    WR_COMPUTE_I32(X, I32, I32_SHR_U, RI)      \
    WR_COMPUTE_I32(X, I32, I32_EQ, BR_RI)      \
    WR_COMPUTE_I32(X, I32, I32_NE, BR_RI)      \
    WR_COMMON_I32(X, I32, I32_LT_U, BR_RI)    \
    WR_COMMON_I32(X, I32, I32_GT_U, BR_RI)    \
    WR_COMPUTE_I32(X, I32, I32_NE, BR_RR)      \
    WR_COMMON_I32(X, I32, I32_LT_S, BR_RR)    \
    WR_COMMON_I32(X, I32, I32_LT_U, BR_RR)    \
    WR_COMPUTE_I32(X, I32, BR, IF)             \
    WR_COMMON_I32(X, I32, BR, UNLESS)         \
    WR_COMMON_I32(X, I32, RETURN1, SELF)      \
    WR_COMMON_I32(X, I32, MOVE, SELF)         \
    WR_COMMON_I32(X, I32, I32_NE, BR_RW)       \
    WR_COMMON_I32(X, I32, I32_LT_U, BR_RW)     \
    WR_COMMON_I32(X, I32, BR_TABLE, SELF)      \
    WR_COMPUTE_I64(X, I64, I64_ADD, RR)        \
    WR_COMPUTE_I64(X, I64, I64_MUL, RR)        \
    WR_COMPUTE_I64(X, I64, I64_AND, RR)        \
    WR_COMPUTE_I64(X, I64, I64_XOR, RR)        \
    WR_COMPUTE_I64(X, I64, I64_SHL, RI)        \
    WR_COMPUTE_I64(X, I64, I64_SHR_U, RI)      \
    WR_COMPUTE_FLOAT(X, F32, F32, F32_ADD, RR) \
    WR_COMPUTE_FLOAT(X, F32, F32, F32_SUB, RR) \
    WR_COMPUTE_FLOAT(X, F32, F32, F32_MUL, RR) \
    WR_COMPUTE_FLOAT(X, F32, F32, F32_SUB, RC) \
    WR_COMPUTE_FLOAT(X, F32, F32, F32_MUL, RK) \
    WR_COMPUTE_FLOAT(X, F64, F64, F64_ADD, RR) \
    WR_COMPUTE_FLOAT(X, F64, F64, F64_SUB, RR) \
    WR_COMPUTE_FLOAT(X, F64, F64, F64_MUL, RR) \
    WR_COMPUTE_FLOAT(X, F64, F64, F64_SUB, RC) \
    WR_COMPUTE_FLOAT(X, F64, F64, F64_MUL, RK)

/* Pairs of which at least one accesses memory. */
#define WR_FUSED_MEMORY(X)                      \
    WR_COMPUTE_I32(X, I32, I32_LOAD, L)         \
    WR_COMPUTE_I32(X, I32, I32_LOAD8_U, L)      \
    WR_COMMON_I32(X, I32, I32_LOAD16_U, L)     \
    WR_COMPUTE_I32(X, I32, I32_STORE, S)        \
    WR_COMPUTE_I32(X, I32, I32_STORE8, S)       \
    WR_LOADING_I32(X, I32, I32_ADD, RR)         \
    WR_LOADING_I32(X, I32, I32_ADD, RI)         \
    WR_LOADING_I32(X, I32, I32_SUB, RR)         \
    WR_LOADING_I32(X, I32, I32_MUL, RR)         \
    WR_LOADING_I32(X, I32, I32_AND, RI)         \
    WR_LOADING_I32(X, I32, I32_OR, RR)          \
    WR_LOADING_I32(X, I32, I32_XOR, RR)         \
    WR_LOADING_I32(X, I32, I32_SHL, RI)         \
    WR_LOADING_I32(X, I32, I32_EQ, BR_RI)       \
    WR_LOADING_I32(X, I32, I32_NE, BR_RI)       \
    WR_LOADING_I32(X, I32, I32_NE, BR_RR)       \
    WR_LOADING_I32(X, I32, I32_LT_S, BR_RR)     \
    WR_LOADING_I32(X, I32, BR, IF)              \
    WR_LOADING_I32(X, I32, BR, UNLESS)          \
    WR_LOADING_I32(X, I32, I32_LOAD, L)         \
    WR_LOADING_I32(X, I32, I32_LOAD8_U, L)      \
    WR_LOADING_I32(X, I32, I32_STORE, S)        \
    WR_LOADING_I32(X, I32, I32_STORE8, S)       \
    WR_COMMON_I32(X, I32, I32_LOAD, LA)         \
    WR_LOADING_I32(X, I32, BR_TABLE, SELF)      \
    WR_COMPUTE_I64(X, I64, I64_STORE, S)        \
    WR_COMPUTE_I64(X, I64, I64_STORE32, S)      \
    WR_LOADING_I64(X, I64, I64_ADD, RR)         \
    WR_LOADING_I64(X, I64, I64_MUL, RR)         \
    WR_LOADING_I64(X, I64, I64_XOR, RR)         \
    WR_LOADING_I64(X, I64, I64_STORE, S)        \
    WR_COMPUTE_FLOAT(X, F32, F32, F32_STORE, S) \
    WR_LOADING_FLOAT(X, F32, F32, F32_ADD, RR)  \
    WR_LOADING_FLOAT(X, F32, F32, F32_SUB, RR)  \
    WR_LOADING_FLOAT(X, F32, F32, F32_SUB, RC)  \
    WR_LOADING_FLOAT(X, F32, F32, F32_MUL, RK)  \
    WR_LOADING_FLOAT(X, F32, F32, F32_MUL, RR)  \
    WR_COMPUTE_FLOAT(X, F64, F64, F64_STORE, S) \
    WR_LOADING_FLOAT(X, F64, F64, F64_ADD, RR)  \
    WR_LOADING_FLOAT(X, F64, F64, F64_SUB, RR)  \
    WR_LOADING_FLOAT(X, F64, F64, F64_SUB, RC)  \
    WR_LOADING_FLOAT(X, F64, F64, F64_MUL, RK)  \
    WR_LOADING_FLOAT(X, F64, F64, F64_MUL, RR)

/* Neighbours without memory access. */
#define WR_PAIRED(X)                                \
    X(I64, MOVE, SELF, I64, MOVE, SELF)             \
    X(I64, MOVE, SELF, I32, I32_ADD, RI)            \
    X(I64, MOVE, SELF, I32, BR, SELF)               \
    X(I64, MOVE, SELF, I32, CALL, SELF)             \
    X(I64, MOVE, SELF, I32, LOOP_NE_I, SELF)        \
    X(I64, MOVE, SELF, I32, CONST32, SELF)          \
    X(I32, CONST32, SELF, I32, CONST32, SELF)       \
    X(I32, CONST32, SELF, I64, MOVE, SELF)          \
    X(I32, CONST32, SELF, I32, BR, SELF)            \
    X(I32, CONST32, SELF, I32, LOOP_NE_I, SELF)     \
    X(I32, CONST32, SELF, I64, SELECT, SELF)        \
    X(I32, CONST32, SELF, F32, SELECT32, SELF)      \
    X(I32, CONST32, SELF, I32, I32_LT_S, BR_RI)     \
    X(I32, CONST32, SELF, I32, I32_EQ, BR_RI)       \
    X(I64, MOVE, SELF, I32, BR, IF)                 \
    X(I32, I32_ADD, RI, I32, I32_ADD, RI)           \
    X(I32, I32_ADD, RI, I64, MOVE, SELF)            \
    X(I32, I32_ADD, RI, I32, BR, SELF)              \
    X(I32, I32_ADD, RI, I32, CALL, SELF)            \
    X(I32, I32_ADD, RI, I32, LOOP_NE_I, SELF)       \
    X(I32, I32_ADD, RI, I32, LOOP_NE_R, SELF)       \
    X(I32, I32_ADD, RR, I32, I32_ADD, RI)           \
    X(I32, I32_ADD, RR, I32, LOOP_NE_I, SELF)       \
    X(I32, I32_XOR, RR, I32, I32_XOR, RR)           \
    X(F32, F32_MUL, RR, F32, F32_MUL, RR)           \
    X(F32, F32_ADD, RR, I32, I32_ADD, RI)           \
    X(F64, F64_MUL, RR, F64, F64_MUL, RR)           \
    X(F64, F64_ADD, RR, I32, I32_ADD, RI)           \
    X(F64, F64_ADD, RR, F64, F64_MUL, RR)           \
    X(F64, F64_ADD, RR, F64, F64_ADD, RR)

/* Neighbours that access memory. */
#define WR_PAIRED_MEMORY(X)                             \
    X(I32, CONST32, SELF, I32, I32_STORE, S)            \
    X(I32, CONST32, SELF, I32, I32_STORE8, S)           \
    X(I32, CONST32, SELF, I32, I32_STORE8, SA)          \
    X(I32, CONST32, SELF, F64, F64_STORE, S)            \
    X(I32, I32_ADD, RI, I32, I32_LOAD, L)               \
    X(I32, I32_ADD, RI, I32, I32_LOAD8_U, L)            \
    X(I32, I32_ADD, RI, I32, I32_LOAD8_U, LA)           \
    X(I32, I32_LOAD, L, I32, I32_LOAD, L)               \
    X(I32, I32_LOAD, L, I32, I32_ADD, RI)               \
    X(I32, I32_LOAD8_U, L, I32, I32_ADD, RI)            \
    X(I32, I32_LOAD8_U, L, I32, I32_LOAD8_U, L)         \
    X(I32, I32_LOAD8_U, LA, I32, I32_LOAD8_U, LA)       \
    X(I32, I32_LOAD16_S, LA, I32, I32_LOAD16_S, LA)     \
    X(I32, I32_LOAD16_S, LA, I32, I32_MUL, RR)          \
    X(I32, I32_STORE, S, I32, I32_ADD, RI)              \
    X(I32, I32_STORE, S, I32, I32_LOAD, L)              \
    X(I32, I32_STORE, S, I32, I32_STORE, S)             \
    X(I32, I32_STORE, S, I32, LOOP_NE_I, SELF)          \
    X(I32, I32_STORE8, S, I32, I32_ADD, RI)             \
    X(I32, I32_STORE8, S, I32, LOOP_NE_I, SELF)         \
    X(I32, I32_STORE8, SA, I32, I32_ADD, RR)            \
    X(F32, F32_LOAD, LA, F32, F32_LOAD, LA)             \
    X(F32, F32_LOAD, LA, F32, F32_LOAD, L)              \
    X(F32, F32_LOAD, L, F32, F32_LOAD, L)               \
    X(F32, F32_MUL, RR, F32, F32_LOAD, LA)              \
    X(F64, F64_LOAD, LA, F64, F64_LOAD, LA)             \
    X(F64, F64_LOAD, LA, F64, F64_LOAD, L)              \
    X(F64, F64_LOAD, L, F64, F64_LOAD, L)               \
    X(F64, F64_MUL, RR, F64, F64_LOAD, LA)              \
    X(F64, F64_STORE, S, F64, F64_LOAD, L)              \
    X(F64, F64_STORE, S, I32, I32_ADD, RI)

/* Products of two loaded values: three at once. X(type, NAME, LOAD, FORM, FORM) */
#define WR_PRODUCT(X, T, NAME, LOAD) \
    X(T, NAME, LOAD, L, L)           \
    X(T, NAME, LOAD, L, LA)          \
    X(T, NAME, LOAD, LA, L)          \
    X(T, NAME, LOAD, LA, LA)
#define WR_PRODUCTS(X)                       \
    WR_PRODUCT(X, I32, I32_MUL, I32_LOAD)    \
    WR_PRODUCT(X, I32, I32_MUL, I32_LOAD16_S) \
    WR_PRODUCT(X, F32, F32_MUL, F32_LOAD)    \
    WR_PRODUCT(X, F64, F64_MUL, F64_LOAD)

/* All that can come first or second, as X(NAME, FORM); what a row above names and these do not fails to compile. */
#define WR_FIRSTS(X)                                                                                     \
    WR_COMPUTE_I32(X, ) WR_COMPUTE_I64(X, ) WR_LOADING_I32(X, ) WR_LOADING_I64(X, )                      \
    WR_COMPUTE_FLOAT(X, F32, )                                                                           \
    WR_LOADING_FLOAT(X, F32, ) WR_COMPUTE_FLOAT(X, F64, ) WR_LOADING_FLOAT(X, F64, ) X(I64, MOVE, SELF, ) \
    X(I32, CONST32, SELF, ) X(I32, I32_LOAD16_S, LA, ) X(I32, I32_STORE, S, ) X(I32, I32_STORE8, S, )    \
    X(I32, I32_STORE8, SA, ) X(F64, F64_STORE, S, )
#define WR_SECONDS(X)                                                                                    \
    X(I32_ADD, RR) X(I32_ADD, RI) X(I32_SUB, RR) X(I32_MUL, RR) X(I32_MUL, RI) X(I32_AND, RR)            \
    X(I32_AND, RI) X(I32_OR, RR) X(I32_XOR, RR) X(I32_SHL, RI) X(I32_SHR_U, RI) X(I32_EQ, BR_RI)         \
    X(I32_NE, BR_RI) X(I32_LT_U, BR_RI) X(I32_GT_U, BR_RI) X(I32_NE, BR_RR) X(I32_LT_S, BR_RR)           \
    X(I32_LT_U, BR_RR) X(BR, IF) X(BR, UNLESS) X(RETURN1, SELF) X(MOVE, SELF) X(I64_ADD, RR)             \
    X(I64_MUL, RR) X(I64_AND, RR) X(I64_XOR, RR) X(I64_SHL, RI) X(I64_SHR_U, RI) X(F32_ADD, RR)          \
    X(F32_SUB, RR) X(F32_MUL, RR) X(F64_ADD, RR) X(F64_SUB, RR) X(F64_MUL, RR) X(I32_LOAD, L)            \
    X(I32_LOAD8_U, L) X(I32_LOAD8_U, LA) X(I32_LOAD16_U, L) X(I32_LOAD16_S, LA) X(I32_STORE, S)          \
    X(I32_STORE8, S) X(I32_STORE8, SA) X(I64_STORE, S) X(I64_STORE32, S) X(F32_LOAD, L) X(F32_LOAD, LA)  \
    X(F64_LOAD, L) X(F64_LOAD, LA) X(F32_STORE, S) X(F64_STORE, S) X(BR, SELF) X(CALL, SELF)             \
    X(LOOP_NE_I, SELF) X(LOOP_NE_R, SELF) X(CONST32, SELF) X(I32_NE, BR_RW) X(I32_LT_U, BR_RW)           \
    X(BR_TABLE, SELF) X(SELECT, SELF) X(SELECT32, SELF) X(F32_MUL, RK) X(F64_MUL, RK) X(I32_LOAD, LA) X(I32_LT_S, BR_RI)

/* The plain operation of a name and form. */
#define WR_PLAIN_RR(NAME) OP_##NAME##_RR
#define WR_PLAIN_RI(NAME) OP_##NAME##_RI
#define WR_PLAIN_RC(NAME) OP_##NAME##_RR
#define WR_PLAIN_L(NAME) OP_##NAME##_G
#define WR_PLAIN_LA(NAME) OP_##NAME##_AG
#define WR_PLAIN_S(NAME) OP_##NAME##_G
#define WR_PLAIN_SA(NAME) OP_##NAME##_AG
#define WR_PLAIN_BR_RR(NAME) OP_BR_##NAME##_RR
#define WR_PLAIN_BR_RI(NAME) OP_BR_##NAME##_RI
#define WR_PLAIN_BR_RW(NAME) OP_BR_##NAME##_RW
#define WR_PLAIN_RK(NAME) OP_##NAME##_RK
#define WR_PLAIN_IF(NAME) OP_##NAME##_IF
#define WR_PLAIN_UNLESS(NAME) OP_##NAME##_UNLESS
#define WR_PLAIN_SELF(NAME) OP_##NAME

#define WR_OP_FUSED_(T1, N1, F1, T2, N2, F2) OP_##N1##_##F1##_TO_##N2##_##F2,
#define WR_OP_FUSED_MEMORY_(T1, N1, F1, T2, N2, F2) \
    OP_##N1##_##F1##_TO_##N2##_##F2##_G, OP_##N1##_##F1##_TO_##N2##_##F2##_C,
#define WR_OP_PAIRED_(T1, N1, F1, T2, N2, F2) OP_##N1##_##F1##_AND_##N2##_##F2,
#define WR_OP_PAIRED_MEMORY_(T1, N1, F1, T2, N2, F2) \
    OP_##N1##_##F1##_AND_##N2##_##F2##_G, OP_##N1##_##F1##_AND_##N2##_##F2##_C,

#define WR_OP_PRODUCT_(T, NAME, LOAD, F1, F2) \
    OP_##NAME##_OF_##LOAD##_##F1##_##F2##_G, OP_##NAME##_OF_##LOAD##_##F1##_##F2##_C,

#ifdef WR_NO_FUSION /* a third of the engine's code, for a fifth of its speed */
#undef WR_FUSED
#undef WR_FUSED_MEMORY
#undef WR_PAIRED
#undef WR_PAIRED_MEMORY
#undef WR_PRODUCTS
#define WR_FUSED(X)
#define WR_FUSED_MEMORY(X)
#define WR_PAIRED(X)
#define WR_PAIRED_MEMORY(X)
#define WR_PRODUCTS(X)
#endif

#endif
