/* Time goes on while it sleeps; time and random numbers are there. Prints what is wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static long long now(clockid_t clock) {
    struct timespec at;
    if (clock_gettime(clock, &at) != 0) return -1;
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

int main(void) {
    const struct timespec pause = {0, 2000000};
    struct timespec resolution;
    unsigned char random[32] = {0}, zero = 0;
    long long before = now(CLOCK_MONOTONIC);
    if (nanosleep(&pause, NULL) != 0) printf("nanosleep failed\n");
    if (now(CLOCK_MONOTONIC) - before < 2000000) printf("it did not sleep\n");
    if (now(CLOCK_REALTIME) < 1500000000LL * 1000000000LL) printf("the year is before 2017\n");
    if (clock_getres(CLOCK_MONOTONIC, &resolution) != 0) printf("no resolution\n");
    if (getentropy(random, sizeof random) != 0) printf("no random numbers\n");
    for (size_t i = 0; i < sizeof random; i++) zero |= random[i];
    if (zero == 0) printf("the random numbers are all zero\n");
    printf("done\n");
    return 0;
}
