/* Back-traces through compiled code. The C stack is unwound with the tables that compilers make for it, so running code
 * pays nothing; each return address is looked up among the sites the artefact noted (prelude.h). */
#include <unwind.h>

#include "aot.h"

typedef struct unwind_walk {
    wr_exec *exec;
    wr_instance *instance; /* whose frames come next */
    wr_aot_link *link; /* the next call across instances, outwards */
    uint32_t offset; /* of the first frame; 0: not known */
} unwind_walk;

/* The last site at or before pc: code between two sites belongs to the first of them. */
static uint32_t find_offset(const wra_artefact *artefact, uintptr_t pc) {
    uintptr_t best = 0;
    uint32_t offset = 0;
    for (const int32_t *site = artefact->sites; site < artefact->sites_end; site += 2) {
        const uintptr_t at = (uintptr_t)site + (uintptr_t)(intptr_t)*site;
        if (at > pc || at < best) continue;
        best = at;
        offset = (uint32_t)site[1];
    }
    return offset;
}

static uint32_t find_func(const wr_module *module, uint32_t offset) {
    uint32_t low = 0, high = module->func_count - module->func_imports;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (module->code[middle].body_offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return module->func_imports + low;
}

/* Calls across instances that were made further in than the frame at this address. */
static void pass_links(unwind_walk *walk, uintptr_t address) {
    while (walk->link != NULL && (uintptr_t)walk->link < address) {
        const wr_aot_link *link = walk->link;
        walk->instance = link->instance;
        if (link->pc != NULL) wr_trap_walk(walk->exec, link->pc, link->fp, link->instance);
        walk->link = link->outer;
    }
}

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *argument) {
    unwind_walk *walk = argument;
    int is_exact = 0;
    uintptr_t pc = (uintptr_t)_Unwind_GetIPInfo(context, &is_exact);
#if defined(__arm__)
    pc &= ~(uintptr_t)1; /* Thumb */
#endif
    if (!is_exact) pc--; /* back into the call */
    const uintptr_t address = (uintptr_t)_Unwind_GetCFA(context), end = (uintptr_t)walk->exec->fault;
    wr_instance *instance = walk->instance;
    for (const wr_aot_link *link = walk->link; link != NULL && (uintptr_t)link < address; link = link->outer) {
        instance = link->instance;
    }
    const wr_aot *aot = instance->module->aot;
    if (aot == NULL || pc < aot->text || pc >= aot->text_end) return _URC_NO_REASON;
    if (address > end) return _URC_END_OF_STACK; /* an outer call of the host's */
    if (pc >= (uintptr_t)aot->artefact->thunks && pc < (uintptr_t)aot->artefact->thunks_end) return _URC_NO_REASON;
    pass_links(walk, address);
    wr_trap *trap = &walk->exec->trap;
    if (trap->frame_count == WR_BACKTRACE_MAX) {
        trap->frames_total++;
        return _URC_NO_REASON;
    }
    const uint32_t offset = walk->offset != 0 ? walk->offset : find_offset(aot->artefact, pc);
    walk->offset = 0;
    wr_trap_add(trap, instance->module, find_func(instance->module, offset), offset);
    return _URC_NO_REASON;
}

void wr_aot_trace(wr_exec *exec, uint32_t offset) {
    if (!exec->is_traced) wr_trap_begin(exec);
    unwind_walk walk = {exec, exec->instance, exec->aot_link, offset};
    (void)_Unwind_Backtrace(on_frame, &walk);
    pass_links(&walk, (uintptr_t)exec->fault);
}
