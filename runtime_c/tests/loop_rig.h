/* A running loop with one stage, between two rings or at one port. */
#ifndef WR_TESTS_LOOP_RIG_H
#define WR_TESTS_LOOP_RIG_H
#include "check.h"
#include "wr.h"

enum { RIG_RING_BYTES = 65536, RIG_GRANTS = (1 << WR_HAL_COUNT) - 1, RIG_DEADLINE_US = 200000 };

typedef struct loop_rig {
    check_t *check;
    wr_engine *engine;
    wr_loop *loop;
    wr_module *module;
    wr_ring *in, *out;
    uint32_t consumer, stage;
    wr_stage_config config;
    uint32_t wrong;   /* the configuration of the stage: what it does wrong */
    uint32_t written; /* records */
    uint64_t read;    /* records that came out */
} loop_rig;

/* A ring with one reading end. */
wr_ring *rig_ring(check_t *check, const char *name, uint32_t bytes, uint32_t schema, wr_policy policy,
                  uint32_t *consumer);
/* A plugin of tests/plugins that reads samples and puts out samples. */
void rig_open(loop_rig *rig, check_t *check, const char *plugin, uint32_t wrong);
/* One that has a port; returns the other end of its line. */
int rig_open_at_port(loop_rig *rig, check_t *check, const char *plugin);
/* Sends text there and expects it back. */
void rig_expect_echo(loop_rig *rig, int line, const char *text);
void rig_close(loop_rig *rig);

#endif
