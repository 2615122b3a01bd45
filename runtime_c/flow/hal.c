/* What a plugin can ask of its host. Everything here is deterministic: it depends on the stage's state and the frozen
 * time of the event only. Plugin pointers are checked; a wrong one is the plugin's trap. */
#include <stdlib.h>
#include <string.h>

#include "stage.h"

/* ---- plugin memory ---- */

/* A start function runs before the memory is known to the stage: calls with pointers are refused there. */

static wr_status readable(wr_stage *stage, wr_slot address, wr_slot len, const void **out) {
    if (stage->memory == NULL) return WR_TRAP_HOST;
    *out = wr_memory_at(stage->memory, address.u32, len.u32);
    return *out == NULL ? WR_TRAP_MEMORY_BOUNDS : WR_OK;
}

/* The host's own store to a read-only page would be the host's fault, so it is checked like the plugin's would be. */
static wr_status writable(wr_stage *stage, wr_slot address, wr_slot len, void **out) {
    if (stage->memory == NULL) return WR_TRAP_HOST;
    *out = wr_memory_at(stage->memory, address.u32, len.u32);
    if (*out == NULL) return WR_TRAP_MEMORY_BOUNDS;
    for (uint32_t i = 0; i < stage->in_count; i++) {
        if (wr_ring_end_protects(&stage->ins[i], address.u32, len.u32)) return WR_TRAP_MEMORY_PROTECTED;
    }
    return WR_OK;
}

static wr_stage_port *port_at(wr_stage *stage, wr_slot port) {
    return port.u32 < stage->port_count ? &stage->ports[port.u32] : NULL;
}

enum { LOG_WARNING = 2 }; /* PEN_WARNING */

/* ---- ports and time; functions are named as in WR_HAL_TABLE ---- */

/* Told once: a plugin that goes on trying must not fill the log. */
static bool may_send(wr_stage *stage, const uint8_t *bytes, uint32_t len) {
    char why[WR_GUARD_WHY_BYTES];
    if (stage->guard == NULL || wr_guard_allows(stage->guard, bytes, len, why)) return true;
    stage->stats.refused++;
    if (!stage->guard->is_told) {
        wr_events_postf(stage->env.events, WR_EVENT_LOG, LOG_WARNING, stage->env.number, stage->now.unix_ns,
                        "tx refused: %s", why);
    }
    stage->guard->is_told = true;
    return false;
}

static wr_status hal_TX(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    const void *bytes;
    wr_status status = readable(stage, slots[1], slots[2], &bytes);
    if (status != WR_OK) return status;
    wr_stage_port *port = port_at(stage, slots[0]);
    uint32_t len = slots[2].u32;
    if (port == NULL) {
        slots[0].i32 = WR_PEN_NONE;
    } else if (!port->up) {
        slots[0].i32 = WR_PEN_DOWN;
    } else if (!may_send(stage, bytes, len)) {
        slots[0].i32 = WR_PEN_REFUSED;
    } else {
        slots[0].i32 = wr_fifo_put(&port->tx, bytes, len) ? (int32_t)len : WR_PEN_FULL;
    }
    return WR_OK;
}

static wr_status hal_RX(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    void *into;
    wr_status status = writable(stage, slots[1], slots[2], &into);
    if (status != WR_OK) return status;
    wr_stage_port *port = port_at(stage, slots[0]);
    if (port == NULL) {
        slots[0].i32 = WR_PEN_NONE;
    } else if (!port->up) {
        slots[0].i32 = WR_PEN_DOWN;
    } else {
        slots[0].i32 = (int32_t)wr_fifo_take(&port->rx, into, slots[2].u32);
    }
    return WR_OK;
}

static wr_status hal_PORT_STATE(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    const wr_stage_port *port = port_at(env, slots[0]);
    slots[0].i32 = port == NULL ? WR_PEN_NONE : port->up;
    return WR_OK;
}

static wr_status hal_NOW(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    const wr_stage *stage = env;
    const int64_t clocks[] = {stage->now.unix_ns, stage->now.mono_ns};
    slots[0].i64 = slots[0].u32 < 2 ? clocks[slots[0].u32] : WR_PEN_RANGE;
    return WR_OK;
}

static wr_status hal_TIMER(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    uint32_t id = slots[0].u32;
    int64_t delay_us = slots[1].i64;
    slots[0].i32 = id < WR_STAGE_TIMERS ? 0 : WR_PEN_RANGE;
    if (id >= WR_STAGE_TIMERS) return WR_OK;
    int64_t furthest_us = (WR_NEVER - stage->now.mono_ns) / WR_NS_PER_US - 1;
    if (delay_us > furthest_us) delay_us = furthest_us;
    stage->timers[id] = delay_us < 0 ? WR_NEVER : stage->now.mono_ns + delay_us * WR_NS_PER_US;
    return WR_OK;
}

/* ---- configuration and values ---- */

static wr_status hal_CONFIG(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    void *into;
    wr_status status = writable(stage, slots[0], slots[1], &into);
    if (status != WR_OK) return status;
    uint32_t len = slots[1].u32 < stage->config_bytes ? slots[1].u32 : stage->config_bytes;
    if (len > 0) memcpy(into, stage->config, len);
    slots[0].u32 = stage->config_bytes;
    return WR_OK;
}

static bool is_key_len(wr_slot len) { return len.u32 > 0 && len.u32 <= WR_KV_KEY_MAX; }

/* Looking through many values takes long, so each time the limits of the call are looked at, too. */

static wr_status hal_KV_GET(wr_exec *exec, void *env, wr_slot *slots) {
    wr_stage *stage = env;
    const void *key;
    void *into;
    wr_status status = readable(stage, slots[0], slots[1], &key);
    if (status == WR_OK) status = writable(stage, slots[2], slots[3], &into);
    if (status != WR_OK) return status;
    uint32_t len = 0, cap = slots[3].u32;
    const uint8_t *value = is_key_len(slots[1]) ? wr_kv_get(&stage->kv, key, slots[1].u32, &len) : NULL;
    if (value != NULL) memcpy(into, value, len < cap ? len : cap);
    slots[0].i32 = value != NULL ? (int32_t)len : WR_PEN_NONE;
    return wr_exec_check(exec);
}

/* Once: a plugin that goes on trying must not fill the log. */
static void tell_quota(wr_stage *stage) {
    if (stage->kv.is_quota_told) return;
    stage->kv.is_quota_told = true;
    wr_events_postf(stage->env.events, WR_EVENT_LOG, LOG_WARNING, stage->env.number, stage->now.unix_ns,
                    "kv_put refused: its values may have %u bytes in all, capabilities.kv_bytes", stage->kv.quota);
}

static wr_status hal_KV_PUT(wr_exec *exec, void *env, wr_slot *slots) {
    wr_stage *stage = env;
    const void *key, *value;
    wr_status status = readable(stage, slots[0], slots[1], &key);
    if (status == WR_OK) status = readable(stage, slots[2], slots[3], &value);
    if (status != WR_OK) return status;
    if (!is_key_len(slots[1])) {
        slots[0].i32 = WR_PEN_RANGE;
    } else if (wr_kv_put(&stage->kv, key, slots[1].u32, value, slots[3].u32) == WR_OK) {
        slots[0].i32 = 0;
    } else {
        slots[0].i32 = WR_PEN_FULL;
        tell_quota(stage);
    }
    return wr_exec_check(exec);
}

/* ---- logs and metrics ---- */

/* Longest prefix of at most max bytes that does not cut a UTF-8 sequence. */
static uint32_t cut_text(const char *text, uint32_t len, uint32_t max) {
    if (len <= max) return len;
    while (max > 0 && ((uint8_t)text[max] & 0xC0) == 0x80) max--;
    return max;
}

static wr_status hal_LOG(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    const void *text;
    wr_status status = readable(stage, slots[1], slots[2], &text);
    if (status != WR_OK) return status;
    uint16_t level = slots[0].u32 < 3 ? (uint16_t)slots[0].u32 : 3;
    wr_events_post(stage->env.events, WR_EVENT_LOG, level, stage->env.number, stage->now.unix_ns, text,
                   cut_text(text, slots[2].u32, WR_HAL_LOG_MAX));
    return WR_OK;
}

/* The metric of that name, made if there is room, or NULL. */
static wr_metric *metric_named(wr_stage *stage, const char *name, uint32_t len) {
    for (uint32_t i = 0; i < stage->metric_count; i++) {
        wr_metric *metric = &stage->metrics[i];
        if (strlen(metric->name) == len && memcmp(metric->name, name, len) == 0) return metric;
    }
    if (stage->metric_count == WR_STAGE_METRICS_MAX) return NULL;
    wr_metric *metric = &stage->metrics[stage->metric_count++];
    memcpy(metric->name, name, len);
    metric->name[len] = '\0';
    return metric;
}

static wr_status hal_METRIC(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    const void *name;
    wr_status status = readable(stage, slots[0], slots[1], &name);
    if (status != WR_OK) return status;
    uint32_t len = slots[1].u32;
    bool fits = len > 0 && len < sizeof stage->metrics[0].name && memchr(name, '\0', len) == NULL;
    wr_metric *metric = fits ? metric_named(stage, name, len) : NULL;
    if (metric == NULL) return WR_OK;
    metric->kind = slots[2].u32 != 0;
    int64_t base = metric->kind == 0 ? stage->metric_bases[metric - stage->metrics] : 0;
    metric->value = (int64_t)((uint64_t)slots[3].i64 + (uint64_t)base);
    return WR_OK;
}

/* ---- state ---- */

static wr_status hal_STATE_PUT(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    const void *bytes;
    wr_status status = readable(stage, slots[0], slots[1], &bytes);
    if (status != WR_OK) return status;
    uint32_t len = slots[1].u32;
    wr_carry *carry = stage->saving;
    slots[0].i32 = carry == NULL ? WR_PEN_NONE : 0;
    if (carry == NULL) return WR_OK;
    if (len > carry->max - carry->len) {
        carry->is_beyond = true;
        slots[0].i32 = WR_PEN_FULL;
    } else if (len > 0) {
        memcpy(carry->bytes + carry->len, bytes, len);
        carry->len += len;
    }
    return WR_OK;
}

static wr_status hal_STATE_GET(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    void *into;
    wr_status status = writable(stage, slots[0], slots[1], &into);
    if (status != WR_OK) return status;
    wr_carry *carry = stage->loading;
    uint32_t len = carry == NULL ? 0 : carry->len - carry->at;
    if (len > slots[1].u32) len = slots[1].u32;
    slots[0].i32 = carry == NULL ? WR_PEN_NONE : (int32_t)len;
    if (len == 0) return WR_OK;
    memcpy(into, carry->bytes + carry->at, len);
    carry->at += len;
    return WR_OK;
}

/* The bytes are read when the instance traps, and put back when the one after it asks for as many. */
static wr_status hal_KEEP(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    wr_stage *stage = env;
    void *bytes;
    wr_status status = writable(stage, slots[0], slots[1], &bytes);
    if (status != WR_OK) return status;
    wr_keep *keep = &stage->keep;
    uint32_t address = slots[0].u32, len = slots[1].u32;
    bool is_back = len > 0 && len == keep->kept;
    uint8_t *room = is_back ? keep->bytes : len > stage->state_bytes_max ? NULL : realloc(keep->bytes, len + 1);
    slots[0].i32 = room == NULL ? WR_PEN_FULL : is_back;
    if (room == NULL) return WR_OK;
    if (is_back) memcpy(bytes, keep->bytes, len);
    *keep = (wr_keep){.address = address, .len = len, .bytes = room};
    return WR_OK;
}

/* ---- rings ---- */

static wr_status hal_RING_IN(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    const wr_stage *stage = env;
    slots[0].u32 = slots[0].u32 < stage->in_count ? stage->ins[slots[0].u32].address : 0;
    return WR_OK;
}

static wr_status hal_RING_OUT(wr_exec *exec, void *env, wr_slot *slots) {
    (void)exec;
    const wr_stage *stage = env;
    slots[0].u32 = slots[0].u32 < stage->out_count ? stage->outs[slots[0].u32].address : 0;
    return WR_OK;
}

/* ---- table ---- */

const wr_hal_import *wr_hal_import_at(wr_hal hal) {
#define ROW(NAME, WASM, PARAMS, RESULTS) {WASM, PARAMS, RESULTS, hal_##NAME},
    static const wr_hal_import imports[] = {WR_HAL_TABLE(ROW)};
#undef ROW
    return &imports[hal];
}

int wr_hal_by_name(const char *name) {
    for (int i = 0; i < WR_HAL_COUNT; i++) {
        if (strcmp(wr_hal_import_at((wr_hal)i)->name, name) == 0) return i;
    }
    return -1;
}
