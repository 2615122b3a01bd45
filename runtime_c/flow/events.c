#include "events.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bell.h"
#include "fifo.h"

struct wr_events {
    pthread_mutex_t lock;
    wr_bell *bell;
    wr_fifo fifo;       /* whole events as a byte stream */
    uint32_t lost;      /* posted since the fifo became full */
    int64_t lost_ns;    /* time of the first of them */
};

wr_status wr_events_new(uint32_t bytes, wr_events **out) {
    wr_events *events = calloc(1, sizeof *events);
    if (events == NULL) return WR_NO_MEMORY;
    wr_status status = wr_fifo_init(&events->fifo, bytes, false);
    if (status == WR_OK) status = wr_bell_new(&events->bell);
    if (status != WR_OK) {
        wr_fifo_free(&events->fifo);
        free(events);
        return status;
    }
    pthread_mutex_init(&events->lock, NULL);
    wr_bell_arm(events->bell);
    *out = events;
    return WR_OK;
}

void wr_events_free(wr_events *events) {
    if (events == NULL) return;
    pthread_mutex_destroy(&events->lock);
    wr_bell_release(events->bell);
    wr_fifo_free(&events->fifo);
    free(events);
}

void wr_events_post(wr_events *events, uint16_t kind, uint16_t level, uint32_t source, int64_t unix_ns,
                    const char *text, uint32_t len) {
    struct {
        wr_event head;
        char text[WR_EVENT_TEXT_MAX];
    } event = {{0}, {0}};
    if (len > WR_EVENT_TEXT_MAX) len = WR_EVENT_TEXT_MAX;
    event.head = (wr_event){.size = (uint32_t)sizeof(wr_event) + ((len + 7) & ~7u),
                            .kind = kind,
                            .level = level,
                            .source = source,
                            .len = len,
                            .time_ns = unix_ns};
    if (len > 0) memcpy(event.text, text, len);
    pthread_mutex_lock(&events->lock);
    /* Once one is lost all that follow are, until the host has read: the report then has one place in the order. */
    if (events->lost > 0 || !wr_fifo_put(&events->fifo, &event, event.head.size)) {
        if (events->lost++ == 0) events->lost_ns = unix_ns;
    }
    pthread_mutex_unlock(&events->lock);
    wr_bell_ring(events->bell);
}

void wr_events_postf(wr_events *events, uint16_t kind, uint16_t level, uint32_t source, int64_t unix_ns,
                     const char *format, ...) {
    char text[WR_EVENT_TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0) len = 0;
    if (len > WR_EVENT_TEXT_MAX) len = WR_EVENT_TEXT_MAX;
    wr_events_post(events, kind, level, source, unix_ns, text, (uint32_t)len);
}

static uint32_t read_lost(wr_events *events, uint8_t *into, uint32_t capacity) {
    if (events->lost == 0 || events->fifo.count > 0 || capacity < sizeof(wr_event)) return 0;
    wr_event lost = {.size = sizeof lost, .kind = WR_EVENT_LOST, .len = events->lost, .time_ns = events->lost_ns};
    memcpy(into, &lost, sizeof lost);
    events->lost = 0;
    return sizeof lost;
}

uint32_t wr_events_read(wr_events *events, void *into, uint32_t capacity) {
    uint32_t got = 0, pending;
    pthread_mutex_lock(&events->lock);
    const uint8_t *next = wr_fifo_peek(&events->fifo, &pending);
    while (got < pending) {
        uint32_t size;
        memcpy(&size, next + got, sizeof size);
        if (size > capacity - got) break;
        got += size;
    }
    wr_fifo_take(&events->fifo, into, got);
    got += read_lost(events, (uint8_t *)into + got, capacity - got);
    bool drained = events->fifo.count == 0 && events->lost == 0;
    /* Posting happens under the lock, so nothing can arrive between looking and arming. */
    if (drained) wr_bell_arm(events->bell);
    pthread_mutex_unlock(&events->lock);
    return got;
}

int wr_events_fd(const wr_events *events) { return wr_bell_fd(events->bell); }
