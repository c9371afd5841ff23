/* SPDX-License-Identifier: ISC */
/*
 * tap: who looks on as the octets of a message go to the destination: from memory that was scanned,
 * in order, each once. A tap works while it is called, so a slow one slows the client down, as a
 * slow destination does. Octets that no tap reads may be moved unread (splice).
 */
#ifndef SESSION_TAP_H
#define SESSION_TAP_H

#include <stdbool.h>

#include "base/span.h"

struct session;

struct tap {
	/* The first octets of the session's message have come; asked again for each chunk. */
	void (*begin)(struct session *s);
	/* Octets that are sent on. */
	void (*add)(struct session *s, struct span octets);
	/* The message is over, or its session is. */
	void (*end)(struct session *s);
	/* True where it has to be given the octets. */
	bool (*reads)(const struct session *s);
};

void tap_begin(struct session *s);
void tap_add(struct session *s, struct span octets);
void tap_end(struct session *s);
/* True where octets have to be read for one of them. */
bool tap_reads(const struct session *s);

#endif
