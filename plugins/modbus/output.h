/* Records of points in the output ring. The caller has made sure of the room, except where a result says full. */
#ifndef OUTPUT_H
#define OUTPUT_H
#include "plan.h"
#include "value.h"

/* What was read. A good value becomes the last known one. */
void output_reading(struct pen_ring *ring, struct point *point, struct value value, int64_t time_ns);
/* The answer was an exception. */
void output_failed(struct pen_ring *ring, struct point *point, int64_t time_ns);
/* The last known value, stale. False: the ring is full. */
bool output_stale(struct pen_ring *ring, struct point *point, int64_t time_ns);

#endif
