/* Handlers of vector instructions (opcode_simd.h). Included by interp.c behind interp_ops.h, whose macros it uses. */

#define BODY_SIMD_UNARY(C, NAME, TEXT, LANES, EXPR) \
    HANDLER(NAME) {                                 \
        simd_##NAME(&SLOT(a), &SLOT(b));            \
        NEXT();                                     \
    }
#define BODY_SIMD_BINARY(C, NAME, TEXT, LANES, EXPR) \
    HANDLER(NAME) {                                  \
        simd_##NAME(&SLOT(a), &SLOT(b), &SLOT(c));   \
        NEXT();                                      \
    }
#define BODY_SIMD_TERNARY(C, NAME, TEXT, LANES, LANES_C, EXPR) \
    HANDLER(NAME) {                                            \
        simd_##NAME(&SLOT(a), &SLOT(b), &SLOT(c), &SLOT(d));   \
        NEXT();                                                \
    }
#define BODY_SIMD_SHIFT(C, NAME, TEXT, LANES, EXPR) \
    HANDLER(NAME) {                                 \
        simd_##NAME(&SLOT(a), &SLOT(b), GET_I32(c)); \
        NEXT();                                     \
    }
#define BODY_SIMD_TEST(C, NAME, TEXT, LANES, EXPR) \
    HANDLER(NAME) {                                \
        SET_I32(simd_##NAME(&SLOT(b)));            \
        NEXT();                                    \
    }
#define BODY_SIMD_SPLAT(C, NAME, TEXT, T, LANES) \
    HANDLER(NAME) {                              \
        simd_##NAME(&SLOT(a), GET_##T(b));       \
        NEXT();                                  \
    }
#define BODY_SIMD_EXTRACT(C, NAME, TEXT, T, COUNT, M, CAST)                           \
    HANDLER(NAME) {                                                                   \
        M lane;                                                                       \
        memcpy(&lane, (const uint8_t *)&SLOT(b) + pc->c * sizeof lane, sizeof lane);  \
        SET_##T(CAST lane);                                                           \
        NEXT();                                                                       \
    }
#define BODY_SIMD_REPLACE(C, NAME, TEXT, T, COUNT, LANES)      \
    HANDLER(NAME) {                                            \
        simd_##NAME(&SLOT(a), &SLOT(b), GET_##T(c), pc->d);    \
        NEXT();                                                \
    }
#define BODY_SIMD_SPECIAL(NAME)
#define SIMD_LOAD_PAIR(GUARDED, CHECKED, ADDRESS, NAME, M) \
    HANDLER(GUARDED) {                                     \
        const uint64_t at = ADDRESS;                       \
        MAY_FAULT();                                       \
        simd_##NAME(&SLOT(a), mem + at);                   \
        NEXT();                                            \
    }                                                      \
    HANDLER(CHECKED) {                                     \
        const uint64_t at = ADDRESS;                       \
        CHECK_BOUNDS(at, sizeof(M));                       \
        simd_##NAME(&SLOT(a), mem + at);                   \
        NEXT();                                            \
    }
#define SIMD_STORE_PAIR(GUARDED, CHECKED, ADDRESS) \
    HANDLER(GUARDED) {                             \
        const uint64_t at = ADDRESS;               \
        MAY_FAULT();                               \
        REACH_END(at, 16);                         \
        memcpy(mem + at, &SLOT(b), 16);            \
        NEXT();                                    \
    }                                              \
    HANDLER(CHECKED) {                             \
        const uint64_t at = ADDRESS;               \
        CHECK_BOUNDS(at, 16);                      \
        MAY_FAULT();                               \
        memcpy(mem + at, &SLOT(b), 16);            \
        NEXT();                                    \
    }
#define BODY_SIMD_LOAD(C, NAME, TEXT, M, ALIGN, EXPR)                       \
    SIMD_LOAD_PAIR(NAME##_G, NAME##_C, ADDRESS_OF(b), NAME, M)              \
    SIMD_LOAD_PAIR(NAME##_XG, NAME##_XC, ADDRESS_SUM(b, c), NAME, M)        \
    SIMD_LOAD_PAIR(NAME##_AG, NAME##_AC, ADDRESS_CONST(b), NAME, M)
#define BODY_SIMD_STORE(C, NAME, TEXT, ALIGN)                               \
    SIMD_STORE_PAIR(NAME##_G, NAME##_C, ADDRESS_OF(a))                      \
    SIMD_STORE_PAIR(NAME##_XG, NAME##_XC, ADDRESS_SUM(a, c))                \
    SIMD_STORE_PAIR(NAME##_AG, NAME##_AC, ADDRESS_CONST(a))

WR_SIMD_COMPUTING(BODY_SIMD)
WR_SIMD_ACCESSING(BODY_SIMD)

#ifndef WR_NO_SIMD
HANDLER(CONST128) {
    simd_CONST128(&SLOT(a), pc);
    SKIP(WR_BYTES_INSNS);
}
HANDLER(I8X16_SHUFFLE) {
    simd_I8X16_SHUFFLE(&SLOT(a), &SLOT(b), &SLOT(c), pc);
    SKIP(WR_BYTES_INSNS);
}
HANDLER(I32X4_SHUFFLE) {
    simd_I32X4_SHUFFLE(&SLOT(a), &SLOT(b), &SLOT(c), pc->d);
    NEXT();
}
#endif
