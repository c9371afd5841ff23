/* SPDX-License-Identifier: ISC */
/*
 * A session's way to its destination: picks one, takes a seat there, connects, and goes on to the
 * next for a TCP connection that failed and for nothing else (caronte(8)).
 * And its way from there.
 */
#include <string.h>

#include "base/diag.h"
#include "session/deadline.h"
#include "upstream/greeting.h"
#include "upstream/health.h"
#include "upstream/parting.h"
#include "session/session.h"

/* A client waits five minutes for a greeting or a reply (RFC 5321 4.5.3.2): it is to get its answer
 * before that, however many addresses there are to try. */
#define PATIENCE_MS (4 * 60 * 1000)

static const char reply_no_destination[] = "421 4.3.2 No destination is available, try later\r\n";

struct counts {
	struct route_counts counts;
	struct session *session;
};

void session_part(struct session *s)
{
	struct context *ctx = s->ctx;
	uint32_t place;

	/* One that has closed already has a session less. */
	if (s->rt->route->destination[s->dest_index].max && s->has_seat && !s->dest.eof &&
	    seats_part(s->rt->seats, s->seat, &place))
		parting_begin(ctx, &s->dest.stream, place);
	else
		stream_close(ctx->io, &s->dest.stream);
	session_forget_destination(s);
}

static unsigned count_sessions(struct route_counts *c, unsigned dest)
{
	struct session *s = container_of(c, struct counts, counts)->session;

	return seats_load(s->rt->seats, s->rt->slot[dest]);
}

static bool take_seat(struct route_counts *c, unsigned dest, unsigned max)
{
	struct session *s = container_of(c, struct counts, counts)->session;

	if (session_gateway_take(s, dest))
		return true;
	return seats_at_destination(s->rt->seats, s->seat, s->rt->slot[dest], max);
}

/* An attempt has failed: the one reason to go on to the next (caronte(8)). */
static void attempt_failed(struct session *s, int error)
{
	struct context *ctx = s->ctx;
	uint64_t now = io_now_ms(ctx->io);

	stats_count(stats_at(ctx->stats, s->rt->slot[s->dest_index]), failures, 1);
	if (route_failed(s->rt->route_shared, &s->search, s->dest_index, now))
		context_destination_record(ctx, s->rt, s->dest_index, ROUTE_DOWN, strerror(-error));
	if (now - s->search.since_ms >= PATIENCE_MS)
		session_refuse(s, reply_no_destination, END_LOST_DESTINATION, REASON_NO_CONNECTION);
	else
		session_connect(s);
}

/* The session goes there. */
static void count_session(struct session *s)
{
	s->dialog.at = stats_at(s->ctx->stats, s->rt->slot[s->dest_index]);
	stats_count(s->dialog.at, sessions, 1);
}

static void connected(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);
	struct context *ctx = s->ctx;

	s->dest.sending = false;
	if (s->state != SESSION_CONNECTING && !s->reaching) {
		session_changed(s);
		return;
	}
	if (!health_reached(res)) {
		stream_close(ctx->io, &s->dest.stream);
		session_forget_destination(s);
		if (health_own_want(res))
			session_refuse(s, reply_no_destination, END_LIMIT, REASON_NO_RESOURCES);
		else
			attempt_failed(s, res == -ECANCELED ? -ETIMEDOUT : res);
		return;
	}
	if (route_connected(s->rt->route_shared, s->dest_index, io_now_ms(ctx->io)))
		context_destination_record(ctx, s->rt, s->dest_index, ROUTE_UP, "connected");
	if (s->reaching)
		session_gateway_connected(s);
	else
		dialog_connected(&s->dialog, &s->connecting);
	count_session(s);
	stats_time(s->dialog.at, STATS_CONNECT, io_now_us(ctx->io) - s->connect_us);
	s->state = SESSION_RUNNING;
	session_changed(s);
}

void session_greeted(struct session *s)
{
	struct dialog *d = &s->dialog;

	if (d->greeting == DIALOG_WELCOMED)
		greeting_record_good(s->ctx, s->rt, s->dest_index, s->search.began_ms);
	else if (d->greeting == DIALOG_TURNED_AWAY)
		greeting_record_bad(s->ctx, s->rt, s->dest_index, s->search.began_ms,
				    d->work->words);
	d->greeting = DIALOG_UNGREETED;
}

static void picked_warm(struct session *s)
{
	count_session(s);
	session_gateway_taken(s);
}

static void connect_to(struct session *s)
{
	struct context *ctx = s->ctx;
	int res;

	s->dest.send.done = connected;
	res = stream_connect(ctx->io, &s->dest.stream, &s->dest.send, &s->connecting);
	if (res < 0) {
		session_forget_destination(s);
		if (health_own_want(res))
			session_refuse(s, reply_no_destination, END_LIMIT, REASON_NO_RESOURCES);
		else
			attempt_failed(s, res);
		return;
	}
	s->progress++;
	s->dest.sending = true;
	s->connect_us = io_now_us(ctx->io);
	session_deadline(s);
}

/* Every candidate is at its max=: one may get room within TIMEOUT_CONNECT. */
void session_wait_for_seat(struct session *s)
{
	s->waits_for_seat = true;
	s->progress++;
	session_deadline(s);
}

static void wait_for_seat(struct session *s, bool waited_already, uint64_t now_ms)
{
	uint64_t limit_ms = 1000 * (uint64_t)s->rt->config->set.timeout_connect;

	if (!waited_already)
		s->patience_ms = now_ms + limit_ms;
	if (now_ms >= s->patience_ms) {
		session_refuse(s, reply_no_destination, END_LOST_DESTINATION, REASON_FULL);
		return;
	}
	session_wait_for_seat(s);
}

/* The destination is one of the candidates, and has its max=: see route_want_room(). */
static void want_room(struct session *s)
{
	for (unsigned i = 0; s->version->warm && i < s->rt->route->count; i++)
		if (s->rt->route->destination[i].max)
			route_want_room(s->rt->route_shared, i);
}

void session_connect(struct session *s)
{
	struct context *ctx = s->ctx;
	struct counts counts = { { count_sessions, take_seat }, s };
	uint64_t now = io_now_ms(ctx->io);
	bool waited = s->waits_for_seat;

	s->waits_for_seat = false;
	s->line.stream = stream_of(-1);
	if (session_gateway_begin(s))
		return;
	switch (route_pick(s->rt->route, s->rt->route_shared, &s->search, &counts.counts,
			   &s->dialog.client_addr, now, &s->dest_index, &s->connecting)) {
	case ROUTE_PICKED:
		if (stream_is_open(&s->line.stream))
			picked_warm(s);
		else
			connect_to(s);
		break;
	case ROUTE_FULL:
		want_room(s);
		wait_for_seat(s, waited, now);
		break;
	case ROUTE_NONE:
		session_refuse(s, reply_no_destination, END_LOST_DESTINATION, REASON_NO_CONNECTION);
		break;
	}
}
