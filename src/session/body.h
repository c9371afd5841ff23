/* SPDX-License-Identifier: ISC */
/* body: moves the octets of a message that comes by DATA. */
#ifndef SESSION_BODY_H
#define SESSION_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "session/transfer.h"

/* The step that is under way. */
struct body_step {
	uint32_t peeked, forwarded; /* BODY_SPLICE: octets looked at, and of these to be moved */
	uint8_t behind; /* … and how many behind them are to be taken out of the queue */
};

extern const struct mover body_mover;

/* BODY_SPLICE, as far as this body can be moved so: its octets are to be left in the socket. */
bool body_by_splice(const struct session *s);

#endif
