/* Calls: from the host, to host functions, across instances; limits of a call. */
#include <string.h>
#include <time.h>

#include "../aot/aot.h"
#include "fault.h"
#include "interp.h"

enum {
    STACK_DEFAULT = 256 * 1024,
    STACK_LEAST = 4096,
    NESTED_CALLS_MAX = 32, /* host -> Wasm -> host -> ... costs C stack */
    CHUNK_LEAST = 8, /* and first: nobody knows yet what lies between two checks */
    CHUNK_MOST = 8192,
    CHUNK_SHORT_NS = 10000, /* the clock is looked at about every 10 to 40 µs */
    CHUNK_LONG_NS = 40000,
    FINE_BELOW_US = 512,    /* or twice as often with deadlines below this, and so on: wr_exec.fine */
    RECORD_SLOTS = 4 /* of a call across instances: pc, fp, instance, function */
};

static uint64_t clock_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t wr_monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* ---- execution contexts ---- */

wr_status wr_exec_new(wr_engine *engine, uint32_t stack_bytes, wr_exec **out) {
    size_t size = stack_bytes == 0 ? STACK_DEFAULT : stack_bytes;
    if (size < STACK_LEAST) return WR_BAD_ARGUMENT;
    size &= ~(size_t)15;
    wr_exec *exec = wr_mem_zero(&engine->heap, sizeof *exec);
    if (exec == NULL) return WR_NO_MEMORY;
    exec->engine = engine;
    exec->stack_size = size;
    exec->stack = wr_mem_zero(&engine->heap, size);
    if (exec->stack == NULL) {
        wr_mem_free(&engine->heap, exec, sizeof *exec);
        return WR_NO_MEMORY;
    }
    exec->stack_end = exec->stack + size / sizeof(wr_slot);
    exec->top = exec->stack;
    exec->chunk = CHUNK_LEAST;
    atomic_init(&exec->interrupt, false);
    exec->exit_insns[1].op = wr_interp_handlers()[OP_EXIT];
    exec->instance_insns[1].op = wr_interp_handlers()[OP_RETURN_INSTANCE];
    *out = exec;
    return WR_OK;
}

void wr_exec_free(wr_exec *exec) {
    if (exec == NULL) return;
    wr_trap_forget(exec);
    wr_mem_free(&exec->engine->heap, exec->stack, exec->stack_size);
    wr_mem_free(&exec->engine->heap, exec, sizeof *exec);
}

/* What lies between two checks was measured while it was fast, and may be slow: memory touched for the first time,
 * another loop. It has to be little enough for the deadline even then. */
static uint8_t fineness(uint64_t deadline_us) {
    uint8_t fine = 0;
    while (deadline_us != 0 && fine < WR_FINE_MAX && deadline_us << fine < FINE_BELOW_US) fine++;
    return fine;
}

void wr_exec_set_limits(wr_exec *exec, uint64_t deadline_us, uint64_t fuel) {
    exec->deadline_us = deadline_us;
    exec->fine = fineness(deadline_us);
    exec->bulk_fine = deadline_us != 0 ? WR_BULK_FINE + exec->fine : 0;
    exec->fuel_limited = fuel != 0;
    exec->fuel_left = fuel;
    exec->granted = 0;
    exec->budget = 0;
}

uint64_t wr_exec_fuel_left(const wr_exec *exec) {
    if (!exec->fuel_limited) return 0;
    uint64_t used = (uint64_t)(exec->granted - (exec->budget < 0 ? 0 : exec->budget));
    return exec->fuel_left - used;
}

void wr_exec_interrupt(wr_exec *exec) { atomic_store_explicit(&exec->interrupt, true, memory_order_relaxed); }
wr_instance *wr_exec_instance(const wr_exec *exec) { return exec->instance; }
void wr_exec_set_exit_code(wr_exec *exec, int32_t code) { exec->exit_code = code; }

/* ---- limits ---- */

static int64_t chunk_most(const wr_exec *exec) { return CHUNK_MOST >> exec->fine; }

/* Without a deadline there is no clock to look at. What a call with a longer one has left may be too much for this. */
static int64_t next_chunk(const wr_exec *exec) {
    const int64_t most = chunk_most(exec);
    return exec->deadline_us != 0 && exec->chunk < most ? exec->chunk : most;
}

static void grant(wr_exec *exec, int64_t charged) {
    int64_t chunk = next_chunk(exec);
    if (exec->fuel_limited && exec->fuel_left < (uint64_t)chunk) chunk = (int64_t)exec->fuel_left;
    exec->granted = chunk;
    exec->budget = chunk - charged;
}

/* A call answers for the time its thread ran and for the time it asked to sleep, not for that in which the scheduler
 * had others run. The clock that knows costs a system call: it is read at the first check of a call, before which
 * whatever is less than the deadline counts, and then only when the wall clock is past the deadline. */
static wr_status check_used(wr_exec *exec, uint64_t now) {
    uint64_t allowed = exec->deadline_us * 1000;
    uint64_t used = exec->used_ns + clock_ns(CLOCK_THREAD_CPUTIME_ID) - exec->thread_ns;
    if (used + CHUNK_SHORT_NS >= allowed) return WR_TRAP_DEADLINE;
    exec->deadline_ns = now + (allowed - used);
    return WR_OK;
}

static void begin_account(wr_exec *exec, uint64_t elapsed) {
    exec->thread_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    exec->used_ns = elapsed < exec->deadline_us * 1000 ? elapsed : 0;
}

/* A budget that is not used up says nothing about how long one takes. */
static wr_status check_clock(wr_exec *exec, bool used_up) {
    uint64_t now = wr_monotonic_ns();
    uint64_t elapsed = now - exec->checked_ns;
    exec->checked_ns = now;
    if (exec->thread_ns == 0) begin_account(exec, elapsed);
    wr_status status = now >= exec->deadline_ns ? check_used(exec, now) : WR_OK;
    if (status != WR_OK) return status;
    elapsed <<= exec->fine;
    exec->chunk = next_chunk(exec);
    if (used_up && elapsed < CHUNK_SHORT_NS && exec->chunk < chunk_most(exec)) exec->chunk *= 2;
    for (; elapsed > CHUNK_LONG_NS && exec->chunk > CHUNK_LEAST; elapsed /= 2) exec->chunk /= 2;
    return WR_OK;
}

/* Budget ran out, or a long operation asks: charges fuel, looks at interrupt and clock, grants the next budget. */
wr_status wr_exec_check(wr_exec *exec) {
    exec->aot.work = 0;
    int64_t charged = exec->budget < 0 ? 1 : 0; /* the back-edge or call that found the budget empty */
    if (exec->fuel_limited) {
        exec->fuel_left -= (uint64_t)(exec->granted - (charged != 0 ? 0 : exec->budget));
        if (charged != 0 && exec->fuel_left == 0) {
            grant(exec, 0);
            return WR_TRAP_FUEL;
        }
    }
    wr_status status = exec->deadline_ns != 0 ? check_clock(exec, charged != 0) : WR_OK;
    grant(exec, charged);
    if (atomic_load_explicit(&exec->interrupt, memory_order_relaxed)) {
        atomic_store_explicit(&exec->interrupt, false, memory_order_relaxed);
        return WR_TRAP_INTERRUPTED;
    }
    return status;
}

wr_status wr_exec_worked(wr_exec *exec, uint64_t bytes) {
    exec->aot.work += bytes << exec->bulk_fine;
    return exec->aot.work < WR_WORK_MAX ? WR_OK : wr_exec_check(exec);
}

wr_status wr_exec_called(wr_exec *exec) {
    exec->aot.work += (uint64_t)WR_WORK_HOST << exec->fine;
    return exec->aot.work < WR_WORK_MAX ? WR_OK : wr_exec_check(exec);
}

wr_status wr_exec_refill(wr_exec *exec) {
    wr_status status = wr_exec_check(exec);
    if (status == WR_OK) exec->budget++;
    return status;
}

static void start_limits(wr_exec *exec) {
    exec->deadline_ns = 0;
    if (exec->deadline_us == 0 && !exec->fuel_limited) {
        exec->granted = exec->budget = next_chunk(exec);
        return;
    }
    if (exec->deadline_us != 0) {
        exec->checked_ns = wr_monotonic_ns();
        exec->deadline_ns = exec->checked_ns + exec->deadline_us * 1000;
        exec->thread_ns = 0;
    }
    exec->fuel_left = wr_exec_fuel_left(exec);
    grant(exec, 0);
}

/* ---- calls out of register code ---- */

void wr_set_instance(wr_exec *exec, wr_instance *instance) {
    exec->instance = instance;
    exec->codes = instance != NULL ? instance->codes : NULL;
    exec->globals = instance != NULL ? instance->globals : NULL;
}

static uint32_t call_slots(const wr_type *type) {
    return type->param_slots > type->result_slots ? type->param_slots : type->result_slots;
}

static const wr_insn *call_host(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot *fp, wr_slot *args) {
    uint32_t slots = call_slots(func->type);
    exec->pc = pc;
    exec->fp = fp;
    exec->status = WR_TRAP_STACK;
    if ((size_t)(exec->stack_end - args) < slots) return NULL;
    wr_slot *top = exec->top;
    exec->top = args + slots;
    exec->status = func->host(exec, func->env, args);
    exec->top = top;
    if (exec->status == WR_OK) exec->status = wr_exec_called(exec);
    return exec->status == WR_OK ? pc + 1 : NULL;
}

static void begin_frame(const wr_code *code, wr_slot *frame, const wr_insn *return_to, wr_slot *return_fp) {
    for (uint32_t i = 0; i < code->local_slots; i++) frame[code->param_slots + i].u64 = 0;
    frame[code->info_slot].u64 = (uintptr_t)return_to;
    frame[code->info_slot + 1].u64 = (uintptr_t)return_fp;
}

/* The arguments move up to make room for a record of where to return. */
static const wr_insn *call_across(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot *fp, wr_slot *args) {
    const wr_code *code = func->code;
    exec->status = WR_TRAP_STACK;
    if ((size_t)(exec->stack_end - args) < RECORD_SLOTS + (size_t)code->frame_slots) return NULL;
    wr_slot *frame = args + RECORD_SLOTS;
    memmove(frame, args, code->param_slots * sizeof *args);
    args[0].u64 = (uintptr_t)pc;
    args[1].u64 = (uintptr_t)fp;
    args[2].u64 = (uintptr_t)exec->instance;
    args[3].u64 = (uintptr_t)func;
    begin_frame(code, frame, &exec->instance_insns[0], args);
    wr_set_instance(exec, func->instance);
    exec->fp = frame;
    return code->insns;
}

const wr_insn *wr_enter_func(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot *fp, wr_slot *args) {
    if (func->instance != NULL && func->thunk != NULL) {
        exec->status = wr_aot_run_across(exec, func, pc, fp, args);
        return exec->status == WR_OK ? pc + 1 : NULL;
    }
    if (func->instance != NULL) return call_across(exec, func, pc, fp, args);
    const wr_insn *next = call_host(exec, func, pc, fp, args);
#ifndef WR_NO_EXCEPTIONS
    if (next == NULL && exec->status == WR_TRAP_EXCEPTION && exec->exception != NULL) {
        return wr_unwind(exec, exec->exception, pc, fp); /* it passed through the host function */
    }
#endif
    return next;
}

const wr_insn *wr_leave_instance(wr_exec *exec, wr_slot *record) {
    const wr_insn *pc = (const wr_insn *)(uintptr_t)record[0].u64;
    const wr_func *func = (const wr_func *)(uintptr_t)record[3].u64;
    exec->fp = (wr_slot *)(uintptr_t)record[1].u64;
    wr_set_instance(exec, (wr_instance *)(uintptr_t)record[2].u64);
    memmove(record, record + RECORD_SLOTS, func->type->result_slots * sizeof *record);
    return pc + 1;
}

/* A frame that was entered from another instance already has a record to return by; else one is put in between. */
static const wr_insn *tail_across(wr_exec *exec, const wr_func *func, wr_slot *fp, wr_slot *args,
                                  const wr_slot information[2]) {
    const wr_code *code = func->code;
    bool recorded = information[0].u64 == (uintptr_t)&exec->instance_insns[0];
    wr_slot *record = recorded ? (wr_slot *)(uintptr_t)information[1].u64 : fp;
    wr_slot *frame = fp + (recorded ? 0 : RECORD_SLOTS);
    exec->status = WR_TRAP_STACK;
    if ((size_t)(exec->stack_end - fp) < RECORD_SLOTS + (size_t)code->frame_slots) return NULL;
    memmove(frame, args, code->param_slots * sizeof *args);
    if (!recorded) {
        record[0] = information[0];
        record[1] = information[1];
        record[2].u64 = (uintptr_t)exec->instance;
        record[3].u64 = (uintptr_t)func;
    }
    begin_frame(code, frame, &exec->instance_insns[0], record);
    wr_set_instance(exec, func->instance);
    exec->fp = frame;
    return code->insns;
}

const wr_insn *wr_tail_func(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot *fp, wr_slot *args,
                            const wr_slot *information) {
    const wr_slot saved[2] = {information[0], information[1]};
    if (func->instance != NULL && func->thunk == NULL) return tail_across(exec, func, fp, args, saved);
    const wr_insn *next = wr_enter_func(exec, func, pc, fp, args);
    if (next != pc + 1) return next; /* trapped, or caught further up */
    memmove(fp, args, func->type->result_slots * sizeof *args);
    exec->fp = (wr_slot *)(uintptr_t)saved[1].u64;
    return (const wr_insn *)(uintptr_t)saved[0].u64 + 1;
}

/* ---- calls from the host ---- */

/* What a nested call must put back. */
typedef struct call_state {
    wr_instance *instance;
    const wr_insn *pc;
    wr_slot *fp;
    wr_slot *top;
    void *fault;
} call_state;

static void restore(wr_exec *exec, const call_state *state) {
    wr_set_instance(exec, state->instance);
    exec->pc = state->pc;
    exec->fp = state->fp;
    exec->top = state->top;
    exec->fault = state->fault;
    exec->depth--;
}

static wr_status run_wasm(wr_exec *exec, const wr_func *func, wr_slot *frame) {
    const wr_code *code = func->code;
    if (func->thunk != NULL) return wr_aot_run(exec, func, frame);
    if ((size_t)(exec->stack_end - frame) < code->frame_slots) return WR_TRAP_STACK;
    wr_set_instance(exec, func->instance);
    begin_frame(code, frame, &exec->exit_insns[0], frame);
    exec->pc = code->insns;
    exec->fp = frame;
    wr_exec *before = wr_fault_enter(exec);
    wr_fault_call(exec, code->insns, frame, wr_interp_run);
    wr_fault_leave(before);
    return exec->status;
}

static wr_status run_host(wr_exec *exec, const wr_func *func, wr_slot *frame) {
    exec->top = frame + call_slots(func->type);
    wr_exec *before = wr_fault_enter(NULL);
    wr_status status = func->host(exec, func->env, frame);
    wr_fault_leave(before);
    return status;
}

/* Mostly one or two, for which calling memcpy costs more than copying. */
static void copy_slots(wr_slot *to, const wr_slot *from, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) to[i] = from[i];
}

wr_status wr_call(wr_exec *exec, const wr_func *func, const wr_slot *args, wr_slot *results) {
    const call_state state = {exec->instance, exec->pc, exec->fp, exec->top, exec->fault};
    wr_slot *frame = exec->top;
    if (exec->depth == 0) start_limits(exec);
    exec->depth++;
    exec->trap.frame_count = exec->trap.frames_total = 0;
    if (exec->spot_count != 0) wr_trap_forget(exec);
    wr_status status = WR_TRAP_STACK;
    if ((size_t)(exec->stack_end - frame) >= call_slots(func->type) && exec->depth <= NESTED_CALLS_MAX) {
        copy_slots(frame, args, func->type->param_slots);
        status = func->instance != NULL ? run_wasm(exec, func, frame) : run_host(exec, func, frame);
    }
    if (status == WR_OK) {
        copy_slots(results, frame, func->type->result_slots);
    } else {
        wr_trap_record(exec, status);
    }
    restore(exec, &state);
    return status;
}

wr_status wr_call_timed(wr_exec *exec, const wr_func *func, const wr_slot *args, wr_slot *results, uint64_t *times_ns,
                        uint32_t count) {
    const uint64_t fuel = wr_exec_fuel_left(exec);
    const bool fuel_limited = exec->fuel_limited;
    for (uint32_t i = 0; i < count; i++) {
        wr_exec_set_limits(exec, exec->deadline_us, fuel);
        exec->fuel_limited = fuel_limited; /* also when none is left */
        const uint64_t begin = wr_monotonic_ns();
        wr_status status = wr_call(exec, func, args, results);
        times_ns[i] = wr_monotonic_ns() - begin;
        if (status != WR_OK) return status;
    }
    return WR_OK;
}
