/* The assembler includes the files: what is compiled into modules is what the interpreter is compiled from. The folders
 * are those given to the compiler with -I. */
#include "embed.h"

#if defined(__arm__)
#define AS_DATA "%progbits"
#else
#define AS_DATA "@progbits"
#endif
#define EMBED(NAME, FILE)                                                                                   \
    __asm__(".pushsection .rodata.wr_embed,\"a\"," AS_DATA "\n.globl " #NAME "\n.hidden " #NAME "\n" #NAME ":\n" \
            ".incbin \"" FILE "\"\n.byte 0\n.popsection\n");
EMBED(wr_text_abi, "aot/abi.h")
EMBED(wr_text_rounding, "aot/rounding.h")
EMBED(wr_text_numeric, "wasm/numeric.h")
EMBED(wr_text_prelude, "aot/prelude.h")
EMBED(wr_text_simd, "wasm/simd.h")
EMBED(wr_text_vectors, "aot/vectors.h")
