#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static uint32_t wanted_events(const wr_port *port) {
    uint32_t in = port->stage != NULL ? EPOLLIN : 0;
    uint32_t out = port->is_blocked ? EPOLLOUT : 0;
    return in | out;
}

wr_status wr_port_open(wr_port *port, int epoll_fd, int fd) {
    int flags = fcntl(fd, F_GETFL);
    port->is_blocked = false;
    port->watched = wanted_events(port);
    struct epoll_event event = {.events = port->watched, .data.u32 = port->number};
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        close(fd);
        return WR_SYSTEM;
    }
    port->fd = fd;
    port->is_tty = isatty(fd) == 1;
    return WR_OK;
}

void wr_port_close(wr_port *port) {
    close(port->fd); /* also ends the watching */
    port->fd = -1;
}

void wr_port_watch(wr_port *port, int epoll_fd) {
    uint32_t wanted = wanted_events(port);
    if (port->fd < 0 || wanted == port->watched) return;
    struct epoll_event event = {.events = wanted, .data.u32 = port->number};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, port->fd, &event) == 0) port->watched = wanted;
}

bool wr_port_has_ended(const wr_port_end *end) { return end->reason[0] != '\0'; }

static wr_port_end ended(const char *reason) {
    wr_port_end end;
    snprintf(end.reason, sizeof end.reason, "%s", reason);
    return end;
}

static const wr_port_end ALIVE = {""};

/* Nothing was read. For a datagram port that is an echo of an earlier send at worst. A terminal without its minimum
 * of bytes (VMIN 0) reads 0 when somebody else has flushed it. */
static wr_port_end nothing_read(const wr_port *port, ssize_t got, int cause, uint32_t events) {
    bool hung_up = (events & (EPOLLHUP | EPOLLERR)) != 0;
    if (got < 0 && cause == EINTR) return ALIVE;
    if (port->datagram) return ALIVE;
    if (got == 0 && port->is_tty && !hung_up) return ALIVE;
    if (got == 0) return ended("end of file");
    if (cause == EAGAIN || cause == EWOULDBLOCK) return (events & EPOLLHUP) != 0 ? ended("hung up") : ALIVE;
    return ended(strerror(cause));
}

wr_port_end wr_port_receive(wr_port *port, uint32_t events, uint8_t *scratch, uint32_t scratch_bytes) {
    uint32_t most = port->datagram || port->rx_bytes > scratch_bytes ? scratch_bytes : port->rx_bytes;
    ssize_t got = read(port->fd, scratch, most);
    int cause = errno;
    wr_instant now = wr_instant_now();
    if (got <= 0) return nothing_read(port, got, cause, events);
    port->rx_total += (uint64_t)got;
    if (port->stage != NULL) wr_stage_feed(port->stage, port->local, scratch, (uint32_t)got, now);
    return ALIVE;
}

/* A datagram that cannot be sent is lost, as datagrams are; a stream that cannot be written has ended. */
static wr_port_end nothing_sent(wr_port *port, int cause, uint32_t len) {
    if (cause == EAGAIN || cause == EWOULDBLOCK) {
        port->is_blocked = true;
    } else if (port->datagram) {
        wr_stage_sent(port->stage, port->local, len);
    } else if (cause != EINTR) {
        return ended(strerror(cause));
    }
    return ALIVE;
}

wr_port_end wr_port_send(wr_port *port) {
    wr_port_end end = ALIVE;
    const uint8_t *bytes;
    uint32_t len;
    port->is_blocked = false;
    while (port->stage != NULL && !port->is_blocked && !wr_port_has_ended(&end) &&
           (bytes = wr_stage_tx(port->stage, port->local, &len)) != NULL) {
        ssize_t sent = write(port->fd, bytes, len);
        if (sent < 0) {
            end = nothing_sent(port, errno, len);
            continue;
        }
        port->is_blocked = sent == 0 && !port->datagram;
        port->tx_total += (uint64_t)sent;
        wr_stage_sent(port->stage, port->local, (uint32_t)sent);
    }
    return end;
}
