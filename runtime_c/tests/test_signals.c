/* Faults that are traps, beside an application that handles SIGSEGV and SIGBUS itself; and after fork. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

enum { THREADS = 3, ROUNDS = 20 };

static const build_func FUNCS[] = {
    {"", "", NULL, "touch", NULL, 0, NULL},
    {"i", "i", "load", NULL, BUILD_BODY(0, 0x20, 0, 0x28, 2, 0, 0x0B), NULL},
    {"", "", "call_touch", NULL, BUILD_BODY(0, 0x10, 0, 0x0B), NULL},
};
static const build_module MODULE = {.funcs = FUNCS, .func_count = 3, .memory_min = 1, .memory_max = 1};

/* The application: takes its faults by a jump out of the handler, which is as rude as it gets. */
static _Thread_local sigjmp_buf application_continues;
static _Thread_local volatile sig_atomic_t application_took;

static void application_handler(int signal) {
    application_took = signal;
    siglongjmp(application_continues, 1);
}

static void handle(int signal, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_NODEFER;
    sigaction(signal, &action, NULL);
}

/* A load where nothing is (SIGSEGV), or beyond the end of a mapped file (SIGBUS). Returns the signal that came. */
static int fault(int signal) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int fd = memfd_create("empty", MFD_CLOEXEC);
    volatile uint8_t *at = signal == SIGBUS ? mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0)
                                            : mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    application_took = 0;
    if (sigsetjmp(application_continues, 1) == 0) {
        (void)at[0];
    }
    munmap((void *)(uintptr_t)at, page);
    close(fd);
    return application_took;
}

static wr_status touch(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec, (void)slots;
    *(int *)env = fault(SIGSEGV);
    return WR_OK;
}

/* The host function's env is *took. */
static wr_status open_module(fixture *fix, int *took) {
    const wr_func_type type = {NULL, NULL, 0, 0};
    wr_extern import = {WR_EXTERN_FUNC, {NULL}};
    build_t bytes = {0};
    wr_status status = fixture_open(fix, NULL);
    build_whole(&bytes, &MODULE);
    status = status == WR_OK ? fixture_load(fix, &bytes) : status;
    status = status == WR_OK ? wr_func_new(fix->store, &type, touch, took, &import.of.func) : status;
    return status == WR_OK ? fixture_link(fix, &import, 1, NULL) : status;
}

static wr_status load_at(fixture *fix, uint32_t address) {
    wr_slot slot = {.u64 = address};
    return fixture_call(fix, "load", &slot);
}

/* The handlers were there before the engine, which is what libraries and faulthandler at start-up look like. */
static void handlers_of_before_are_kept(check_t *check) {
    fixture fix;
    int took = 0;
    handle(SIGSEGV, application_handler);
    handle(SIGBUS, application_handler);
    REQUIRE_OK(open_module(&fix, &took));
    CHECK_STATUS(load_at(&fix, 65536), WR_TRAP_MEMORY_BOUNDS);
    CHECK_EQ_I64(fault(SIGSEGV), SIGSEGV);
    CHECK_EQ_I64(fault(SIGBUS), SIGBUS);
    CHECK_STATUS(load_at(&fix, 0xFFFFFFFF), WR_TRAP_MEMORY_BOUNDS);
    wr_slot slot = {.u64 = 0};
    CHECK_OK(fixture_call(&fix, "call_touch", &slot)); /* a fault of a host function is the application's */
    CHECK_EQ_I64(took, SIGSEGV);
    CHECK_STATUS(load_at(&fix, 65536), WR_TRAP_MEMORY_BOUNDS);
    fixture_close(&fix);
}

/* An application that comes later replaces the engine's handlers; the next guarded memory puts them in front again. */
static void handlers_of_later_are_kept(check_t *check) {
    fixture first, second;
    int took = 0;
    REQUIRE_OK(open_module(&first, &took));
    handle(SIGSEGV, application_handler);
    handle(SIGBUS, application_handler);
    REQUIRE_OK(open_module(&second, &took));
    CHECK_STATUS(load_at(&first, 65536), WR_TRAP_MEMORY_BOUNDS);
    CHECK_STATUS(load_at(&second, 65536), WR_TRAP_MEMORY_BOUNDS);
    CHECK_EQ_I64(fault(SIGSEGV), SIGSEGV);
    CHECK_EQ_I64(fault(SIGBUS), SIGBUS);
    fixture_close(&first);
    fixture_close(&second);
}

static void *trap_and_fault(void *argument) {
    uint64_t *wrong = argument;
    for (uint32_t round = 0; round < fixture_guard_rounds(ROUNDS); round++) {
        fixture fix;
        int took = 0;
        *wrong += open_module(&fix, &took) != WR_OK || load_at(&fix, 65536) != WR_TRAP_MEMORY_BOUNDS;
        *wrong += fault(SIGSEGV) != SIGSEGV;
        fixture_close(&fix);
    }
    return NULL;
}

static void many_engines_and_threads_at_once(check_t *check) {
    pthread_t threads[THREADS];
    uint64_t wrong[THREADS] = {0};
    handle(SIGSEGV, application_handler);
    for (size_t i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, trap_and_fault, &wrong[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQ_U64(wrong[i], 0);
    }
}

/* How a child process ended that does this. */
static int in_a_child(void (*body)(void *), void *argument) {
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        body(argument);
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

static void fault_by_default(void *argument) {
    fixture fix;
    int took = 0;
    (void)argument;
    handle(SIGSEGV, SIG_DFL);
    if (open_module(&fix, &took) == WR_OK && load_at(&fix, 65536) == WR_TRAP_MEMORY_BOUNDS) {
        (void)*(volatile uint8_t *)mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
}

static void without_handlers_a_fault_is_fatal(check_t *check) {
    int status = in_a_child(fault_by_default, NULL);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void use_in_child(void *argument) {
    fixture *fix = argument;
    wr_slot slot = {.u64 = 8};
    bool right = fixture_call(fix, "load", &slot) == WR_OK && slot.u32 == 7;
    right = right && load_at(fix, 65536) == WR_TRAP_MEMORY_BOUNDS;
    wr_memory_data(wr_instance_memory(fix->instance, 0))[8] = 9;
    fixture_close(fix);
    _exit(right ? 3 : 4);
}

/* What is loaded before fork works on in both: memory is copied on write, guards and handlers are inherited. */
static void a_child_has_its_own_copy(check_t *check) {
    fixture fix;
    int took = 0;
    wr_slot slot = {.u64 = 8};
    REQUIRE_OK(open_module(&fix, &took));
    wr_memory_data(wr_instance_memory(fix.instance, 0))[8] = 7;
    int status = in_a_child(use_in_child, &fix);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    CHECK_OK(fixture_call(&fix, "load", &slot));
    CHECK_EQ_U64(slot.u32, 7);
    fixture_close(&fix);
}

static const check_test TESTS[] = {
    CHECK_TEST(handlers_of_before_are_kept),      CHECK_TEST(handlers_of_later_are_kept),
    CHECK_TEST(many_engines_and_threads_at_once), CHECK_TEST(without_handlers_a_fault_is_fatal),
    CHECK_TEST(a_child_has_its_own_copy),
};
CHECK_MAIN(TESTS)
