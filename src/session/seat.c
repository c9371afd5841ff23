/* SPDX-License-Identifier: ISC */
/*
 * A session and its seat under stress (stress.h): tells when it is of use, and gives its seat to a
 * newcomer. The seat is free as soon as the last words are on their way and the destination's
 * connection is closed; the client, which may not read them, then lingers as a refused one does.
 */
#include "session/seat.h"

#include "session/deadline.h"
#include "session/work.h"
#include "smtp/words.h"

/*
 * So much of a message is as good as a recipient. In SEATS_IDLE_MS that is half a kilobyte a
 * second: less than any line that mail comes over, more than a few octets that keep a seat.
 */
#define USEFUL_OCTETS 16384

void session_seat_useful(struct session *s)
{
	const struct dialog *d = &s->dialog;

	if (s->seat_is != SEAT_COUNTED ||
	    (d->useful == s->useful && d->bytes < s->useful_bytes + USEFUL_OCTETS))
		return;
	s->useful = d->useful;
	s->useful_bytes = d->bytes;
	seats_useful(s->rt->seats, s->seat);
}

/* What the client cannot hasten does not make it useless. */
void session_seat_waits(struct session *s)
{
	bool others = s->wait == WAIT_CONNECT || s->wait == WAIT_SEAT || s->wait == WAIT_GREETING ||
		      s->wait == WAIT_REPLY || s->wait == WAIT_DONE || s->wait == WAIT_BODY ||
		      s->wait == WAIT_GATE;

	if (s->seat_is == SEAT_COUNTED)
		seats_spare(s->rt->seats, s->seat, others);
}

void session_seat_asked(struct session *s)
{
	if (s->seat_is != SEAT_COUNTED || !seats_is_asked(s->rt->seats, s->seat) ||
	    !seats_gives_up(s->rt->seats, s->seat, SEATS_IDLE_MS))
		return;
	s->seat_is = SEAT_GIVEN_UP;
	session_changed(s);
	if (session_is_leaving(s) || s->state == SESSION_CLOSING)
		return; /* it has had its last words */
	s->state = SESSION_RUNNING;
	session_borrow(s);
	dialog_close(&s->dialog, smtp_words(WORD_SEAT), END_LIMIT,
		     seats_stressed(s->rt->seats) ? REASON_MAX_SESSIONS : REASON_FULL);
}

bool session_seat_given(struct session *s)
{
	struct context *ctx = s->ctx;

	if (s->seat_is != SEAT_GIVEN_UP || stream_is_open(&s->dest.stream) ||
	    session_is_connecting(s))
		return true;
	if (ctx->refused >= WORKER_REFUSALS)
		return false;
	s->seat_is = SEAT_NONE;
	ctx->refused++;
	seats_release(s->rt->seats, s->seat);
	session_deadline_again(s);
	return true;
}

void session_forget_destination(struct session *s)
{
	if (session_has_seat(s))
		seats_leave_destination(s->rt->seats, s->seat);
}
