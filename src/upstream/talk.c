/* SPDX-License-Identifier: ISC */
/* talk: see talk.h. */
#include "upstream/talk.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "route/shared.h"
#include "smtp/greeting.h"

static const struct settings *settings_of(const struct talk *t)
{
	return &t->connect->rt->config->set;
}

void talk_over(struct talk *t, enum connect_result how)
{
	struct connect *c = t->connect;

	io_timer_stop(c->ctx->io, &c->timer);
	if (how == CONNECT_REACHED)
		c->said = buf_span(&t->in);
	t->done(c, how);
}

void talk_keep_greeting(struct talk *t)
{
	t->in.tail = t->in.head + (uint32_t)t->greeting;
}

struct talk *talk_new(struct connect *c)
{
	struct talk *t = pool_get(&c->ctx->talks);

	if (!t)
		return NULL;
	t->connect = c;
	t->greeting = 0;
	buf_init(&t->in, t->mem, sizeof(t->mem));
	return t;
}

void talk_fault(const struct talk *t, const char *what, const char *why)
{
	const struct connect *c = t->connect;
	char detail[DESTINATION_NAME_MAX + SMTP_HELLO_WORDS_MAX + 64];

	if (c->cancelled || !route_may_tell(c->rt->route_shared, c->dest, io_now_ms(c->ctx->io)))
		return;
	snprintf(detail, sizeof(detail), "%s: %s", c->rt->route->destination[c->dest].name, why);
	context_fault_record(c->ctx, what, detail);
}

/* ---- no reply ---- */

#define WHY 256

static bool awaits_greeting(const struct talk *t)
{
	return !*t->hello.line;
}

static const char *verb_said(const struct talk *t)
{
	return smtp_verb_name(smtp_hello_says(t->hello.step));
}

static void lost(struct talk *t, int res)
{
	bool in_time = res != -ECANCELED;
	char why[WHY];

	if (awaits_greeting(t)) {
		/* Whatever has ended it, nothing may come in clear behind that. */
		stream_cut(&t->connect->stream);
		talk_over(t, in_time ? CONNECT_REACHED : CONNECT_SLOW);
		return;
	}
	snprintf(why, sizeof(why), "%s gets no answer%s", verb_said(t),
		 in_time ? ": the connection is closed" : " in time");
	t->failed(t, TALK_LOST, why);
}

static void malformed(struct talk *t)
{
	char why[WHY];
	int n;

	if (awaits_greeting(t)) {
		talk_over(t, CONNECT_REACHED);
		return;
	}
	n = snprintf(why, sizeof(why), "%s gets a malformed answer: ", verb_said(t));
	CHECK(n > 0 && n < WHY);
	smtp_first_line(why + n, sizeof(why) - (size_t)n, span_from(buf_span(&t->in), t->greeting));
	t->failed(t, TALK_MALFORMED, why);
}

/* ---- a line, and its reply ---- */

static void look(struct talk *t);

static void received(struct io_op *op, int res)
{
	struct talk *t = container_of(op, struct connect, op)->talk;

	if (res <= 0 || t->connect->cancelled) {
		lost(t, res);
		return;
	}
	buf_added(&t->in, (size_t)res);
	look(t);
}

static void receive(struct talk *t)
{
	struct connect *c = t->connect;
	size_t room = buf_space(&t->in);

	c->op.done = received;
	stream_recv(c->ctx->io, &c->stream, &c->op, buf_room(&t->in, room), room);
}

/* What has come behind the greeting: the whole reply, or not yet. */
static void look(struct talk *t)
{
	struct span in = span_from(buf_span(&t->in), t->greeting);
	enum smtp_reply_result result;
	struct smtp_reply reply;
	size_t n;

	result = smtp_reply_parse(in, &reply, &n);
	if (result == SMTP_REPLY_OK)
		t->heard(t, &reply, n < in.n);
	else if (result == SMTP_REPLY_MORE && buf_space(&t->in) > 0)
		receive(t);
	else
		malformed(t);
}

static void said(struct io_op *op, int res)
{
	struct talk *t = container_of(op, struct connect, op)->talk;

	if (res < 0 || t->connect->cancelled)
		lost(t, res);
	else
		receive(t);
}

/* How long the answer to this step may take. */
static void set_timer(struct talk *t)
{
	const struct settings *set = settings_of(t);
	int seconds = awaits_greeting(t) ? set->timeout_greeting : set->timeout_reply;

	io_timer_set(t->connect->ctx->io, &t->connect->timer, 1000 * (uint64_t)seconds);
}

void talk_listen(struct talk *t)
{
	set_timer(t);
	look(t);
}

void talk_ask(struct talk *t)
{
	struct connect *c = t->connect;
	const char *line = t->hello.line;

	talk_keep_greeting(t);
	set_timer(t);
	c->op.done = said;
	if (!*line)
		receive(t);
	else if (stream_silent(&c->stream))
		stream_send(c->ctx->io, &c->stream, &c->op, line, strlen(line), 0);
	else
		t->failed(t, TALK_EARLY, "it speaks before it is asked");
}
