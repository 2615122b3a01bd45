/* Registers and bits of a reply to values. */
#ifndef VALUE_H
#define VALUE_H
#include "plan.h"

struct value {
    uint8_t type;    /* PEN_ type; PEN_NONE: the reading holds no value */
    uint8_t quality; /* PEN_GOOD or PEN_BAD */
    uint64_t bits;   /* of the scalar; length of a string */
};

/* data: the reply to a request that starts at `address`. A string is copied to point->text. */
struct value value_read(const struct point *point, const uint8_t *data, uint16_t address);

#endif
