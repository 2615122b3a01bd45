#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../wasm/engine.h"

void wr_text_put(wr_text *text, const char *bytes, size_t len) {
    if (text->status != WR_OK || len == 0) return;
    text->status = wr_vec_reserve(&text->engine->heap, &text->bytes, len, 1);
    if (text->status != WR_OK) return;
    memcpy((char *)text->bytes.items + text->bytes.count, bytes, len);
    text->bytes.count += (uint32_t)len;
}

void wr_text_add(wr_text *text, const char *format, ...) {
    char line[1024]; /* longer than what any caller formats: names are cut */
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof line) {
        text->status = WR_BAD_STATE;
        return;
    }
    wr_text_put(text, line, (size_t)len);
}

void wr_text_free(wr_text *text) { wr_vec_free(&text->engine->heap, &text->bytes, 1); }
