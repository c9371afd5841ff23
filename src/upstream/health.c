/* SPDX-License-Identifier: ISC */
/*
 * health: see health.h. One visit to a destination at a time in this worker:
 *
 *   connect   (connect.h) a try: the next address of the name, once; a check or a look: all of
 *             them, as a session would
 *   greeting  (smtp/hello.h) CHECK_SMTP, and a look at what is busy: the greeting is read and
 *             judged, and where clients are named by XCLIENT or XFORWARD, what is offered behind
 *             EHLO; then QUIT is said (RFC 5321 4.1.1.10)
 *   leave     what comes is thrown away until the destination closes, LEAVE_MS at most
 *
 * A destination that is filtered makes a try hang for TIMEOUT_CONNECT; so the next pause's end
 * begins a new one in its place, whose first packet leaves at once.
 *
 * A visit belongs to the version of the configuration that it began with, as a session does.
 *
 * A visit is a session in the destination's eyes: where that has a max=, it takes a seat there, and
 * is not made when there is none. Owns its descriptor and seat. It fails by ending early: the next
 * one comes.
 */
#include "upstream/health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/diag.h"
#include "route/busy.h"
#include "route/shared.h"
#include "upstream/connect.h"
#include "upstream/greeting.h"
#include "upstream/odd.h"
#include "upstream/present.h"
#include "smtp/greeting.h"
#include "smtp/hello.h"

#define TICK_MS	 250
#define LEAVE_MS 2000

/* For the greeting of a busy destination, where TIMEOUT_GREETING is longer: there is one look at a
 * time, and one that hangs would be the only one. */
#define LOOK_MS 60000

enum visit_kind {
	VISIT_TRY,   /* of what is down */
	VISIT_CHECK, /* of what is up */
	VISIT_LOOK,  /* at what is busy */
};

struct visit {
	struct health *health;
	struct context_version *version; /* while it is made: DEST is one of its */
	struct connect connect;
	struct io_op op; /* of what comes after it: never more than one of the two in flight */
	struct io_timer timer;
	struct smtp_hello hello;
	struct buf in;
	uint8_t mem[SMTP_REPLY_MAX];
	uint64_t began_ms;
	unsigned dest;
	uint32_t seat;
	struct stream stream;
	enum visit_kind kind;
	bool again, has_seat;
};

struct health {
	struct context *ctx;
	struct io_timer timer;
	struct visit visits[DESTINATIONS_MAX]; /* one for each destination */
};

static const struct settings *settings_of(const struct visit *v)
{
	return &v->version->rt.config->set;
}

/* ---- ending ---- */

static void begin_try(struct visit *v);

static void close_connection(struct visit *v)
{
	io_timer_stop(v->health->ctx->io, &v->timer);
	stream_close(v->health->ctx->io, &v->stream);
}

/* The check of a version is that of the newest too, which has taken over that it is under way. */
static void check_done(struct visit *v)
{
	const struct runtime *mine = &v->version->rt, *newest = v->health->ctx->rt;
	uint64_t next_ms = v->began_ms + 1000 * (uint64_t)newest->config->set.check_interval;

	route_check_done(mine->route_shared, v->dest, next_ms);
	for (unsigned i = 0; newest != mine && i < newest->route->count; i++)
		if (strcmp(newest->route->destination[i].name,
			   mine->route->destination[v->dest].name) == 0)
			route_check_done(newest->route_shared, i, next_ms);
}

static void end(struct visit *v)
{
	struct context *ctx = v->health->ctx;

	close_connection(v);
	if (v->has_seat)
		seats_release(ctx->rt->seats, v->seat);
	v->has_seat = false;
	if (v->kind == VISIT_CHECK)
		check_done(v);
	context_version_put(ctx, v->version);
	v->version = NULL;
	if (v->again && !ctx->draining)
		begin_try(v);
}

static void left(struct io_op *op, int res)
{
	struct visit *v = container_of(op, struct visit, op);

	if (res > 0)
		stream_recv(v->health->ctx->io, &v->stream, op, v->mem, sizeof(v->mem));
	else
		end(v);
}

/* Waits until the destination closes, so that it has one session less when the seat is free. */
static void leave(struct visit *v)
{
	struct context *ctx = v->health->ctx;

	io_timer_set(ctx->io, &v->timer, LEAVE_MS);
	v->op.done = left;
	stream_recv(ctx->io, &v->stream, &v->op, v->mem, sizeof(v->mem));
}

/* Of a destination that may not have noticed: it still has the session. */
static void hang_up(struct visit *v)
{
	stream_half_close(&v->stream);
	leave(v);
}

/* ---- the greeting ---- */

static void quit_sent(struct io_op *op, int res)
{
	struct visit *v = container_of(op, struct visit, op);

	if (res == -ECANCELED)
		hang_up(v);
	else if (res < 0)
		end(v);
	else
		leave(v);
}

/* The check found WHAT behind the connection: a record, where that is a change. */
static void record_check(struct visit *v, bool good, bool changed, const char *what)
{
	const struct runtime *rt = &v->version->rt;
	bool goes_on = !good && !route_busy(rt->route_shared, v->dest);
	char why[640];

	if (!changed)
		return;
	snprintf(why, sizeof(why), "check: %s%s", what, goes_on ? "; mail still goes there" : "");
	context_destination_record(v->health->ctx, rt, v->dest,
				   route_health(rt->route_shared, v->dest), why);
}

/* It greets badly: WHAT it says. */
static void found_busy(struct visit *v, const char *what)
{
	const struct runtime *rt = &v->version->rt;
	bool changed = greeting_bad(v->health->ctx, rt, v->dest, v->began_ms, what);

	if (v->kind != VISIT_CHECK)
		return;
	if (!route_busy(rt->route_shared, v->dest))
		changed = route_check_found(rt->route_shared, v->dest, false);
	record_check(v, false, changed, what);
}

static void found_good(struct visit *v, const char *what)
{
	const struct runtime *rt = &v->version->rt;
	bool changed = greeting_good(v->health->ctx, rt, v->dest, v->began_ms);

	if (v->kind == VISIT_LOOK) {
		if (changed)
			context_destination_record(v->health->ctx, rt, v->dest, ROUTE_UP, what);
		return;
	}
	changed = route_check_found(rt->route_shared, v->dest, true) || changed;
	record_check(v, true, changed, what);
}

/* Nothing that makes it busy for sessions, but it ought to be known. */
static void found_odd(struct visit *v, const char *what)
{
	if (v->kind == VISIT_LOOK)
		found_busy(v, what);
	else
		record_check(v, false,
			     route_check_found(v->version->rt.route_shared, v->dest, false), what);
}

static void say(struct visit *v, const char *line, void (*said)(struct io_op *op, int res))
{
	v->op.done = said;
	stream_send(v->health->ctx->io, &v->stream, &v->op, line, strlen(line), 0);
}

/* How it is told of clients, where it has to offer that. */
static enum route_identity offered_identity(const struct visit *v)
{
	enum route_identity by = v->version->rt.route->destination[v->dest].identity;
	bool is_offered = by == ROUTE_IDENTITY_XCLIENT || by == ROUTE_IDENTITY_XFORWARD;

	return is_offered ? by : ROUTE_IDENTITY_NONE;
}

/* It has answered EHLO: HOW. Sessions would find it busy for what it does not offer. */
static void judge_offer(struct visit *v, enum smtp_hello_result how)
{
	const struct smtp_hello *h = &v->hello;
	bool xclient = offered_identity(v) == ROUTE_IDENTITY_XCLIENT;
	bool good =
		xclient ? smtp_hello_can_present(h)
			: h->forward & SMTP_ATTRIBUTE_ADDR && h->offer.ext & SMTP_EXT_PIPELINING;

	if (how == SMTP_HELLO_BAD) {
		found_busy(v, h->words);
	} else if (how == SMTP_HELLO_GOOD && good) {
		route_note_unidentified(v->version->rt.route_shared, v->dest, false);
		found_good(v, h->words);
	} else {
		odd_identity(
			v->health->ctx, &v->version->rt, v->dest, NULL,
			span_str(xclient ? smtp_identity_no_xclient : smtp_identity_no_xforward));
		found_busy(v, connect_unidentified);
	}
}

static void line_sent(struct io_op *op, int res);

static void judge(struct visit *v, const struct smtp_reply *reply)
{
	bool greets = v->hello.step == SMTP_HELLO_GREETING;
	enum smtp_hello_result how = smtp_hello_heard(&v->hello, reply);
	bool welcome = greets && how != SMTP_HELLO_BAD && !v->hello.lmtp;

	if (welcome && offered_identity(v) != ROUTE_IDENTITY_NONE) {
		say(v, v->hello.line, line_sent);
		return;
	}
	if (!greets)
		judge_offer(v, how);
	else if (how == SMTP_HELLO_BAD)
		found_busy(v, v->hello.words);
	else if (v->hello.lmtp)
		found_odd(v, v->hello.words);
	else
		found_good(v, v->hello.words);
	say(v, smtp_hello_quit, quit_sent);
}

/* What came is no reply. */
static void judge_malformed(struct visit *v)
{
	struct span in = buf_span(&v->in);

	smtp_hello_malformed(&v->hello, in);
	odd_reply(v->health->ctx, &v->version->rt, v->dest, NULL, in);
	found_busy(v, v->hello.words);
	hang_up(v);
}

/* Nothing came, but RES. */
static void judge_lost(struct visit *v, int res)
{
	bool in_time = res != -ECANCELED;

	smtp_hello_lost(&v->hello, !in_time);
	if (in_time) {
		found_busy(v, v->hello.words);
		end(v);
	} else {
		bool greeting = v->hello.step == SMTP_HELLO_GREETING;

		found_odd(v, v->kind == VISIT_CHECK && greeting ? "no greeting in CHECK_TIMEOUT"
								: v->hello.words);
		hang_up(v);
	}
}

static void heard(struct visit *v);
static void useless(struct visit *v, enum connect_result how);

static void answered(struct io_op *op, int res)
{
	struct visit *v = container_of(op, struct visit, op);

	if (res <= 0) {
		judge_lost(v, res);
		return;
	}
	buf_added(&v->in, (size_t)res);
	heard(v);
}

static void line_sent(struct io_op *op, int res)
{
	struct visit *v = container_of(op, struct visit, op);

	if (res < 0) {
		judge_lost(v, res);
		return;
	}
	buf_init(&v->in, v->mem, sizeof(v->mem));
	v->op.done = answered;
	stream_recv(v->health->ctx->io, &v->stream, &v->op, buf_room(&v->in, sizeof(v->mem)),
		    sizeof(v->mem));
}

static void heard(struct visit *v)
{
	enum smtp_reply_result result;
	struct smtp_reply greeting;
	size_t consumed, room;

	result = smtp_reply_parse(buf_span(&v->in), &greeting, &consumed);
	room = buf_space(&v->in);
	if (result == SMTP_REPLY_OK && consumed < buf_len(&v->in) && present_by_header(&v->connect))
		useless(v, CONNECT_UNIDENTIFIED);
	else if (result == SMTP_REPLY_OK)
		judge(v, &greeting);
	else if (result == SMTP_REPLY_MORE && room > 0)
		stream_recv(v->health->ctx->io, &v->stream, &v->op, buf_room(&v->in, room), room);
	else
		judge_malformed(v);
}

static uint64_t greeting_ms(const struct visit *v)
{
	uint64_t ms = 1000 * (uint64_t)settings_of(v)->timeout_greeting;

	if (v->kind == VISIT_CHECK)
		return 1000 * (uint64_t)settings_of(v)->check_timeout;
	return ms < LOOK_MS ? ms : LOOK_MS;
}

/* SAID has come already. */
static void await_greeting(struct visit *v, struct span said)
{
	struct context *ctx = v->health->ctx;

	smtp_hello_begin(&v->hello, SMTP_HELLO_GREETING, v->version->rt.name);
	buf_init(&v->in, v->mem, sizeof(v->mem));
	io_timer_set(ctx->io, &v->timer, greeting_ms(v));
	v->op.done = answered;
	if (said.n == 0) {
		stream_recv(ctx->io, &v->stream, &v->op, buf_room(&v->in, sizeof(v->mem)),
			    sizeof(v->mem));
		return;
	}
	if (said.n > sizeof(v->mem))
		said.n = sizeof(v->mem);
	memcpy(buf_room(&v->in, said.n), said.p, said.n);
	buf_added(&v->in, said.n);
	heard(v);
}

/* ---- connecting ---- */

static void connect_visit(struct visit *v)
{
	int seconds = v->kind == VISIT_CHECK ? settings_of(v)->check_timeout
					     : settings_of(v)->timeout_connect;

	connect_to(&v->connect, 1000 * (uint64_t)seconds);
}

static bool hears_greeting(const struct visit *v)
{
	return v->kind == VISIT_LOOK ||
	       (v->kind == VISIT_CHECK && settings_of(v)->check == CHECK_SMTP);
}

static void reached(struct visit *v, struct span said)
{
	if (hears_greeting(v))
		await_greeting(v, said);
	else
		hang_up(v);
}

/* It is there, and mail cannot go to it all the same. */
static void useless(struct visit *v, enum connect_result how)
{
	if (how == CONNECT_INSECURE)
		found_busy(v, connect_insecure);
	else if (how == CONNECT_UNIDENTIFIED)
		found_busy(v, connect_unidentified);
	else
		found_odd(v, smtp_greeting_none);
	hang_up(v);
}

static void connect_done(struct connect *c, enum connect_result how)
{
	struct visit *v = container_of(c, struct visit, connect);

	v->stream = stream_move(&c->stream);
	if (how == CONNECT_REACHED)
		reached(v, c->said);
	else if (how == CONNECT_INSECURE || how == CONNECT_UNIDENTIFIED || how == CONNECT_SLOW)
		useless(v, how);
	else if (how == CONNECT_FAILED && connect_next(c))
		connect_visit(v);
	else
		end(v);
}

static void out_of_time(struct io_timer *t)
{
	struct visit *v = container_of(t, struct visit, timer);

	stream_cancel(v->health->ctx->io, &v->stream, &v->op);
}

/* ---- beginning ---- */

static void begin_visit(struct visit *v, enum visit_kind kind)
{
	struct context *ctx = v->health->ctx;
	const struct runtime *rt = ctx->rt;

	v->kind = kind;
	v->began_ms = io_now_ms(ctx->io);
	v->version = context_version_get(ctx);
	connect_init(&v->connect, ctx, v->version, kind == VISIT_TRY ? CONNECT_TRY : CONNECT_VISIT,
		     connect_done);
	v->connect.alone = !hears_greeting(v);
	if (connect_first(&v->connect, v->dest) &&
	    connect_place(ctx, rt, v->dest, &v->has_seat, &v->seat))
		connect_visit(v);
	else
		end(v);
}

static void begin_try(struct visit *v)
{
	v->again = false;
	if (v->dest < v->health->ctx->rt->route->count) /* there may be fewer since a reload */
		begin_visit(v, VISIT_TRY);
}

/* A pause is over: the try in its place, if there is one, has had its time. */
static void try_again(struct visit *v)
{
	if (!v->version) {
		begin_try(v);
	} else if (v->kind == VISIT_TRY && connect_is_under_way(&v->connect)) {
		v->again = true;
		connect_expire(&v->connect);
	}
}

static void begin_check(struct visit *v)
{
	struct context *ctx = v->health->ctx;

	if (v->version) /* another visit is just leaving, or is the check of an older version */
		route_check_done(ctx->rt->route_shared, v->dest, io_now_ms(ctx->io) + LEAVE_MS);
	else
		begin_visit(v, VISIT_CHECK);
}

/* Where another visit is under way, the next pause brings the next look. */
static void begin_look(struct visit *v)
{
	if (!v->version)
		begin_visit(v, VISIT_LOOK);
}

/* The most that one check can take, with some to spare. */
static uint64_t lease_ms(const struct settings *set)
{
	return 1000 * (uint64_t)set->check_timeout * (ROUTE_ADDRESSES + 2) + 2 * LEAVE_MS;
}

static void on_tick(struct io_timer *t)
{
	struct health *h = container_of(t, struct health, timer);
	struct context *ctx = h->ctx;
	const struct runtime *rt = ctx->rt;
	const struct settings *set = &rt->config->set;
	uint64_t now = io_now_ms(ctx->io), due;

	if (ctx->draining)
		return;
	for (due = route_due(rt->route_shared, rt->route, now); due; due &= due - 1)
		try_again(&h->visits[__builtin_ctzll(due)]);
	for (due = route_busy_due(rt->route_shared, rt->route, now); due; due &= due - 1)
		begin_look(&h->visits[__builtin_ctzll(due)]);
	if (set->check != CHECK_OFF) {
		due = route_checks_due(rt->route_shared, rt->route, now, lease_ms(set));
		for (; due; due &= due - 1)
			begin_check(&h->visits[__builtin_ctzll(due)]);
	}
	io_timer_set(ctx->io, &h->timer, TICK_MS);
}

int health_make(struct health **made, struct context *ctx)
{
	struct health *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->ctx = ctx;
	io_timer_init(&h->timer, on_tick);
	for (unsigned i = 0; i < DESTINATIONS_MAX; i++) {
		struct visit *v = &h->visits[i];

		v->health = h;
		v->dest = i;
		v->stream = stream_of(-1);
		io_timer_init(&v->timer, out_of_time);
	}
	*made = h;
	return 0;
}

void health_start(struct health *h)
{
	io_timer_set(h->ctx->io, &h->timer, TICK_MS);
}
