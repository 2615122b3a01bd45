/* Memory faults of running plugins become traps. One handler per process, chained to what was there before; which
 * execution a fault belongs to is per-thread state. */
#ifndef WR_FAULT_H
#define WR_FAULT_H
#include "code.h"

/* For every engine and every memory that relies on it: puts the handler in front of one that was installed since. */
wr_status wr_fault_install(void);
/* The execution this thread is in. */
extern _Thread_local wr_exec *wr_fault_exec __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* From now on; returns the one before. */
static inline wr_exec *wr_fault_enter(wr_exec *exec) {
    wr_exec *before = wr_fault_exec;
    wr_fault_exec = exec;
    return before;
}

static inline void wr_fault_leave(wr_exec *before) { wr_fault_exec = before; }

/* Runs body(exec, insn, fp) until it returns or a fault ends it: exec->fault is where wr_fault_resume gets back to. */
typedef void (*wr_fault_body)(wr_exec *exec, const wr_insn *insn, wr_slot *fp);
void wr_fault_call(wr_exec *exec, const wr_insn *insn, wr_slot *fp, wr_fault_body body);
void wr_fault_resume(void *place) __attribute__((noreturn));

#endif
