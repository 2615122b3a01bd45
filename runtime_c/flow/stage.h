/* A stage: one plugin as a pure state machine. It does no input or output and reads no clock for its plugin: whoever
 * drives it (the loop, the vector runner) delivers bytes, takes bytes and says what time it is. */
#ifndef WR_FLOW_STAGE_H
#define WR_FLOW_STAGE_H
#include "events.h"
#include "fifo.h"
#include "guard.h"
#include "instant.h"
#include "kv.h"
#include "ring_end.h"

enum {
    WR_STAGE_NAME_MAX = 47,
    WR_STAGE_TIMERS = 16,
    WR_STAGE_METRICS_MAX = 32,
    WR_STAGE_TRAPS_MAX = 3, /* within WR_STAGE_TRAPS_NS; the next one stops the stage */
    WR_STAGE_KV_DEFAULT = 4096,
    WR_STAGE_STATE_DEFAULT = 65536,
    WR_STAGE_DEADLINE_DEFAULT_US = 100000,
    WR_HAL_LOG_MAX = 200
};
#define WR_STAGE_TRAPS_NS (INT64_C(30) * 1000000000)
#define WR_NEVER INT64_MAX

enum { WR_PEN_NONE = -1, WR_PEN_DOWN = -2, WR_PEN_FULL = -3, WR_PEN_RANGE = -4, WR_PEN_REFUSED = -5 };

/* X(NAME, export, params, results) with i = i32. */
#define WR_ENTRY_TABLE(X)               \
    X(ABI, "pen_abi_1", "", "")         \
    X(INIT, "pen_init", "", "i")        \
    X(PORT, "pen_on_port", "ii", "")    \
    X(RX, "pen_on_rx", "i", "")         \
    X(TIMER, "pen_on_timer", "i", "")   \
    X(RECORDS, "pen_on_records", "i", "") \
    X(SAVE, "pen_save", "", "i")          \
    X(LOAD, "pen_load", "i", "i")

#define WR_ENTRY_ENUM_(NAME, EXPORT, PARAMS, RESULTS) WR_ENTRY_##NAME,
typedef enum wr_entry { WR_ENTRY_TABLE(WR_ENTRY_ENUM_) WR_ENTRY_COUNT } wr_entry;
#undef WR_ENTRY_ENUM_

/* What a stage gets from whoever drives it; all of it outlives the stage. */
typedef struct wr_stage_env {
    wr_engine *engine;
    wr_exec *exec;     /* of the thread that drives it */
    wr_events *events;
    wr_bell *bell;     /* rung by other threads when its rings get records or room; NULL: none */
    uint32_t number;   /* source of its events */
} wr_stage_env;

typedef struct wr_stage_port_config {
    bool datagram;
    bool up;
    uint32_t rx_bytes;
    uint32_t tx_bytes;
} wr_stage_port_config;

typedef struct wr_stage_port {
    wr_fifo rx, tx;
    bool up;
    uint64_t rx_overflows; /* bytes thrown away */
} wr_stage_port;

/* An input whose plugin took nothing although it was called: not called again before something has changed. */
typedef struct wr_stage_wait {
    bool parked;
    uint64_t backlog; /* of the input when it was parked */
    uint64_t room;    /* of all outputs then */
} wr_stage_wait;

/* What a version hands over to the next one. */
typedef struct wr_carry {
    uint8_t *bytes;
    uint32_t len, max;
    uint32_t at;      /* state_get goes on here */
    int32_t version;  /* of its layout; 0: there is none */
    bool is_beyond;   /* more than max was handed over */
} wr_carry;

/* Memory of the instance that outlives a trap of it. */
typedef struct wr_keep {
    uint32_t address, len; /* where it is in the running instance; len 0: nowhere */
    uint8_t *bytes;        /* what it was at the last trap */
    uint32_t kept;         /* bytes of it; 0: nothing */
} wr_keep;

typedef struct wr_shadow wr_shadow;

typedef struct wr_stage {
    wr_stage_env env;
    char name[WR_STAGE_NAME_MAX + 1];
    wr_module *module;
    uint32_t grants;
    uint8_t *config;
    uint32_t config_bytes;
    uint64_t memory_bytes_max;
    uint64_t deadline_us;
    uint64_t fuel;
    uint32_t state_bytes_max;
    uint32_t in_schema, out_schema; /* 0: any */

    wr_store *store; /* NULL while stopped */
    wr_memory *memory;
    wr_func *entries[WR_ENTRY_COUNT]; /* NULL: not exported */
    uint64_t mapped_bytes;            /* of the memory: rings */

    uint32_t port_count, in_count, out_count;
    wr_stage_port ports[WR_STAGE_PORTS_MAX];
    wr_ring_end ins[WR_STAGE_RINGS_MAX], outs[WR_STAGE_RINGS_MAX];
    wr_stage_wait waits[WR_STAGE_RINGS_MAX];
    int64_t timers[WR_STAGE_TIMERS]; /* mono_ns, WR_NEVER: not armed */
    wr_guard *guard; /* of what it sends; NULL: none */
    wr_kv kv;
    wr_metric metrics[WR_STAGE_METRICS_MAX];
    uint32_t metric_count;
    int64_t metric_bases[WR_STAGE_METRICS_MAX]; /* counters: what instances before this one had counted */
    wr_instant now; /* of the running entry point call */
    wr_shadow *shadow;          /* runs along; NULL: none */
    wr_carry *saving, *loading; /* while pen_save, pen_load run */
    wr_keep keep;

    wr_stage_stats stats;
    int64_t trap_times[WR_STAGE_TRAPS_MAX]; /* mono_ns of the last ones, oldest first */
} wr_stage;

/* ---- life (stage.c) ---- */

/* Checks and takes the ring ends; there is no instance yet. ports: config->port_count of them. */
wr_status wr_stage_make(const wr_stage_env *env, const wr_stage_config *config, const wr_stage_port_config *ports,
                        wr_instant now, wr_stage **out, wr_error *error);
/* Makes, instantiates, maps, calls pen_init and pen_on_port for ports that are up. A failed stage gives its ring ends
 * back. */
wr_status wr_stage_new(const wr_stage_env *env, const wr_stage_config *config, const wr_stage_port_config *ports,
                       wr_instant now, wr_stage **out, wr_error *error);
void wr_stage_free(wr_stage *stage); /* NULL is allowed */
void wr_stage_stats_get(const wr_stage *stage, wr_stage_stats *out);

/* ---- instance (stage_link.c) ---- */

/* A fresh instance, linked and mapped; no entry point has run. */
wr_status wr_stage_load(wr_stage *stage, wr_error *error);
void wr_stage_unload(wr_stage *stage);

/* ---- events in, effects out (stage_run.c) ---- */

wr_status wr_stage_boot(wr_stage *stage, wr_error *error); /* load, pen_init, pen_on_port */
wr_status wr_stage_init(wr_stage *stage, wr_error *error); /* pen_init alone */
void wr_stage_keep_counters(wr_stage *stage);
/* pen_on_port for each port that is up. */
void wr_stage_announce_ports(wr_stage *stage, wr_instant now);
/* pen_save. A trap is one of the stage's, which then starts anew. */
wr_status wr_stage_save(wr_stage *stage, wr_carry *carry, wr_instant now, wr_error *error);
/* pen_load. */
wr_status wr_stage_take_state(wr_stage *stage, wr_carry *carry, wr_instant now, wr_error *error);
void wr_stage_set_port(wr_stage *stage, uint32_t port, bool up, wr_instant now);
/* Bytes that arrived at `now`, one datagram at a time. What does not fit pushes out the oldest bytes. */
void wr_stage_feed(wr_stage *stage, uint32_t port, const void *bytes, uint32_t len, wr_instant now);
/* Bytes to send, NULL: none; then say how many were sent. */
const uint8_t *wr_stage_tx(const wr_stage *stage, uint32_t port, uint32_t *len);
void wr_stage_sent(wr_stage *stage, uint32_t port, uint32_t len);

int64_t wr_stage_next_timer(const wr_stage *stage); /* mono_ns or WR_NEVER */
/* Fires timers due at now.mono_ns, by deadline, each at most once. */
void wr_stage_run_timers(wr_stage *stage, wr_instant now);
/* Is there an input worth a call? */
bool wr_stage_ready(const wr_stage *stage);
/* One pen_on_records per ready input. */
void wr_stage_run(wr_stage *stage, wr_instant now);

/* ---- one stage for another (stage_swap.c) ---- */

/* Maps the rings of `old` into the memory of `next`; both have ends of the same sizes. */
wr_status wr_stage_map_rings_of(wr_stage *next, const wr_stage *old, wr_error *error);
/* Gives `next` everything that belongs to the stage and not to its instance: rings, ports, values, counters. anew: it
 * has not got the state, so its counters begin at 0. */
void wr_stage_hand_over(wr_stage *old, wr_stage *next, bool anew);

/* ---- host functions (hal.c) ---- */

typedef struct wr_hal_import {
    const char *name;
    const char *params; /* as in WR_HAL_TABLE */
    const char *results;
    wr_host_fn fn; /* env: the stage */
} wr_hal_import;
const wr_hal_import *wr_hal_import_at(wr_hal hal);

#endif
