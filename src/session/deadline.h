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
/*
 * MIN_RATE: a window of a minute, in which the client's octets are counted. It begins with a body,
 * stands while others than the client are waited for, and ends with a verdict, when another begins:
 * true where it is over and there were too few.
 */
void session_window_begin(struct session *s);
void session_window_stand(struct session *s);
void session_window_go(struct session *s);
bool session_too_slow(struct session *s);
#endif
