/* SPDX-License-Identifier: ISC */
/*
 * shared: what all processes know of destinations: addresses, up or down, drained, checked. A word
 * here means the same in each of them at once.
 */
#ifndef ROUTE_SHARED_H
#define ROUTE_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "route/route.h"

size_t route_shared_room(void);
void route_shared_init(struct route_shared *s, const struct route *r);
/* Takes over what OLD, the state of OLD_ROUTE, knows of destinations of the same name: addresses,
 * up or down, drained; and what one has said, where it is spoken to in the same way. S is new and
 * nobody else's yet; OLD may be in use. */
void route_carry_over(struct route_shared *s, const struct route *r, struct route_shared *old,
		      const struct route *old_route);
/*
 * The addresses that a destination's name has now (from the resolver; one process at a time). Those
 * that are none or stand there twice are left out, port 0 becomes the destination's own; N 0
 * changes nothing. True when they differ from those before, in whatever order. A writer that is
 * killed leaves the addresses of before.
 */
bool route_set_addresses(struct route_shared *s, unsigned dest, const struct addr *a, unsigned n);
/* The next one to try comes first; the number of them. */
unsigned route_get_addresses(struct route_shared *s, unsigned dest,
			     struct addr out[ROUTE_ADDRESSES]);

/* How a connection attempt ended. True when the destination's state changed by it (a `destination`
 * record is due). A failure sets aside once all addresses of the name failed; the pauses grow from
 * 500 to 5000 ms. Also marks the name for resolving again. An attempt that began before the
 * destination came back says nothing about it. SEARCH NULL, or one that is not trying DEST: the
 * failure is that of the whole destination. */
bool route_connected(struct route_shared *s, unsigned dest, uint64_t now_ms);
bool route_failed(struct route_shared *s, struct route_search *search, unsigned dest,
		  uint64_t now_ms);
bool route_up(struct route_shared *s, unsigned dest);
/* True once a second at most, in all processes together: what DEST has said may be told of. */
bool route_may_tell(struct route_shared *s, unsigned dest, uint64_t now_ms);
enum route_health { ROUTE_UP, ROUTE_BUSY, ROUTE_DOWN };
/* What DEST is now, and the word for it ("up", "busy", "down"). */
enum route_health route_health(struct route_shared *s, unsigned dest);
const char *route_health_name(enum route_health health);
/*
 * Takes DEST out of use (ON), or back: a drained destination is no candidate in any cooperation
 * mode; the sessions that it has go on. True when that is a change.
 */
bool route_drain(struct route_shared *s, unsigned dest, bool on);
bool route_drained(struct route_shared *s, unsigned dest);

/*
 * A session has found DEST at its max=: connections that stand there unused are to go. Whoever has
 * such ones looks whether the number has changed.
 */
void route_want_room(struct route_shared *s, unsigned dest);
uint32_t route_room_wanted(struct route_shared *s, unsigned dest);

/* Destinations whose name is to be resolved again (a bit each), handed out once. */
uint64_t route_to_resolve(struct route_shared *s, const struct route *r);

/* ---- tries in the background, of what is down ---- */

/* Destinations that are down and due for a try (a bit each); each is handed out to one caller per
 * pause, and its name is asked for again. */
uint64_t route_due(struct route_shared *s, const struct route *r, uint64_t now_ms);
/* The address to try: the next one each time, so that none has to time out first. False: none. */
bool route_try(struct route_shared *s, unsigned dest, struct addr *address);
/* The try reached ADDRESS, where sessions begin from now on. True: a record is due. (A try that
 * failed needs no word: the next pause began with it.) */
bool route_came_back(struct route_shared *s, unsigned dest, const struct addr *address,
		     uint64_t now_ms);

/* ---- checks, of what is up ---- */

/* Destinations that are up and due for a check (a bit each); each is the caller's alone until
 * route_check_done(), LEASE_MS at most: a caller may be killed. */
uint64_t route_checks_due(struct route_shared *s, const struct route *r, uint64_t now_ms,
			  uint64_t lease_ms);
void route_check_done(struct route_shared *s, unsigned dest, uint64_t next_ms);
/* SEARCH tries DEST and nothing else, as a session would: *ADDRESS is the first one, after
 * route_failed() the next one by route_check_next(). False: none is left. */
bool route_check_begin(struct route_shared *s, struct route_search *search, unsigned dest,
		       uint64_t now_ms, struct addr *address);
bool route_check_next(struct route_shared *s, const struct route_search *search,
		      struct addr *address);
/* What a check found beyond the connection, which moves no mail. True when the one before found
 * otherwise (a record is due). */
bool route_check_found(struct route_shared *s, unsigned dest, bool good);
/* Whether the last check found fault. */
bool route_unwell(struct route_shared *s, unsigned dest);

/* A connection to DEST that must have TLS could not have it (ON), or has it. */
void route_note_insecure(struct route_shared *s, unsigned dest, bool on);
/* How the last one ended. */
bool route_insecure(struct route_shared *s, unsigned dest);

/* DEST could not be told of a client (ON), or has taken mail of one. */
void route_note_unidentified(struct route_shared *s, unsigned dest, bool on);
bool route_unidentified(struct route_shared *s, unsigned dest);

#endif
