/* Imports what no host has. */
#include "pen.h"

PEN_ABI_MARKER()
int32_t PEN_HAL(reboot)(void);
int32_t PEN_EXPORT(pen_init)(void) { return hal_reboot(); }
