/* What a trap tells: its kind and the functions it went through. */
#include <string.h>

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

void wr_trap_walk(wr_exec *exec, const wr_insn *pc, const wr_slot *fp, const wr_instance *instance) {
    while (instance != NULL && pc != NULL) {
        uint32_t index = 0;
        const wr_code *code = wr_code_find(instance, pc, &index);
        if (code == NULL) return;
        wr_trap_add(&exec->trap, instance->module, index, wr_code_offset(code, pc));
        const wr_slot *info = fp + code->info_slot;
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

void wr_trap_begin(wr_exec *exec) {
    memset(&exec->trap, 0, sizeof exec->trap);
    exec->is_traced = true;
}

void wr_trap_record(wr_exec *exec, wr_status status) {
    if (!exec->is_traced) {
        wr_trap_begin(exec);
        wr_trap_walk(exec, exec->pc, exec->fp, exec->instance);
    }
    exec->is_traced = false;
    exec->trap.status = status;
    exec->trap.exit_code = status == WR_TRAP_EXIT ? exec->exit_code : 0;
}
