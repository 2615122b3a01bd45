/* Ring throughput between two threads of one process, through the public header: prints one JSON array.
 *
 *   bench_ring [RECORDS]      default 4,000,000 of 32 bytes for each batch size
 *
 * The producer writes batches and yields while the ring is full, the consumer yields while it is empty. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "wr.h"

enum { BATCH_MAX = 256, RING_BYTES = 1 << 18 };

typedef struct bench_run {
    wr_ring *ring;
    uint32_t consumer;
    uint32_t batch;
    uint64_t total;
    uint64_t taken;
    uint32_t out_of_order;
} bench_run;

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void *produce(void *user) {
    bench_run *run = user;
    wr_record batch[BATCH_MAX] = {0};
    for (uint64_t sent = 0; sent < run->total; sent += run->batch) {
        for (uint32_t i = 0; i < run->batch; i++) {
            batch[i] = (wr_record){.size = sizeof batch[i], .kind = WR_KIND_SAMPLE, .type = WR_VALUE_I64};
            batch[i].seq = (uint32_t)(sent + i);
        }
        while (wr_ring_write(run->ring, batch, run->batch * (uint32_t)sizeof batch[0]) == WR_FULL) sched_yield();
    }
    return NULL;
}

static void consume(bench_run *run) {
    wr_record batch[BATCH_MAX];
    uint32_t expected = 0;
    while (run->taken < run->total) {
        uint32_t got = 0;
        wr_ring_read(run->ring, run->consumer, batch, sizeof batch, &got);
        if (got == 0) sched_yield();
        for (uint32_t i = 0; i < got / sizeof batch[0]; i++) run->out_of_order += batch[i].seq != expected++;
        run->taken += got / sizeof batch[0];
    }
}

static bool measure(uint32_t batch, uint64_t total, const char *separator) {
    bench_run run = {.batch = batch, .total = total / batch * batch};
    wr_ring_config config = {.name = "bench", .bytes = RING_BYTES, .consumers_max = 1, .schema = 1};
    wr_error error = {0};
    pthread_t producer;
    if (wr_ring_new(&config, &run.ring, &error) != WR_OK ||
        wr_ring_attach(run.ring, WR_POLICY_BLOCK, &run.consumer) != WR_OK) {
        fprintf(stderr, "bench_ring: %s\n", error.message);
        return false;
    }
    uint64_t begin = now_ns();
    if (pthread_create(&producer, NULL, produce, &run) != 0) return false;
    consume(&run);
    pthread_join(producer, NULL);
    double took_ns = (double)(now_ns() - begin);
    wr_ring_free(run.ring);
    printf("%s{\"batch\": %" PRIu32 ", \"records\": %" PRIu64 ", \"out_of_order\": %" PRIu32
           ", \"ns_per_record\": %.1f, \"records_per_s\": %.0f}",
           separator, batch, run.taken, run.out_of_order, took_ns / (double)run.taken,
           (double)run.taken / took_ns * 1e9);
    return run.out_of_order == 0;
}

int main(int argc, char **argv) {
    static const uint32_t batches[] = {1, 16, BATCH_MAX};
    uint64_t total = argc > 1 ? strtoull(argv[1], NULL, 10) : 4000000;
    bool fine = total >= BATCH_MAX;
    printf("[");
    for (size_t i = 0; fine && i < sizeof batches / sizeof batches[0]; i++) {
        fine = measure(batches[i], total, i ? ", " : "");
    }
    printf("]\n");
    return fine ? 0 : 1;
}
