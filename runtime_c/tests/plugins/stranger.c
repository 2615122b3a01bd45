/* No plugin: it lacks the ABI marker. */
#include "pen.h"

int32_t PEN_EXPORT(pen_init)(void) { return 0; }
