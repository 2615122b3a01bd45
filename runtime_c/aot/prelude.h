/* In front of every module that the C emitter writes, behind abi.h: how compiled code touches memory, traps and counts.
 * WR_CHECKED: compares addresses with the memory's size; else guard pages find what is outside.
 *
 * A site is a place that may trap or be on the way to a trap. SITE notes the address of the instruction that follows
 * and the offset of the WebAssembly instruction it is from, in a section of its own: back-traces cost nothing until
 * they are needed. No access to memory moves across a site, and what a load gives is KEPT: one that nothing depends on
 * must trap all the same, and what came before it must have happened. */
#ifndef WR_AOT_PRELUDE_H
#define WR_AOT_PRELUDE_H

/* So unlikely that what is live there is kept in memory there, not in the registers of the code around it. */
#define unlikely(X) __builtin_expect_with_probability(!!(X), 0, 0.99999)
/* An operand that is a number, without what the assembler puts in front of immediates. */
#if defined(__riscv)
#define NUMBER(N) "%" #N
#else
#define NUMBER(N) "%c" #N
#endif
enum { chain = 0 }; /* shadowed where a function is inlined: which of the artefact's chains */
#define SITE(OFFSET)                                                                                   \
    do {                                                                                               \
        if (chain == 0) {                                                                              \
            __asm__ volatile("1: .pushsection wr_sites,\"a\",%%progbits\n.long 1b-., " NUMBER(0)      \
                             "\n.popsection"                                                           \
                             :                                                                         \
                             : "i"(OFFSET)                                                             \
                             : "memory");                                                              \
        } else {                                                                                       \
            __asm__ volatile("1: .pushsection wr_inlined,\"a\",%%progbits\n.long 1b-., " NUMBER(0) ", " \
                             NUMBER(1) "\n.popsection"                                                 \
                             :                                                                         \
                             : "i"(OFFSET), "i"(chain)                                                 \
                             : "memory");                                                              \
        }                                                                                              \
    } while (0)
/* What cannot be told from the address: compilers may share the call between several. */
#define TRAP(OFFSET, STATUS) x->trap(x, STATUS, OFFSET, chain)
#define CHECK(EXPR, OFFSET)                                         \
    do {                                                            \
        const uint32_t status_ = (EXPR);                            \
        if (unlikely(status_ != WR_OK)) TRAP(OFFSET, status_);      \
    } while (0)

/* Expressions of the opcode table: the emitter canonicalises NaN only where its bits can be seen. */
#undef CANON_F32
#undef CANON_F64
#define CANON_F32(EXPR) (EXPR)
#define CANON_F64(EXPR) (EXPR)
/* As wr_canon without a jump: in the outer of two loops it would keep compilers from making vector code of them. */
static inline float flat_canon_f32(float a) {
    const int32_t mask = a == a ? -1 : 0;
    return wr_from_bits_f32((wr_bits_f32(a) & (uint32_t)mask) | (wr_bits_f32(WR_NAN_F32) & ~(uint32_t)mask));
}
static inline double flat_canon_f64(double a) {
    const int64_t mask = a == a ? -1 : 0;
    return wr_from_bits_f64((wr_bits_f64(a) & (uint64_t)mask) | (wr_bits_f64(WR_NAN_F64) & ~(uint64_t)mask));
}

/* ---- counting ---- */

#if defined(__x86_64__)
register uintptr_t stack_pointer __asm__("rsp");
#else
register uintptr_t stack_pointer __asm__("sp");
#endif

/* Where limits are looked at, away from the code that runs. Back-traces pass over these functions. */
#define SLOW __attribute__((section("wr_thunks"), cold, noinline, unused)) static
SLOW void enter_slowly(wra_context *x, const wr_slot *end, uint32_t offset, uint32_t in) {
    x->rt->enter(x, end, offset, in);
}
SLOW int64_t tick_slowly(wra_context *x, uint32_t offset, uint32_t in) { return x->rt->tick(x, offset, in); }
SLOW void check_slowly(wra_context *x, uint32_t offset, uint32_t in) { x->rt->check(x, offset, in); }

/* The budget is kept in a register too, of every function: it is stored where it changes, so that whoever looks finds
 * it right, but counting does not wait for a store and a load. Calls change it. */
#define BUDGET() int64_t budget = x->budget
#define COUNT_AGAIN() budget = x->budget
#define IS_SPENT ((x->budget = --budget) < 0)

/* In front of a call whose frame ends at END. */
#define ENTER_IF(IS_FULL, END, OFFSET)                            \
    do {                                                          \
        if (unlikely(IS_FULL) || unlikely(IS_SPENT)) {            \
            enter_slowly(x, END, OFFSET, chain);                  \
            COUNT_AGAIN();                                        \
        }                                                         \
    } while (0)
#define IS_DEEP (stack_pointer < x->native_limit)
#define ENTER(END, OFFSET) ENTER_IF((END) > x->stack_end || unlikely(IS_DEEP), END, OFFSET)
/* Of a function that is small and calls nothing: its C frame is within what is kept free below the limit. */
#define ENTER_LEAF(END, OFFSET) ENTER_IF((END) > x->stack_end, END, OFFSET)
/* Of one whose frame ends at END, at the most at MOST, which is known sooner. */
#define ENTER_FOUND(MOST, END, OFFSET) \
    ENTER_IF((unlikely((MOST) > x->stack_end) && (END) > x->stack_end) || unlikely(IS_DEEP), END, OFFSET)
/* A jump back in loop NUMBER, which has calls: if it takes the last of the budget, by way of label T. */
#define JUMP(NUMBER, OFFSET)               \
    do {                                   \
        if (unlikely(IS_SPENT)) {          \
            late = (OFFSET);               \
            goto T##NUMBER;                \
        }                                  \
    } while (0)
/* Loops without calls take the whole budget as an allowance, count it down in a register, and give back the rest. */
#define LOOP_BEGIN()                            \
    do {                                        \
        n = budget & x->allowance_mask;         \
        x->budget = budget -= n;                \
    } while (0)
#define LOOP_END() x->budget = budget += n
/* n is never negative: the borrow is the condition, with the jump one instruction on many processors. */
#define LOOP_JUMP(WEIGHT, NUMBER, OFFSET)                                                                       \
    do {                                                                                                       \
        if (unlikely(__builtin_sub_overflow((uint64_t)n, (uint64_t)(WEIGHT), (uint64_t *)&n))) {               \
            late = (OFFSET);                                                                                   \
            goto T##NUMBER;                                                                                    \
        }                                                                                                      \
    } while (0)

/* However long code is that neither jumps back nor calls, the limits are looked at in time. */
#define WORK(BYTES, OFFSET)                                      \
    do {                                                         \
        if (unlikely((x->work += (BYTES)) >= WRA_WORK_MAX)) {    \
            check_slowly(x, OFFSET, chain);                      \
            COUNT_AGAIN();                                       \
        }                                                        \
    } while (0)

/* Rounds of a loop that are paid for beforehand (emit_loop.c): no more than the allowance. */
#define LIMIT(K, SHIFT) \
    if (unlikely((uint64_t)K << (SHIFT) > (uint64_t)n)) K = (uintptr_t)(n >> (SHIFT))
/* Of a loop and one inside of it, which jumps back Q times per round. What is left of an allowance that is too small
 * for all is dropped for a new one, if that can be large enough; not with fuel, so the budget is 0 and stays so. */
enum { TOP_UP_MAX = 4096 };
#define TOP_UP(NEED, OFFSET)                                                                       \
    do {                                                                                           \
        if (unlikely((NEED) > (uint64_t)n) && (NEED) <= TOP_UP_MAX && x->allowance_mask != 0) {     \
            n = tick_slowly(x, OFFSET, chain) + 1;                                             \
        }                                                                                          \
    } while (0)
#define LIMIT_NEST(K, Q, SHIFT, OFFSET)                                                             \
    do {                                                                                            \
        const uint64_t cost_ = ((uint64_t)(Q) + 1) << (SHIFT), all_ = cost_ * ((uint64_t)(K) + 1);   \
        TOP_UP(all_, OFFSET);                                                                       \
        if (all_ > (uint64_t)n) K = (uint64_t)n < cost_ ? 0 : (uintptr_t)((uint64_t)n / cost_ - 1);  \
    } while (0)
/* How many rounds in a row surely end with a value that is not 0, or below the limit; each adds STEP to it. */
static inline uint64_t rounds_nonzero(uint32_t first, int32_t step) {
    if (step == 0) return 0;
    return step > 0 ? (0u - first) / (uint32_t)step : first / (0u - (uint32_t)step);
}
static inline uint64_t rounds_below(uint32_t first, uint64_t limit, int32_t step) {
    if (first >= limit || step == 0) return 0;
    const uint32_t way = step < 0 ? first : (uint32_t)(limit - 1) - first;
    return (uint64_t)(way / (step < 0 ? 0u - (uint32_t)step : (uint32_t)step)) + 1;
}
/* No fewer than these, and without a division; 0: it is not sure that there is an end. */
static inline uint32_t rounds_at_most(uint32_t first, uint64_t limit, int32_t step) {
    if (first >= limit || step <= 0 || limit + (uint32_t)step > UINT64_C(1) << 32) return 0;
    return (((uint32_t)(limit - 1) - first) >> (31 - __builtin_clz((uint32_t)step))) + 1;
}
#define BELOW_0(VALUE) ((VALUE) < 0 ? (VALUE) : 0)
#define ABOVE_0(VALUE) ((VALUE) > 0 ? (VALUE) : 0)
/* No round needs what another one stores. */
#if defined(__clang__)
#define PARALLEL _Pragma("clang loop vectorize(assume_safety)")
#else
#define PARALLEL _Pragma("GCC ivdep")
#endif

/* ---- memory ---- */

/* Accesses need no alignment. gcc for RISC-V would take packed ones apart although processors and kernels do them. */
#if defined(__riscv)
#define CELL_ATTRIBUTES may_alias
#else
#define CELL_ATTRIBUTES packed, may_alias
#endif
#define CELL(T)                                          \
    struct cell_##T {                                    \
        T v;                                             \
    } __attribute__((CELL_ATTRIBUTES));
CELL(int8_t)
CELL(uint8_t)
CELL(int16_t)
CELL(uint16_t)
CELL(int32_t)
CELL(uint32_t)
CELL(uint64_t)
CELL(float)
CELL(double)
#define AT(T, K, ADDRESS) (((struct cell_##T *)(mem##K + (uintptr_t)(ADDRESS)))->v)

#define KEEP_INT(VALUE) __asm__ volatile("" : : "r"(VALUE))
#define KEEP_FLOAT(VALUE) __asm__ volatile("" : : WR_FLOAT_CLASS(VALUE))
#if defined(__x86_64__) || defined(__aarch64__)
#define KEEP_VECTOR KEEP_FLOAT
#else
#define KEEP_VECTOR(VALUE) __asm__ volatile("" : : "r"((VALUE)[0]), "r"((VALUE)[1]))
#endif

#define USE_PLAIN() const wra_memory *const own = x->self->memories[0]
#ifdef WR_CHECKED
#define USE_MEMORY(K)                                          \
    const wra_memory *const memory##K = x->self->memories[K];  \
    uint8_t *const mem##K = memory##K->data
#define KEEP(CLASS, VALUE)
#define REACH(K, ADDRESS, SIZE, OFFSET) \
    if (unlikely((ADDRESS) + (SIZE) > memory##K->len)) TRAP(OFFSET, WR_TRAP_MEMORY_BOUNDS)
#define REACH_STORE(K, ADDRESS, SIZE, OFFSET) \
    REACH(K, ADDRESS, SIZE, OFFSET);          \
    SITE(OFFSET) /* pages may be read-only */
#else
#define USE_MEMORY(K) uint8_t *const mem##K = (K) == 0 ? x->memory : x->self->memories[K]->data
#define REACH(K, ADDRESS, SIZE, OFFSET) SITE(OFFSET)
#define KEEP(CLASS, VALUE) KEEP_##CLASS(VALUE)
/* A store that faults on its second page must not have written to the first. x86-64 sees to that. */
#if defined(__x86_64__)
#define REACH_STORE(K, ADDRESS, SIZE, OFFSET) SITE(OFFSET)
#else
#define REACH_STORE(K, ADDRESS, SIZE, OFFSET) \
    SITE(OFFSET);                             \
    if ((SIZE) > 1) KEEP_INT(AT(uint8_t, K, (ADDRESS) + (SIZE)-1))
#endif
#endif

#define LOAD(CLASS, K, TO, CAST, T, ADDRESS, OFFSET)  \
    do {                                              \
        const uint64_t at_ = (ADDRESS);               \
        REACH(K, at_, sizeof(T), OFFSET);             \
        const T loaded_ = AT(T, K, at_);              \
        KEEP(CLASS, loaded_);                         \
        TO = CAST loaded_;                            \
    } while (0)
#define STORE(K, T, ADDRESS, VALUE, OFFSET)           \
    do {                                              \
        const uint64_t at_ = (ADDRESS);               \
        const T value_ = (T)(VALUE);                  \
        REACH_STORE(K, at_, sizeof(T), OFFSET);       \
        AT(T, K, at_) = value_;                       \
    } while (0)
/* Of an atomic access: aligned, and inside of the memory whatever guards it. */
#define CELL_AT(K, T, ADDRESS, OFFSET)                                                     \
    const uint64_t at_ = (ADDRESS);                                                        \
    if (unlikely(at_ % sizeof(T) != 0)) TRAP(OFFSET, WR_TRAP_UNALIGNED);                   \
    if (unlikely(at_ + sizeof(T) > x->self->memories[K]->len)) TRAP(OFFSET, WR_TRAP_MEMORY_BOUNDS); \
    T *const cell = (T *)(void *)(mem##K + (uintptr_t)at_)
/* A 64-bit address and its offset; no memory is larger than 4 GiB. */
static inline bool address_is_far(uint64_t address, uint64_t offset) {
    return address + offset < offset || address + offset > UINT32_MAX;
}
#define ADDRESS64(ADDRESS, OFFSET64, OFFSET) \
    if (unlikely(address_is_far(ADDRESS, OFFSET64))) TRAP(OFFSET, WR_TRAP_MEMORY_BOUNDS)
static inline uint32_t index64(uint64_t index) { return index < UINT32_MAX ? (uint32_t)index : UINT32_MAX; }

/* ---- calls ---- */

#define FIND_INDIRECT(TABLE, SIZE, INDEX, TYPE, OFFSET) \
    const wra_table *const table_ = table##TABLE;                                                       \
    const uint32_t index_ = (INDEX);                                                                    \
    if (unlikely(index_ >= (SIZE))) TRAP(OFFSET, WR_TRAP_UNDEFINED_ELEMENT);                      \
    const wra_func *const f = (const wra_func *)(uintptr_t)table_->elems[index_];                       \
    if (unlikely(f == NULL)) TRAP(OFFSET, WR_TRAP_UNINITIALIZED_ELEMENT);                               \
    if (unlikely(f->type != type##TYPE)) TRAP(OFFSET, WR_TRAP_CALL_TYPE)
#define FIND_REF(REF, OFFSET)                                            \
    const wra_func *const f = (const wra_func *)(uintptr_t)(REF);        \
    if (unlikely(f == NULL)) TRAP(OFFSET, WR_TRAP_NULL_FUNC)
#define IS_OWN(F) __builtin_expect((F)->instance == own_instance, 1)
#define USE_TABLE(K) wra_table *const table##K = x->self->tables[K]
#define USE_TYPE(K) const void *const type##K = x->self->types[K]
#define USE_INSTANCE() const void *const own_instance = x->self->instance
#define USE_CELLS() wra_global *const cells = x->cells
#define TABLE_AT(TABLE, INDEX, OFFSET)                                                      \
    wra_table *const table_ = table##TABLE;                                                 \
    const uint32_t index_ = (INDEX);                                                        \
    if (unlikely(index_ >= table_->size)) TRAP(OFFSET, WR_TRAP_TABLE_BOUNDS)

/* The ends of what was put into a section, from the linker; it may be empty. */
#define SECTION(T, NAME)                                                                          \
    extern const T __start_##NAME[] __attribute__((weak, visibility("hidden")));                  \
    extern const T __stop_##NAME[] __attribute__((weak, visibility("hidden")))
#define THUNK __attribute__((section("wr_thunks"), noinline)) static
#define FUNCTION __attribute__((noinline)) static
/* Those for which gcc would take beyond all measure (emit_body.c). Clang has nothing between its -O2 and none. Before
 * gcc 11 this undid what the command line says of options that these levels turn on, so it is said again. */
#if defined(__clang__)
#define LARGE
#define HUGE
#else
#define LARGE __attribute__((optimize("O1", "no-ipa-pure-const", "no-thread-jumps")))
#define HUGE __attribute__((optimize("Og", "no-ipa-pure-const", "no-thread-jumps")))
#endif

#endif
