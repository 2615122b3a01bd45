/* The loop's turns. Each does a bounded amount of work for everyone: one read per readable port, one firing per due
 * timer, one call per ready input; so a busy stage delays the others by its own deadline at most. */
#include "loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* ---- ports ---- */

void wr_loop_port_up(wr_loop *loop, wr_port *port) {
    wr_instant now = wr_instant_now();
    wr_events_postf(loop->events, WR_EVENT_PORT, 1, port->number, now.unix_ns, "port %s is up", port->name);
    if (port->stage != NULL) wr_stage_set_port(port->stage, port->local, true, now);
}

void wr_loop_port_down(wr_loop *loop, wr_port *port, const char *reason) {
    wr_instant now = wr_instant_now();
    wr_port_close(port);
    port->downs++;
    wr_events_postf(loop->events, WR_EVENT_PORT, 0, port->number, now.unix_ns, "port %s is down: %s", port->name,
                    reason);
    if (port->stage != NULL) wr_stage_set_port(port->stage, port->local, false, now);
}

static void port_ready(wr_loop *loop, wr_port *port, uint32_t events) {
    if (port->fd < 0) return;
    wr_port_end end = {""};
    if ((events & EPOLLOUT) != 0) end = wr_port_send(port);
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && !wr_port_has_ended(&end)) {
        end = wr_port_receive(port, events, loop->scratch, WR_LOOP_SCRATCH);
    }
    if (wr_port_has_ended(&end)) wr_loop_port_down(loop, port, end.reason);
}

/* What stages have left to send goes out at once; what a descriptor does not take waits for EPOLLOUT. */
static void send_all(wr_loop *loop) {
    for (uint32_t i = 0; i < loop->port_count; i++) {
        wr_port *port = loop->ports[i];
        if (port->fd < 0) continue;
        if (!port->is_blocked) {
            wr_port_end end = wr_port_send(port);
            if (wr_port_has_ended(&end)) wr_loop_port_down(loop, port, end.reason);
        }
        wr_port_watch(port, loop->epoll_fd);
    }
}

/* ---- timers ---- */

static int64_t next_timer(const wr_loop *loop) {
    int64_t next = WR_NEVER;
    for (uint32_t i = 0; i < loop->stage_count; i++) {
        int64_t timer = wr_stage_next_timer(loop->stages[i]);
        if (timer < next) next = timer;
    }
    return next;
}

static void run_timers(wr_loop *loop) {
    if (next_timer(loop) == WR_NEVER) return;
    for (uint32_t i = 0; i < loop->stage_count; i++) {
        wr_instant now = wr_instant_now();
        if (wr_stage_next_timer(loop->stages[i]) <= now.mono_ns) wr_stage_run_timers(loop->stages[i], now);
    }
}

static void set_timer(wr_loop *loop) {
    int64_t next = next_timer(loop);
    if (next == loop->timer_at) return;
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (next != WR_NEVER) {
        /* 0 would switch the timer off; 1 ns is as past as any. */
        int64_t at = next > 0 ? next : 1;
        when.it_value.tv_sec = (time_t)(at / 1000000000);
        when.it_value.tv_nsec = (long)(at % 1000000000);
    }
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    loop->timer_at = next;
}

static void timer_fired(wr_loop *loop) {
    uint64_t count;
    while (read(loop->timer_fd, &count, sizeof count) < 0 && errno == EINTR) continue;
    loop->timer_at = WR_NEVER; /* it is off now */
}

/* ---- stages ---- */

static bool any_ready(const wr_loop *loop) {
    for (uint32_t i = 0; i < loop->stage_count; i++) {
        if (wr_stage_ready(loop->stages[i])) return true;
    }
    return false;
}

static void run_stages(wr_loop *loop) {
    for (uint32_t i = 0; i < loop->stage_count; i++) {
        if (wr_stage_ready(loop->stages[i])) wr_stage_run(loop->stages[i], wr_instant_now());
    }
}

/* ---- turns ---- */

static void run_task(wr_loop *loop) {
    if (!atomic_load(&loop->has_task)) return;
    pthread_mutex_lock(&loop->task_lock);
    loop->task(loop, loop->task_arg);
    atomic_store(&loop->has_task, false);
    pthread_cond_signal(&loop->task_done);
    pthread_mutex_unlock(&loop->task_lock);
}

/* Armed first, looked afterwards: whoever brings work from now on rings. */
static bool may_sleep(wr_loop *loop) {
    if (any_ready(loop)) return false;
    wr_bell_arm(loop->bell);
    return !any_ready(loop) && !atomic_load(&loop->has_task) && !atomic_load(&loop->is_stopping);
}

static void wait_for_events(wr_loop *loop) {
    struct epoll_event events[WR_LOOP_BATCH];
    int count = epoll_wait(loop->epoll_fd, events, WR_LOOP_BATCH, may_sleep(loop) ? -1 : 0);
    wr_bell_disarm(loop->bell);
    for (int i = 0; i < count; i++) {
        uint32_t what = events[i].data.u32;
        if (what == WR_LOOP_ON_TIMER) {
            timer_fired(loop);
        } else if (what < loop->port_count) {
            port_ready(loop, loop->ports[what], events[i].events);
        } /* the bell needs nothing: arming it clears it */
    }
}

void *wr_loop_run(void *arg) {
    wr_loop *loop = arg;
    while (!atomic_load(&loop->is_stopping)) {
        run_task(loop); /* never between ports of one wait: it may replace a descriptor that has an event pending */
        run_timers(loop);
        run_stages(loop);
        send_all(loop);
        set_timer(loop);
        wait_for_events(loop);
    }
    return NULL;
}
