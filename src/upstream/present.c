/* SPDX-License-Identifier: ISC */
/* present: see present.h. */
#include "upstream/present.h"

#include "base/diag.h"
#include "io/net.h"
#include "upstream/talk.h"

const char present_unknown_header[] =
	"it answers the header of the PROXY protocol, which it seems not to know";

static enum route_identity wanted(const struct connect *c)
{
	return c->rt->route->destination[c->dest].identity;
}

bool present_by_header(const struct connect *c)
{
	return wanted(c) == ROUTE_IDENTITY_PROXY1 || wanted(c) == ROUTE_IDENTITY_PROXY2;
}

bool present_by_command(const struct connect *c)
{
	return wanted(c) == ROUTE_IDENTITY_XCLIENT && c->identity;
}

/* ---- the header ---- */

/* Our own connection: version 1 says what it is, since Postfix takes no UNKNOWN. Version 2 has
 * LOCAL for it (family 0). */
static struct identity ourselves(const struct connect *c)
{
	struct identity id = { .client = { 0 } };

	if (wanted(c) == ROUTE_IDENTITY_PROXY1 && c->addr.family != ADDR_UNIX) {
		net_local(c->stream.fd, &id.client);
		id.to = c->addr;
	}
	return id;
}

/* Into the talk's memory, which is not used yet. */
static void write_header(struct connect *c)
{
	struct identity id = c->identity ? *c->identity : ourselves(c);
	struct buf *out = &c->talk->in;
	int res;

	if (wanted(c) == ROUTE_IDENTITY_PROXY1)
		res = smtp_proxy_write_line(&id.client, &id.to, out);
	else
		res = smtp_proxy_write(&id.client, &id.to, &id.more, out);
	CHECK(res == 0);
}

static void header_said(struct io_op *op, int res)
{
	struct connect *c = container_of(op, struct connect, op);

	buf_clear(&c->talk->in);
	if (res >= 0 || res == -EPIPE || res == -ECONNRESET)
		talk_over(c->talk, CONNECT_REACHED); /* its end is for who receives */
	else
		talk_over(c->talk, res == -ECANCELED ? CONNECT_FAILED : CONNECT_NO_MEANS);
}

void present_header(struct connect *c, void (*done)(struct connect *c, enum connect_result how))
{
	struct talk *t = c->talk;
	struct span header;

	t->done = done;
	write_header(c);
	header = buf_span(&t->in);
	io_timer_set(c->ctx->io, &c->timer, 1000 * (uint64_t)c->rt->config->set.timeout_connect);
	c->op.done = header_said;
	stream_send(c->ctx->io, &c->stream, &c->op, header.p, header.n, 0);
}

/* ---- XCLIENT ---- */

/* STEP has come to nothing, because of WHY. XCLIENT and what follows it have the client in them. */
static void unidentified(struct talk *t, enum smtp_hello_step step, const char *why)
{
	talk_fault(t, "identity", why);
	t->connect->is_of_client = step == SMTP_HELLO_XCLIENT || step == SMTP_HELLO_EHLO;
	talk_over(t, CONNECT_UNIDENTIFIED);
}

/* The destination says what it thinks of the client: in place of the greeting that comes next. All
 * else refuses the command, or is not to be made sense of. (550 5.7.0 does: XCLIENT_README.) */
static bool is_verdict(const struct smtp_reply *reply)
{
	switch (reply->code) {
	case 421:
	case 450:
	case 521:
	case 554:
		return true;
	case 550:
		return !span_starts_nocase(span_from(reply->text, 4), SPAN("5.7.0"));
	default:
		return false;
	}
}

static void xclient_heard(struct talk *t, const struct smtp_reply *reply,
			  enum smtp_hello_result how)
{
	if (how != SMTP_HELLO_GOOD && !is_verdict(reply)) {
		unidentified(t, SMTP_HELLO_XCLIENT, t->hello.words);
		return;
	}
	/* The new greeting takes the place of the first one. */
	buf_consume(&t->in, t->greeting);
	t->greeting = reply->text.n;
	t->connect->presented = true;
	talk_over(t, CONNECT_REACHED);
}

static void heard(struct talk *t, const struct smtp_reply *reply, bool more)
{
	enum smtp_hello_step step = t->hello.step;
	enum smtp_hello_result how = smtp_hello_heard(&t->hello, reply);

	if (step == SMTP_HELLO_OWN_GREETING)
		t->greeting = reply->text.n;
	if (step == SMTP_HELLO_OWN_GREETING && how == SMTP_HELLO_BAD)
		talk_over(t, CONNECT_REACHED); /* its owner judges that */
	else if (more)
		unidentified(t, step, "more has come behind an answer");
	else if (step == SMTP_HELLO_XCLIENT)
		xclient_heard(t, reply, how);
	else if (how == SMTP_HELLO_BAD)
		unidentified(t, step, t->hello.words);
	else if (step == SMTP_HELLO_OWN_EHLO && !smtp_hello_can_present(&t->hello))
		unidentified(t, step, smtp_identity_no_xclient);
	else
		talk_ask(t);
}

static void failed(struct talk *t, enum talk_failure how, const char *why)
{
	(void)how;
	unidentified(t, t->hello.step, why);
}

void present_client(struct connect *c, void (*done)(struct connect *c, enum connect_result how))
{
	struct talk *t = c->talk;

	t->done = done;
	t->heard = heard;
	t->failed = failed;
	t->greeting = 0; /* what has come is looked at */
	smtp_hello_begin(&t->hello, SMTP_HELLO_OWN_GREETING, c->rt->name);
	t->hello.client = &c->identity->client;
	t->hello.to = &c->identity->to;
	talk_listen(t);
}

/* ---- another client over the same connection ---- */

/* What it says of the client it will say again, over a connection of the client's own. */
static void again_heard(struct talk *t, const struct smtp_reply *reply, bool more)
{
	struct connect *c = t->connect;
	enum smtp_hello_step step = t->hello.step;
	enum smtp_hello_result how = smtp_hello_heard(&t->hello, reply);

	if (more) {
		unidentified(t, step, "more has come behind an answer");
	} else if (how != SMTP_HELLO_GOOD) {
		bool stale = step == SMTP_HELLO_EHLO || is_verdict(reply);

		if (stale)
			talk_over(t, CONNECT_STALE);
		else
			unidentified(t, step, t->hello.words);
	} else if (step == SMTP_HELLO_XCLIENT) {
		const char *helo = c->identity->helo;

		smtp_hello_begin(&t->hello, SMTP_HELLO_EHLO, *helo ? helo : c->rt->name);
		talk_ask(t);
	} else {
		c->xclient = t->hello.xclient;
		c->offer = &t->hello.offer;
		talk_over(t, CONNECT_REACHED);
	}
}

/* A 421, or its end, may have come over it meanwhile. */
static void again_failed(struct talk *t, enum talk_failure how, const char *why)
{
	if (how == TALK_MALFORMED)
		unidentified(t, t->hello.step, why);
	else
		talk_over(t, CONNECT_STALE);
}

void present_again(struct connect *c, void (*done)(struct connect *c, enum connect_result how))
{
	struct talk *t = c->talk;

	t->done = done;
	t->heard = again_heard;
	t->failed = again_failed;
	smtp_hello_begin_xclient(&t->hello, c->xclient, &c->identity->client, &c->identity->to);
	talk_ask(t);
}
