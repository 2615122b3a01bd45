/* The loop's public side. Everything that touches ports or stages while the loop runs is done by its own thread
 * between two turns; the caller waits. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fail.h"
#include "loop.h"

/* ---- handing over ---- */

void wr_loop_hand_over(wr_loop *loop, wr_loop_task task, void *arg) {
    pthread_mutex_lock(&loop->gate);
    if (!loop->is_running) {
        task(loop, arg);
    } else {
        pthread_mutex_lock(&loop->task_lock);
        loop->task = task;
        loop->task_arg = arg;
        atomic_store(&loop->has_task, true);
        wr_bell_ring(loop->bell);
        while (atomic_load(&loop->has_task)) pthread_cond_wait(&loop->task_done, &loop->task_lock);
        pthread_mutex_unlock(&loop->task_lock);
    }
    pthread_mutex_unlock(&loop->gate);
}

/* ---- life ---- */

static bool watch(wr_loop *loop, int fd, uint32_t what) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};
    return fd >= 0 && epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static wr_status open_descriptors(wr_loop *loop, wr_error *error) {
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->epoll_fd >= 0 && watch(loop, loop->timer_fd, WR_LOOP_ON_TIMER) &&
        watch(loop, wr_bell_fd(loop->bell), WR_LOOP_ON_BELL)) {
        return WR_OK;
    }
    return wr_fail(error, WR_SYSTEM, "event loop: %s", strerror(errno));
}

wr_status wr_loop_new(wr_engine *engine, const wr_loop_config *config, wr_loop **out, wr_error *error) {
    wr_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) return wr_fail(error, WR_NO_MEMORY, "event loop: out of memory");
    uint32_t events_bytes = config != NULL && config->events_bytes != 0 ? config->events_bytes : WR_LOOP_EVENTS_DEFAULT;
    loop->engine = engine;
    loop->epoll_fd = loop->timer_fd = -1;
    loop->timer_at = WR_NEVER;
    pthread_mutex_init(&loop->gate, NULL);
    pthread_mutex_init(&loop->task_lock, NULL);
    pthread_cond_init(&loop->task_done, NULL);
    loop->scratch = malloc(WR_LOOP_SCRATCH);
    wr_status status = loop->scratch == NULL ? WR_NO_MEMORY : wr_events_new(events_bytes, &loop->events);
    if (status == WR_OK) status = wr_bell_new(&loop->bell);
    if (status == WR_OK) status = wr_exec_new(engine, config != NULL ? config->stack_bytes : 0, &loop->exec);
    if (status != WR_OK) {
        wr_fail(error, status, "event loop: %s", wr_status_text(status));
    } else {
        status = open_descriptors(loop, error);
    }
    if (status == WR_OK) {
        *out = loop;
    } else {
        wr_loop_free(loop);
    }
    return status;
}

void wr_loop_free(wr_loop *loop) {
    if (loop == NULL) return;
    wr_loop_stop(loop);
    for (uint32_t i = 0; i < loop->stage_count; i++) wr_stage_free(loop->stages[i]);
    for (uint32_t i = 0; i < loop->port_count; i++) {
        if (loop->ports[i]->fd >= 0) wr_port_close(loop->ports[i]);
        free(loop->ports[i]);
    }
    free(loop->stages);
    free(loop->ports);
    if (loop->exec != NULL) wr_exec_free(loop->exec);
    wr_events_free(loop->events);
    wr_bell_release(loop->bell);
    if (loop->epoll_fd >= 0) close(loop->epoll_fd);
    if (loop->timer_fd >= 0) close(loop->timer_fd);
    pthread_cond_destroy(&loop->task_done);
    pthread_mutex_destroy(&loop->task_lock);
    pthread_mutex_destroy(&loop->gate);
    free(loop->scratch);
    free(loop);
}

/* Signals are the host's business, all but the faults of this very thread (the engine turns them into traps). */
static int create_thread(wr_loop *loop) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int failed = pthread_create(&loop->thread, NULL, wr_loop_run, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

wr_status wr_loop_start(wr_loop *loop) {
    wr_status status = WR_BAD_STATE;
    pthread_mutex_lock(&loop->gate);
    if (!loop->is_running) {
        atomic_store(&loop->is_stopping, false);
        status = create_thread(loop) == 0 ? WR_OK : WR_SYSTEM;
        loop->is_running = status == WR_OK;
    }
    pthread_mutex_unlock(&loop->gate);
    return status;
}

void wr_loop_stop(wr_loop *loop) {
    pthread_mutex_lock(&loop->gate);
    if (loop->is_running) {
        atomic_store(&loop->is_stopping, true);
        wr_bell_ring(loop->bell);
        pthread_join(loop->thread, NULL);
        loop->is_running = false;
    }
    pthread_mutex_unlock(&loop->gate);
}

/* ---- growing lists ---- */

/* A list of pointers with room for one more, or NULL. */
static void *grow(void *list, uint32_t count, uint32_t max) {
    return count < max ? realloc(list, (count + 1) * sizeof(void *)) : NULL;
}

/* ---- ports ---- */

typedef struct port_request {
    wr_port *added;
    uint32_t number;
    int fd;
    wr_port_stats *stats;
    wr_status status;
} port_request;

static void add_port(wr_loop *loop, void *arg) {
    port_request *want = arg;
    wr_port **grown = grow(loop->ports, loop->port_count, WR_LOOP_PORTS_MAX);
    want->status = grown != NULL ? WR_OK : WR_FULL;
    if (grown == NULL) return;
    loop->ports = grown;
    want->number = want->added->number = loop->port_count;
    grown[loop->port_count++] = want->added;
}

static uint32_t or_default(uint32_t value, uint32_t standard) { return value != 0 ? value : standard; }

wr_status wr_loop_add_port(wr_loop *loop, const wr_port_config *config, uint32_t *out) {
    if (config->name == NULL || config->rx_bytes > WR_PORT_BYTES_MAX || config->tx_bytes > WR_PORT_BYTES_MAX) {
        return WR_BAD_ARGUMENT;
    }
    wr_port *port = calloc(1, sizeof *port);
    if (port == NULL) return WR_NO_MEMORY;
    strncpy(port->name, config->name, WR_PORT_NAME_MAX);
    port->fd = -1;
    port->datagram = config->datagram;
    port->rx_bytes = or_default(config->rx_bytes, WR_PORT_BYTES_DEFAULT);
    port->tx_bytes = or_default(config->tx_bytes, WR_PORT_BYTES_DEFAULT);
    port_request want = {.added = port};
    wr_loop_hand_over(loop, add_port, &want);
    if (want.status != WR_OK) free(port);
    *out = want.number;
    return want.status;
}

static void set_port_fd(wr_loop *loop, void *arg) {
    port_request *want = arg;
    want->status = WR_BAD_ARGUMENT;
    if (want->number < loop->port_count) {
        wr_port *port = loop->ports[want->number];
        want->status = WR_OK;
        if (port->fd >= 0) wr_loop_port_down(loop, port, want->fd >= 0 ? "replaced" : "closed by the host");
        if (want->fd >= 0) want->status = wr_port_open(port, loop->epoll_fd, want->fd);
        if (port->fd >= 0) wr_loop_port_up(loop, port);
    } else if (want->fd >= 0) {
        close(want->fd);
    }
}

wr_status wr_loop_set_port_fd(wr_loop *loop, uint32_t port, int fd) {
    port_request want = {.number = port, .fd = fd};
    wr_loop_hand_over(loop, set_port_fd, &want);
    return want.status;
}

static void port_stats(wr_loop *loop, void *arg) {
    port_request *want = arg;
    want->status = want->number < loop->port_count ? WR_OK : WR_BAD_ARGUMENT;
    if (want->status != WR_OK) return;
    const wr_port *port = loop->ports[want->number];
    *want->stats = (wr_port_stats){
        .up = port->fd >= 0, .rx_bytes = port->rx_total, .tx_bytes = port->tx_total, .downs = port->downs};
    if (port->stage != NULL) want->stats->rx_overflows = port->stage->ports[port->local].rx_overflows;
}

wr_status wr_loop_port_stats(wr_loop *loop, uint32_t port, wr_port_stats *out) {
    port_request want = {.number = port, .stats = out};
    wr_loop_hand_over(loop, port_stats, &want);
    return want.status;
}

/* ---- stages ---- */

typedef struct stage_request {
    const wr_stage_config *config;
    uint32_t number;
    wr_stage_stats *stats;
    wr_metric *metrics;
    uint32_t capacity;
    uint32_t *count;
    wr_error *error;
    wr_status status;
} stage_request;

/* Fills what the stage must know of its ports; each port belongs to one stage. */
static wr_status describe_ports(wr_loop *loop, const wr_stage_config *config, wr_stage_port_config *ports,
                                wr_error *error) {
    for (uint32_t i = 0; i < config->port_count && i < WR_STAGE_PORTS_MAX; i++) {
        wr_port *port = config->ports[i] < loop->port_count ? loop->ports[config->ports[i]] : NULL;
        bool is_free = port != NULL && port->stage == NULL;
        for (uint32_t before = 0; before < i; before++) is_free = is_free && config->ports[before] != config->ports[i];
        if (!is_free) {
            return wr_fail(error, WR_BAD_ARGUMENT, "stage \"%s\": port %u does not exist or belongs to a stage already",
                           config->name, config->ports[i]);
        }
        ports[i] = (wr_stage_port_config){
            .datagram = port->datagram, .up = port->fd >= 0, .rx_bytes = port->rx_bytes, .tx_bytes = port->tx_bytes};
    }
    return WR_OK;
}

static void add_stage(wr_loop *loop, void *arg) {
    stage_request *want = arg;
    wr_stage_port_config ports[WR_STAGE_PORTS_MAX];
    wr_stage *stage = NULL;
    wr_stage_env env = {.engine = loop->engine,
                        .exec = loop->exec,
                        .events = loop->events,
                        .bell = loop->bell,
                        .number = loop->stage_count};
    want->number = loop->stage_count;
    want->status = describe_ports(loop, want->config, ports, want->error);
    if (want->status == WR_OK) {
        want->status = wr_stage_new(&env, want->config, ports, wr_instant_now(), &stage, want->error);
    }
    if (want->status != WR_OK) return;
    wr_stage **grown = grow(loop->stages, loop->stage_count, WR_LOOP_STAGES_MAX);
    if (grown == NULL) {
        want->status = wr_fail(want->error, WR_FULL, "stage \"%s\": no room for one more", want->config->name);
        wr_stage_free(stage);
        return;
    }
    loop->stages = grown;
    grown[loop->stage_count++] = stage;
    for (uint32_t i = 0; i < want->config->port_count; i++) {
        wr_port *port = loop->ports[want->config->ports[i]];
        port->stage = stage;
        port->local = i;
    }
}

wr_status wr_loop_add_stage(wr_loop *loop, const wr_stage_config *config, uint32_t *out, wr_error *error) {
    stage_request want = {.config = config, .error = error};
    wr_loop_hand_over(loop, add_stage, &want);
    *out = want.number;
    return want.status;
}

static void stage_stats(wr_loop *loop, void *arg) {
    stage_request *want = arg;
    want->status = want->number < loop->stage_count ? WR_OK : WR_BAD_ARGUMENT;
    if (want->status == WR_OK) wr_stage_stats_get(loop->stages[want->number], want->stats);
}

wr_status wr_loop_stage_stats(wr_loop *loop, uint32_t stage, wr_stage_stats *out) {
    stage_request want = {.number = stage, .stats = out};
    wr_loop_hand_over(loop, stage_stats, &want);
    return want.status;
}

static void stage_metrics(wr_loop *loop, void *arg) {
    stage_request *want = arg;
    want->status = want->number < loop->stage_count ? WR_OK : WR_BAD_ARGUMENT;
    if (want->status != WR_OK) return;
    const wr_stage *stage = loop->stages[want->number];
    *want->count = stage->metric_count;
    uint32_t copied = stage->metric_count < want->capacity ? stage->metric_count : want->capacity;
    if (copied > 0) memcpy(want->metrics, stage->metrics, copied * sizeof *want->metrics);
}

wr_status wr_loop_stage_metrics(wr_loop *loop, uint32_t stage, wr_metric *into, uint32_t capacity, uint32_t *count) {
    stage_request want = {.number = stage, .metrics = into, .capacity = capacity, .count = count};
    wr_loop_hand_over(loop, stage_metrics, &want);
    return want.status;
}

/* ---- events ---- */

wr_status wr_loop_read_events(wr_loop *loop, void *into, uint32_t capacity, uint32_t *got) {
    *got = wr_events_read(loop->events, into, capacity);
    return WR_OK;
}

wr_status wr_loop_events_fd(wr_loop *loop, int *fd) {
    *fd = wr_events_fd(loop->events);
    return WR_OK;
}
