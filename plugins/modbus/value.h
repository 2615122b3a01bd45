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

/* The other way round: registers (up to 4) of a number. */
double value_number(const struct value *value);
/* False: it does not fit the point's type. Doubles are rounded to whole numbers. */
bool value_encode(const struct point *point, const struct value *value, uint64_t *raw);
bool value_is_nan(const struct point *point, uint64_t raw);
void value_spread(uint64_t raw, uint32_t count, uint8_t order, uint8_t *registers);

#endif
