/* What compiled code calls: limits, functions it does not know, memories and tables. */
#include <pthread.h>
#include <string.h>

#include "../wasm/fault.h"
#include "../wasm/interp.h"
#include "aot.h"

enum {
    NATIVE_RESERVE = 256 * 1024, /* C stack that host functions may count on */
    RECORD_SLOTS = 4             /* of a call across instances, as in call.c: the same depth fits */
};

static wr_exec *exec_of(wra_context *x) { return (wr_exec *)(void *)((char *)x - offsetof(wr_exec, aot)); }

/* ---- traps and limits ---- */

/* Inlined, as a frame less to be unwound: on aarch64 each takes 2,000 instructions and more. */
static inline __attribute__((always_inline, noreturn)) void trap_at(wra_context *x, uint32_t status, uint32_t offset,
                                                                    uint32_t chain) {
    wr_exec *exec = exec_of(x);
    exec->status = (wr_status)status;
    wr_aot_trace(exec, offset, chain);
    wr_fault_resume(exec->fault);
}

/* From a function that compiled code called: the site in front of the call tells where. */
static inline __attribute__((always_inline, noreturn)) void trap(wra_context *x, uint32_t status) {
    trap_at(x, status, 0, 0);
}

static void try_status(wra_context *x, wr_status status) {
    if (status != WR_OK) trap(x, status);
}

/* The engine's own budget holds only while it has the word. */
static void check_limits(wra_context *x, uint32_t offset, uint32_t chain) {
    wr_exec *exec = exec_of(x);
    exec->budget = x->budget;
    wr_status status = wr_exec_check(exec);
    x->budget = exec->budget;
    if (status != WR_OK) trap_at(x, status, offset, chain);
}

static void enter(wra_context *x, const wr_slot *end, uint32_t offset, uint32_t chain) {
    if (end > x->stack_end || (uintptr_t)__builtin_frame_address(0) < x->native_limit) {
        trap_at(x, WR_TRAP_STACK, offset, chain);
    }
    if (x->budget < 0) check_limits(x, offset, chain);
}

static void charge(wra_context *x, uint32_t offset, uint32_t chain) {
    if (--x->budget < 0) check_limits(x, offset, chain);
}

static int64_t tick(wra_context *x, uint32_t offset, uint32_t chain) {
    if (x->allowance_mask == 0) {
        charge(x, offset, chain);
        return 0;
    }
    x->budget = -1;
    check_limits(x, offset, chain);
    int64_t allowance = x->budget;
    x->budget = 0;
    return allowance;
}

/* ---- calls ---- */

static void use_instance(wr_exec *exec, wr_instance *instance) {
    exec->instance = instance; /* the rest is the interpreter's (wr_set_instance) */
    exec->aot.self = &instance->aot;
    exec->aot.cells = instance->aot.cells;
    exec->aot.memory = instance->aot.memory;
}

static void check_native(wra_context *x) {
    if ((uintptr_t)__builtin_frame_address(0) < x->native_limit) trap(x, WR_TRAP_STACK);
}

/* One after the other in the same frame, so the stack does not grow. */
static void finish(wra_context *x, wr_slot *frame) {
    while (x->tail != NULL) {
        const wra_func *func = x->tail;
        x->tail = NULL;
        func->thunk(x, frame, func->code);
    }
}

static inline void run(wra_context *x, const wr_func *func, wr_slot *frame) {
    func->thunk(x, frame, func->compiled);
    if (__builtin_expect(x->tail != NULL, 0)) finish(x, frame);
}

static void call_host(wra_context *x, const wr_func *func, wr_slot *args) {
    wr_exec *exec = exec_of(x);
    const wr_type *type = func->type;
    const uint32_t slots = type->param_slots > type->result_slots ? type->param_slots : type->result_slots;
    if ((size_t)(exec->stack_end - args) < slots) trap(x, WR_TRAP_STACK);
    wr_slot *top = exec->top;
    exec->top = args + slots;
    exec->budget = x->budget;
    wr_status status = func->host(exec, func->env, args);
    if (status == WR_OK) status = wr_exec_called(exec);
    x->budget = exec->budget;
    exec->top = top;
    try_status(x, status);
    exec->status = WR_OK; /* a call that the host function made may have left another */
}

static wr_status interpret(wr_exec *exec, const wr_func *func, wr_slot *frame) {
    const wr_code *code = func->code;
    for (uint32_t i = 0; i < code->local_slots; i++) frame[code->param_slots + i].u64 = 0;
    frame[code->info_slot].u64 = (uintptr_t)&exec->exit_insns[0];
    frame[code->info_slot + 1].u64 = (uintptr_t)frame;
    wr_interp_run(exec, code->insns, frame);
    return exec->status;
}

/* Another instance. Its frame lies behind a record, as if both were interpreted. */
static wr_status run_in(wr_exec *exec, const wr_func *func, wr_slot *args, wr_aot_link *link) {
    wra_context *x = &exec->aot;
    wr_slot *frame = args + RECORD_SLOTS;
    if ((size_t)(exec->stack_end - args) < RECORD_SLOTS + (size_t)func->frame_slots) return WR_TRAP_STACK;
    memmove(frame, args, func->type->param_slots * sizeof *args);
    link->outer = exec->aot_link;
    exec->aot_link = link;
    wr_status status = WR_OK;
    if (func->thunk != NULL) {
        use_instance(exec, func->instance);
        run(x, func, frame);
    } else {
        exec->budget = x->budget;
        wr_set_instance(exec, func->instance);
        status = interpret(exec, func, frame);
        if (status != WR_OK && !exec->is_traced) {
            wr_trap_begin(exec, status);
            wr_trap_walk(exec, exec->pc, exec->fp, exec->instance);
        }
        x->budget = exec->budget;
    }
    exec->aot_link = link->outer;
    memmove(args, frame, func->type->result_slots * sizeof *args);
    return status;
}

static void call_across(wra_context *x, const wr_func *func, wr_slot *args) {
    wr_exec *exec = exec_of(x);
    wr_aot_link link = {.instance = exec->instance};
    check_native(x);
    wr_status status = run_in(exec, func, args, &link);
    use_instance(exec, link.instance);
    try_status(x, status);
}

static void call(wra_context *x, const wra_func *callee, wr_slot *args) {
    const wr_func *func = (const wr_func *)(const void *)callee;
    wr_exec *exec = exec_of(x);
    if (func->instance == exec->instance) {
        enter(x, args + func->frame_slots, 0, 0);
        charge(x, 0, 0);
        run(x, func, args);
        return;
    }
    charge(x, 0, 0);
    if (func->instance == NULL) {
        check_native(x);
        call_host(x, func, args);
    } else {
        call_across(x, func, args);
    }
}

/* What stays the same from call to call. */
static __attribute__((noinline)) void begin_thread(wr_exec *exec) {
    exec->aot.stack_end = exec->stack_end;
    exec->aot.trap = trap_at;
    exec->aot.rt = &wr_aot_runtime;
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0;
    exec->native_thread = &wr_fault_exec;
    exec->aot.native_limit = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
    if (pthread_attr_getstack(&attributes, &low, &size) == 0) {
        exec->aot.native_limit = (uintptr_t)low + (size / 4 < NATIVE_RESERVE ? size / 4 : NATIVE_RESERVE);
    }
    pthread_attr_destroy(&attributes);
}

static void prepare(wr_exec *exec) {
    wra_context *x = &exec->aot;
    if (__builtin_expect(exec->native_thread != &wr_fault_exec, 0)) begin_thread(exec);
    x->budget = exec->budget;
    x->allowance_mask = exec->fuel_limited ? 0 : -1;
    x->tail = NULL;
}

wr_status wr_aot_run_across(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot *fp, wr_slot *args) {
    wra_context *x = &exec->aot;
    wr_aot_link link = {.instance = exec->instance, .pc = pc, .fp = fp};
    prepare(exec);
    wr_status status = (uintptr_t)&link < x->native_limit ? WR_TRAP_STACK : run_in(exec, func, args, &link);
    exec->budget = x->budget;
    wr_set_instance(exec, link.instance);
    exec->fp = fp;
    return status;
}

/* ---- from the host ---- */

static void run_callee(wr_exec *exec, const wr_insn *nothing, wr_slot *frame) {
    const wr_func *func = exec->callee;
    (void)nothing;
    func->thunk(&exec->aot, frame, func->compiled); /* the last thing it does: a jump */
}

static void finish_callee(wr_exec *exec, const wr_insn *nothing, wr_slot *frame) {
    (void)nothing;
    finish(&exec->aot, frame);
}

static inline wr_status run_from_host(wr_exec *exec, const wr_func *func, wr_slot *frame) {
    prepare(exec);
    use_instance(exec, func->instance);
    exec->callee = func;
    exec->status = WR_OK;
    wr_exec *outer = wr_fault_enter(exec);
    wr_fault_call(exec, NULL, frame, run_callee);
    if (__builtin_expect(exec->aot.tail != NULL, 0) && exec->status == WR_OK) {
        wr_fault_call(exec, NULL, frame, finish_callee);
    }
    wr_fault_leave(outer);
    exec->budget = exec->aot.budget;
    return exec->status;
}

/* From a host function: what called that goes on afterwards. */
static __attribute__((noinline)) wr_status run_nested(wr_exec *exec, const wr_func *func, wr_slot *frame) {
    wra_context *x = &exec->aot;
    const wra_instance *const self = x->self;
    wra_global *const cells = x->cells;
    uint8_t *const memory = x->memory;
    wr_aot_link *const link = exec->aot_link;
    wr_status status = run_from_host(exec, func, frame);
    exec->aot_link = link;
    x->self = self;
    x->cells = cells;
    x->memory = memory;
    return status;
}

wr_status wr_aot_run(wr_exec *exec, const wr_func *func, wr_slot *frame) {
    if ((size_t)(exec->stack_end - frame) < func->frame_slots) return WR_TRAP_STACK;
    if (__builtin_expect(exec->depth != 1, 0)) return run_nested(exec, func, frame);
    exec->aot_link = NULL; /* a trap may have left one */
    return run_from_host(exec, func, frame);
}

/* ---- memories and tables ---- */

static wr_memory *memory_at(wra_context *x, uint32_t memory) { return exec_of(x)->instance->memories[memory]; }
static wr_table *table_at(wra_context *x, uint32_t table) { return exec_of(x)->instance->tables[table]; }

static uint64_t memory_size(wra_context *x, uint32_t memory) { return wr_memory_size(memory_at(x, memory)) >> 16; }

/* Long operations look at the limits of the call: the budget is the engine's meanwhile. */
static wr_exec *lend_budget(wra_context *x) {
    wr_exec *exec = exec_of(x);
    exec->budget = x->budget;
    return exec;
}

/* An allowance may be out: the budget stays what it is, or both would add up. */
static void take_budget_back(wra_context *x, wr_status status) {
    if (x->allowance_mask == 0) x->budget = exec_of(x)->budget;
    try_status(x, status);
}

/* For what takes as long as a host function. */
static void count_call(wra_context *x) { take_budget_back(x, wr_exec_called(lend_budget(x))); }

static uint64_t memory_grow(wra_context *x, uint32_t memory, uint64_t pages) {
    count_call(x);
    return wr_memory_grow(memory_at(x, memory), pages);
}

static void memory_fill(wra_context *x, uint32_t memory, uint64_t at, uint32_t value, uint64_t len) {
    wr_exec *exec = lend_budget(x);
    take_budget_back(x, wr_memory_fill(exec, memory_at(x, memory), at, (uint8_t)value, len));
}

static void memory_copy(wra_context *x, uint32_t to, uint32_t from, uint64_t at, uint64_t source, uint64_t len) {
    wr_exec *exec = lend_budget(x);
    take_budget_back(x, wr_memory_copy(exec, memory_at(x, to), at, memory_at(x, from), source, len));
}

static void memory_init(wra_context *x, uint32_t memory, uint32_t segment, uint64_t at, uint64_t from, uint64_t len) {
    wr_exec *exec = lend_budget(x);
    take_budget_back(x, wr_memory_init(exec, exec->instance, memory, segment, at, from, len));
}

static void data_drop(wra_context *x, uint32_t segment) { exec_of(x)->instance->data_dropped[segment] = true; }

static uint64_t table_grow(wra_context *x, uint32_t table, uint64_t value, uint64_t count) {
    uint64_t before = UINT64_MAX;
    wr_exec *exec = lend_budget(x);
    take_budget_back(x, wr_table_grow(exec, table_at(x, table), count, value, &before));
    return before;
}

static void table_fill(wra_context *x, uint32_t table, uint64_t at, uint64_t value, uint64_t len) {
    wr_exec *exec = lend_budget(x);
    take_budget_back(x, wr_table_fill(exec, table_at(x, table), at, value, len));
}

static void table_copy(wra_context *x, uint32_t to, uint32_t from, uint64_t at, uint64_t source, uint64_t len) {
    wr_exec *exec = lend_budget(x);
    take_budget_back(x, wr_table_copy(exec, table_at(x, to), at, table_at(x, from), source, len));
}

static void table_init(wra_context *x, uint32_t table, uint32_t segment, uint64_t at, uint64_t from, uint64_t len) {
    wr_exec *exec = lend_budget(x);
    take_budget_back(x, wr_table_init(exec, exec->instance, table, segment, at, from, len));
}

static void elem_drop(wra_context *x, uint32_t segment) { exec_of(x)->instance->elem_dropped[segment] = true; }

#ifndef WR_NO_THREADS
static uint32_t notify(wra_context *x, uint32_t memory, uint64_t at, uint32_t count) {
    wr_slot result;
    const wr_memory *target = memory_at(x, memory);
    count_call(x);
    try_status(x, wr_memory_notify(target, target->data + at, count, &result));
    return result.u32;
}

static uint32_t wait_for(wra_context *x, uint32_t memory, uint64_t at, uint64_t expected, uint32_t bytes,
                         int64_t timeout) {
    wr_slot result;
    count_call(x);
    wr_exec *exec = lend_budget(x);
    const wr_memory *target = memory_at(x, memory);
    take_budget_back(x, wr_memory_wait(exec, target, target->data + at, expected, bytes, timeout, &result));
    return result.u32;
}
#endif

const wra_runtime wr_aot_runtime = {
    .enter = enter,
    .tick = tick,
    .check = check_limits,
    .call = call,
    .finish = finish,
    .memory_size = memory_size,
    .memory_grow = memory_grow,
    .memory_fill = memory_fill,
    .memory_copy = memory_copy,
    .memory_init = memory_init,
    .data_drop = data_drop,
    .table_grow = table_grow,
    .table_fill = table_fill,
    .table_copy = table_copy,
    .table_init = table_init,
    .elem_drop = elem_drop,
#ifndef WR_NO_THREADS
    .notify = notify,
    .wait = wait_for,
#endif
};
