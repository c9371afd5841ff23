/* SPDX-License-Identifier: ISC */
/* secure: see secure.h. */
#include "upstream/secure.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "route/shared.h"
#include "tls/conn.h"
#include "tls/handshake.h"
#include "tls/kernel.h"

static const struct route_secure *wanted(const struct connect *c)
{
	return &c->rt->route->destination[c->dest].secure;
}

static const struct settings *settings_of(const struct connect *c)
{
	return &c->rt->config->set;
}

/* What came behind it counts no more. */
static void keep_greeting(struct secure *s)
{
	s->in.tail = s->in.head + (uint32_t)s->greeting;
}

/* ---- how it ends ---- */

static void over(struct secure *s, enum connect_result how)
{
	struct connect *c = s->connect;

	io_timer_stop(c->ctx->io, &c->timer);
	if (how == CONNECT_REACHED)
		c->said = buf_span(&s->in);
	s->done(c, how);
}

/* There is no TLS, because of WHY. Once a second at most that is told. */
static void insecure(struct secure *s, const char *what, const char *why)
{
	struct connect *c = s->connect;
	char detail[DESTINATION_NAME_MAX + SMTP_HELLO_WORDS_MAX + 64];

	if (!c->cancelled && route_may_tell(c->rt->route_shared, c->dest, io_now_ms(c->ctx->io))) {
		snprintf(detail, sizeof(detail), "%s: %s", c->rt->route->destination[c->dest].name,
			 why);
		context_fault_record(c->ctx, what, detail);
	}
	over(s, CONNECT_INSECURE);
}

static void no_tls(struct secure *s, const char *why)
{
	insecure(s, "destination-tls", why);
}

/* It says that it has none. */
static void not_offered(struct secure *s, const char *why)
{
	if (wanted(s->connect)->tls != ROUTE_TLS_MAY) {
		no_tls(s, why);
		return;
	}
	keep_greeting(s);
	over(s, CONNECT_REACHED);
}

/* ---- the handshake ---- */

/* What was found out about its certificate says more than OpenSSL's reason. */
static void fail(struct secure *s, const struct tls_conn *t)
{
	const char *judged = t->ssl ? tls_peer_fault(t->ssl) : NULL;
	char text[32 + TLS_FAULT_TEXT], why[TLS_FAULT_TEXT];

	if (t->fault == TLS_FAULT_CERTIFICATE && judged)
		snprintf(text, sizeof(text), "handshake: %s: %s", tls_fault_name(t->fault), judged);
	else
		snprintf(text, sizeof(text), "handshake: %s", tls_conn_why(t, why));
	no_tls(s, text);
}

static void shaken(struct io_op *op, int res)
{
	struct connect *c = container_of(op, struct connect, op);
	struct secure *s = c->secure;

	struct tls_conn *t = tls_of(&c->stream);

	if (res == 0) {
		(void)tls_kernel_take_over(t);
		tls_kernel_settle(t);
		keep_greeting(s);
		over(s, CONNECT_REACHED);
	} else {
		fail(s, t);
	}
}

static void shake(struct secure *s)
{
	struct connect *c = s->connect;
	struct tls_peer *peer = c->version->peers[c->dest];
	const struct tls_role role = {
		.ctx = tls_peer_context(peer),
		.prepare = tls_peer_prepare,
		.arg = peer,
	};
	struct tls_conn *t = tls_begin(&c->ctx->tls, c->stream.fd, &role);

	if (!t) {
		over(s, CONNECT_NO_MEANS);
		return;
	}
	stream_put_on(&c->stream, &t->layer);
	io_timer_set(c->ctx->io, &c->timer, 1000 * (uint64_t)settings_of(c)->timeout_tls);
	c->op.done = shaken;
	tls_handshake(t, &c->op);
}

/* ---- what is said before ---- */

static void ask(struct secure *s);

/* STARTTLS was answered well. Not one octet may stand behind the answer: it would be taken for a
 * word of the secure session. */
static void accepted(struct secure *s, bool more)
{
	struct stream *st = &s->connect->stream;

	if (more || stream_unread(st) > 0)
		insecure(s, "starttls-injection", "more has come behind its answer to STARTTLS");
	else if (!stream_silent(st))
		no_tls(s, "it closed the connection behind its answer to STARTTLS");
	else
		shake(s);
}

/* It says that it does not do so; and not that it goes away, or something odd. */
static bool is_refusal(const struct smtp_reply *reply)
{
	return reply->code / 100 >= 4 && reply->code != 421;
}

/* One reply to this step; MORE came behind it. A greeting that is a refusal is not ours to judge.
 */
static void heard(struct secure *s, const struct smtp_reply *reply, bool more)
{
	enum smtp_hello_step step = s->hello.step;
	enum smtp_hello_result how = smtp_hello_heard(&s->hello, reply);

	if (step == SMTP_HELLO_CLEAR_GREETING)
		s->greeting = reply->text.n;
	if (how == SMTP_HELLO_GOOD)
		accepted(s, more);
	else if (how == SMTP_HELLO_BAD && step == SMTP_HELLO_CLEAR_GREETING)
		over(s, CONNECT_REACHED);
	else if (more)
		no_tls(s, "more has come behind an answer");
	else if (how == SMTP_HELLO_BAD && is_refusal(reply))
		not_offered(s, s->hello.words);
	else if (how == SMTP_HELLO_BAD)
		no_tls(s, s->hello.words);
	else if (step == SMTP_HELLO_CLEAR_EHLO && !(s->hello.offer.ext & SMTP_EXT_STARTTLS))
		not_offered(s, "it does not offer STARTTLS");
	else
		ask(s);
}

static const char *asked(const struct secure *s)
{
	return smtp_verb_name(smtp_hello_says(s->hello.step));
}

static void lost(struct secure *s, int res)
{
	bool in_time = res != -ECANCELED;
	char why[80];

	if (s->hello.step != SMTP_HELLO_CLEAR_GREETING) {
		snprintf(why, sizeof(why), "%s %s", asked(s),
			 in_time ? "gets no answer: the connection is closed"
				 : "gets no answer in time");
		no_tls(s, why);
	} else {
		over(s, in_time ? CONNECT_REACHED : CONNECT_SLOW);
	}
}

static void malformed(struct secure *s)
{
	char why[80];

	if (s->hello.step == SMTP_HELLO_CLEAR_GREETING) {
		over(s, CONNECT_REACHED);
		return;
	}
	snprintf(why, sizeof(why), "%s gets a malformed answer", asked(s));
	no_tls(s, why);
}

static void received(struct io_op *op, int res);

static void receive(struct secure *s)
{
	struct connect *c = s->connect;
	size_t room = buf_space(&s->in);

	c->op.done = received;
	stream_recv(c->ctx->io, &c->stream, &c->op, buf_room(&s->in, room), room);
}

static void received(struct io_op *op, int res)
{
	struct connect *c = container_of(op, struct connect, op);
	struct secure *s = c->secure;
	enum smtp_reply_result result;
	struct smtp_reply reply;
	struct span in;
	size_t n;

	if (res <= 0) {
		lost(s, res);
		return;
	}
	buf_added(&s->in, (size_t)res);
	in = span_from(buf_span(&s->in), s->greeting);
	result = smtp_reply_parse(in, &reply, &n);
	if (result == SMTP_REPLY_OK)
		heard(s, &reply, n < in.n);
	else if (result == SMTP_REPLY_MORE && buf_space(&s->in) > 0)
		receive(s);
	else
		malformed(s);
}

static void said(struct io_op *op, int res)
{
	struct connect *c = container_of(op, struct connect, op);

	if (res < 0)
		lost(c->secure, res);
	else
		receive(c->secure);
}

/* How long the answer to this step may take. */
static uint64_t answer_ms(const struct secure *s)
{
	const struct settings *set = settings_of(s->connect);

	return 1000 * (uint64_t)(*s->hello.line ? set->timeout_reply : set->timeout_greeting);
}

static void ask(struct secure *s)
{
	struct connect *c = s->connect;
	const char *line = s->hello.line;

	keep_greeting(s);
	io_timer_set(c->ctx->io, &c->timer, answer_ms(s));
	c->op.done = said;
	if (!*line)
		receive(s);
	else if (stream_silent(&c->stream))
		stream_send(c->ctx->io, &c->stream, &c->op, line, strlen(line), 0);
	else
		no_tls(s, "it speaks before it is asked");
}

void secure_begin(struct connect *c, void (*done)(struct connect *c, enum connect_result how))
{
	struct secure *s = c->secure;

	s->connect = c;
	s->done = done;
	s->greeting = 0;
	buf_init(&s->in, s->mem, sizeof(s->mem));
	if (wanted(c)->wrap) {
		shake(s);
		return;
	}
	smtp_hello_begin(&s->hello, SMTP_HELLO_CLEAR_GREETING, c->rt->name);
	ask(s);
}
