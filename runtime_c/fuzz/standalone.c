/* For machines without libFuzzer: mutates modules without looking at what they reach.
 *
 *   standalone SECONDS SEED.wasm...
 *
 * Input number N is the same in every run with the same seeds, so a number reproduces a failure. The work is done by a
 * child process in shared memory: the parent sees crashes and hangs and saves the input as crash-N.wasm. Prints one
 * line of JSON; exit status 1 when something was found. */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "drive.h"
#include "mutator.h"

enum { INPUT_MAX = 1 << 17, SEEDS_MAX = 8192, HANG_S = 20 };

typedef struct seed {
    uint8_t *bytes;
    size_t len;
} seed;

/* What the child does, in memory that the parent sees too. */
typedef struct progress {
    drive_counts counts;
    size_t len;
    uint8_t bytes[INPUT_MAX];
} progress;

static uint64_t inputs_done(const progress *p) { return *(const volatile uint64_t *)&p->counts.inputs; }

static void work(progress *p, const seed *seeds, size_t seed_count, time_t until) {
    while (time(NULL) < until) {
        uint64_t number = p->counts.inputs;
        const seed *from = &seeds[number % seed_count];
        memcpy(p->bytes, from->bytes, from->len);
        p->len = number < seed_count ? from->len : mutate_module(p->bytes, from->len, INPUT_MAX, number, NULL);
        drive_input(p->bytes, p->len, &p->counts);
    }
}

/* Waits for the child; returns NULL, or what went wrong. */
static const char *watch(pid_t child, const progress *p) {
    int status = 0;
    uint64_t before = UINT64_MAX;
    for (unsigned ticks = 0;; ticks++) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "crash";
        if (ticks % (HANG_S * 10) == 0) {
            if (inputs_done(p) == before) {
                kill(child, SIGKILL);
                (void)waitpid(child, &status, 0);
                return "hang";
            }
            before = inputs_done(p);
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

static void save(const progress *p) {
    char path[64];
    snprintf(path, sizeof path, "crash-%" PRIu64 ".wasm", p->counts.inputs);
    FILE *file = fopen(path, "wb");
    if (!file) return;
    fwrite(p->bytes, 1, p->len, file);
    fclose(file);
    fprintf(stderr, "the input is in %s\n", path);
}

static bool read_seed(const char *path, seed *into) {
    FILE *file = fopen(path, "rb");
    into->bytes = malloc(INPUT_MAX / 2);
    if (!file || !into->bytes) return false;
    into->len = fread(into->bytes, 1, INPUT_MAX / 2, file);
    fclose(file);
    return true;
}

int main(int argc, char **argv) {
    static seed seeds[SEEDS_MAX];
    size_t seed_count = 0;
    progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc < 3 || p == MAP_FAILED) {
        fprintf(stderr, "usage: standalone SECONDS SEED.wasm...\n");
        return 2;
    }
    for (int i = 2; i < argc && seed_count < SEEDS_MAX; i++) {
        if (!read_seed(argv[i], &seeds[seed_count++])) {
            fprintf(stderr, "standalone: %s: cannot be read\n", argv[i]);
            return 2;
        }
    }
    pid_t child = fork();
    if (child == 0) {
        work(p, seeds, seed_count, time(NULL) + strtol(argv[1], NULL, 10));
        exit(0);
    }
    const char *failure = child < 0 ? "fork failed" : watch(child, p);
    printf("{\"seeds\": %zu, \"inputs\": %" PRIu64 ", \"loaded\": %" PRIu64 ", \"instantiated\": %" PRIu64
           ", \"calls\": %" PRIu64 ", \"traps\": %" PRIu64 ", \"failure\": %s%s%s}\n",
           seed_count, p->counts.inputs, p->counts.loaded, p->counts.instantiated, p->counts.calls, p->counts.traps,
           failure ? "\"" : "", failure ? failure : "null", failure ? "\"" : "");
    if (failure) save(p);
    for (size_t i = 0; i < seed_count; i++) free(seeds[i].bytes);
    return failure ? 1 : 0;
}
