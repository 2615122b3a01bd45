/* A doorbell: an eventfd that is written only while somebody waits for it.
 *
 * The waiter arms the bell, looks once more whether there is work, and only then sleeps. The ringer makes its work
 * visible (seq_cst store) and then looks whether the bell is armed. One of the two always sees the other, and a busy
 * waiter costs the ringer one load instead of a system call.
 *
 * Reference counted: a ring keeps the bells it may ring alive, so another thread never rings freed memory. */
#ifndef WR_FLOW_BELL_H
#define WR_FLOW_BELL_H
#include <stdbool.h>

#include "wr.h"

typedef struct wr_bell wr_bell;

wr_status wr_bell_new(wr_bell **out);
wr_bell *wr_bell_retain(wr_bell *bell);
void wr_bell_release(wr_bell *bell); /* NULL is allowed */
int wr_bell_fd(const wr_bell *bell);

void wr_bell_ring(wr_bell *bell);   /* if armed: disarm, make the descriptor readable */
void wr_bell_arm(wr_bell *bell);    /* clear the descriptor; the caller looks for work afterwards */
void wr_bell_disarm(wr_bell *bell); /* awake by other means: no ringing needed */

#endif
