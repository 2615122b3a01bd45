/* The engine as a target of libFuzzer (https://llvm.org/docs/LibFuzzer.html). */
#include "drive.h"
#include "mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t max, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len, size_t max);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    drive_counts counts = {0};
    drive_input(bytes, len, &counts);
    return 0;
}

/* Half of the inputs as the library likes them (it knows the dictionary and compared values), half by the mutator that
 * keeps sections whole. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t max, unsigned int seed) {
    if (seed % 2 == 0) return LLVMFuzzerMutate(bytes, len, max);
    return mutate_module(bytes, len, max, seed, LLVMFuzzerMutate);
}
