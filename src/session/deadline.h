/* SPDX-License-Identifier: ISC */
/*
 * deadline: what a session waits for and until when (RFC 5321 4.5.3.2; caronte.conf(5), TIMEOUT_*).
 * One timer a session. A wait keeps its deadline however many octets trickle in; only progress of
 * its own kind (a whole line, a whole reply, a block of a body) begins a new one.
 */
#ifndef SESSION_DEADLINE_H
#define SESSION_DEADLINE_H

#include "session/session.h"

/* What the timer has rung for. */
enum session_ring {
	RING_LOOK,   /* the wait is not over: a look at what goes on meanwhile */
	RING_WINDOW, /* a window of MIN_RATE, which was long enough: the wait goes on */
	RING_OVER,   /* the deadline of s->wait */
};

/* Sets the timer for what is waited for now; called after everything that may have changed it. */
void session_deadline(struct session *s);
/* Stress has begun or ended: what is waited for has a new deadline, counted from where it began. */
void session_deadline_again(struct session *s);
enum session_ring session_deadline_rang(struct session *s);
/* After a look: the timer for the rest of the wait. */
void session_deadline_goes_on(struct session *s);

#endif
