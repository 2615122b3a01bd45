/* The interpreter: handlers of register code. */
#ifndef WR_INTERP_H
#define WR_INTERP_H
#include "runtime.h"

/* Address of each wr_op's handler, as stored in wr_insn.op. */
const uintptr_t *wr_interp_handlers(void);
/* Runs from insn until OP_EXIT or a trap (exec->status). The stack and exec->instance are set. */
void wr_interp_run(wr_exec *exec, const wr_insn *insn, wr_slot *fp);

/* Calls that leave the fast path; they set up the next frame and return its first instruction, or NULL: trap in
 * exec->status. *fp is updated. (call.c) */
const wr_insn *wr_enter_func(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot **fp, wr_slot *args);
const wr_insn *wr_leave_instance(wr_exec *exec, wr_slot **fp);
/* A tail call that leaves the fast path: information is this frame's, which the callee takes over. */
const wr_insn *wr_tail_func(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot **fp, wr_slot *args,
                            const wr_slot *information);
void wr_set_instance(wr_exec *exec, wr_instance *instance);

/* Exceptions (exception.c): where control goes on, or NULL: not caught, TRAP_EXCEPTION in exec->status. */
const wr_insn *wr_throw(wr_exec *exec, const wr_tag *tag, const wr_slot *values, const wr_insn *pc, wr_slot **fp);
const wr_insn *wr_unwind(wr_exec *exec, wr_exn *exception, const wr_insn *pc, wr_slot **fp);
#endif
