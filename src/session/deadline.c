/* SPDX-License-Identifier: ISC */
/* deadline: see deadline.h. */
#include "session/deadline.h"

#include "session/seat.h"

#define LEAVE_MS	  20000
#define LEAVE_UNSEATED_MS 2000 /* they hold descriptors that nobody counts */
#define SEAT_RETRY_MS	  50
#define LOOK_MS		  1000
/* Under stress strangers are waited for a tenth as long, but never less than so. */
#define STRESS_LEAST_MS 10000

static enum session_wait wait_of(const struct session *s)
{
	const struct dialog *d = &s->dialog;

	switch (s->state) {
	case SESSION_LEAVING:
	case SESSION_LINGERING:
		return WAIT_LEAVE;
	case SESSION_CLOSING:
		return WAIT_NOTHING;
	case SESSION_CONNECTING:
	case SESSION_RUNNING:
		if (d->link.state == LINK_FULL)
			return WAIT_SEAT;
		if (d->link.state == LINK_REACHING)
			return WAIT_CONNECT;
		break;
	}
	if (d->tls == DIALOG_SHAKING)
		return WAIT_TLS;
	if (s->gate.state != GATE_OPEN && !io_in_flight(&s->dest.send) && !s->transfer.splice)
		return WAIT_GATE;
	if (s->transfer.mover && counted_waits(s) && !io_in_flight(&s->dest.send) &&
	    !s->transfer.splice)
		return WAIT_REPLY;
	if (s->transfer.mover)
		return io_in_flight(&s->dest.send) || s->transfer.splice ? WAIT_BODY : WAIT_BLOCK;
	if (s->work && !dialog_has_room(d))
		return WAIT_COMMAND; /* the client does not take its replies */
	switch (smtp_owed_oldest(&d->destination)) {
	case SMTP_OWES_NOTHING:
		return d->destination.count || d->partial ? WAIT_REPLY : WAIT_COMMAND;
	case SMTP_OWES_GREETING:
		return WAIT_GREETING;
	case SMTP_OWES_BODY: /* all of it was sent: see note_given() */
		return d->message.way == MESSAGE_BY_CHUNKS && !d->message.last ? WAIT_REPLY
									       : WAIT_DONE;
	case SMTP_OWES_CHUNK:
	case SMTP_OWES_EOD:
		return WAIT_DONE;
	default:
		return WAIT_REPLY;
	}
}

static uint64_t stressed_ms(const struct session *s, uint64_t ms)
{
	uint64_t less = ms / 10 > STRESS_LEAST_MS ? ms / 10 : STRESS_LEAST_MS;
	bool stranger = !s->dialog.who.logged_in && !s->dialog.who.in_network;

	return s->ctx->stressed && stranger && less < ms ? less : ms;
}

static uint64_t limit_ms(const struct session *s, enum session_wait wait)
{
	const struct settings *set = &s->rt->config->set;

	switch (wait) {
	case WAIT_CONNECT:
		return UINT32_MAX; /* until connect.h says how it ended */
	case WAIT_SEAT:
		return SEAT_RETRY_MS;
	case WAIT_GREETING:
		return 1000 * (uint64_t)set->timeout_greeting;
	case WAIT_REPLY:
		return 1000 * (uint64_t)set->timeout_reply;
	case WAIT_DONE:
		return 1000 * (uint64_t)set->timeout_data_done;
	case WAIT_COMMAND:
		return stressed_ms(s, 1000 * (uint64_t)set->timeout_command);
	case WAIT_BLOCK:
		return stressed_ms(s, 1000 * (uint64_t)set->timeout_data);
	case WAIT_BODY:
		return 1000 * (uint64_t)set->timeout_data;
	case WAIT_GATE:
		return s->gate.look_ms;
	case WAIT_TLS:
		return stressed_ms(s, 1000 * (uint64_t)set->timeout_tls);
	case WAIT_LEAVE:
	case WAIT_NOTHING:
		break;
	}
	return session_has_seat(s) ? stressed_ms(s, LEAVE_MS) : LEAVE_UNSEATED_MS;
}

/* While the destination is waited for nobody reads the client, and its seat is looked after: one
 * that has gone away does not keep it for long. */
static bool is_looked_after(enum session_wait wait)
{
	return wait == WAIT_CONNECT || wait == WAIT_GREETING || wait == WAIT_REPLY;
}

/* A body that waits for its client with a buffer gives it back if nothing comes. */
static bool holds_buffer(const struct session *s)
{
	return s->wait == WAIT_BLOCK && s->transfer.body;
}

static void set_timer(struct session *s, uint64_t now)
{
	uint64_t ms = s->due_ms > now ? s->due_ms - now : 0;

	if ((is_looked_after(s->wait) || holds_buffer(s)) && ms > LOOK_MS)
		ms = LOOK_MS;
	io_timer_set(s->ctx->io, &s->timer, ms);
}

static void set_due(struct session *s)
{
	uint64_t now = io_now_ms(s->ctx->io);

	s->due_ms = s->wait_since_ms + limit_ms(s, s->wait);
	if (s->wait == WAIT_BLOCK && s->rt->config->set.min_rate) {
		uint64_t window = now + window_left_ms(s);

		s->due_ms = window < s->due_ms ? window : s->due_ms;
	}
	set_timer(s, now);
}

void session_deadline_again(struct session *s)
{
	if (s->wait != WAIT_NOTHING)
		set_due(s);
}

enum session_ring session_deadline_rang(struct session *s)
{
	/* Only a look. What is found may change nothing of what is waited for. */
	if (io_now_ms(s->ctx->io) < s->due_ms)
		return RING_LOOK;
	/* The timer may stand for the end of a rate window: then the wait goes on. */
	if (s->wait == WAIT_BLOCK && window_is_over(s) && !window_was_too_slow(s)) {
		s->wait = WAIT_NOTHING;
		session_deadline(s);
		return RING_WINDOW;
	}
	return RING_OVER;
}

void session_deadline_goes_on(struct session *s)
{
	set_timer(s, io_now_ms(s->ctx->io));
}

void session_deadline(struct session *s)
{
	enum session_wait wait = wait_of(s);

	if (wait == s->wait && s->progress == s->wait_progress)
		return;
	s->wait = wait;
	s->wait_progress = s->progress;
	session_seat_waits(s);
	if (wait == WAIT_NOTHING) {
		io_timer_stop(s->ctx->io, &s->timer);
		return;
	}
	s->wait_since_ms = io_now_ms(s->ctx->io);
	set_due(s);
}
