/* Compiled modules inside the engine: loading (load.c), running (run.c), back-traces (trace.c). */
#ifndef WR_AOT_H
#define WR_AOT_H
#include "../wasm/runtime.h"
#include "hash.h"

/* A loaded artefact; belongs to its module. */
typedef struct wr_aot {
    void *handle;
    const wra_artefact *artefact;
    uintptr_t text, text_end; /* where its code is */
} wr_aot;

/* A call into another instance, on the C stack of whoever makes it. */
typedef struct wr_aot_link {
    struct wr_aot_link *outer;
    wr_instance *instance; /* that makes the call */
    const wr_insn *pc;     /* interpreted: where it goes on from; compiled: NULL */
    const wr_slot *fp;
} wr_aot_link;

enum { WR_AOT_SYMBOL_BYTES = 32 };
void wr_aot_symbol(const uint8_t hash[WR_HASH_BYTES], char out[WR_AOT_SYMBOL_BYTES]);
void wr_aot_unload(wr_module *module);
/* Makes the functions of a new instance run compiled code, if its module has some that fits the memories. */
void wr_aot_bind(wr_instance *instance, bool guarded);

/* Runs a compiled function from the host; the arguments are in the frame. */
wr_status wr_aot_run(wr_exec *exec, const wr_func *func, wr_slot *frame);
/* From the interpreter, in another instance. Status of the call. */
wr_status wr_aot_run_across(wr_exec *exec, const wr_func *func, const wr_insn *pc, wr_slot *fp, wr_slot *args);
extern const wra_runtime wr_aot_runtime;

/* Fills exec->trap with the compiled functions that this was called from (and the interpreted ones in between), behind
 * what is there already. offset: of the instruction that traps, chain: of inlined calls it is in; 0: look it up. */
void wr_aot_trace(wr_exec *exec, uint32_t offset, uint32_t chain);
/* The frames that one on the C stack stands for: several where calls were inlined. */
void wr_aot_add_frames(wr_trap *trap, const wr_spot *spot);

#endif
