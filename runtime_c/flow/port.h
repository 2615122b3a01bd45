/* A port of the loop: a file descriptor, non-blocking, read and written on behalf of one stage. */
#ifndef WR_FLOW_PORT_H
#define WR_FLOW_PORT_H
#include "stage.h"

enum { WR_PORT_NAME_MAX = 47, WR_PORT_BYTES_DEFAULT = 4096, WR_PORT_BYTES_MAX = 1 << 20, WR_PORT_REASON_MAX = 64 };

typedef struct wr_port {
    char name[WR_PORT_NAME_MAX + 1];
    uint32_t number;
    int fd; /* -1: down */
    bool datagram;
    bool is_tty;
    bool is_blocked; /* the descriptor took less than there is to send */
    uint32_t rx_bytes, tx_bytes;
    uint32_t watched; /* epoll events asked for */
    wr_stage *stage;  /* NULL: nobody reads it yet, the kernel keeps what arrives */
    uint32_t local;   /* its number in the stage */
    uint64_t rx_total, tx_total, downs;
} wr_port;

/* Why a descriptor ended; "" while it lives. */
typedef struct wr_port_end {
    char reason[WR_PORT_REASON_MAX];
} wr_port_end;

/* Makes fd non-blocking and watches it. On failure the port stays down and fd is closed. */
wr_status wr_port_open(wr_port *port, int epoll_fd, int fd);
void wr_port_close(wr_port *port);

/* One read of what epoll reported (`events`); the time is taken right after it. */
wr_port_end wr_port_receive(wr_port *port, uint32_t events, uint8_t *scratch, uint32_t scratch_bytes);
/* Sends what the stage left, as far as the descriptor takes it now. */
wr_port_end wr_port_send(wr_port *port);
/* Tells epoll what the port waits for. */
void wr_port_watch(wr_port *port, int epoll_fd);
bool wr_port_has_ended(const wr_port_end *end);

#endif
