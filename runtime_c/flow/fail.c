#include "fail.h"

#include <stdarg.h>
#include <stdio.h>

wr_status wr_fail(wr_error *error, wr_status status, const char *format, ...) {
    if (error == NULL) return status;
    error->status = status;
    error->offset = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return status;
}
