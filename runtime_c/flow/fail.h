/* Filling a wr_error with one formatted line. */
#ifndef WR_FLOW_FAIL_H
#define WR_FLOW_FAIL_H
#include "wr.h"

/* Returns status, so that callers can write `return wr_fail(error, WR_FULL, "...", ...)`. error may be NULL. */
__attribute__((format(printf, 3, 4))) wr_status wr_fail(wr_error *error, wr_status status, const char *format, ...);

#endif
