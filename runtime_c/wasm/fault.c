#include "fault.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "../aot/aot.h"

/* The only mutable state at file scope: the kernel keeps one handler per process and faults arrive per thread. */
static struct sigaction previous_segv, previous_bus;
static pthread_once_t install_once = PTHREAD_ONCE_INIT;
static int install_failed;
static _Thread_local wr_exec *current_exec __attribute__((tls_model("initial-exec")));

wr_exec *wr_fault_enter(wr_exec *exec) {
    wr_exec *before = current_exec;
    current_exec = exec;
    return before;
}

void wr_fault_leave(wr_exec *before) { current_exec = before; }

/* The memory of the running instance that the address lies in, as reserved. */
static const wr_memory *find_memory(const wr_exec *exec, const uint8_t *address) {
    const wr_instance *instance = exec->instance;
    if (instance == NULL) return NULL;
    for (uint32_t i = 0; i < instance->module->memory_count; i++) {
        const wr_memory *memory = instance->memories[i];
        if (address >= memory->data && (uint64_t)(address - memory->data) < memory->reserved) return memory;
    }
    return NULL;
}

static void pass_on(const struct sigaction *previous, int signal, siginfo_t *info, void *context) {
    if ((previous->sa_flags & SA_SIGINFO) != 0) {
        previous->sa_sigaction(signal, info, context);
    } else if (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN) {
        previous->sa_handler(signal);
    } else {
        /* The default action, once the faulting instruction runs again. */
        struct sigaction fatal;
        memset(&fatal, 0, sizeof fatal);
        fatal.sa_handler = SIG_DFL;
        sigaction(signal, &fatal, NULL);
    }
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    wr_exec *exec = current_exec;
    if (exec != NULL && exec->fault != NULL) {
        const uint8_t *address = info->si_addr;
        const wr_memory *memory = find_memory(exec, address);
        if (memory != NULL) {
            bool inside = (uint64_t)(address - memory->data) < wr_memory_size(memory);
            exec->status = inside ? WR_TRAP_MEMORY_PROTECTED : WR_TRAP_MEMORY_BOUNDS;
            if (exec->instance->is_compiled) wr_aot_trace(exec, 0);
            wr_fault_resume(exec->fault);
        }
    }
    pass_on(signal == SIGSEGV ? &previous_segv : &previous_bus, signal, info, context);
}

static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    /* NODEFER: the handler leaves by a jump that does not restore the signal mask. */
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    install_failed = sigaction(SIGSEGV, &action, &previous_segv) != 0 || sigaction(SIGBUS, &action, &previous_bus) != 0;
}

wr_status wr_fault_install(void) {
    pthread_once(&install_once, install);
    return install_failed ? WR_SYSTEM : WR_OK;
}
