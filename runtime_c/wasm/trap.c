/* What a trap tells: its kind and the functions it went through. */
#include <string.h>

#include "../aot/aot.h"
#include "runtime.h"

/* The code of an instance lies in one piece, in the order of its functions: a deep stack is not to be walked by looking
 * at all functions for each frame. */
const wr_code *wr_code_find(const wr_instance *instance, const wr_insn *pc, uint32_t *index) {
    const wr_module *module = instance->module;
    uint32_t low = 0, high = module->func_count - module->func_imports;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const wr_code *code = &instance->codes[middle];
        if (pc >= code->insns && pc < code->insns + code->insn_count) {
            *index = module->func_imports + middle;
            return code;
        }
        if (pc < code->insns) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

void wr_trap_add(wr_trap *trap, const wr_module *module, uint32_t index, uint32_t offset) {
    trap->frames_total++;
    if (trap->frame_count == WR_BACKTRACE_MAX) return;
    wr_frame *frame = &trap->frames[trap->frame_count++];
    *frame = (wr_frame){.func_index = index, .offset = offset};
    uint32_t len = 0;
    const char *name = wr_module_func_name(module, index, &len);
    if (name == NULL) return;
    if (len >= sizeof frame->name) len = sizeof frame->name - 1;
    memcpy(frame->name, name, len);
}

static void add_interpreted(wr_trap *trap, const wr_spot *spot) {
    const bool is_told = trap->frame_count < WR_BACKTRACE_MAX;
    wr_trap_add(trap, spot->module, spot->func_index, is_told ? wr_code_offset(spot->code, spot->insn) : 0);
}

/* ---- calls that ran out of time ---- */

/* What they were in is found out once somebody asks: names and offsets of large modules take long to find, and so do
 * the frames of a deep recursion. */
bool wr_trap_is_hurried(const wr_exec *exec) {
    return exec->trap.status == WR_TRAP_DEADLINE || exec->trap.status == WR_TRAP_INTERRUPTED;
}

bool wr_trap_keep(wr_exec *exec, const wr_spot *spot) {
    if (!wr_trap_is_hurried(exec)) return false;
    exec->has_more = exec->spot_count == WR_BACKTRACE_MAX;
    if (exec->has_more) return true;
    exec->spots[exec->spot_count++] = *spot;
    (void)wr_module_retain(spot->module);
    return true;
}

void wr_trap_forget(wr_exec *exec) {
    for (uint32_t i = 0; i < exec->spot_count; i++) wr_module_release(exec->spots[i].module);
    exec->spot_count = 0;
    exec->has_more = false;
}

const wr_trap *wr_exec_trap(wr_exec *exec) {
    for (uint32_t i = 0; i < exec->spot_count; i++) {
        const wr_spot *spot = &exec->spots[i];
        if (spot->is_compiled) {
            wr_aot_add_frames(&exec->trap, spot);
        } else {
            add_interpreted(&exec->trap, spot);
        }
    }
    exec->trap.frames_total += exec->has_more;
    wr_trap_forget(exec);
    return &exec->trap;
}

/* ---- frames ---- */

void wr_trap_walk(wr_exec *exec, const wr_insn *pc, const wr_slot *fp, const wr_instance *instance) {
    while (instance != NULL && pc != NULL && !exec->has_more) {
        wr_spot spot = {.module = (wr_module *)(uintptr_t)instance->module, .insn = pc};
        spot.code = wr_code_find(instance, pc, &spot.func_index);
        if (spot.code == NULL) return;
        if (!wr_trap_keep(exec, &spot)) add_interpreted(&exec->trap, &spot);
        const wr_slot *info = fp + spot.code->info_slot;
        pc = (const wr_insn *)(uintptr_t)info[0].u64;
        fp = (const wr_slot *)(uintptr_t)info[1].u64;
        if (pc == &exec->exit_insns[0]) return;
        while (pc == &exec->instance_insns[0]) { /* fp is the record of the call across (call.c) */
            pc = (const wr_insn *)(uintptr_t)fp[0].u64;
            instance = (const wr_instance *)(uintptr_t)fp[2].u64;
            fp = (const wr_slot *)(uintptr_t)fp[1].u64;
        }
        if (pc == &exec->exit_insns[0]) return; /* a tail call out of the outermost function */
    }
}

void wr_trap_begin(wr_exec *exec, wr_status status) {
    memset(&exec->trap, 0, sizeof exec->trap);
    wr_trap_forget(exec);
    exec->trap.status = status;
    exec->is_traced = true;
}

void wr_trap_record(wr_exec *exec, wr_status status) {
    if (!exec->is_traced) {
        wr_trap_begin(exec, status);
        wr_trap_walk(exec, exec->pc, exec->fp, exec->instance);
    }
    exec->is_traced = false;
    exec->trap.status = status;
    exec->trap.exit_code = status == WR_TRAP_EXIT ? exec->exit_code : 0;
}
