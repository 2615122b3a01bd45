/* Handlers of fused instructions (fused.h). Included by interp.c after interp_ops.h.
 *
 * FIRST_form computes a value, stores it where its instruction says and keeps it; SECOND_form takes it for one operand.
 * The second instruction runs as it would alone, pc included, so whatever it does next is right. */

#define BOUND_G(AT, SIZE) MAY_FAULT()
#define BOUND_C(AT, SIZE) CHECK_BOUNDS(AT, SIZE)
#define STORE_BOUND_G(AT, SIZE) \
    MAY_FAULT();                \
    REACH_END(AT, SIZE)
#define STORE_BOUND_C(AT, SIZE) \
    CHECK_BOUNDS(AT, SIZE);     \
    MAY_FAULT()

/* Bits of a value as they lie in a slot, and back. */
#define BITS_I32(VALUE) (VALUE)
#define BITS_I64(VALUE) (VALUE)
#define BITS_F32(VALUE) wr_bits_f32(VALUE)
#define BITS_F64(VALUE) wr_bits_f64(VALUE)
#define FROM_I32(BITS) (uint32_t)(BITS)
#define FROM_I64(BITS) (BITS)
#define FROM_F32(BITS) wr_from_bits_f32((uint32_t)(BITS))
#define FROM_F64(BITS) wr_from_bits_f64(BITS)

#define FIRST_RR(T, NAME, M, V)                          \
    const C_##T V = eval_##NAME(GET_##T(b), GET_##T(c)); \
    SET_##T(V)
#define FIRST_RI(T, NAME, M, V)                     \
    const C_##T V = eval_##NAME(GET_##T(b), IMM_##T); \
    SET_##T(V)
#define FIRST_LOAD(T, NAME, M, V, ADDRESS)                  \
    const uint64_t V##_at = ADDRESS;                        \
    BOUND_##M(V##_at, SIZE_##NAME);                         \
    const uint64_t V##_bits = load_##NAME(mem + V##_at);    \
    const C_##T V = FROM_##T(V##_bits);                     \
    SLOT(a).u64 = V##_bits
#define FIRST_L(T, NAME, M, V) FIRST_LOAD(T, NAME, M, V, ADDRESS_OF(b))
#define FIRST_LA(T, NAME, M, V) FIRST_LOAD(T, NAME, M, V, ADDRESS_CONST(b))
#define FIRST_STORE(T, NAME, M, V, ADDRESS) \
    const uint64_t V##_at = ADDRESS;        \
    const C_##T V = GET_##T(b);             \
    STORE_BOUND_##M(V##_at, SIZE_##NAME);   \
    store_##NAME(mem + V##_at, BITS_##T(V))
#define FIRST_S(T, NAME, M, V) FIRST_STORE(T, NAME, M, V, ADDRESS_OF(a))
#define FIRST_SA(T, NAME, M, V) FIRST_STORE(T, NAME, M, V, ADDRESS_CONST(a))
#define FIRST_SELF(T, NAME, M, V) FIRST_##NAME(V)
#define FIRST_MOVE(V)              \
    const uint64_t V = GET_I64(b); \
    SLOT(a).u64 = V
#define FIRST_CONST32(V)          \
    const uint32_t V = pc->uimm; \
    SLOT(a).u64 = V

#define SECOND_RR(T, NAME, M, V)            \
    SET_##T(eval_##NAME(V, GET_##T(c)));    \
    NEXT()
#define SECOND_RC(T, NAME, M, V)            \
    SET_##T(eval_##NAME(GET_##T(b), V));    \
    NEXT()
#define SECOND_RI(T, NAME, M, V)            \
    SET_##T(eval_##NAME(V, IMM_##T));       \
    NEXT()
#define SECOND_LOAD(NAME, M, ADDRESS)           \
    const uint64_t at = ADDRESS;                \
    BOUND_##M(at, SIZE_##NAME);                 \
    SLOT(a).u64 = load_##NAME(mem + at);        \
    NEXT()
#define SECOND_L(T, NAME, M, V) SECOND_LOAD(NAME, M, (uint64_t)(V) + pc->uimm)
#define SECOND_LA(T, NAME, M, V) SECOND_LOAD(NAME, M, (uint64_t)(uint32_t)((V) + pc->uimm))
#define SECOND_STORE(T, NAME, M, V, ADDRESS)    \
    const uint64_t at = ADDRESS;                \
    STORE_BOUND_##M(at, SIZE_##NAME);           \
    store_##NAME(mem + at, BITS_##T(V));        \
    NEXT()
#define SECOND_S(T, NAME, M, V) SECOND_STORE(T, NAME, M, V, ADDRESS_OF(a))
#define SECOND_SA(T, NAME, M, V) SECOND_STORE(T, NAME, M, V, ADDRESS_CONST(a))
#define SECOND_BR_RR(T, NAME, M, V)                     \
    if (eval_##NAME(V, GET_##T(b)) != 0) JUMP_CHECKED(); \
    NEXT()
#define SECOND_BR_RI(T, NAME, M, V)                     \
    if (eval_##NAME(V, IMM16_##T) != 0) JUMP_CHECKED(); \
    NEXT()
#define SECOND_BR_RW(T, NAME, M, V)                    \
    if (eval_##NAME(V, WIDE_##T) != 0) JUMP_CHECKED(); \
    SKIP(1)
#define SECOND_RK(T, NAME, M, V)         \
    SET_##T(eval_##NAME(V, WIDE_##T));   \
    SKIP(1)
#define SECOND_IF(T, NAME, M, V)    \
    if ((V) != 0) JUMP_CHECKED();   \
    NEXT()
#define SECOND_UNLESS(T, NAME, M, V) \
    if ((V) == 0) JUMP_CHECKED();    \
    NEXT()
#define SECOND_SELF(T, NAME, M, V) SECOND_##NAME(V)
#define SECOND_MOVE(V)   \
    SLOT(a).u64 = (V);   \
    NEXT()
#define SECOND_RETURN1(V) RETURN_ONE(pc->uimm, fp[0].u64 = (V))
#define SECOND_CONST32(V)   \
    SLOT(a).u64 = pc->uimm; \
    NEXT()
#define SECOND_SELECT(V)                                           \
    SLOT(a).u64 = GET_I32(d) != 0 ? SLOT(b).u64 : SLOT(c).u64;     \
    NEXT()
#define SECOND_SELECT32(V)                                         \
    SLOT(a).u32 = GET_I32(d) != 0 ? SLOT(b).u32 : SLOT(c).u32;     \
    NEXT()
#define SECOND_BR_TABLE(V) JUMP_TABLE(V)
#define SECOND_BR(V) JUMP_CHECKED()
#define SECOND_CALL(V) ENTER(CALLEE(), fp + pc->a)
#define SECOND_LOOP_NE_I(V) STEP_THEN_BRANCH(pc[1].uimm, a != b)
#define SECOND_LOOP_NE_R(V) STEP_THEN_BRANCH(fp[pc[1].a].u32, a != b)

/* The operand that a second instruction of a mere pair reads by itself. */
#define READ_RR(T) GET_##T(b)
#define READ_RI(T) GET_##T(b)
#define READ_L(T) GET_I32(b)
#define READ_LA(T) GET_I32(b)
#define READ_S(T) GET_##T(b)
#define READ_SA(T) GET_##T(b)
#define READ_BR_RI(T) GET_##T(a)
#define READ_IF(T) GET_I32(a)
#define READ_SELF(T) GET_I64(b)

#define FUSE(NAME, T1, N1, F1, T2, N2, F2, M) \
    HANDLER(NAME) {                           \
        FIRST_##F1(T1, N1, M, result);         \
        pc++;                                 \
        SECOND_##F2(T2, N2, M, result);        \
    }
#define PAIR(NAME, T1, N1, F1, T2, N2, F2, M)      \
    HANDLER(NAME) {                                \
        FIRST_##F1(T1, N1, M, result);              \
        (void)result;                               \
        pc++;                                      \
        SECOND_##F2(T2, N2, M, READ_##F2(T2));     \
    }
/* Of floats: the second result is NaN where the first one is, so one look at it is enough for both. */
#define VALUE_RR(T, NAME, V) plain_##NAME(V, GET_##T(c))
#define VALUE_RC(T, NAME, V) plain_##NAME(GET_##T(b), V)
#define VALUE_RK(T, NAME, V) plain_##NAME(V, WIDE_##T)
#define MEMBER_F32 f32
#define MEMBER_F64 f64
enum { WIDTH_RR = 0, WIDTH_RC = 0, WIDTH_RK = 1 };
#define FUSE_FLOATS(NAME, T1, N1, F1, T2, N2, F2, M)             \
    HANDLER(NAME) {                                              \
        const C_##T1 early = plain_##N1(GET_##T1(b), GET_##T1(c)); \
        SET_##T1(early);                                         \
        pc++;                                                    \
        const C_##T2 result = VALUE_##F2(T2, N2, early);         \
        if (WR_IS_NAN(result)) {                                 \
            const wr_insn *before = pc - 1;                      \
            __asm__("" : "+r"(before)); /* nothing is kept at hand for this */ \
            fp[before->a].MEMBER_##T1 = CANON_##T1(early);       \
            GO(); /* the second one alone */                     \
        }                                                        \
        SET_##T2(result);                                        \
        SKIP(WIDTH_##F2);                                        \
    }
#define FUSE_I32 FUSE
#define FUSE_I64 FUSE
#define FUSE_F32 FUSE_FLOATS
#define FUSE_F64 FUSE_FLOATS
#define BODY_FUSED(T1, N1, F1, T2, N2, F2) FUSE_##T1(N1##_##F1##_TO_##N2##_##F2, T1, N1, F1, T2, N2, F2, G)
#define BODY_FUSED_MEMORY(T1, N1, F1, T2, N2, F2)                        \
    FUSE(N1##_##F1##_TO_##N2##_##F2##_G, T1, N1, F1, T2, N2, F2, G)      \
    FUSE(N1##_##F1##_TO_##N2##_##F2##_C, T1, N1, F1, T2, N2, F2, C)
#define BODY_PAIRED(T1, N1, F1, T2, N2, F2) PAIR(N1##_##F1##_AND_##N2##_##F2, T1, N1, F1, T2, N2, F2, G)
#define BODY_PAIRED_MEMORY(T1, N1, F1, T2, N2, F2)                       \
    PAIR(N1##_##F1##_AND_##N2##_##F2##_G, T1, N1, F1, T2, N2, F2, G)     \
    PAIR(N1##_##F1##_AND_##N2##_##F2##_C, T1, N1, F1, T2, N2, F2, C)

WR_FUSED(BODY_FUSED)
WR_PAIRED(BODY_PAIRED)
WR_FUSED_MEMORY(BODY_FUSED_MEMORY)
WR_PAIRED_MEMORY(BODY_PAIRED_MEMORY)

/* The loads' results are the operands of the third, in either order. */
#define PRODUCT(HANDLER_NAME, T, NAME, LOAD, F1, F2, M) \
    HANDLER(HANDLER_NAME) {                             \
        FIRST_##F1(T, LOAD, M, left);                   \
        pc++;                                           \
        FIRST_##F2(T, LOAD, M, right);                  \
        pc++;                                           \
        SET_##T(eval_##NAME(left, right));              \
        NEXT();                                         \
    }
#define BODY_PRODUCT(T, NAME, LOAD, F1, F2)                                     \
    PRODUCT(NAME##_OF_##LOAD##_##F1##_##F2##_G, T, NAME, LOAD, F1, F2, G)       \
    PRODUCT(NAME##_OF_##LOAD##_##F1##_##F2##_C, T, NAME, LOAD, F1, F2, C)
WR_PRODUCTS(BODY_PRODUCT)
