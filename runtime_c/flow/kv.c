#include "kv.h"

#include <stdlib.h>
#include <string.h>

/* Entries lie one behind the other: this head, the key, the value. */
typedef struct entry_head {
    uint32_t key_len;
    uint32_t len;
} entry_head;

static entry_head head_at(const wr_kv *kv, uint32_t at) {
    entry_head head;
    memcpy(&head, kv->bytes + at, sizeof head);
    return head;
}

static uint32_t entry_bytes(entry_head head) { return (uint32_t)sizeof head + head.key_len + head.len; }

wr_status wr_kv_init(wr_kv *kv, uint32_t quota) {
    *kv = (wr_kv){.bytes = malloc(quota), .quota = quota};
    return kv->bytes == NULL ? WR_NO_MEMORY : WR_OK;
}

void wr_kv_free(wr_kv *kv) {
    free(kv->bytes);
    kv->bytes = NULL;
}

/* Offset of the entry, or kv->used. */
static uint32_t find(const wr_kv *kv, const void *key, uint32_t key_len) {
    uint32_t at = 0;
    while (at < kv->used) {
        entry_head head = head_at(kv, at);
        if (head.key_len == key_len && memcmp(kv->bytes + at + sizeof head, key, key_len) == 0) break;
        at += entry_bytes(head);
    }
    return at;
}

const uint8_t *wr_kv_get(const wr_kv *kv, const void *key, uint32_t key_len, uint32_t *len) {
    uint32_t at = find(kv, key, key_len);
    if (at == kv->used) return NULL;
    entry_head head = head_at(kv, at);
    *len = head.len;
    return kv->bytes + at + sizeof head + head.key_len;
}

wr_status wr_kv_put(wr_kv *kv, const void *key, uint32_t key_len, const void *value, uint32_t len) {
    uint32_t at = find(kv, key, key_len);
    uint32_t old = at == kv->used ? 0 : entry_bytes(head_at(kv, at));
    uint64_t grown = len == 0 ? 0 : sizeof(entry_head) + (uint64_t)key_len + len;
    if (kv->used - old + grown > kv->quota) return WR_FULL;
    if (old > 0) memmove(kv->bytes + at, kv->bytes + at + old, kv->used - at - old);
    kv->used -= old;
    if (len == 0) return WR_OK;
    uint8_t *end = kv->bytes + kv->used;
    entry_head head = {.key_len = key_len, .len = len};
    memcpy(end, &head, sizeof head);
    memcpy(end + sizeof head, key, key_len);
    memcpy(end + sizeof head + key_len, value, len);
    kv->used += entry_bytes(head);
    return WR_OK;
}

wr_status wr_kv_copy(wr_kv *to, const wr_kv *from) {
    if (from->used > to->quota) return WR_FULL;
    if (from->used > 0) memcpy(to->bytes, from->bytes, from->used);
    to->used = from->used;
    return WR_OK;
}
