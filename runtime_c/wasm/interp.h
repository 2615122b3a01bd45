/* The interpreter: handlers of register code. */
#ifndef WR_INTERP_H
#define WR_INTERP_H
#include "runtime.h"

/* Address of each wr_op's handler, as stored in wr_insn.op. */
const uintptr_t *wr_interp_handlers(void);
/* Runs from insn until OP_EXIT or a trap (exec->status). The stack and exec->instance are set. */
void wr_interp_run(wr_exec *exec, const wr_insn *insn, wr_slot *fp);

/* Calls that leave the fast path return the instruction to go on with and leave its frame in exec->fp; NULL: trap in
 * exec->status. (call.c) */
const wr_insn *wr_enter_func(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot *fp, wr_slot *args);
const wr_insn *wr_leave_instance(wr_exec *exec, wr_slot *record);
/* A tail call: information is this frame's, which the callee takes over. */
const wr_insn *wr_tail_func(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot *fp, wr_slot *args,
                            const wr_slot *information);
void wr_set_instance(wr_exec *exec, wr_instance *instance);

/* Exceptions (exception.c), likewise; not caught: TRAP_EXCEPTION. */
const wr_insn *wr_throw(wr_exec *exec, const wr_tag *tag, const wr_slot *values, const wr_insn *pc, wr_slot *fp);
const wr_insn *wr_unwind(wr_exec *exec, wr_exn *exception, const wr_insn *pc, wr_slot *fp);

#endif
