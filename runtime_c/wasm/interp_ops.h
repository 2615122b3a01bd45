/* Handler bodies. Included by interp.c, which defines HANDLER, GO and LEAVE.
 *
 * State: pc (this instruction), fp (frame), mem and mem_len (memory 0 or the one of USE_MEMORY), exec.
 * Macros are named by what may happen:
 *   NEXT          nothing: on to the next instruction
 *   TRAP          leaves with a status
 *   CHARGE        the budget may run out: the instruction runs again after the check, so nothing may precede it
 *   JUMP_CHECKED  may run into the deadline when it jumps backwards (by 0: an empty loop)
 *   RELOAD        the memory may have grown, or another instance runs */

#define SLOT(FIELD) fp[pc->FIELD]
#define GET_I32(FIELD) SLOT(FIELD).u32
#define GET_I64(FIELD) SLOT(FIELD).u64
#define GET_F32(FIELD) SLOT(FIELD).f32
#define GET_F64(FIELD) SLOT(FIELD).f64
#define IMM_I32 pc->uimm
#define IMM_I64 ((uint64_t)(int64_t)pc->imm)
#define IMM16_I32 ((uint32_t)(int32_t)(int16_t)pc->b)
#define IMM16_I64 ((uint64_t)(int16_t)pc->b)
#define WIDE_I32 pc[1].uimm
#define WIDE_I64 ((uint64_t)(int64_t)pc[1].imm)
#define WIDE_F32 wr_from_bits_f32((uint32_t)wr_insn_wide(pc + 1))
#define WIDE_F64 wr_from_bits_f64(wr_insn_wide(pc + 1))
/* Whole slots are written for integers: a narrow store followed by a wide load of the slot stalls. */
#define SET_I32(VALUE)                           \
    do {                                         \
        const uint32_t narrow = (uint32_t)(VALUE); \
        SLOT(a).u64 = narrow;                    \
    } while (0)
#define SET_I64(VALUE) (SLOT(a).u64 = (uint64_t)(VALUE))
#define SET_F32(VALUE)               \
    do {                             \
        const float number = (VALUE); \
        SLOT(a).f32 = number;        \
    } while (0)
#define SET_F64(VALUE)                \
    do {                              \
        const double number = (VALUE); \
        SLOT(a).f64 = number;         \
    } while (0)
#define C_I32 uint32_t
#define C_I64 uint64_t
#define C_F32 float
#define C_F64 double

#define NEXT() \
    do {       \
        pc++;  \
        GO();  \
    } while (0)
#define SKIP(COUNT)       \
    do {                  \
        pc += 1 + (COUNT); \
        GO();             \
    } while (0)
#define TRAP(STATUS)             \
    do {                         \
        exec->pc = pc;           \
        exec->fp = fp;           \
        exec->status = (STATUS); \
        LEAVE();                 \
    } while (0)
#define TRY(EXPR)                                     \
    do {                                              \
        wr_status op_status = (EXPR);                 \
        if (__builtin_expect(op_status != WR_OK, 0)) TRAP(op_status); \
    } while (0)
#define CHARGE()                                                 \
    do {                                                         \
        if (__builtin_expect(--exec->budget < 0, 0)) RETRY();    \
    } while (0)
#define JUMP_CHECKED()              \
    do {                            \
        if (pc->imm <= 0) CHARGE(); \
        pc += pc->imm;              \
        GO();                       \
    } while (0)
#define RELOAD()                                                                                \
    do {                                                                                        \
        if (exec->instance->module->memory_count != 0) {                                        \
            mem = exec->instance->memories[0]->data;                                            \
            mem_len = exec->instance->memories[0]->len;                                         \
        }                                                                                       \
    } while (0)

/* Where CHARGE continues when the budget is used up: out of line, or every branch would save registers for the call. */
HANDLER(RETRY) {
    TRY(wr_exec_refill(exec));
    GO();
}

/* ---- instructions that compute ---- */

#define COMPUTE(NAME, R, T, LEFT, RIGHT, EXPR)   \
    HANDLER(NAME) {                              \
        const C_##T a = LEFT, b = RIGHT;         \
        SET_##R(EXPR);                           \
        NEXT();                                  \
    }
#define COMPUTE_TRAP(NAME, T, RIGHT, CHECK, EXPR) \
    HANDLER(NAME) {                              \
        const C_##T a = GET_##T(b), b = RIGHT;   \
        TRY(CHECK);                              \
        SET_##T(EXPR);                           \
        NEXT();                                  \
    }
#define BRANCH(NAME, T, LEFT, RIGHT, EXPR)       \
    HANDLER(NAME) {                              \
        const C_##T a = LEFT, b = RIGHT;         \
        if (EXPR) JUMP_CHECKED();                \
        NEXT();                                  \
    }

/* The right operand follows in a DATA. */
#define COMPUTE_WIDE(NAME, R, T, EXPR)                  \
    HANDLER(NAME) {                                     \
        const C_##T a = GET_##T(b), b = WIDE_##T;       \
        SET_##R(EXPR);                                  \
        SKIP(1);                                        \
    }
#define BRANCH_WIDE(NAME, T, EXPR)                      \
    HANDLER(NAME) {                                     \
        const C_##T a = GET_##T(a), b = WIDE_##T;       \
        if (EXPR) JUMP_CHECKED();                       \
        SKIP(1);                                        \
    }

#define BODY_INT_BINARY(C, NAME, TEXT, T, COMM, EXPR)               \
    COMPUTE(NAME##_RR, T, T, GET_##T(b), GET_##T(c), EXPR)          \
    COMPUTE(NAME##_RI, T, T, GET_##T(b), IMM_##T, EXPR)
#define BODY_INT_DIVIDE(C, NAME, TEXT, T, CHECK, EXPR)              \
    COMPUTE_TRAP(NAME##_RR, T, GET_##T(c), CHECK, EXPR)             \
    COMPUTE_TRAP(NAME##_RI, T, IMM_##T, CHECK, EXPR)
#define BODY_FLOAT_BINARY(C, NAME, TEXT, T, EXPR)                   \
    COMPUTE(NAME##_RR, T, T, GET_##T(b), GET_##T(c), EXPR)          \
    COMPUTE_WIDE(NAME##_RK, T, T, EXPR)
#define BODY_INT_COMPARE(C, NAME, TEXT, T, INV, SWAP, EXPR)         \
    COMPUTE(NAME##_RR, I32, T, GET_##T(b), GET_##T(c), EXPR)        \
    COMPUTE(NAME##_RI, I32, T, GET_##T(b), IMM_##T, EXPR)           \
    BRANCH(BR_##NAME##_RR, T, GET_##T(a), GET_##T(b), EXPR)         \
    BRANCH(BR_##NAME##_RI, T, GET_##T(a), IMM16_##T, EXPR)          \
    BRANCH_WIDE(BR_##NAME##_RW, T, EXPR)
#define BODY_FLOAT_COMPARE(C, NAME, TEXT, T, EXPR)                  \
    COMPUTE(NAME##_RR, I32, T, GET_##T(b), GET_##T(c), EXPR)        \
    BRANCH(BR_##NAME##_RR, T, GET_##T(a), GET_##T(b), EXPR)         \
    BRANCH(BRN_##NAME##_RR, T, GET_##T(a), GET_##T(b), !(EXPR))     \
    COMPUTE_WIDE(NAME##_RK, I32, T, EXPR)                           \
    BRANCH_WIDE(BR_##NAME##_RK, T, EXPR)                            \
    BRANCH_WIDE(BRN_##NAME##_RK, T, !(EXPR))
#define BODY_UNARY(C, NAME, TEXT, R, A, EXPR)    \
    HANDLER(NAME) {                              \
        const C_##A a = GET_##A(b);              \
        SET_##R(EXPR);                           \
        NEXT();                                  \
    }
#define BODY_UNARY_TRAP(C, NAME, TEXT, R, A, CHECK, EXPR) \
    HANDLER(NAME) {                              \
        const C_##A a = GET_##A(b);              \
        TRY(CHECK);                              \
        SET_##R(EXPR);                           \
        NEXT();                                  \
    }

WR_INT_BINARY(BODY_INT_BINARY)
WR_INT_DIVIDE(BODY_INT_DIVIDE)
WR_FLOAT_BINARY(BODY_FLOAT_BINARY)
WR_INT_COMPARE(BODY_INT_COMPARE)
WR_FLOAT_COMPARE(BODY_FLOAT_COMPARE)
WR_UNARY(BODY_UNARY)
WR_UNARY_TRAP(BODY_UNARY_TRAP)

/* ---- memory access ---- */

/* A fault leaves through the signal handler, so the position is written down first; volatile, or compilers would leave
 * it out where the second instruction of a pair writes down its own before anybody reads this one. */
#define MAY_FAULT()                                 \
    do {                                            \
        *(const wr_insn *volatile *)&exec->pc = pc; \
        *(wr_slot *volatile *)&exec->fp = fp;       \
    } while (0)
#define ADDRESS_OF(FIELD) ((uint64_t)SLOT(FIELD).u32 + pc->uimm)
#define CHECK_BOUNDS(AT, SIZE) \
    if (__builtin_expect((AT) + (SIZE) > mem_len, 0)) TRAP(WR_TRAP_MEMORY_BOUNDS)
#define LOAD_AT(AT, S, M, CAST)             \
    M value;                                \
    memcpy(&value, mem + (AT), sizeof value); \
    SET_##S(CAST value);                    \
    NEXT()
#define STORE_AT(AT, S, M)                  \
    const M value = (M)GET_##S(b);          \
    memcpy(mem + (AT), &value, sizeof value); \
    NEXT()

/* A store that faults on its second page must not have written to the first. x86-64 sees to that; elsewhere the last
 * byte is touched before. */
#if defined(__x86_64__)
#define REACH_END(AT, SIZE) ((void)0)
#else
#define REACH_END(AT, SIZE)                                                               \
    do {                                                                                  \
        if ((SIZE) > 1) (void)*(const volatile uint8_t *)(mem + (AT) + (SIZE)-1);         \
    } while (0)
#endif

#define ADDRESS_SUM(LEFT, RIGHT) ((uint64_t)(SLOT(LEFT).u32 + SLOT(RIGHT).u32) + pc->d)
#define ADDRESS_CONST(FIELD) ((uint64_t)(SLOT(FIELD).u32 + pc->uimm))

#define LOAD_PAIR(GUARDED, CHECKED, ADDRESS, S, M, CAST) \
    HANDLER(GUARDED) {                                   \
        const uint64_t at = ADDRESS;                     \
        MAY_FAULT();                                     \
        LOAD_AT(at, S, M, CAST);                         \
    }                                                    \
    HANDLER(CHECKED) {                                   \
        const uint64_t at = ADDRESS;                     \
        CHECK_BOUNDS(at, sizeof(M));                     \
        LOAD_AT(at, S, M, CAST);                         \
    }
/* Checked stores may fault too: on read-only mapped pages. */
#define STORE_PAIR(GUARDED, CHECKED, ADDRESS, S, M) \
    HANDLER(GUARDED) {                              \
        const uint64_t at = ADDRESS;                \
        MAY_FAULT();                                \
        REACH_END(at, sizeof(M));                   \
        STORE_AT(at, S, M);                         \
    }                                               \
    HANDLER(CHECKED) {                              \
        const uint64_t at = ADDRESS;                \
        CHECK_BOUNDS(at, sizeof(M));                \
        MAY_FAULT();                                \
        STORE_AT(at, S, M);                         \
    }
#define BODY_LOAD(C, NAME, TEXT, V, S, M, ALIGN, CAST)                       \
    LOAD_PAIR(NAME##_G, NAME##_C, ADDRESS_OF(b), S, M, CAST)                 \
    LOAD_PAIR(NAME##_XG, NAME##_XC, ADDRESS_SUM(b, c), S, M, CAST)           \
    LOAD_PAIR(NAME##_AG, NAME##_AC, ADDRESS_CONST(b), S, M, CAST)
#define BODY_STORE(C, NAME, TEXT, V, S, M, ALIGN)                            \
    STORE_PAIR(NAME##_G, NAME##_C, ADDRESS_OF(a), S, M)                      \
    STORE_PAIR(NAME##_XG, NAME##_XC, ADDRESS_SUM(a, c), S, M)                \
    STORE_PAIR(NAME##_AG, NAME##_AC, ADDRESS_CONST(a), S, M)

WR_LOAD(BODY_LOAD)
WR_STORE(BODY_STORE)

#ifndef WR_NO_MEMORY64
HANDLER(ADDRESS64) {
    const uint64_t at = SLOT(b).u64 + pc->uimm;
    if (at < pc->uimm || at > UINT32_MAX) TRAP(WR_TRAP_MEMORY_BOUNDS);
    SLOT(a).u64 = at;
    NEXT();
}
HANDLER(INDEX64) {
    const uint64_t index = SLOT(b).u64;
    SLOT(a).u64 = index < UINT32_MAX ? index : UINT32_MAX;
    NEXT();
}
#endif

HANDLER(USE_MEMORY) {
    mem = exec->instance->memories[pc->uimm]->data;
    mem_len = exec->instance->memories[pc->uimm]->len;
    NEXT();
}

/* ---- control ---- */

HANDLER(DATA) { TRAP(WR_TRAP_UNREACHABLE); }
HANDLER(UNREACHABLE) { TRAP(WR_TRAP_UNREACHABLE); }
HANDLER(WORK) {
    exec->aot.work += (uint64_t)pc->uimm << exec->fine;
    if (__builtin_expect(exec->aot.work >= WR_WORK_MAX, 0)) TRY(wr_exec_check(exec));
    NEXT();
}
HANDLER(BR) { JUMP_CHECKED(); }
HANDLER(BR_IF) {
    if (GET_I32(a) != 0) JUMP_CHECKED();
    NEXT();
}
HANDLER(BR_UNLESS) {
    if (GET_I32(a) == 0) JUMP_CHECKED();
    NEXT();
}
#define JUMP_TABLE(INDEX)                                                                  \
    do {                                                                                   \
        const uint32_t given = (INDEX), last = pc->uimm, index = given < last ? given : last; \
        const int32_t *target = (const int32_t *)(const void *)pc + index + WR_TARGETS_PER_INSN; \
        if (*target <= 0) CHARGE();                                                        \
        pc = (const wr_insn *)(const void *)(target + *target);                            \
        GO();                                                                              \
    } while (0)
HANDLER(BR_TABLE) { JUMP_TABLE(GET_I32(a)); }

HANDLER(BR_AND) {
    const uint32_t mask = IMM16_I32;
    if ((GET_I32(a) & mask) != 0) JUMP_CHECKED();
    NEXT();
}
HANDLER(BR_NAND) {
    const uint32_t mask = IMM16_I32;
    if ((GET_I32(a) & mask) == 0) JUMP_CHECKED();
    NEXT();
}

/* A counter's step, comparison and branch. The counter is stored after the charge: RETRY runs the instruction again. */
#define STEP_THEN_BRANCH(LIMIT, EXPR)                                      \
    do {                                                                   \
        const uint32_t step = IMM16_I32, a = GET_I32(a) + step, b = LIMIT; \
        if (EXPR) {                                                        \
            if (pc->imm <= 0) CHARGE();                                    \
            SET_I32(a);                                                    \
            pc += pc->imm;                                                 \
            GO();                                                          \
        }                                                                  \
        SET_I32(a);                                                        \
        SKIP(1);                                                           \
    } while (0)
#define STEP_AND_BRANCH(NAME, LIMIT, EXPR) \
    HANDLER(NAME) { STEP_THEN_BRANCH(LIMIT, EXPR); }
STEP_AND_BRANCH(LOOP_NE_I, pc[1].uimm, a != b)
STEP_AND_BRANCH(LOOP_LT_S_I, pc[1].uimm, S32(a) < S32(b))
STEP_AND_BRANCH(LOOP_LT_U_I, pc[1].uimm, a < b)
STEP_AND_BRANCH(LOOP_NE_R, fp[pc[1].a].u32, a != b)
STEP_AND_BRANCH(LOOP_LT_S_R, fp[pc[1].a].u32, S32(a) < S32(b))
STEP_AND_BRANCH(LOOP_LT_U_R, fp[pc[1].a].u32, a < b)

/* The callee's frame starts at its arguments. Return information lies behind its locals. */
#define ENTER(CODE, BASE)                                                                  \
    do {                                                                                   \
        const wr_code *callee = (CODE);                                                    \
        wr_slot *frame = (BASE);                                                           \
        if (__builtin_expect(frame + callee->frame_slots > exec->stack_end, 0)) TRAP(WR_TRAP_STACK); \
        CHARGE();                                                                          \
        wr_slot *info = frame + callee->info_slot;                                         \
        /* Two at a time: the information behind them is yet to be written. Not memset, which would be a call. */ \
        for (wr_slot *local = frame + callee->param_slots; local < info; local += 2) {     \
            local[0].u64 = 0;                                                              \
            local[1].u64 = 0;                                                              \
            __asm__("" : "+r"(local));                                                     \
        }                                                                                  \
        info[0].u64 = (uintptr_t)pc;                                                       \
        info[1].u64 = (uintptr_t)fp;                                                       \
        fp = frame;                                                                        \
        pc = callee->insns;                                                                \
        GO();                                                                              \
    } while (0)
#define LEAVE_FRAME(INFO)                                       \
    do {                                                        \
        const wr_slot *info = (INFO);                           \
        const wr_insn *caller = (const wr_insn *)(uintptr_t)info[0].u64; \
        wr_slot *caller_fp = (wr_slot *)(uintptr_t)info[1].u64; \
        pc = caller + 1;                                        \
        fp = caller_fp;                                         \
        GO();                                                   \
    } while (0)

HANDLER(RETURN) { LEAVE_FRAME(fp + pc->uimm); }
/* A frame without locals has the return information where the result goes. */
#define RETURN_ONE(INFO, STORE)                        \
    do {                                               \
        const wr_slot *at = fp + (INFO);               \
        const wr_slot information[2] = {at[0], at[1]}; \
        STORE;                                         \
        LEAVE_FRAME(information);                      \
    } while (0)
HANDLER(RETURN1) { RETURN_ONE(pc->uimm, fp[0] = SLOT(a)); }
HANDLER(RETURN1K) { RETURN_ONE(pc->a, fp[0].u64 = pc->uimm); }
HANDLER(RETURN_N) {
    const wr_slot *at = fp + pc->uimm;
    const wr_slot information[2] = {at[0], at[1]};
    memmove(fp, fp + pc->a, pc->b * sizeof *fp);
    LEAVE_FRAME(information);
}
#define CALLEE() ((const wr_code *)(const void *)((const char *)exec->codes + pc->uimm))
HANDLER(CALL) { ENTER(CALLEE(), fp + pc->a); }
/* Goes on where an out-of-line helper says; its frame is in exec->fp. A pointer to the local fp would keep the compiler
 * from ending the handler in a jump. */
#define CONTINUE_AT(NEXT_INSN)                                     \
    do {                                                           \
        const wr_insn *next = (NEXT_INSN);                         \
        if (__builtin_expect(next == NULL, 0)) TRAP(exec->status); \
        pc = next;                                                 \
        fp = exec->fp;                                             \
        RELOAD();                                                  \
        GO();                                                      \
    } while (0)
/* Same instance: as CALL. Otherwise in a handler of its own, which saves registers: host functions, other instances. */
#define CALL_FUNC(FUNC)                                                      \
    do {                                                                     \
        const wr_func *func = (FUNC);                                        \
        if (func->instance == exec->instance) ENTER(func->code, fp + pc->a); \
        exec->callee = func;                                                 \
        GO_AWAY();                                                           \
    } while (0)
HANDLER(CALL_AWAY) {
    CHARGE();
    CONTINUE_AT(wr_enter_func(exec, exec->callee, pc, fp, fp + pc->a));
}
HANDLER(CALL_IMPORT) { CALL_FUNC(exec->instance->funcs[pc->uimm]); }
#define FIND_INDIRECT(CALLEE)                                                                   \
    do {                                                                                        \
        const wr_table *table = exec->instance->tables[pc->c];                                  \
        const uint32_t index = GET_I32(b);                                                      \
        if (__builtin_expect(index >= table->size, 0)) TRAP(WR_TRAP_UNDEFINED_ELEMENT);         \
        CALLEE = (const wr_func *)(uintptr_t)table->elems[index];                               \
        if (__builtin_expect(CALLEE == NULL, 0)) TRAP(WR_TRAP_UNINITIALIZED_ELEMENT);           \
        if (__builtin_expect(CALLEE->type != exec->instance->module->types[pc->d], 0)) TRAP(WR_TRAP_CALL_TYPE); \
    } while (0)
HANDLER(CALL_INDIRECT) {
    const wr_func *callee_func = NULL;
    FIND_INDIRECT(callee_func);
    CALL_FUNC(callee_func);
}
HANDLER(CALL_REF) {
    const wr_func *callee_func = (const wr_func *)(uintptr_t)SLOT(b).u64;
    if (__builtin_expect(callee_func == NULL, 0)) TRAP(WR_TRAP_NULL_FUNC);
    CALL_FUNC(callee_func);
}

/* The callee takes over this frame and where it returns to. */
#define TAIL_ENTER(CODE, INFO)                                                                  \
    do {                                                                                        \
        const wr_code *callee = (CODE);                                                         \
        const wr_slot *at = fp + (INFO);                                                        \
        const wr_slot information[2] = {at[0], at[1]};                                          \
        if (__builtin_expect((size_t)(exec->stack_end - fp) < callee->frame_slots, 0)) TRAP(WR_TRAP_STACK); \
        CHARGE();                                                                               \
        memmove(fp, fp + pc->a, callee->param_slots * sizeof *fp);                              \
        for (uint32_t i = 0; i < callee->local_slots; i++) fp[callee->param_slots + i].u64 = 0; \
        fp[callee->info_slot] = information[0];                                                 \
        fp[callee->info_slot + 1] = information[1];                                             \
        pc = callee->insns;                                                                     \
        GO();                                                                                   \
    } while (0)
#define TAIL_FUNC(FUNC, INFO)                                                          \
    do {                                                                               \
        const wr_func *func = (FUNC);                                                  \
        if (func->instance == exec->instance) TAIL_ENTER(func->code, INFO);            \
        CHARGE();                                                                      \
        CONTINUE_AT(wr_tail_func(exec, func, pc, fp, fp + pc->a, fp + (INFO)));        \
    } while (0)
HANDLER(RETURN_CALL) { TAIL_ENTER(CALLEE(), pc->b); }
HANDLER(RETURN_CALL_IMPORT) { TAIL_FUNC(exec->instance->funcs[pc->uimm], pc->b); }
HANDLER(RETURN_CALL_INDIRECT) {
    const wr_func *callee_func = NULL;
    FIND_INDIRECT(callee_func);
    TAIL_FUNC(callee_func, pc[1].uimm);
}
HANDLER(RETURN_CALL_REF) {
    const wr_func *callee_func = (const wr_func *)(uintptr_t)SLOT(b).u64;
    if (__builtin_expect(callee_func == NULL, 0)) TRAP(WR_TRAP_NULL_FUNC);
    TAIL_FUNC(callee_func, pc->uimm);
}

/* ---- exceptions ---- */

#ifndef WR_NO_EXCEPTIONS
HANDLER(THROW) { CONTINUE_AT(wr_throw(exec, exec->instance->tags[pc->uimm], fp + pc->a, pc, fp)); }
HANDLER(THROW_REF) {
    if (SLOT(a).u64 == 0) TRAP(WR_TRAP_NULL_REF);
    CONTINUE_AT(wr_unwind(exec, (wr_exn *)(uintptr_t)SLOT(a).u64, pc, fp));
}
#endif

HANDLER(BR_NULL) {
    if (SLOT(a).u64 == 0) JUMP_CHECKED();
    NEXT();
}
HANDLER(BR_NON_NULL) {
    if (SLOT(a).u64 != 0) JUMP_CHECKED();
    NEXT();
}
HANDLER(CHECK_NULL) {
    if (SLOT(a).u64 == 0) TRAP(WR_TRAP_NULL_REF);
    NEXT();
}

HANDLER(EXIT) {
    exec->status = WR_OK;
    LEAVE();
}
HANDLER(RETURN_INSTANCE) { CONTINUE_AT(wr_leave_instance(exec, fp)); }

/* ---- values ---- */

HANDLER(MOVE) {
    SLOT(a).u64 = SLOT(b).u64;
    NEXT();
}
HANDLER(MOVE32) {
    SLOT(a).u32 = SLOT(b).u32;
    NEXT();
}
HANDLER(MOVE128) {
    memmove(&SLOT(a), &SLOT(b), 2 * sizeof(wr_slot));
    NEXT();
}
HANDLER(COPY) {
    memmove(&SLOT(a), &SLOT(b), pc->uimm * sizeof(wr_slot));
    NEXT();
}
HANDLER(CONST32) {
    SLOT(a).u64 = pc->uimm;
    NEXT();
}
HANDLER(CONST64) {
    SLOT(a).u64 = pc->uimm | (uint64_t)pc[1].uimm << 32;
    SKIP(1);
}
HANDLER(CONST64S) {
    SLOT(a).i64 = pc->imm;
    NEXT();
}
HANDLER(CONST64H) {
    SLOT(a).u64 = (uint64_t)pc->uimm << 32;
    NEXT();
}
HANDLER(RSUB_I32) {
    SET_I32(pc->uimm - GET_I32(b));
    NEXT();
}
HANDLER(RSUB_I64) {
    SET_I64(IMM_I64 - GET_I64(b));
    NEXT();
}
HANDLER(SELECT) {
    SLOT(a).u64 = GET_I32(d) != 0 ? SLOT(b).u64 : SLOT(c).u64;
    NEXT();
}
HANDLER(SELECT32) {
    SLOT(a).u32 = GET_I32(d) != 0 ? SLOT(b).u32 : SLOT(c).u32;
    NEXT();
}
HANDLER(SELECT128) {
    memmove(&SLOT(a), GET_I32(d) != 0 ? &SLOT(b) : &SLOT(c), 2 * sizeof(wr_slot));
    NEXT();
}
HANDLER(GLOBAL_GET) {
    SLOT(a) = exec->globals[pc->uimm]->value[0];
    NEXT();
}
HANDLER(GLOBAL_SET) {
    exec->globals[pc->uimm]->value[0] = SLOT(a);
    NEXT();
}
HANDLER(GLOBAL_GET128) {
    memcpy(&SLOT(a), exec->globals[pc->uimm]->value, 2 * sizeof(wr_slot));
    NEXT();
}
HANDLER(GLOBAL_SET128) {
    memcpy(exec->globals[pc->uimm]->value, &SLOT(a), 2 * sizeof(wr_slot));
    NEXT();
}
HANDLER(REF_FUNC) {
    SET_I64((uintptr_t)exec->instance->funcs[pc->uimm]);
    NEXT();
}

/* ---- memories and tables: the work is out of line ---- */

#define GET_ADDRESS(LIMITS, FIELD) ((LIMITS).is64 ? SLOT(FIELD).u64 : SLOT(FIELD).u32)

HANDLER(MEMORY_SIZE) {
    SET_I32(wr_memory_size(exec->instance->memories[pc->uimm]) >> 16);
    NEXT();
}
HANDLER(MEMORY_GROW) {
    wr_memory *memory = exec->instance->memories[pc->uimm];
    TRY(wr_exec_called(exec));
    const uint64_t before = wr_memory_grow(memory, GET_ADDRESS(memory->declared, b));
    SLOT(a).u64 = memory->declared.is64 ? before : (uint32_t)before;
    RELOAD();
    NEXT();
}
HANDLER(MEMORY_FILL) {
    wr_memory *memory = exec->instance->memories[pc->d];
    const uint64_t at = GET_ADDRESS(memory->declared, a), len = GET_ADDRESS(memory->declared, c);
    MAY_FAULT();
    TRY(wr_memory_fill(exec, memory, at, (uint8_t)GET_I32(b), len));
    NEXT();
}
HANDLER(MEMORY_COPY) {
    wr_memory *to = exec->instance->memories[pc->d & 0xFF], *from = exec->instance->memories[pc->d >> 8];
    const bool wide = to->declared.is64 && from->declared.is64;
    MAY_FAULT();
    TRY(wr_memory_copy(exec, to, GET_ADDRESS(to->declared, a), from, GET_ADDRESS(from->declared, b),
                       wide ? SLOT(c).u64 : SLOT(c).u32));
    NEXT();
}
HANDLER(MEMORY_INIT) {
    const wr_memory *memory = exec->instance->memories[pc->d];
    MAY_FAULT();
    TRY(wr_memory_init(exec, exec->instance, pc->d, pc[1].uimm, GET_ADDRESS(memory->declared, a), GET_I32(b),
                       GET_I32(c)));
    SKIP(1);
}
HANDLER(DATA_DROP) {
    exec->instance->data_dropped[pc->uimm] = true;
    NEXT();
}
HANDLER(TABLE_GET) {
    const wr_table *table = exec->instance->tables[pc->uimm];
    const uint32_t index = GET_I32(b);
    if (index >= table->size) TRAP(WR_TRAP_TABLE_BOUNDS);
    SET_I64(table->elems[index]);
    NEXT();
}
HANDLER(TABLE_SET) {
    const wr_table *table = exec->instance->tables[pc->uimm];
    const uint32_t index = GET_I32(a);
    if (index >= table->size) TRAP(WR_TRAP_TABLE_BOUNDS);
    table->elems[index] = SLOT(b).u64;
    NEXT();
}
HANDLER(TABLE_SIZE) {
    SET_I32(exec->instance->tables[pc->uimm]->size);
    NEXT();
}
HANDLER(TABLE_GROW) {
    wr_table *table = exec->instance->tables[pc->d];
    TRY(wr_table_grow(exec, table, GET_I32(c), SLOT(b).u64, &SLOT(a).u64));
    if (!table->type.limits.is64) SLOT(a).u64 = SLOT(a).u32;
    NEXT();
}
HANDLER(TABLE_FILL) {
    TRY(wr_table_fill(exec, exec->instance->tables[pc->d], GET_I32(a), SLOT(b).u64, GET_I32(c)));
    NEXT();
}
HANDLER(TABLE_COPY) {
    wr_table **tables = exec->instance->tables;
    TRY(wr_table_copy(exec, tables[pc->d & 0xFF], GET_I32(a), tables[pc->d >> 8], GET_I32(b), GET_I32(c)));
    NEXT();
}
HANDLER(TABLE_INIT) {
    TRY(wr_table_init(exec, exec->instance, pc->d, pc[1].uimm, GET_I32(a), GET_I32(b), GET_I32(c)));
    SKIP(1);
}
HANDLER(ELEM_DROP) {
    exec->instance->elem_dropped[pc->uimm] = true;
    NEXT();
}

/* ---- atomics ---- */

#ifndef WR_NO_THREADS

/* Alignment is checked on the effective address; bounds are always checked here, so there are no two variants. */
#define ATOMIC_AT(M)                                                    \
    const uint64_t at = (uint64_t)SLOT(b).u32 + pc[1].uimm;             \
    if (at % sizeof(M) != 0) TRAP(WR_TRAP_UNALIGNED);                   \
    CHECK_BOUNDS(at, sizeof(M));                                        \
    M *const cell = (M *)(void *)(mem + at);                            \
    MAY_FAULT()
#define BODY_ATOMIC_LOAD(C, NAME, TEXT, T, M, ALIGN)                    \
    HANDLER(NAME) {                                                     \
        ATOMIC_AT(M);                                                   \
        SET_##T(__atomic_load_n(cell, __ATOMIC_SEQ_CST));               \
        SKIP(1);                                                        \
    }
#define BODY_ATOMIC_STORE(C, NAME, TEXT, T, M, ALIGN)                   \
    HANDLER(NAME) {                                                     \
        ATOMIC_AT(M);                                                   \
        __atomic_store_n(cell, (M)GET_##T(c), __ATOMIC_SEQ_CST);        \
        SKIP(1);                                                        \
    }
#define BODY_ATOMIC_RMW(C, NAME, TEXT, T, M, ALIGN, FN)                 \
    HANDLER(NAME) {                                                     \
        ATOMIC_AT(M);                                                   \
        SET_##T(FN(cell, (M)GET_##T(c), __ATOMIC_SEQ_CST));             \
        SKIP(1);                                                        \
    }
/* The expected value is wrapped like the replacement: narrow accesses compare what they access. */
#define BODY_ATOMIC_CMPXCHG(C, NAME, TEXT, T, M, ALIGN)                                                           \
    HANDLER(NAME) {                                                                                               \
        ATOMIC_AT(M);                                                                                             \
        M found = (M)GET_##T(c);                                                                                  \
        (void)__atomic_compare_exchange_n(cell, &found, (M)GET_##T(d), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        SET_##T(found);                                                                                           \
        SKIP(1);                                                                                                  \
    }

WR_ATOMIC_LOAD(BODY_ATOMIC_LOAD)
WR_ATOMIC_STORE(BODY_ATOMIC_STORE)
WR_ATOMIC_RMW(BODY_ATOMIC_RMW)
WR_ATOMIC_CMPXCHG(BODY_ATOMIC_CMPXCHG)

/* The memory of wait and notify is that of the access before it could be changed by USE_MEMORY: DATA.a. */
HANDLER(MEMORY_ATOMIC_NOTIFY) {
    ATOMIC_AT(uint32_t);
    TRY(wr_exec_called(exec));
    TRY(wr_memory_notify(exec->instance->memories[pc[1].a], cell, GET_I32(c), &SLOT(a)));
    SKIP(1);
}
HANDLER(MEMORY_ATOMIC_WAIT32) {
    ATOMIC_AT(uint32_t);
    TRY(wr_exec_called(exec));
    TRY(wr_memory_wait(exec, exec->instance->memories[pc[1].a], cell, GET_I32(c), 4, (int64_t)GET_I64(d), &SLOT(a)));
    SKIP(1);
}
HANDLER(MEMORY_ATOMIC_WAIT64) {
    ATOMIC_AT(uint64_t);
    TRY(wr_exec_called(exec));
    TRY(wr_memory_wait(exec, exec->instance->memories[pc[1].a], cell, GET_I64(c), 8, (int64_t)GET_I64(d), &SLOT(a)));
    SKIP(1);
}
HANDLER(FENCE) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    NEXT();
}
#endif
