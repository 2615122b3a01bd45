/* Prints the register code of a module's functions, to see what was fused and what was not.
 *
 *   regcode MODULE.wasm [FUNCTION-INDEX]
 *
 * One line per instruction: number, operation, slots a b, slots c d or the 32-bit constant they make. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../wasm/interp.h"
#include "read_file.h"

#define TEXT_INT_BINARY(C, NAME, TEXT, T, COMM, EXPR) #NAME "_RR", #NAME "_RI",
#define TEXT_INT_DIVIDE(C, NAME, TEXT, T, CHECK, EXPR) #NAME "_RR", #NAME "_RI",
#define TEXT_FLOAT_BINARY(C, NAME, TEXT, T, EXPR) #NAME "_RR", #NAME "_RK",
#define TEXT_INT_COMPARE(C, NAME, TEXT, T, INV, SWAP, EXPR) \
    #NAME "_RR", #NAME "_RI", "BR_" #NAME "_RR", "BR_" #NAME "_RI", "BR_" #NAME "_RW",
#define TEXT_FLOAT_COMPARE(C, NAME, TEXT, T, EXPR) \
    #NAME "_RR", "BR_" #NAME "_RR", "BRN_" #NAME "_RR", #NAME "_RK", "BR_" #NAME "_RK", "BRN_" #NAME "_RK",
#define TEXT_UNARY(C, NAME, TEXT, R, A, EXPR) #NAME,
#define TEXT_UNARY_TRAP(C, NAME, TEXT, R, A, CHECK, EXPR) #NAME,
#define TEXT_ACCESS(NAME) #NAME "_G", #NAME "_C", #NAME "_XG", #NAME "_XC", #NAME "_AG", #NAME "_AC",
#define TEXT_LOAD(C, NAME, TEXT, V, S, M, ALIGN, CAST) TEXT_ACCESS(NAME)
#define TEXT_STORE(C, NAME, TEXT, V, S, M, ALIGN) TEXT_ACCESS(NAME)
#define TEXT_ATOMIC(C, NAME, TEXT, T, M, ALIGN) #NAME,
#define TEXT_ATOMIC_RMW(C, NAME, TEXT, T, M, ALIGN, FN) #NAME,
#define TEXT_FUSED(T1, N1, F1, T2, N2, F2) #N1 "_" #F1 ">" #N2 "_" #F2,
#define TEXT_FUSED_MEMORY(T1, N1, F1, T2, N2, F2) #N1 "_" #F1 ">" #N2 "_" #F2 "_G", #N1 "_" #F1 ">" #N2 "_" #F2 "_C",
#define TEXT_PAIRED(T1, N1, F1, T2, N2, F2) #N1 "_" #F1 "," #N2 "_" #F2,
#define TEXT_PAIRED_MEMORY(T1, N1, F1, T2, N2, F2) #N1 "_" #F1 "," #N2 "_" #F2 "_G", #N1 "_" #F1 "," #N2 "_" #F2 "_C",
#define TEXT_PRODUCT(T, NAME, LOAD, F1, F2) \
    #NAME ":" #LOAD "_" #F1 "*" #F2 "_G", #NAME ":" #LOAD "_" #F1 "*" #F2 "_C",
#define TEXT_SPECIAL(NAME) #NAME,
#define TEXT_SIMD_UNARY(C, NAME, TEXT, LANES, EXPR) #NAME,
#define TEXT_SIMD_BINARY(C, NAME, TEXT, LANES, EXPR) #NAME,
#define TEXT_SIMD_TERNARY(C, NAME, TEXT, LANES, LANES_C, EXPR) #NAME,
#define TEXT_SIMD_SHIFT(C, NAME, TEXT, LANES, EXPR) #NAME,
#define TEXT_SIMD_TEST(C, NAME, TEXT, LANES, EXPR) #NAME,
#define TEXT_SIMD_SPLAT(C, NAME, TEXT, T, LANES) #NAME,
#define TEXT_SIMD_EXTRACT(C, NAME, TEXT, T, COUNT, M, CAST) #NAME,
#define TEXT_SIMD_REPLACE(C, NAME, TEXT, T, COUNT, LANES) #NAME,
#define TEXT_SIMD_SPECIAL(NAME) #NAME,
#define TEXT_SIMD_LOAD(C, NAME, TEXT, M, ALIGN, EXPR) TEXT_ACCESS(NAME)
#define TEXT_SIMD_STORE(C, NAME, TEXT, ALIGN) TEXT_ACCESS(NAME)

static const char *const op_names[OP_COUNT] = {
    "NONE",
    WR_INT_BINARY(TEXT_INT_BINARY) WR_INT_DIVIDE(TEXT_INT_DIVIDE) WR_FLOAT_BINARY(TEXT_FLOAT_BINARY)
        WR_INT_COMPARE(TEXT_INT_COMPARE) WR_FLOAT_COMPARE(TEXT_FLOAT_COMPARE) WR_UNARY(TEXT_UNARY)
            WR_UNARY_TRAP(TEXT_UNARY_TRAP) WR_SIMD_COMPUTING(TEXT_SIMD) "-",
    WR_LOAD(TEXT_LOAD) WR_STORE(TEXT_STORE) WR_SIMD_ACCESSING(TEXT_SIMD) WR_FUSED_MEMORY(TEXT_FUSED_MEMORY)
        WR_PAIRED_MEMORY(TEXT_PAIRED_MEMORY) WR_PRODUCTS(TEXT_PRODUCT) "-",
    WR_ATOMIC_LOAD(TEXT_ATOMIC) WR_ATOMIC_STORE(TEXT_ATOMIC) WR_ATOMIC_RMW(TEXT_ATOMIC_RMW)
        WR_ATOMIC_CMPXCHG(TEXT_ATOMIC) WR_ATOMIC_WAIT(TEXT_ATOMIC) WR_OPS_SPECIAL(TEXT_SPECIAL) WR_FUSED(TEXT_FUSED)
            WR_PAIRED(TEXT_PAIRED)};

static const char *name_of(uintptr_t handler) {
    const uintptr_t *handlers = wr_interp_handlers();
    for (size_t op = 1; op < OP_COUNT; op++) {
        if (handlers[op] == handler) return op_names[op];
    }
    return "DATA"; /* all of its words may be operands */
}

static void print_targets(const wr_code *code, uint32_t table) {
    const int32_t *targets = (const int32_t *)(const void *)(code->insns + table + 1);
    for (uint32_t i = 0; i <= code->insns[table].uimm; i++) {
        const ptrdiff_t words = targets + i + targets[i] - (const int32_t *)(const void *)code->insns;
        printf("       %s -> %td\n", i < code->insns[table].uimm ? "case" : "else", words / WR_TARGETS_PER_INSN);
    }
}

static void print_code(const wr_module *module, uint32_t index) {
    const wr_code *code = &module->code[index - module->func_imports];
    printf("function %" PRIu32 ": %u parameter slots, %u of locals, information at %u, %u in all\n", index,
           code->param_slots, code->local_slots, code->info_slot, code->frame_slots);
    for (uint32_t i = 0; i < code->insn_count; i++) {
        const wr_insn *insn = &code->insns[i];
        printf("%5" PRIu32 "  %-32s %5u %5u  %5u %5u  %" PRId32 "\n", i, name_of(insn->op), insn->a, insn->b, insn->c,
               insn->d, insn->imm);
        if (insn->op == wr_interp_handlers()[OP_BR_TABLE]) {
            print_targets(code, i);
            i += wr_raw_insns(OP_BR_TABLE, insn);
        }
    }
}

int main(int argc, char **argv) {
    size_t len = 0;
    uint8_t *bytes = argc == 2 || argc == 3 ? read_file(argv[1], &len) : NULL;
    wr_engine *engine = NULL;
    wr_module *module = NULL;
    wr_error error = {0};
    if (bytes == NULL || wr_engine_new(NULL, &engine) != WR_OK) {
        fprintf(stderr, "usage: regcode MODULE.wasm [FUNCTION-INDEX]\n");
        return 2;
    }
    wr_status status = wr_module_load(engine, bytes, len, &module, &error);
    if (status != WR_OK) {
        fprintf(stderr, "regcode: %s\n", error.message);
    } else {
        uint32_t only = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : UINT32_MAX;
        for (uint32_t i = module->func_imports; i < module->func_count; i++) {
            if (only == UINT32_MAX || only == i) print_code(module, i);
        }
        wr_module_release(module);
    }
    wr_engine_free(engine);
    free(bytes);
    return status == WR_OK ? 0 : 1;
}
