/* Events for the host: logs, traps, ports, stages. Bounded; what does not fit is counted and reported as
 * WR_EVENT_LOST once the host has read what came before. */
#ifndef WR_FLOW_EVENTS_H
#define WR_FLOW_EVENTS_H
#include "wr.h"

enum { WR_EVENT_TEXT_MAX = 480 };

typedef struct wr_events wr_events;

wr_status wr_events_new(uint32_t bytes, wr_events **out);
void wr_events_free(wr_events *events); /* NULL is allowed */

/* Text beyond WR_EVENT_TEXT_MAX is cut. From any thread. */
void wr_events_post(wr_events *events, uint16_t kind, uint16_t level, uint32_t source, int64_t unix_ns,
                    const char *text, uint32_t len);
__attribute__((format(printf, 6, 7))) void wr_events_postf(wr_events *events, uint16_t kind, uint16_t level,
                                                           uint32_t source, int64_t unix_ns, const char *format, ...);
/* Copies whole events, as many as fit; returns the bytes copied. From any thread. */
uint32_t wr_events_read(wr_events *events, void *into, uint32_t capacity);
int wr_events_fd(const wr_events *events); /* readable while there are events */

#endif
