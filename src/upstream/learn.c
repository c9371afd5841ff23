/* SPDX-License-Identifier: ISC */
/*
 * What the pool itself says to destinations (smtp/hello.h), one thing at a time, and what it
 * learns: by a connection of its own, to the first address of the name that answers; EHLO, or HELO
 * where that is refused. What was learnt is the destination's note (note.h), for all workers,
 * written as the answer to EHLO that says it; it stays until something else is learnt, a failure
 * changes nothing. A destination that turns us away is busy (greeting.h), or that is a fault.
 */
#include "upstream/learn.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "route/note.h"
#include "route/shared.h"
#include "upstream/greeting.h"
#include "upstream/odd.h"
#include "upstream/present.h"

#define LEARN_MS       60000
#define LEASE_SPARE_MS 1000

static const uint16_t pauses_ms[] = { 500, 1000, 2000, 4000, 5000 };

#define LAST_PAUSE (sizeof(pauses_ms) / sizeof(pauses_ms[0]) - 1)

/* ---- busy: one thing is said, one reply awaited ---- */

static void received(struct io_op *op, int res);

static void receive(struct warm_conn *c)
{
	size_t room = buf_space(&c->in);

	c->op.done = received;
	stream_recv(c->pool->ctx->io, &c->line.stream, &c->op, buf_room(&c->in, room), room);
}

/* What is said by who has what we have said acknowledges it in the same segment, at the latest. */
static bool is_answer(const struct warm_conn *c)
{
	return !*c->hello.line || stream_acked(&c->line.stream) == STREAM_ACKED_ALL;
}

/* RES came in place of octets. */
static void lost(struct warm_conn *c, int res)
{
	c->answered(c, smtp_hello_lost(&c->hello, res == -ECANCELED));
}

static void unidentified(struct warm_conn *c);

static void malformed(struct warm_conn *c)
{
	bool is_first = c->hello.step == SMTP_HELLO_GREETING || c->hello.step == SMTP_HELLO_EHLO;
	enum smtp_hello_result how = smtp_hello_malformed(&c->hello, buf_span(&c->in));

	/* Behind a header of the PROXY protocol one reply more is that to the header. */
	if (is_first && present_by_header(&c->connect)) {
		unidentified(c);
		return;
	}
	odd_reply(c->pool->ctx, warm_runtime(c->pool), c->line.dest, NULL, buf_span(&c->in));
	c->answered(c, how);
}

static void heard(struct warm_conn *c);

static void received(struct io_op *op, int res)
{
	struct warm_conn *c = container_of(op, struct warm_conn, op);

	if (res <= 0) {
		lost(c, res);
		return;
	}
	buf_added(&c->in, (size_t)res);
	heard(c);
}

/* Exactly one well-formed reply, or nothing that counts. */
static void heard(struct warm_conn *c)
{
	enum smtp_reply_result result;
	struct smtp_reply reply;
	size_t consumed;

	result = smtp_reply_parse(buf_span(&c->in), &reply, &consumed);
	if (result == SMTP_REPLY_OK && consumed == buf_len(&c->in) && is_answer(c))
		c->answered(c, smtp_hello_heard(&c->hello, &reply));
	else if (result == SMTP_REPLY_MORE && buf_space(&c->in) > 0)
		receive(c);
	else
		malformed(c);
}

static void said(struct io_op *op, int res)
{
	struct warm_conn *c = container_of(op, struct warm_conn, op);

	if (res < 0)
		lost(c, res);
	else
		receive(c);
}

void warm_ask(struct warm_conn *c, uint64_t ms,
	      void (*answered)(struct warm_conn *c, enum smtp_hello_result how))
{
	const char *line = c->hello.line;
	struct io *io = c->pool->ctx->io;

	c->answered = answered;
	buf_init(&c->in, c->mem, sizeof(c->mem));
	io_timer_set(io, &c->timer, ms);
	c->op.done = said;
	if (!*line)
		receive(c);
	else if (stream_silent(&c->line.stream))
		stream_send(io, &c->line.stream, &c->op, line, strlen(line), 0);
	else
		lost(c, 0); /* what has come would answer it */
}

/* ---- learning ---- */

static uint64_t patience_ms(const struct warm *p)
{
	return 1000 * (uint64_t)warm_runtime(p)->config->set.timeout_connect;
}

/* The next step takes so long at most: the claim is kept a little longer. */
static uint64_t lease_ms(const struct warm *p)
{
	return patience_ms(p) + LEASE_SPARE_MS;
}

static void hold(struct warm_conn *c)
{
	route_note_hold(warm_runtime(c->pool)->route_shared, c->line.dest, &c->claim,
			warm_now_ms(c->pool), lease_ms(c->pool));
}

/* The note says what the destination said; what it did not say is for each configuration to
 * bound. */
static uint64_t size_bound(const struct warm *p, const struct smtp_offer *said)
{
	return smtp_size_bound(said->size_max, p->version->env.message_max);
}

void warm_see(struct warm *p, unsigned dest)
{
	struct route_shared *s = warm_runtime(p)->route_shared;
	struct warm_known *k = &p->at[dest];
	uint32_t number = route_note_number(s, dest);
	uint8_t note[ROUTE_NOTE_MAX];
	struct smtp_reply reply;
	size_t n, consumed;

	if (number == k->note)
		return;
	n = route_note_read(s, dest, note);
	if (n == 0 || smtp_reply_parse(span_of(note, n), &reply, &consumed) != SMTP_REPLY_OK)
		return;
	smtp_offer_read(&k->offer, &reply);
	k->offer.size_max = size_bound(p, &k->offer);
	k->note = number;
}

static void write_note(struct warm_conn *c, const struct smtp_offer *offer)
{
	uint8_t note[ROUTE_NOTE_MAX];
	struct buf text;

	buf_init(&text, note, sizeof(note));
	int res = smtp_offer_write(offer, UINT32_MAX, "note", &text);

	CHECK(res == 0); /* ROUTE_NOTE_MAX is enough for all that an offer can hold */
	route_note_write(warm_runtime(c->pool)->route_shared, c->line.dest, buf_span(&text));
}

/* The destination was not to be had. C is over. */
static void learnt_nothing(struct warm_conn *c)
{
	struct warm *p = c->pool;
	struct warm_known *k = &p->at[c->line.dest];
	struct route_shared *s = warm_runtime(p)->route_shared;

	route_note_next(s, c->line.dest, warm_now_ms(p) + pauses_ms[k->pause]);
	if (k->pause < LAST_PAUSE)
		k->pause++;
	route_note_leave(s, c->line.dest, c->claim);
	warm_drop(c, false);
}

/* C is over, or idle. */
static void learnt(struct warm_conn *c, const struct smtp_offer *offer)
{
	struct warm *p = c->pool;
	struct route_shared *s = warm_runtime(p)->route_shared;

	route_note_next(s, c->line.dest, warm_now_ms(p) + LEARN_MS);
	p->at[c->line.dest].pause = 0;
	write_note(c, offer);
	route_note_leave(s, c->line.dest, c->claim);
	warm_see(p, c->line.dest);
	warm_make_offer(p);
	c->line.ext = offer->ext;
	c->line.size_max = size_bound(p, offer);
	c->line.mechanisms = offer->login;
	c->line.xclient = c->hello.xclient;
	c->line.forward = c->hello.forward;
	if (c->line.has_place)
		warm_drop(c, true); /* others may have better use for it */
	else
		warm_keep(c);
}

/* Where it is nothing that it could be busy for: without its EHLO clients are not served. The first
 * time in a row. */
static void record_refusal(struct warm_conn *c)
{
	const struct runtime *rt = warm_runtime(c->pool);
	char detail[DESTINATION_NAME_MAX + ROUTE_WORDS_MAX + 2];

	if (rt->route->cooperation == ROUTE_CLUSTER || c->pool->at[c->line.dest].pause > 0)
		return;
	snprintf(detail, sizeof(detail), "%s: %s", rt->route->destination[c->line.dest].name,
		 c->hello.words);
	context_fault_record(c->pool->ctx, "destination-refuses", detail);
}

static void turned_away(struct warm_conn *c)
{
	greeting_record_bad(c->pool->ctx, warm_runtime(c->pool), c->line.dest,
			    c->connect.search.began_ms, c->hello.words);
	record_refusal(c);
	learnt_nothing(c);
}

/* The header of the PROXY protocol was a command to it, or it refuses us behind that. */
static void unidentified(struct warm_conn *c)
{
	struct context *ctx = c->pool->ctx;
	const struct runtime *rt = warm_runtime(c->pool);
	const char *words = c->hello.words;
	char why[128 + SMTP_HELLO_WORDS_MAX];

	snprintf(why, sizeof(why), "%s%s%s", present_unknown_header, *words ? ": " : "", words);
	odd_identity(ctx, rt, c->line.dest, NULL, span_str(why));
	greeting_record_bad(ctx, rt, c->line.dest, c->connect.search.began_ms,
			    connect_unidentified);
	learnt_nothing(c);
}

static void welcomed(struct warm_conn *c)
{
	greeting_record_good(c->pool->ctx, warm_runtime(c->pool), c->line.dest,
			     c->connect.search.began_ms);
	learnt(c, &c->hello.offer);
}

static void answered(struct warm_conn *c, enum smtp_hello_result how)
{
	switch (how) {
	case SMTP_HELLO_ON:
		if (c->hello.step == SMTP_HELLO_HELO && present_by_header(&c->connect)) {
			unidentified(c); /* that was the answer to the header, perhaps */
			break;
		}
		hold(c);
		warm_ask(c, patience_ms(c->pool), answered);
		break;
	case SMTP_HELLO_GOOD:
		welcomed(c);
		break;
	case SMTP_HELLO_BAD:
		turned_away(c);
		break;
	}
}

/* ---- connecting ---- */

static void connect_learner(struct warm_conn *c)
{
	hold(c);
	connect_to(&c->connect, patience_ms(c->pool));
}

/* What was said on the way to TLS is the first answer, or its beginning. */
static void hear(struct warm_conn *c, struct span said)
{
	int res;

	c->answered = answered;
	buf_init(&c->in, c->mem, sizeof(c->mem));
	res = buf_put(&c->in, span_of(said.p, said.n < sizeof(c->mem) ? said.n : sizeof(c->mem)));
	CHECK(res == 0);
	io_timer_set(c->pool->ctx->io, &c->timer, patience_ms(c->pool));
	heard(c);
}

static void connect_done(struct connect *connect, enum connect_result how)
{
	struct warm_conn *c = container_of(connect, struct warm_conn, connect);

	if (how == CONNECT_REACHED) {
		c->line.stream = stream_move(&connect->stream);
		c->line.addr = connect->addr;
		smtp_hello_begin(&c->hello, SMTP_HELLO_GREETING, warm_runtime(c->pool)->name);
		if (connect->said.n > 0)
			hear(c, connect->said);
		else
			answered(c, SMTP_HELLO_ON);
	} else if (how == CONNECT_SLOW) {
		smtp_hello_begin(&c->hello, SMTP_HELLO_GREETING, warm_runtime(c->pool)->name);
		answered(c, smtp_hello_lost(&c->hello, true));
	} else if (how == CONNECT_FAILED && connect_next(connect)) {
		connect_learner(c);
	} else {
		c->line.stream = stream_move(&connect->stream);
		learnt_nothing(c);
	}
}

/* The first address, and a place where the destination has a max=. False: one of them is not to be
 * had now. */
static bool prepare(struct warm_conn *c)
{
	struct warm *p = c->pool;
	const struct runtime *rt = warm_runtime(p);
	struct warm_line *l = &c->line;

	connect_init(&c->connect, p->ctx, p->version, CONNECT_MAIL, connect_done);
	if (!connect_first(&c->connect, l->dest)) {
		route_note_begun(rt->route_shared, l->dest, warm_now_ms(p));
		return false;
	}
	if (!connect_place(p->ctx, rt, l->dest, &l->has_place, &l->place)) {
		route_want_room(rt->route_shared, l->dest);
		return false;
	}
	return true;
}

/* NULL: it could not begin. */
static struct warm_conn *begin(struct warm *p, unsigned dest)
{
	struct warm_line line = { .stream = stream_of(-1),
				  .dest = dest,
				  .born_ms = warm_now_ms(p) };
	struct warm_conn *c = warm_conn_new(p, &line);

	if (!c || prepare(c))
		return c;
	warm_drop(c, false);
	return NULL;
}

static bool is_wanted(struct warm *p, unsigned dest, uint64_t since_ms)
{
	struct route_shared *s = warm_runtime(p)->route_shared;

	return since_ms ? route_note_since(s, dest) < since_ms
			: route_note_due(s, dest, warm_now_ms(p));
}

/* Another worker may have begun and ended between our look and our claim: one asks, not each. */
static bool is_still_wanted(struct warm *p, unsigned dest, uint64_t since_ms)
{
	uint32_t known = p->at[dest].note;

	warm_see(p, dest);
	return p->at[dest].note == known && is_wanted(p, dest, since_ms);
}

void warm_learn(struct warm *p, unsigned dest, uint64_t since_ms)
{
	struct route_shared *s = warm_runtime(p)->route_shared;
	struct warm_conn *c;
	uint64_t claim;

	if (!is_wanted(p, dest, since_ms))
		return;
	claim = route_note_claim(s, dest, p->ctx->slot, warm_now_ms(p), lease_ms(p));
	c = claim && is_still_wanted(p, dest, since_ms) ? begin(p, dest) : NULL;
	if (!c) {
		route_note_leave(s, dest, claim);
		return;
	}
	c->claim = claim;
	/* One that began before a client came, and fails, says nothing of now. */
	route_note_begun(s, dest, warm_now_ms(p));
	connect_learner(c);
}
