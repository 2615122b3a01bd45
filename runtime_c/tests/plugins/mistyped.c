/* pen_on_rx with a parameter too many. */
#include "pen.h"

PEN_ABI_MARKER()
int32_t PEN_EXPORT(pen_init)(void) { return 0; }
void PEN_EXPORT(pen_on_rx)(int32_t port, int32_t more) { (void)(port + more); }
