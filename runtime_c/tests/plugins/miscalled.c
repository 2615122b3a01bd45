/* Imports hal.now with a wrong type. */
#include <stdint.h>

#define PEN_EXPORT(name) __attribute__((export_name(#name))) name

__attribute__((import_module("hal"), import_name("now"))) int32_t wrong_now(int64_t clock);
void PEN_EXPORT(pen_abi_1)(void) {}
int32_t PEN_EXPORT(pen_init)(void) { return wrong_now(0); }
