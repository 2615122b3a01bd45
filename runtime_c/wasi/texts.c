/* Arguments and environment. */
#include <string.h>

#include "wasi.h"

wr_status wr_wasi_copy_texts(wr_store *store, const char *const *texts, uint32_t count, wr_wasi_texts *out) {
    uint64_t size = 0;
    for (uint32_t i = 0; i < count; i++) size += strlen(texts[i]) + 1;
    if (size > UINT32_MAX) return WR_BAD_ARGUMENT;
    char *bytes = wr_store_alloc(store, (size_t)size);
    if (bytes == NULL) return WR_NO_MEMORY;
    *out = (wr_wasi_texts){bytes, count, (uint32_t)size};
    for (uint32_t i = 0; i < count; i++) {
        size_t len = strlen(texts[i]) + 1;
        memcpy(bytes, texts[i], len);
        bytes += len;
    }
    return WR_OK;
}

/* Arguments of the call: where the pointers go, where the texts go. */
static wr_wasi_errno get(const wr_wasi_call *call, const wr_wasi_texts *texts) {
    uint32_t pointers = call->args[0].u32, buffer = call->args[1].u32;
    void *into = wr_wasi_at(call, buffer, texts->size);
    if (into == NULL || wr_wasi_at(call, pointers, sizeof pointers * (uint64_t)texts->count) == NULL) return WASI_FAULT;
    memcpy(into, texts->bytes, texts->size);
    uint32_t at = 0;
    for (uint32_t i = 0; i < texts->count; i++) {
        (void)wr_wasi_put_u32(call, pointers + i * (uint32_t)sizeof at, buffer + at);
        at += (uint32_t)strlen(texts->bytes + at) + 1;
    }
    return WASI_OK;
}

static wr_wasi_errno sizes_get(const wr_wasi_call *call, const wr_wasi_texts *texts) {
    bool fits =
        wr_wasi_put_u32(call, call->args[0].u32, texts->count) && wr_wasi_put_u32(call, call->args[1].u32, texts->size);
    return fits ? WASI_OK : WASI_FAULT;
}

WASI_FUNCTION(args_get) { return get(call, &call->wasi->args); }
WASI_FUNCTION(args_sizes_get) { return sizes_get(call, &call->wasi->args); }
WASI_FUNCTION(environ_get) { return get(call, &call->wasi->env); }
WASI_FUNCTION(environ_sizes_get) { return sizes_get(call, &call->wasi->env); }
