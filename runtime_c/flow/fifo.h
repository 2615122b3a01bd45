/* Bounded byte queue of a port: a stream, or whole datagrams each behind a u32 length. */
#ifndef WR_FLOW_FIFO_H
#define WR_FLOW_FIFO_H
#include "wr.h"

typedef struct wr_fifo {
    uint8_t *bytes;
    uint32_t capacity;
    uint32_t start; /* first pending byte */
    uint32_t count; /* pending bytes, lengths of datagrams included */
    bool datagram;
} wr_fifo;

wr_status wr_fifo_init(wr_fifo *fifo, uint32_t capacity, bool datagram);
void wr_fifo_free(wr_fifo *fifo);
void wr_fifo_clear(wr_fifo *fifo);

/* Appends all or nothing; a datagram takes 4 bytes more than its length. */
bool wr_fifo_put(wr_fifo *fifo, const void *bytes, uint32_t len);
/* Throws away the oldest bytes (whole datagrams) until len more fit. Returns the payload bytes thrown away. */
uint32_t wr_fifo_make_room(wr_fifo *fifo, uint32_t len);
/* What comes next: all pending bytes of a stream, or the first datagram. NULL: empty. */
const uint8_t *wr_fifo_peek(const wr_fifo *fifo, uint32_t *len);
/* Removes len bytes of a stream, or the first datagram whatever len is. */
void wr_fifo_drop(wr_fifo *fifo, uint32_t len);
/* Peek, copy at most cap bytes, drop; a datagram that is longer is cut. Returns the bytes copied. */
uint32_t wr_fifo_take(wr_fifo *fifo, void *into, uint32_t cap);

#endif
