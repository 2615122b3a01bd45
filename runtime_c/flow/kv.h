/* Key-value store of a stage: survives restarts of its instance, bounded by a quota, searched linearly (a few dozen
 * entries). Each entry costs 8 bytes beside its key and value. */
#ifndef WR_FLOW_KV_H
#define WR_FLOW_KV_H
#include "wr.h"

enum { WR_KV_KEY_MAX = 255 };

typedef struct wr_kv {
    uint8_t *bytes;
    uint32_t used;
    uint32_t quota;
    bool is_quota_told; /* the log says already that it is full */
} wr_kv;

wr_status wr_kv_init(wr_kv *kv, uint32_t quota);
void wr_kv_free(wr_kv *kv);
/* The value (valid until the next put), or NULL. */
const uint8_t *wr_kv_get(const wr_kv *kv, const void *key, uint32_t key_len, uint32_t *len);
/* Replaces; len 0 removes. FULL: beyond the quota, the old value is kept. */
wr_status wr_kv_put(wr_kv *kv, const void *key, uint32_t key_len, const void *value, uint32_t len);
/* Replaces everything in `to`. FULL: more than its quota, nothing is changed. */
wr_status wr_kv_copy(wr_kv *to, const wr_kv *from);

#endif
