/* Life of a stage: what it is made of and when it ends. */
#include "stage.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"

static const char *schema_name(uint32_t schema) {
    static const char *const names[] = {"any", "samples", "payloads", "commands"};
    return schema < sizeof names / sizeof *names ? names[schema] : "unknown";
}

/* One end of a ring that a stage asks for. */
typedef struct end_request {
    const char *side; /* "input" or "output" */
    uint32_t number;
    wr_ring *ring;
    uint32_t consumer;
    uint32_t schema; /* 0: any */
} end_request;

static wr_status take_end(wr_stage *stage, const end_request *want, wr_ring_end *end, wr_error *error) {
    wr_ring *ring = want->ring;
    if (ring == NULL) {
        return wr_fail(error, WR_BAD_ARGUMENT, "stage \"%s\": %s %u has no ring", stage->name, want->side,
                       want->number);
    }
    if (want->schema != 0 && want->schema != ring->schema) {
        return wr_fail(error, WR_SCHEMA, "stage \"%s\": %s %u is of schema %u (%s), ring \"%s\" of schema %u (%s)",
                       stage->name, want->side, want->number, want->schema, schema_name(want->schema), ring->name,
                       ring->schema, schema_name(ring->schema));
    }
    bool is_input = want->side[0] == 'i';
    wr_bell *bell = stage->env.bell;
    wr_status status =
        is_input ? wr_ring_end_take_input(end, ring, want->consumer) : wr_ring_end_take_output(end, ring);
    if (status == WR_BAD_ARGUMENT) {
        return wr_fail(error, status, "stage \"%s\": %s %u: that end of ring \"%s\" is taken or not attached",
                       stage->name, want->side, want->number, ring->name);
    }
    *(is_input ? &stage->in_count : &stage->out_count) += 1; /* from here on it is given back */
    if (status == WR_OK && bell != NULL) {
        status = is_input ? wr_ring_set_consumer_bell(ring, end->consumer, bell) : wr_ring_set_room_bell(ring, bell);
    }
    if (status == WR_OK) return WR_OK;
    return wr_fail(error, status, "stage \"%s\": ring \"%s\": too many loops have used it", stage->name, ring->name);
}

static uint32_t schema_at(uint32_t index, uint32_t count, uint32_t commands, uint32_t schema) {
    return index + commands >= count ? WR_SCHEMA_COMMANDS : schema;
}

static wr_status take_ends(wr_stage *stage, const wr_stage_config *config, wr_error *error) {
    wr_status status = WR_OK;
    for (uint32_t i = 0; i < config->in_count && status == WR_OK; i++) {
        uint32_t schema = schema_at(i, config->in_count, config->in_commands, config->in_schema);
        end_request want = {"input", i, config->in_rings[i], config->in_consumers[i], schema};
        status = take_end(stage, &want, &stage->ins[i], error);
    }
    for (uint32_t i = 0; i < config->out_count && status == WR_OK; i++) {
        uint32_t schema = schema_at(i, config->out_count, config->out_commands, config->out_schema);
        end_request want = {"output", i, config->out_rings[i], 0, schema};
        status = take_end(stage, &want, &stage->outs[i], error);
    }
    return status;
}

static wr_status make_ports(wr_stage *stage, const wr_stage_port_config *ports, uint32_t count) {
    for (; stage->port_count < count; stage->port_count++) {
        const wr_stage_port_config *config = &ports[stage->port_count];
        wr_stage_port *port = &stage->ports[stage->port_count];
        port->up = config->up;
        wr_status status = wr_fifo_init(&port->rx, config->rx_bytes, config->datagram);
        if (status != WR_OK) return status;
        status = wr_fifo_init(&port->tx, config->tx_bytes, config->datagram);
        if (status != WR_OK) {
            wr_fifo_free(&port->rx);
            return status;
        }
    }
    return WR_OK;
}

static wr_status copy_writes(wr_stage *stage, const wr_stage_config *config) {
    if (config->bus == WR_BUS_NONE) return WR_OK;
    stage->guard = calloc(1, sizeof *stage->guard);
    if (stage->guard == NULL) return WR_NO_MEMORY;
    stage->guard->bus = config->bus;
    stage->guard->count = config->write_count;
    if (config->write_count > 0)
        memcpy(stage->guard->rules, config->writes, config->write_count * sizeof *config->writes);
    return WR_OK;
}

static wr_status copy_config(wr_stage *stage, const wr_stage_config *config) {
    stage->config = malloc(config->config_bytes + 1);
    if (stage->config == NULL) return WR_NO_MEMORY;
    if (config->config_bytes > 0) memcpy(stage->config, config->config, config->config_bytes);
    stage->config_bytes = config->config_bytes;
    wr_status status = copy_writes(stage, config);
    return status != WR_OK
               ? status
               : wr_kv_init(&stage->kv, config->kv_bytes_max != 0 ? config->kv_bytes_max : WR_STAGE_KV_DEFAULT);
}

static wr_status check_config(const wr_stage_config *config, wr_error *error) {
    if (config->name == NULL || config->module == NULL) {
        return wr_fail(error, WR_BAD_ARGUMENT, "a stage needs a name and a module");
    }
    const struct {
        const char *what;
        uint32_t count, max;
    } counts[] = {{"ports", config->port_count, WR_STAGE_PORTS_MAX},
                  {"input rings", config->in_count, WR_STAGE_RINGS_MAX},
                  {"output rings", config->out_count, WR_STAGE_RINGS_MAX},
                  {"write rules", config->write_count, WR_GUARD_RULES_MAX}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (counts[i].count > counts[i].max) {
            return wr_fail(error, WR_BAD_ARGUMENT, "stage \"%s\": %u %s; at most %u are allowed", config->name,
                           counts[i].count, counts[i].what, counts[i].max);
        }
    }
    return WR_OK;
}

static void set_up(wr_stage *stage, const wr_stage_env *env, const wr_stage_config *config, wr_instant now) {
    stage->env = *env;
    strncpy(stage->name, config->name, WR_STAGE_NAME_MAX);
    stage->module = wr_module_retain((wr_module *)config->module); /* counting references does not change it */
    stage->grants = config->hal_grants;
    stage->memory_bytes_max = config->memory_bytes_max;
    stage->deadline_us = config->deadline_us != 0 ? config->deadline_us : WR_STAGE_DEADLINE_DEFAULT_US;
    stage->fuel = config->fuel;
    stage->state_bytes_max = config->state_bytes_max != 0 ? config->state_bytes_max : WR_STAGE_STATE_DEFAULT;
    stage->in_schema = config->in_schema;
    stage->out_schema = config->out_schema;
    stage->now = now;
    stage->stats.state = WR_STAGE_RUNNING;
    stage->stats.generation = 1;
    for (int i = 0; i < WR_STAGE_TRAPS_MAX; i++) stage->trap_times[i] = INT64_MIN;
}

wr_status wr_stage_make(const wr_stage_env *env, const wr_stage_config *config, const wr_stage_port_config *ports,
                        wr_instant now, wr_stage **out, wr_error *error) {
    wr_status status = check_config(config, error);
    if (status != WR_OK) return status;
    wr_stage *stage = calloc(1, sizeof *stage);
    if (stage == NULL) return wr_fail(error, WR_NO_MEMORY, "stage \"%s\": out of memory", config->name);
    set_up(stage, env, config, now);
    status = copy_config(stage, config);
    if (status == WR_OK) status = make_ports(stage, ports, config->port_count);
    if (status != WR_OK) {
        wr_fail(error, status, "stage \"%s\": out of memory", config->name);
    } else {
        status = take_ends(stage, config, error);
    }
    if (status == WR_OK) {
        *out = stage;
    } else {
        wr_stage_free(stage);
    }
    return status;
}

wr_status wr_stage_new(const wr_stage_env *env, const wr_stage_config *config, const wr_stage_port_config *ports,
                       wr_instant now, wr_stage **out, wr_error *error) {
    wr_stage *stage;
    wr_status status = wr_stage_make(env, config, ports, now, &stage, error);
    if (status != WR_OK) return status;
    status = wr_stage_boot(stage, error);
    if (status == WR_OK) {
        *out = stage;
    } else {
        wr_stage_free(stage);
    }
    return status;
}

void wr_stage_free(wr_stage *stage) {
    if (stage == NULL) return;
    wr_stage_unload(stage);
    free(stage->keep.bytes);
    for (uint32_t i = 0; i < stage->in_count; i++) wr_ring_end_return(&stage->ins[i]);
    for (uint32_t i = 0; i < stage->out_count; i++) wr_ring_end_return(&stage->outs[i]);
    for (uint32_t i = 0; i < stage->port_count; i++) {
        wr_fifo_free(&stage->ports[i].rx);
        wr_fifo_free(&stage->ports[i].tx);
    }
    wr_kv_free(&stage->kv);
    wr_module_release(stage->module);
    free(stage->guard);
    free(stage->config);
    free(stage);
}

void wr_stage_stats_get(const wr_stage *stage, wr_stage_stats *out) {
    *out = stage->stats;
    if (stage->memory != NULL) out->memory_bytes = wr_memory_size(stage->memory) - stage->mapped_bytes;
}
