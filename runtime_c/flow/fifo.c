#include "fifo.h"

#include <stdlib.h>
#include <string.h>

typedef uint32_t datagram_len;

wr_status wr_fifo_init(wr_fifo *fifo, uint32_t capacity, bool datagram) {
    *fifo = (wr_fifo){.bytes = malloc(capacity), .capacity = capacity, .datagram = datagram};
    return fifo->bytes == NULL ? WR_NO_MEMORY : WR_OK;
}

void wr_fifo_free(wr_fifo *fifo) {
    free(fifo->bytes);
    fifo->bytes = NULL;
}

void wr_fifo_clear(wr_fifo *fifo) { fifo->start = fifo->count = 0; }

static void append(wr_fifo *fifo, const void *bytes, uint32_t len) {
    if (len == 0) return;
    memcpy(fifo->bytes + fifo->start + fifo->count, bytes, len);
    fifo->count += len;
}

bool wr_fifo_put(wr_fifo *fifo, const void *bytes, uint32_t len) {
    uint32_t head = fifo->datagram ? sizeof(datagram_len) : 0;
    uint32_t room = fifo->capacity - fifo->count;
    if (room < head || room - head < len) return false;
    if (fifo->capacity - fifo->start - fifo->count < head + len) {
        memmove(fifo->bytes, fifo->bytes + fifo->start, fifo->count);
        fifo->start = 0;
    }
    append(fifo, &(datagram_len){len}, head);
    append(fifo, bytes, len);
    return true;
}

const uint8_t *wr_fifo_peek(const wr_fifo *fifo, uint32_t *len) {
    *len = fifo->count;
    if (fifo->count == 0) return NULL;
    const uint8_t *next = fifo->bytes + fifo->start;
    if (!fifo->datagram) return next;
    memcpy(len, next, sizeof *len);
    return next + sizeof(datagram_len);
}

void wr_fifo_drop(wr_fifo *fifo, uint32_t len) {
    if (fifo->datagram) {
        if (wr_fifo_peek(fifo, &len) == NULL) return;
        len += (uint32_t)sizeof(datagram_len);
    }
    if (len > fifo->count) len = fifo->count;
    fifo->start += len;
    fifo->count -= len;
    if (fifo->count == 0) fifo->start = 0;
}

uint32_t wr_fifo_make_room(wr_fifo *fifo, uint32_t len) {
    uint32_t need = len + (fifo->datagram ? (uint32_t)sizeof(datagram_len) : 0);
    uint32_t thrown = 0;
    while (fifo->count > 0 && fifo->capacity - fifo->count < need) {
        uint32_t next;
        wr_fifo_peek(fifo, &next);
        uint32_t missing = need - (fifo->capacity - fifo->count);
        uint32_t drop = fifo->datagram || next < missing ? next : missing;
        wr_fifo_drop(fifo, drop);
        thrown += drop;
    }
    return thrown;
}

uint32_t wr_fifo_take(wr_fifo *fifo, void *into, uint32_t cap) {
    uint32_t len;
    const uint8_t *next = wr_fifo_peek(fifo, &len);
    if (next == NULL) return 0;
    if (len > cap) len = cap;
    if (len > 0) memcpy(into, next, len);
    wr_fifo_drop(fifo, len);
    return len;
}
