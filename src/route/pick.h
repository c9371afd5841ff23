/* SPDX-License-Identifier: ISC */
/* pick: the destination of a session. */
#ifndef ROUTE_PICK_H
#define ROUTE_PICK_H

#include <stdbool.h>
#include <stdint.h>

#include "route/route.h"

/* What the caller knows and route/ does not: the sessions open at DEST across all workers, and
 * whether a seat there could be taken (it is then taken; max 0: no limit). */
struct route_counts {
	unsigned (*sessions)(struct route_counts *c, unsigned dest);
	bool (*take)(struct route_counts *c, unsigned dest, unsigned max);
};

enum route_answer {
	ROUTE_PICKED, /* *DEST and *ADDRESS; the seat is taken */
	ROUTE_FULL,   /* every candidate is at its max: ask again later, until patience ends */
	ROUTE_NONE,   /* no destination is left to try */
};

/*
 * Picks the destination and address to connect to. Call again after route_failed() for the next
 * one. A destination that is down is no candidate while another one is, also when its pause is
 * over: trying it is the background's. The same holds for one of a cluster that is busy. When all
 * are down, or busy, they are tried all the same, so that no client is refused on old news.
 */
enum route_answer route_pick(const struct route *r, struct route_shared *s,
			     struct route_search *search, struct route_counts *counts,
			     const struct addr *client, uint64_t now_ms, unsigned *dest,
			     struct addr *address);

#endif
