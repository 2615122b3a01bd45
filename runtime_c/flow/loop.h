/* The event loop, inside view: one native thread that moves bytes between ports and stages. */
#ifndef WR_FLOW_LOOP_H
#define WR_FLOW_LOOP_H
#include <pthread.h>

#include "port.h"

enum {
    WR_LOOP_EVENTS_DEFAULT = 64 * 1024,
    WR_LOOP_SCRATCH = 64 * 1024, /* largest datagram */
    WR_LOOP_PORTS_MAX = 4096,
    WR_LOOP_STAGES_MAX = 4096,
    WR_LOOP_BATCH = 64, /* epoll events per turn */
    WR_LOOP_ON_BELL = 0x7FFFFFFF, /* epoll data beside port numbers */
    WR_LOOP_ON_TIMER = 0x7FFFFFFE
};

/* Work that another thread wants done between two turns. */
typedef void (*wr_loop_task)(wr_loop *loop, void *arg);

struct wr_loop {
    wr_engine *engine;
    wr_exec *exec;
    wr_events *events;
    wr_bell *bell;
    int epoll_fd, timer_fd;
    int64_t timer_at; /* mono_ns the timer is set to, WR_NEVER: off */
    uint8_t *scratch;

    wr_port **ports;
    uint32_t port_count;
    wr_stage **stages;
    uint32_t stage_count;

    pthread_t thread;
    pthread_mutex_t gate; /* one call from outside at a time; guards is_running */
    bool is_running;
    atomic_bool is_stopping;

    pthread_mutex_t task_lock; /* the task handed over */
    pthread_cond_t task_done;
    atomic_bool has_task;
    wr_loop_task task;
    void *task_arg;
};

/* Has the task done by the loop's thread between two turns, or here while there is none; returns then (loop_api.c). */
void wr_loop_hand_over(wr_loop *loop, wr_loop_task task, void *arg);
/* The thread's function: turns until is_stopping (loop.c). */
void *wr_loop_run(void *loop);
/* A port's descriptor ended or was taken away (loop.c). */
void wr_loop_port_down(wr_loop *loop, wr_port *port, const char *reason);
void wr_loop_port_up(wr_loop *loop, wr_port *port);

#endif
