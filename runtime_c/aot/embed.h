/* Headers as text, for the C emitter to put in front of what it writes. */
#ifndef WR_AOT_EMBED_H
#define WR_AOT_EMBED_H

#define WR_EMBEDDED(NAME) extern const char NAME[] __attribute__((visibility("hidden")))
WR_EMBEDDED(wr_text_abi);
WR_EMBEDDED(wr_text_rounding);
WR_EMBEDDED(wr_text_numeric);
WR_EMBEDDED(wr_text_prelude);
WR_EMBEDDED(wr_text_simd);
WR_EMBEDDED(wr_text_vectors);

#endif
