/* SPDX-License-Identifier: ISC */
/*
 * A session's way to its destination: picks one, takes a seat there, connects (upstream/connect.h),
 * and goes on to the next for a TCP connection that failed and for nothing else (caronte(8)).
 * And its way from there.
 */
#include "session/reach.h"

#include "base/diag.h"
#include "io/net.h"
#include "route/pick.h"
#include "route/shared.h"
#include "session/deadline.h"
#include "session/ends.h"
#include "session/gateway.h"
#include "session/seat.h"
#include "session/work.h"
#include "smtp/words.h"
#include "tls/conn.h"
#include "upstream/greeting.h"
#include "upstream/odd.h"
#include "upstream/parting.h"
#include "upstream/present.h"

/* A client waits five minutes for a greeting or a reply (RFC 5321 4.5.3.2): it is to get its answer
 * before that, however many addresses there are to try. */
#define PATIENCE_MS (4 * 60 * 1000)

struct counts {
	struct route_counts counts;
	struct session *session;
};

static void part(struct session *s)
{
	struct context *ctx = s->ctx;
	uint32_t place;

	/* One that has closed already has a session less. */
	if (s->rt->route->destination[s->dest_index].max && session_has_seat(s) && !s->dest.eof &&
	    seats_part(s->rt->seats, s->seat, &place))
		parting_begin(ctx, &s->dest.stream, place);
	else
		stream_close(ctx->io, &s->dest.stream);
	session_forget_destination(s);
}

void session_part(struct session *s)
{
	odd_tls(s->ctx, s->rt, s->dest_index, &s->dialog.id, &s->dest.stream);
	part(s);
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

/* How it is spoken to, for the log. */
static void note_peer(struct session *s)
{
	const struct tls_conn *t = tls_of(&s->dest.stream);
	const struct tls_peer *peer = s->version->peers[s->dest_index];
	struct dialog_peer how = { 0 };

	if (t) {
		how.version = t->version;
		how.cipher = t->cipher;
		how.trust = tls_trust_name(tls_peer_trust(peer));
	}
	dialog_note_peer(&s->dialog, &how);
}

/* Whom it takes us for. */
static void note_told(struct session *s)
{
	static const uint8_t told[ROUTE_IDENTITIES] = {
		[ROUTE_IDENTITY_NONE] = DIALOG_UNTOLD,
		[ROUTE_IDENTITY_PROXY1] = DIALOG_TOLD_AHEAD,
		[ROUTE_IDENTITY_PROXY2] = DIALOG_TOLD_AHEAD,
		[ROUTE_IDENTITY_XCLIENT] = DIALOG_TOLD,
		[ROUTE_IDENTITY_XFORWARD] = DIALOG_FORWARDS,
	};
	enum route_identity identity = s->rt->route->destination[s->dest_index].identity;

	dialog_note_told(&s->dialog, (enum dialog_told)told[identity]);
}

/* The session goes there. */
static void count_session(struct session *s)
{
	s->dialog.at = stats_at(s->ctx->stats, s->rt->slot[s->dest_index]);
	s->dialog.destination_name = s->rt->route->destination[s->dest_index].name;
	stats_count(s->dialog.at, sessions, 1);
}

/* The session still looks for a destination. */
static bool is_wanted(const struct session *s)
{
	return link_seeks(&s->dialog.link);
}

/* The search has come to its end. */
static void over(struct session *s)
{
	pool_put(&s->ctx->reaches, s->reach);
	s->reach = NULL;
}

static void reached(struct session *s, const struct connect *c)
{
	s->reach_ms = c->search.began_ms;
	note_told(s);
	if (s->dialog.gateway.on)
		session_gateway_connected(s, c);
	else
		dialog_connected(&s->dialog, &c->addr);
	count_session(s);
	stats_time(s->dialog.at, STATS_CONNECT, io_now_us(s->ctx->io) - c->began_us);
	note_peer(s);
	s->presented = c->presented || present_by_header(c);
	if (c->said.n > 0) {
		session_borrow(s);
		session_keep(&s->work->dest_in, c->said);
	}
	over(s);
	s->state = SESSION_RUNNING;
	session_changed(s);
}

/* The one reason to go on to the next (caronte(8)). */
static void attempt_failed(struct session *s, const struct connect *c)
{
	stats_count(stats_at(s->ctx->stats, s->rt->slot[c->dest]), failures, 1);
	if (io_now_ms(s->ctx->io) - c->search.since_ms >= PATIENCE_MS)
		session_refuse(s, smtp_words(WORD_NO_DESTINATION), END_LOST_DESTINATION,
			       REASON_NO_CONNECTION);
	else
		session_connect(s);
}

static void picked_warm(struct session *s)
{
	over(s);
	count_session(s);
	note_told(s);
	session_gateway_taken(s);
	note_peer(s);
}

/* A connection of the pool speaks for this client from now on. */
static void presented(struct session *s, const struct connect *c)
{
	session_gateway_presented(s, c);
	s->line.stream = stream_move(&s->dest.stream);
	s->state = SESSION_RUNNING;
	picked_warm(s);
}

/* It does not: another one is made. */
static void stale(struct session *s)
{
	dialog_gateway_wants_fresh(&s->dialog);
	session_connect(s);
}

static void connect_done(struct connect *c, enum connect_result how)
{
	struct session *s = container_of(c, struct session_reach, connect)->session;

	s->dest.stream = stream_move(&c->stream);
	if (how == CONNECT_REACHED && is_wanted(s)) {
		if (c->offer)
			presented(s, c);
		else
			reached(s, c);
		return;
	}
	if (!stream_is_open(&s->dest.stream))
		session_forget_destination(s);
	else if (how != CONNECT_CANCELLED)
		part(s);
	if (!is_wanted(s))
		session_changed(s); /* which closes it */
	else if (how == CONNECT_INSECURE)
		session_refuse_insecure(s);
	else if (how == CONNECT_STALE)
		stale(s);
	else if (how == CONNECT_UNIDENTIFIED)
		session_refuse_unidentified(s);
	else if (how == CONNECT_SLOW)
		session_refuse(s, smtp_words(WORD_SLOW_IDLE), END_LOST_DESTINATION, REASON_TIMEOUT);
	else if (how == CONNECT_NO_MEANS)
		session_refuse(s, smtp_words(WORD_NO_DESTINATION), END_LIMIT, REASON_NO_RESOURCES);
	else
		attempt_failed(s, c);
}

void session_greeted(struct session *s)
{
	struct dialog *d = &s->dialog;

	/* (One that greets the client, and not us, says nothing to others by turning it away.) */
	if (d->greeting == DIALOG_WELCOMED)
		greeting_record_good(s->ctx, s->rt, s->dest_index, s->reach_ms);
	else if (d->greeting == DIALOG_TURNED_AWAY && !s->presented)
		greeting_record_bad(s->ctx, s->rt, s->dest_index, s->reach_ms, d->work->words);
	d->greeting = DIALOG_UNGREETED;
}

static void begin_attempt(struct session *s)
{
	s->progress++;
	session_deadline(s);
	connect_to(&s->reach->connect, 1000 * (uint64_t)s->rt->config->set.timeout_connect);
}

/* A connection of the pool has spoken for another client. */
static void begin_presenting(struct session *s)
{
	s->progress++;
	session_deadline(s);
	connect_again(&s->reach->connect, &s->line.stream, s->dest_index, s->line.xclient);
}

/* Every candidate is at its max=: one may get room within TIMEOUT_CONNECT. */
void session_wait_for_seat(struct session *s)
{
	if (s->dialog.link.state != LINK_FULL)
		link_enter(&s->dialog, LINK_FULL);
	s->progress++;
	session_deadline(s);
}

static void wait_for_seat(struct session *s, bool waited_already, uint64_t now_ms)
{
	uint64_t limit_ms = 1000 * (uint64_t)s->rt->config->set.timeout_connect;

	if (!waited_already)
		s->patience_ms = now_ms + limit_ms;
	if (now_ms >= s->patience_ms) {
		session_refuse(s, smtp_words(WORD_NO_DESTINATION), END_LOST_DESTINATION,
			       REASON_FULL);
		return;
	}
	session_wait_for_seat(s);
}

/* The destination is one of the candidates, and has its max=: a connection of the pool is given up
 * for this session (route_want_room()), or the stranger there that is of the least use. */
static void want_room(struct session *s)
{
	bool asked = false;

	for (unsigned i = 0; i < s->rt->route->count; i++) {
		unsigned max = s->rt->route->destination[i].max;

		if (max && s->version->warm)
			route_want_room(s->rt->route_shared, i);
		if (max && !asked)
			asked = seats_ask_at(s->rt->seats, s->rt->slot[i], max, SEATS_IDLE_MS);
	}
}

/* For whom the destination is to take us, if it is told. */
static void identify(struct session *s)
{
	struct session_reach *r = s->reach;
	const struct dialog *d = &s->dialog;

	if (!s->to.family)
		net_local(s->client.stream.fd, &s->to);
	r->identity = (struct identity){
		.client = d->client_addr,
		.to = s->to,
		.helo = dialog_helo(d),
		.more = { .id = r->id },
	};
	xmllog_session_text(&d->id, r->id);
	if (d->tls == DIALOG_SECURE) {
		r->identity.more.name = d->more->secure.name;
		r->identity.more.version = d->more->secure.version;
		r->identity.more.cipher = d->more->secure.cipher;
	}
	r->connect.identity = &r->identity;
}

static struct connect *reach(struct session *s)
{
	if (!s->reach) {
		s->reach = pool_get(&s->ctx->reaches);
		CHECK(s->reach); /* the pool holds one for each session */
		s->reach->session = s;
		connect_init(&s->reach->connect, s->ctx, s->version, CONNECT_MAIL, connect_done);
		if (s->rt->route->identifies)
			identify(s);
	}
	return &s->reach->connect;
}

static enum route_answer pick(struct session *s, struct connect *c)
{
	struct counts counts = { { count_sessions, take_seat }, s };
	enum route_answer answer;

	s->line.stream = stream_of(-1);
	answer = route_pick(s->rt->route, s->rt->route_shared, &c->search, &counts.counts,
			    &s->dialog.client_addr, io_now_ms(s->ctx->io), &c->dest, &c->addr);
	if (answer == ROUTE_PICKED)
		s->dest_index = c->dest;
	return answer;
}

void session_connect(struct session *s)
{
	bool waited = s->dialog.link.state == LINK_FULL;

	if (session_gateway_begin(s))
		return;
	if (s->dialog.link.state != LINK_REACHING)
		link_enter(&s->dialog, LINK_REACHING);
	switch (pick(s, reach(s))) {
	case ROUTE_PICKED:
		if (!stream_is_open(&s->line.stream))
			begin_attempt(s);
		else if (session_gateway_is_known(s))
			picked_warm(s);
		else
			begin_presenting(s);
		break;
	case ROUTE_FULL:
		want_room(s);
		wait_for_seat(s, waited, io_now_ms(s->ctx->io));
		break;
	case ROUTE_NONE:
		session_refuse(s, smtp_words(WORD_NO_DESTINATION), END_LOST_DESTINATION,
			       REASON_NO_CONNECTION);
		break;
	}
}

void session_begin(struct session *s)
{
	s->patience_ms =
		io_now_ms(s->ctx->io) + 1000 * (uint64_t)s->rt->config->set.timeout_connect;
	session_connect(s);
}
