/* Back-traces through compiled code. The C stack is unwound with the tables that compilers make for it, so running code
 * pays nothing; each return address is looked up among the sites the artefact noted (prelude.h). */
#include <unwind.h>

#include "aot.h"

/* Where in the module an address is. */
typedef struct place {
    uintptr_t pc;
    uint32_t offset;
    uint32_t chain; /* of inlined calls */
} place;
enum {
    PLACES = 16,
    UNWOUND_MAX = 3, /* of a call that ran out of time: each takes 1 to 10 us on a small processor */
    COMPARED_MAX = 1 << 20 /* sites, for frames that are only counted */
};

typedef struct unwind_walk {
    wr_exec *exec;
    wr_instance *instance; /* whose frames come next */
    wr_aot_link *link; /* the next call across instances, outwards */
    uint32_t offset, chain; /* of the first frame; 0: not known */
    uint32_t unwound; /* frames of functions so far */
    size_t compared; /* sites so far */
    place known[PLACES]; /* recursion comes by the same ones again and again */
} unwind_walk;

/* The last site at or before pc: code between two sites belongs to the first of them. */
static place find_place(const wra_artefact *artefact, uintptr_t pc) {
    uintptr_t best = 0;
    place out = {pc, 0, 0};
    for (const int32_t *site = artefact->sites; site < artefact->sites_end; site += 2) {
        const uintptr_t at = (uintptr_t)site + (uintptr_t)(intptr_t)*site;
        if (at > pc || at < best) continue;
        best = at;
        out.offset = (uint32_t)site[1];
    }
    for (const int32_t *site = artefact->inlined; site < artefact->inlined_end; site += 3) {
        const uintptr_t at = (uintptr_t)site + (uintptr_t)(intptr_t)*site;
        if (at > pc || at < best) continue;
        best = at;
        out.offset = (uint32_t)site[1];
        out.chain = (uint32_t)site[2];
    }
    return out;
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

static void put_frames(wr_trap *trap, const wr_module *module, uint32_t offset, uint32_t link) {
    const wra_artefact *artefact = module->aot->artefact;
    wr_trap_add(trap, module, find_func(module, offset), offset);
    for (; link != 0; link = artefact->chains[link][1]) {
        offset = artefact->chains[link][0];
        wr_trap_add(trap, module, find_func(module, offset), offset);
    }
}

void wr_aot_add_frames(wr_trap *trap, const wr_spot *spot) {
    place at = {spot->pc, spot->offset, spot->chain};
    if (at.offset == 0) at = find_place(spot->module->aot->artefact, spot->pc);
    put_frames(trap, spot->module, at.offset, at.chain);
}

static void add_frames(unwind_walk *walk, const wr_module *module, uintptr_t pc) {
    const wr_spot spot = {.module = (wr_module *)(uintptr_t)module,
                          .is_compiled = true,
                          .pc = pc,
                          .offset = walk->offset,
                          .chain = walk->chain};
    place *known = &walk->known[(pc >> 2) % PLACES];
    walk->offset = walk->chain = 0;
    if (wr_trap_keep(walk->exec, &spot)) return;
    if (spot.offset != 0) {
        put_frames(&walk->exec->trap, module, spot.offset, spot.chain);
        return;
    }
    if (known->pc != pc) {
        const wra_artefact *artefact = module->aot->artefact;
        if (walk->compared > COMPARED_MAX && walk->exec->trap.frame_count == WR_BACKTRACE_MAX) {
            walk->exec->trap.frames_total++;
            return;
        }
        walk->compared += (size_t)(artefact->sites_end - artefact->sites);
        walk->compared += (size_t)(artefact->inlined_end - artefact->inlined);
        *known = find_place(artefact, pc);
    }
    put_frames(&walk->exec->trap, module, known->offset, known->chain);
}

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *argument) {
    unwind_walk *walk = argument;
    int is_exact = 0;
    uintptr_t pc = (uintptr_t)_Unwind_GetIPInfo(context, &is_exact);
#if defined(__arm__)
    pc &= ~(uintptr_t)1; /* Thumb */
    const uintptr_t address = (uintptr_t)_Unwind_GetGR(context, 13); /* GetCFA is for the other phase there */
#else
    const uintptr_t address = (uintptr_t)_Unwind_GetCFA(context);
#endif
    const uintptr_t end = (uintptr_t)walk->exec->fault;
    if (!is_exact) pc--; /* back into the call */
    wr_instance *instance = walk->instance;
    for (const wr_aot_link *link = walk->link; link != NULL && (uintptr_t)link < address; link = link->outer) {
        instance = link->instance;
    }
    const wr_aot *aot = instance->module->aot;
    if (aot == NULL || pc < aot->text || pc >= aot->text_end) return _URC_NO_REASON;
    if (address > end) return _URC_END_OF_STACK; /* an outer call of the host's */
    if (pc >= (uintptr_t)aot->artefact->thunks && pc < (uintptr_t)aot->artefact->thunks_end) return _URC_NO_REASON;
    pass_links(walk, address);
    if (wr_trap_is_hurried(walk->exec) && walk->unwound++ == UNWOUND_MAX) walk->exec->has_more = true;
    if (walk->exec->has_more) return _URC_END_OF_STACK;
    add_frames(walk, instance->module, pc);
    return _URC_NO_REASON;
}

void wr_aot_trace(wr_exec *exec, uint32_t offset, uint32_t chain) {
    if (!exec->is_traced) wr_trap_begin(exec, exec->status);
    unwind_walk walk = {exec, exec->instance, exec->aot_link, offset, chain, 0, 0, {{0, 0, 0}}};
    (void)_Unwind_Backtrace(on_frame, &walk);
    pass_links(&walk, (uintptr_t)exec->fault);
}
