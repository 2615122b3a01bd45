/* Calls that a memory fault can end: what sigsetjmp and siglongjmp do, in a third of their time. The registers that a
 * function must preserve go on the stack, the stack pointer into wr_exec.fault; a fault takes them from there.
 *
 * Elsewhere, and where a sanitizer keeps books on the stack, it is sigsetjmp. */
#include "fault.h"
#include "runtime.h"

_Static_assert(offsetof(wr_exec, fault) == 0, "the code below stores to it");

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PORTABLE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define PORTABLE 1
#endif
#endif

#if !defined(PORTABLE) && defined(__x86_64__) && defined(__ELF__)

#define SAVE                                                                                     \
    "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n sub $8, %rsp\n"     \
    "mov %rsp, (%rdi)\n"
#define CALL "call *%rcx\n"
#define RESTORE                                                                                  \
    "add $8, %rsp\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
#define RESUME "mov %rdi, %rsp\n jmp wr_fault_restore\n"
#define FUNCTION "function"
#define PREAMBLE ""

#elif !defined(PORTABLE) && defined(__aarch64__) && defined(__ELF__)

#define SAVE                                                                                     \
    "stp x29, x30, [sp, #-160]!\n mov x29, sp\n"                                                 \
    "stp x19, x20, [sp, #16]\n stp x21, x22, [sp, #32]\n stp x23, x24, [sp, #48]\n"              \
    "stp x25, x26, [sp, #64]\n stp x27, x28, [sp, #80]\n"                                        \
    "stp d8, d9, [sp, #96]\n stp d10, d11, [sp, #112]\n stp d12, d13, [sp, #128]\n"              \
    "stp d14, d15, [sp, #144]\n str x29, [x0]\n"
#define CALL "blr x3\n"
#define RESTORE                                                                                  \
    "ldp x19, x20, [sp, #16]\n ldp x21, x22, [sp, #32]\n ldp x23, x24, [sp, #48]\n"              \
    "ldp x25, x26, [sp, #64]\n ldp x27, x28, [sp, #80]\n"                                        \
    "ldp d8, d9, [sp, #96]\n ldp d10, d11, [sp, #112]\n ldp d12, d13, [sp, #128]\n"              \
    "ldp d14, d15, [sp, #144]\n ldp x29, x30, [sp], #160\n ret\n"
#define RESUME "mov sp, x0\n b wr_fault_restore\n"
#define FUNCTION "function"
#define PREAMBLE ""

#elif !defined(PORTABLE) && defined(__arm__) && defined(__ARM_FP) && __ARM_ARCH >= 7 && defined(__ELF__)

#define SAVE "push {r4-r11, lr}\n sub sp, #4\n vpush {d8-d15}\n mov r4, sp\n str r4, [r0]\n"
#define CALL "blx r3\n"
#define RESTORE "vpop {d8-d15}\n add sp, #4\n pop {r4-r11, pc}\n"
#define RESUME "mov sp, r0\n b wr_fault_restore\n"
#define FUNCTION "%function"
#ifdef __thumb__
#define PREAMBLE ".syntax unified\n .thumb\n .thumb_func\n"
#else
#define PREAMBLE ".syntax unified\n .arm\n"
#endif

#elif !defined(PORTABLE) && defined(__riscv) && __riscv_xlen == 64 && defined(__riscv_float_abi_double)

#define SAVE                                                                                     \
    "addi sp, sp, -208\n sd ra, 0(sp)\n"                                                         \
    "sd s0, 8(sp)\n sd s1, 16(sp)\n sd s2, 24(sp)\n sd s3, 32(sp)\n sd s4, 40(sp)\n"             \
    "sd s5, 48(sp)\n sd s6, 56(sp)\n sd s7, 64(sp)\n sd s8, 72(sp)\n sd s9, 80(sp)\n"            \
    "sd s10, 88(sp)\n sd s11, 96(sp)\n fsd fs0, 104(sp)\n fsd fs1, 112(sp)\n"                    \
    "fsd fs2, 120(sp)\n fsd fs3, 128(sp)\n fsd fs4, 136(sp)\n fsd fs5, 144(sp)\n"                \
    "fsd fs6, 152(sp)\n fsd fs7, 160(sp)\n fsd fs8, 168(sp)\n fsd fs9, 176(sp)\n"                \
    "fsd fs10, 184(sp)\n fsd fs11, 192(sp)\n sd sp, 0(a0)\n"
#define CALL "jalr a3\n"
#define RESTORE                                                                                  \
    "ld ra, 0(sp)\n"                                                                             \
    "ld s0, 8(sp)\n ld s1, 16(sp)\n ld s2, 24(sp)\n ld s3, 32(sp)\n ld s4, 40(sp)\n"             \
    "ld s5, 48(sp)\n ld s6, 56(sp)\n ld s7, 64(sp)\n ld s8, 72(sp)\n ld s9, 80(sp)\n"            \
    "ld s10, 88(sp)\n ld s11, 96(sp)\n fld fs0, 104(sp)\n fld fs1, 112(sp)\n"                    \
    "fld fs2, 120(sp)\n fld fs3, 128(sp)\n fld fs4, 136(sp)\n fld fs5, 144(sp)\n"                \
    "fld fs6, 152(sp)\n fld fs7, 160(sp)\n fld fs8, 168(sp)\n fld fs9, 176(sp)\n"                \
    "fld fs10, 184(sp)\n fld fs11, 192(sp)\n addi sp, sp, 208\n ret\n"
#define RESUME "mv sp, a0\n j wr_fault_restore\n"
#define FUNCTION "function"
#define PREAMBLE ""

#endif

#ifdef SAVE

#define DEFINE(NAME, CODE)                                                                     \
    ".global " #NAME "\n .hidden " #NAME "\n .type " #NAME ", " AT_SIGN FUNCTION "\n"          \
    PREAMBLE #NAME ":\n" CODE ".size " #NAME ", . - " #NAME "\n"
#ifdef __arm__
#define AT_SIGN ""
#else
#define AT_SIGN "@"
#endif

__asm__(".text\n .balign 16\n" DEFINE(wr_fault_call, SAVE CALL) DEFINE(wr_fault_restore, RESTORE)
            DEFINE(wr_fault_resume, RESUME));

#else

#include <setjmp.h>

void wr_fault_call(wr_exec *exec, const wr_insn *insn, wr_slot *fp, wr_fault_body body) {
    sigjmp_buf place;
    exec->fault = &place;
    /* The mask is not saved: the fault handler does not change it. */
    if (sigsetjmp(place, 0) == 0) body(exec, insn, fp);
}

void wr_fault_resume(void *place) { siglongjmp(*(sigjmp_buf *)place, 1); }

#endif
