#include "bell.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct wr_bell {
    int fd;
    atomic_uint references;
    atomic_bool armed;
};

wr_status wr_bell_new(wr_bell **out) {
    wr_bell *bell = malloc(sizeof *bell);
    if (bell == NULL) return WR_NO_MEMORY;
    bell->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (bell->fd < 0) {
        free(bell);
        return WR_SYSTEM;
    }
    atomic_init(&bell->references, 1);
    atomic_init(&bell->armed, false);
    *out = bell;
    return WR_OK;
}

wr_bell *wr_bell_retain(wr_bell *bell) {
    atomic_fetch_add_explicit(&bell->references, 1, memory_order_relaxed);
    return bell;
}

void wr_bell_release(wr_bell *bell) {
    if (bell == NULL || atomic_fetch_sub_explicit(&bell->references, 1, memory_order_acq_rel) != 1) return;
    close(bell->fd);
    free(bell);
}

int wr_bell_fd(const wr_bell *bell) { return bell->fd; }

void wr_bell_ring(wr_bell *bell) {
    if (!atomic_load(&bell->armed) || !atomic_exchange(&bell->armed, false)) return;
    uint64_t one = 1;
    /* EAGAIN means that the counter is full: readable already. */
    while (write(bell->fd, &one, sizeof one) < 0 && errno == EINTR) continue;
}

void wr_bell_arm(wr_bell *bell) {
    uint64_t count;
    while (read(bell->fd, &count, sizeof count) < 0 && errno == EINTR) continue;
    atomic_store(&bell->armed, true);
}

void wr_bell_disarm(wr_bell *bell) { atomic_store_explicit(&bell->armed, false, memory_order_relaxed); }
