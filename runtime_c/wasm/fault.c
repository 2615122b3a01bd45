#include "fault.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "../aot/aot.h"

/* The only mutable state at file scope: the kernel keeps one handler per process and faults arrive per thread.
 * Whoever installs a handler after us may chain to ours, and is put behind it (wr_fault_install): the two would call
 * each other for ever. So a signal that is raised while one is being passed on goes to who was there first. */
typedef struct wr_previous {
    struct sigaction first; /* before our first installation */
    struct sigaction last;
} wr_previous;
static wr_previous previous_segv, previous_bus;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static bool installed;
_Thread_local wr_exec *wr_fault_exec;
static _Thread_local bool passing_on __attribute__((tls_model("initial-exec")));

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
    } else if (previous->sa_handler == SIG_DFL || info->si_code > 0) {
        /* The default action, once the faulting instruction runs again. */
        struct sigaction fatal;
        memset(&fatal, 0, sizeof fatal);
        fatal.sa_handler = SIG_DFL;
        sigaction(signal, &fatal, NULL);
        if (info->si_code <= 0) raise(signal);
    }
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    wr_exec *exec = wr_fault_exec;
    bool raised = info->si_code <= 0; /* by a process, not by an instruction */
    if (exec != NULL && exec->fault != NULL && !raised) {
        const uint8_t *address = info->si_addr;
        const wr_memory *memory = find_memory(exec, address);
        if (memory != NULL) {
            bool inside = (uint64_t)(address - memory->data) < wr_memory_size(memory);
            exec->status = inside ? WR_TRAP_MEMORY_PROTECTED : WR_TRAP_MEMORY_BOUNDS;
            if (exec->instance->is_compiled) wr_aot_trace(exec, 0, 0);
            wr_fault_resume(exec->fault);
        }
    }
    const wr_previous *previous = signal == SIGSEGV ? &previous_segv : &previous_bus;
    const struct sigaction *next = raised && passing_on ? &previous->first : &previous->last;
    passing_on = true;
    pass_on(next, signal, info, context);
    passing_on = false;
}

/* Puts our handler in front of whoever is there. */
static bool put_in_front(int signal, wr_previous *previous) {
    struct sigaction action, present;
    if (sigaction(signal, NULL, &present) != 0) return false;
    if ((present.sa_flags & SA_SIGINFO) != 0 && present.sa_sigaction == on_fault) return true;
    previous->last = present;
    if (!installed) previous->first = present;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    /* NODEFER: the handler leaves by a jump that does not restore the signal mask. */
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, NULL) == 0;
}

wr_status wr_fault_install(void) {
    pthread_mutex_lock(&install_lock);
    bool done = put_in_front(SIGSEGV, &previous_segv) && put_in_front(SIGBUS, &previous_bus);
    installed |= done;
    pthread_mutex_unlock(&install_lock);
    return done ? WR_OK : WR_SYSTEM;
}
