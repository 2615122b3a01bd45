/* What a driver may send on its field bus. Its plugin may try any bytes; each is looked at as the one request it must
 * be, so that nothing is written which the stage does not allow, whatever version of the plugin runs. */
#ifndef WR_FLOW_GUARD_H
#define WR_FLOW_GUARD_H
#include "wr.h"

enum { WR_GUARD_RULES_MAX = 32, WR_GUARD_WHY_BYTES = 96 };

typedef struct wr_guard {
    wr_bus bus;
    bool is_told; /* that something was refused */
    uint32_t count;
    wr_write_rule rules[WR_GUARD_RULES_MAX];
} wr_guard;

/* Reads pass, writes that a rule allows, and nothing else. False: `why` says what it was. */
bool wr_guard_allows(const wr_guard *guard, const uint8_t *frame, uint32_t len, char why[WR_GUARD_WHY_BYTES]);

#endif
