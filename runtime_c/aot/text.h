/* Text that grows. */
#ifndef WR_AOT_TEXT_H
#define WR_AOT_TEXT_H
#include "../wasm/alloc.h"

typedef struct wr_text {
    const wr_engine *engine;
    wr_vec bytes;
    wr_status status; /* first failure; later text is dropped */
} wr_text;

void wr_text_put(wr_text *text, const char *bytes, size_t len);
void wr_text_add(wr_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void wr_text_free(wr_text *text);

#endif
