/* One hop of a chain: the scale plugin as a stage between two rings, and a C function that does the same between two
 * rings of the same kind. Prints one JSON array of rounds: ns per record of both, taken in turns.
 *
 *   bench_hop SCALE.wasm CONFIG_HEX [ARTEFACT.so]     with an artefact the stage runs compiled code
 *
 * CONFIG_HEX is the configuration block that the host packs: tag 0 with gain 2 and offset 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../flow/stage.h"

enum { ROUNDS = 31, RECORDS = 4096, RING_BYTES = 1 << 18, CONFIG_MAX = 4096, MODULE_MAX = 1 << 20 };

typedef struct hop {
    wr_ring *in, *out;
    uint32_t in_consumer, out_consumer;
} hop;

typedef struct scale_tag {
    uint32_t tag;
    bool has_min, has_max, has_decimals;
    double gain, offset;
} scale_tag;

static void give_up(const char *what, const char *why) {
    fprintf(stderr, "bench_hop: %s: %s\n", what, why);
    exit(1);
}

static wr_ring *new_ring(const char *name, uint32_t *consumer) {
    wr_ring_config config = {.name = name, .bytes = RING_BYTES, .consumers_max = 1, .schema = WR_SCHEMA_SAMPLES};
    wr_ring *ring = NULL;
    wr_error error = {.message = ""};
    if (wr_ring_new(&config, &ring, &error) != WR_OK || wr_ring_attach(ring, WR_POLICY_BLOCK, consumer) != WR_OK) {
        give_up(name, error.message);
    }
    return ring;
}

static hop new_hop(void) {
    hop made;
    made.in = new_ring("in", &made.in_consumer);
    made.out = new_ring("out", &made.out_consumer);
    return made;
}

static uint32_t read_file(const char *path, uint8_t *into, size_t cap) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) give_up(path, "cannot be read");
    size_t len = fread(into, 1, cap, file);
    fclose(file);
    return (uint32_t)len;
}

static uint32_t read_hex(const char *hex, uint8_t *into) {
    uint32_t len = 0;
    unsigned byte;
    while (len < CONFIG_MAX && sscanf(hex + 2 * (size_t)len, "%2x", &byte) == 1) into[len++] = (uint8_t)byte;
    return len;
}

/* ---- the C function ---- */

static const scale_tag *find_tag(const scale_tag *tags, uint32_t count, uint32_t tag) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (tags[middle].tag == tag) return &tags[middle];
        if (tags[middle].tag < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static double number_of(const wr_record *record) {
    double number;
    memcpy(&number, &record->value, sizeof number);
    if (record->type == WR_VALUE_F64) return number;
    return record->type == WR_VALUE_I64 ? (double)(int64_t)record->value : (double)record->value;
}

static void scale(wr_record *record, const scale_tag *tag) {
    double value = number_of(record) * tag->gain + tag->offset;
    if (value - value != 0 && record->quality == 0) record->quality = 1;
    record->type = WR_VALUE_F64;
    memcpy(&record->value, &value, sizeof value);
}

/* What plugins/scale does with a ring, written for the host. */
static __attribute__((noinline)) void run_c(const hop *on, const scale_tag *tags, uint32_t tag_count) {
    const uint8_t *records;
    for (uint64_t left; (left = wr_ring_peek(on->in, on->in_consumer, &records)) > 0;) {
        uint64_t at = 0, count = 0;
        for (uint32_t size; (size = wr_record_size(records + at, left - at)) != 0; at += size, count++) {
            wr_record *result = wr_ring_reserve(on->out, size);
            if (result == NULL) break;
            memcpy(result, records + at, size);
            bool is_number = result->kind == WR_KIND_SAMPLE && result->type >= 1 && result->type <= WR_VALUE_F64;
            const scale_tag *tag = is_number ? find_tag(tags, tag_count, result->tag) : NULL;
            if (tag != NULL) scale(result, tag);
            wr_ring_put(on->out, size);
        }
        wr_ring_flush(on->out);
        wr_ring_take(on->in, on->in_consumer, at, count);
    }
}

/* ---- rounds ---- */

static void fill(const hop *on) {
    static wr_record records[RECORDS];
    for (uint32_t i = 0; i < RECORDS; i++) {
        double value = 1.5 * i;
        records[i] = (wr_record){.size = sizeof *records, .kind = WR_KIND_SAMPLE, .type = WR_VALUE_F64, .seq = i};
        memcpy(&records[i].value, &value, sizeof value);
    }
    if (wr_ring_write(on->in, records, sizeof records) != WR_OK) give_up("in", "is full");
}

/* Everything arrived, and is what it should be. */
static void check(const hop *on, const char *who) {
    static wr_record records[RECORDS];
    uint32_t got = 0;
    wr_ring_read(on->out, on->out_consumer, records, sizeof records, &got);
    wr_ring_release(on->out, on->out_consumer);
    if (got != sizeof records) give_up(who, "records are missing");
    for (uint32_t i = 0; i < RECORDS; i++) {
        if (number_of(&records[i]) != 1.5 * i * 2 + 1) give_up(who, "a value is wrong");
    }
}

static double time_c(const hop *on) {
    static const scale_tag tags[] = {{.tag = 0, .gain = 2, .offset = 1}};
    fill(on);
    int64_t begin = wr_mono_ns();
    run_c(on, tags, 1);
    int64_t took = wr_mono_ns() - begin;
    check(on, "the C function");
    return (double)took / (double)RECORDS;
}

static double time_stage(const hop *on, wr_stage *stage) {
    fill(on);
    int64_t begin = wr_mono_ns();
    while (wr_stage_ready(stage)) wr_stage_run(stage, (wr_instant){0, begin});
    int64_t took = wr_mono_ns() - begin;
    check(on, "the stage");
    return (double)took / (double)RECORDS;
}

static wr_stage *new_stage(const hop *on, int argc, char **argv) {
    static uint8_t bytes[MODULE_MAX], config[CONFIG_MAX];
    uint32_t len = read_file(argv[1], bytes, sizeof bytes);
    wr_error error = {.message = ""};
    wr_stage_env env = {0};
    wr_module *module = NULL;
    wr_stage *stage = NULL;
    if (wr_engine_new(NULL, &env.engine) != WR_OK || wr_exec_new(env.engine, 0, &env.exec) != WR_OK ||
        wr_events_new(65536, &env.events) != WR_OK) {
        give_up("engine", "out of memory");
    }
    if (wr_module_load(env.engine, bytes, len, &module, &error) != WR_OK) give_up(argv[1], error.message);
    if (argc > 3 && wr_aot_attach(module, bytes, len, argv[3], &error) != WR_OK) give_up(argv[3], error.message);
    wr_stage_config made = {.name = "scale", .module = module, .hal_grants = UINT32_MAX, .memory_bytes_max = 1 << 20};
    made.config = config;
    made.config_bytes = read_hex(argv[2], config);
    made.in_count = made.out_count = 1;
    made.in_rings[0] = on->in;
    made.in_consumers[0] = on->in_consumer;
    made.out_rings[0] = on->out;
    if (wr_stage_new(&env, &made, NULL, (wr_instant){0, 1}, &stage, &error) != WR_OK) give_up("scale", error.message);
    return stage;
}

int main(int argc, char **argv) {
    if (argc < 3) give_up("usage", "bench_hop SCALE.wasm CONFIG_HEX [ARTEFACT.so]");
    hop of_c = new_hop(), of_stage = new_hop();
    wr_stage *stage = new_stage(&of_stage, argc, argv);
    time_c(&of_c); /* both once, to have touched their memory */
    time_stage(&of_stage, stage);
    printf("[");
    for (int round = 0; round < ROUNDS; round++) {
        double c_ns = time_c(&of_c), stage_ns = time_stage(&of_stage, stage);
        printf("%s{\"c_ns\": %.2f, \"stage_ns\": %.2f}", round > 0 ? ", " : "", c_ns, stage_ns);
    }
    printf("]\n");
    return 0;
}
