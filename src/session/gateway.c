/* SPDX-License-Identifier: ISC */
/*
 * A session of DIALOG_GATEWAY and its connections: each transaction takes one, from the worker's
 * pool (warm.h) or by reach.c, and gives it back. Refuses to give back what an operation
 * still works on, or what is not known to owe nothing.
 */
#include "session/gateway.h"

#include <string.h>

#include "base/siphash.h"
#include "route/shared.h"
#include "session/ends.h"
#include "session/reach.h"
#include "session/seat.h"
#include "session/work.h"
#include "smtp/words.h"

/* None of them has said what it offers, for want of TLS perhaps, or since it does not know the
 * header that says whose connection it is. */
static void refuse_hopeless(struct session *s)
{
	bool insecure = false, unidentified = false;

	for (unsigned i = 0; i < s->rt->route->count; i++) {
		insecure |= route_insecure(s->rt->route_shared, i);
		unidentified |= route_unidentified(s->rt->route_shared, i);
	}
	if (insecure)
		session_refuse_insecure(s);
	else if (unidentified)
		session_refuse_unidentified(s);
	else
		session_refuse(s, smtp_words(WORD_NO_DESTINATION), END_LOST_DESTINATION,
			       REASON_NO_CONNECTION);
}

bool session_gateway_begin(struct session *s)
{
	if (!s->version->warm || s->dialog.server.state != SMTP_ORDER_CONNECT)
		return false;
	switch (warm_knowledge(s->version->warm, s->started_us / 1000)) {
	case WARM_KNOWS:
		link_part(&s->dialog, LINK_CLOSES);
		s->state = SESSION_RUNNING;
		session_borrow(s);
		dialog_gateway_greet(&s->dialog);
		session_changed(s);
		break;
	case WARM_LEARNS:
		if (io_now_ms(s->ctx->io) < s->patience_ms) {
			session_wait_for_seat(s);
			break;
		}
		/* fall through */
	case WARM_HOPELESS:
		refuse_hopeless(s);
		break;
	}
	return true;
}

/* (Its addresses are the session's.) */
static struct warm_client client(const struct session *s)
{
	const char *helo = dialog_helo(&s->dialog);

	return (struct warm_client){
		.session = s->dialog.id,
		.helo = siphash((struct siphash_key){ { 0, 0 } }, helo, strlen(helo)),
	};
}

bool session_gateway_take(struct session *s, unsigned dest)
{
	const struct dialog_gateway *g = &s->dialog.gateway;

	if (!s->version->warm || s->dialog.link.kind == LINK_FRESH)
		return false;
	return warm_take(s->version->warm, dest, s->seat,
			 &(struct warm_need){
				 .ext = g->need,
				 .size = g->need_size,
				 .login = dialog_gateway_login(&s->dialog),
				 .client = client(s),
			 },
			 &s->line);
}

bool session_gateway_is_known(const struct session *s)
{
	struct warm_client whom = client(s);

	return s->rt->route->destination[s->line.dest].identity != ROUTE_IDENTITY_XCLIENT ||
	       warm_speaks_for(&s->line, &whom);
}

void session_gateway_presented(struct session *s, const struct connect *c)
{
	struct warm_line *l = &s->line;

	l->ext = c->offer->ext;
	l->size_max = smtp_size_bound(c->offer->size_max, s->version->env.message_max);
	l->mechanisms = c->offer->login;
	l->xclient = c->xclient;
	l->speaks_for = client(s);
}

void session_gateway_taken(struct session *s)
{
	const struct smtp_owed can = {
		.ext = s->line.ext,
		.size_max = s->line.size_max,
		.mechanisms = s->line.mechanisms,
		.forward = s->line.forward,
		.xclient = s->line.xclient,
	};

	s->dest.stream = stream_move(&s->line.stream);
	stream_mark(&s->dest.stream);
	s->line.uses++;
	s->taken_ms = io_now_ms(s->ctx->io);
	dialog_gateway_taken(&s->dialog, &s->line.addr, &can, s->line.refusals);
	session_changed(s);
}

void session_gateway_connected(struct session *s, const struct connect *c)
{
	s->line = (struct warm_line){
		.stream = stream_of(-1),
		.dest = s->dest_index,
		.addr = c->addr,
		.born_ms = io_now_ms(s->ctx->io),
		.uses = 1,
	};
	if (c->presented)
		s->line.speaks_for = client(s);
	dialog_gateway_connected(&s->dialog, &c->addr);
}

/* Nothing has come over a connection of the pool. */
static bool is_unheard(const struct session *s)
{
	const struct link *l = &s->dialog.link;

	return s->dialog.gateway.on && l->state == LINK_TOGETHER && l->kind == LINK_USED &&
	       l->heard == LINK_HEARD_NOTHING;
}

/* Of what this session has given the destination, which is something. */
static bool nothing_is_acknowledged(const struct session *s)
{
	return stream_acked(&s->dest.stream) == STREAM_ACKED_NONE;
}

bool session_gateway_dead(struct session *s)
{
	uint64_t limit_ms = 1000 * (uint64_t)s->rt->config->set.timeout_connect;

	if (!is_unheard(s) || s->dest.eof || io_now_ms(s->ctx->io) - s->taken_ms < limit_ms ||
	    !nothing_is_acknowledged(s))
		return false;
	s->dest.eof = true;
	session_changed(s);
	return true;
}

bool session_gateway_stray(const struct session *s)
{
	if (!is_unheard(s))
		return false;
	return (!stream_has_sent(&s->dest.stream) && !io_in_flight(&s->dest.send)) ||
	       nothing_is_acknowledged(s);
}

/* No operation uses the connection, and it is not ours any more. */
static void parted(struct session *s)
{
	s->dest.eof = s->dest.broken = false;
	if (s->work)
		buf_clear(&s->work->dest_in);
	dialog_gateway_parted(&s->dialog);
	session_changed(s);
}

static bool is_clean(const struct session *s)
{
	return !s->dest.eof && !s->dest.broken && (!s->work || buf_len(&s->work->dest_in) == 0) &&
	       dialog_gateway_clean(&s->dialog);
}

/* Hands the connection to the pool, with a seat of its own where it needs one. */
static bool hand_over(struct session *s, bool begun)
{
	struct smtp_owed *c = &s->dialog.destination;
	struct warm_line *l = &s->line;

	l->ext = c->ext;
	l->size_max = c->size_max;
	l->mechanisms = c->mechanisms;
	l->forward = c->forward;
	l->xclient = c->xclient;
	l->refusals = s->dialog.link.refusals;
	if (s->rt->route->destination[s->dest_index].max) {
		if (!seats_part(s->rt->seats, s->seat, &l->place))
			return false;
		l->has_place = true;
	} else {
		session_forget_destination(s);
	}
	l->stream = stream_move(&s->dest.stream);
	warm_give(s->version->warm, l, begun);
	return true;
}

void session_gateway_release(struct session *s)
{
	struct link *l = &s->dialog.link;

	if (l->state != LINK_PARTING || !stream_is_open(&s->dest.stream))
		return;
	if (l->parting != LINK_CLOSES && is_clean(s)) {
		if (io_in_flight(&s->dest.recv))
			stream_cancel(s->ctx->io, &s->dest.stream, &s->dest.recv);
		if (io_in_flight(&s->dest.recv) || io_in_flight(&s->dest.send))
			return;
		if (hand_over(s, l->parting == LINK_GIVES_BEGUN)) {
			parted(s);
			return;
		}
	}
	l->parting = LINK_CLOSES;
}

void session_gateway_reach(struct session *s)
{
	const struct link *l = &s->dialog.link;

	if (!s->dialog.gateway.on || s->dialog.end != END_RUNS || stream_is_open(&s->dest.stream) ||
	    session_is_connecting(s))
		return;
	if (l->state >= LINK_PARTING)
		parted(s);
	if (l->state == LINK_WANTED)
		session_connect(s);
}
