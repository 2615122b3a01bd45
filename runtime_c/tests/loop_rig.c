#include "loop_rig.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plugin_files.h"

wr_ring *rig_ring(check_t *check, const char *name, uint32_t bytes, uint32_t schema, wr_policy policy,
                  uint32_t *consumer) {
    wr_ring_config config = {.name = name, .bytes = bytes, .consumers_max = 2, .schema = schema};
    wr_ring *ring = NULL;
    wr_error error = {.message = ""};
    if (!CHECK_OK(wr_ring_new(&config, &ring, &error))) CHECK_FAIL("%s", error.message);
    CHECK_OK(wr_ring_attach(ring, policy, consumer));
    return ring;
}

static void make(loop_rig *rig, check_t *check, const char *plugin, uint32_t wrong) {
    *rig = (loop_rig){.check = check, .wrong = wrong};
    CHECK_OK(wr_engine_new(NULL, &rig->engine));
    CHECK_OK(wr_loop_new(rig->engine, NULL, &rig->loop, NULL));
    rig->module = load_plugin(check, rig->engine, plugin);
    rig->config = (wr_stage_config){.name = plugin,
                                    .module = rig->module,
                                    .hal_grants = RIG_GRANTS,
                                    .config = (const uint8_t *)&rig->wrong,
                                    .config_bytes = sizeof rig->wrong,
                                    .memory_bytes_max = 1 << 20,
                                    .deadline_us = RIG_DEADLINE_US,
                                    .state_bytes_max = 4096};
}

void rig_open(loop_rig *rig, check_t *check, const char *plugin, uint32_t wrong) {
    make(rig, check, plugin, wrong);
    rig->in = rig_ring(check, "in", RIG_RING_BYTES, WR_SCHEMA_SAMPLES, WR_POLICY_BLOCK, &rig->config.in_consumers[0]);
    rig->out = rig_ring(check, "out", RIG_RING_BYTES, WR_SCHEMA_SAMPLES, WR_POLICY_BLOCK, &rig->consumer);
    rig->config.in_rings[0] = rig->in;
    rig->config.out_rings[0] = rig->out;
    rig->config.in_count = rig->config.out_count = 1;
    CHECK_OK(wr_loop_add_stage(rig->loop, &rig->config, &rig->stage, NULL));
    CHECK_OK(wr_loop_start(rig->loop));
}

int rig_open_at_port(loop_rig *rig, check_t *check, const char *plugin) {
    const wr_port_config port = {.name = "port"};
    int pair[2] = {-1, -1};
    make(rig, check, plugin, 0);
    rig->config.port_count = 1;
    CHECK_OK(wr_loop_add_port(rig->loop, &port, &rig->config.ports[0]));
    CHECK_OK(wr_loop_add_stage(rig->loop, &rig->config, &rig->stage, NULL));
    CHECK_EQ_I64(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_OK(wr_loop_set_port_fd(rig->loop, rig->config.ports[0], pair[0]));
    CHECK_OK(wr_loop_start(rig->loop));
    return pair[1];
}

void rig_expect_echo(loop_rig *rig, int line, const char *text) {
    check_t *check = rig->check;
    char back[16] = "";
    ssize_t len = (ssize_t)strlen(text);
    CHECK_EQ_I64(write(line, text, (size_t)len), len);
    CHECK_EQ_I64(recv(line, back, (size_t)len, MSG_WAITALL), len);
    CHECK_STR(back, text);
}

void rig_close(loop_rig *rig) {
    wr_loop_free(rig->loop);
    wr_ring_free(rig->in);
    wr_ring_free(rig->out);
    wr_module_release(rig->module);
    wr_engine_free(rig->engine);
}
