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
#include "upstream/present.h"
#include "upstream/talk.h"

static const struct route_secure *wanted(const struct connect *c)
{
	return &c->rt->route->destination[c->dest].secure;
}

static const struct settings *settings_of(const struct connect *c)
{
	return &c->rt->config->set;
}

/* ---- how it ends ---- */

/* There is no TLS, because of WHY. */
static void insecure(struct talk *t, const char *what, const char *why)
{
	talk_fault(t, what, why);
	talk_over(t, CONNECT_INSECURE);
}

static void no_tls(struct talk *t, const char *why)
{
	insecure(t, "destination-tls", why);
}

/* It says that it has none. */
static void not_offered(struct talk *t, const char *why)
{
	if (wanted(t->connect)->tls != ROUTE_TLS_MAY) {
		no_tls(t, why);
		return;
	}
	talk_keep_greeting(t);
	talk_over(t, CONNECT_REACHED);
}

/* ---- the handshake ---- */

/* What was found out about its certificate says more than OpenSSL's reason. */
static void fail(struct talk *t, const struct tls_conn *tls)
{
	const char *judged = tls->ssl ? tls_peer_fault(tls->ssl) : NULL;
	char text[32 + TLS_FAULT_TEXT], why[TLS_FAULT_TEXT];

	if (tls->fault == TLS_FAULT_CERTIFICATE && judged)
		snprintf(text, sizeof(text), "handshake: %s: %s", tls_fault_name(tls->fault),
			 judged);
	else
		snprintf(text, sizeof(text), "handshake: %s", tls_conn_why(tls, why));
	no_tls(t, text);
}

static void shaken(struct io_op *op, int res)
{
	struct connect *c = container_of(op, struct connect, op);
	struct talk *t = c->talk;
	struct tls_conn *tls = tls_of(&c->stream);

	if (res == 0) {
		(void)tls_kernel_take_over(tls);
		tls_kernel_settle(tls);
		talk_keep_greeting(t);
		talk_over(t, CONNECT_REACHED);
	} else {
		fail(t, tls);
	}
}

static void shake(struct talk *t)
{
	struct connect *c = t->connect;
	struct tls_peer *peer = c->version->peers[c->dest];
	const struct tls_role role = {
		.ctx = tls_peer_context(peer),
		.prepare = tls_peer_prepare,
		.arg = peer,
	};
	struct tls_conn *tls = tls_begin(&c->ctx->tls, c->stream.fd, &role);

	if (!tls) {
		talk_over(t, CONNECT_NO_MEANS);
		return;
	}
	stream_put_on(&c->stream, &tls->layer);
	io_timer_set(c->ctx->io, &c->timer, 1000 * (uint64_t)settings_of(c)->timeout_tls);
	c->op.done = shaken;
	tls_handshake(tls, &c->op);
}

/* ---- what is said before ---- */

/* STARTTLS was answered well. Not one octet may stand behind the answer: it would be taken for a
 * word of the secure session. */
static void accepted(struct talk *t, bool more)
{
	struct stream *st = &t->connect->stream;

	if (more || stream_unread(st) > 0)
		insecure(t, "starttls-injection", "more has come behind its answer to STARTTLS");
	else if (!stream_silent(st))
		no_tls(t, "it closed the connection behind its answer to STARTTLS");
	else
		shake(t);
}

/* It says that it does not do so; and not that it goes away, or something odd. */
static bool is_refusal(const struct smtp_reply *reply)
{
	return reply->code / 100 >= 4 && reply->code != 421;
}

/* A header of the PROXY protocol, which it does not know, was a command to it: that is what it
 * answers, in place of EHLO or before that is said, and nothing is known of TLS. */
static bool answers_header(const struct talk *t, enum smtp_hello_step step)
{
	return step != SMTP_HELLO_STARTTLS && present_by_header(t->connect);
}

static void unidentified(struct talk *t, const char *why)
{
	talk_fault(t, "identity", why);
	talk_over(t, CONNECT_UNIDENTIFIED);
}

/* One reply to this step; MORE came behind it. A greeting that is a refusal is not ours to judge.
 */
static void heard(struct talk *t, const struct smtp_reply *reply, bool more)
{
	enum smtp_hello_step step = t->hello.step;
	enum smtp_hello_result how = smtp_hello_heard(&t->hello, reply);

	if (step == SMTP_HELLO_CLEAR_GREETING)
		t->greeting = reply->text.n;
	if (how == SMTP_HELLO_GOOD)
		accepted(t, more);
	else if (how == SMTP_HELLO_BAD && step == SMTP_HELLO_CLEAR_GREETING)
		talk_over(t, CONNECT_REACHED);
	else if (more && answers_header(t, step))
		unidentified(t, present_unknown_header);
	else if (more)
		no_tls(t, "more has come behind an answer");
	else if (how == SMTP_HELLO_BAD && answers_header(t, step))
		unidentified(t, t->hello.words);
	else if (how == SMTP_HELLO_BAD && is_refusal(reply))
		not_offered(t, t->hello.words);
	else if (how == SMTP_HELLO_BAD)
		no_tls(t, t->hello.words);
	else if (step == SMTP_HELLO_CLEAR_EHLO && !(t->hello.offer.ext & SMTP_EXT_STARTTLS))
		not_offered(t, "it does not offer STARTTLS");
	else
		talk_ask(t);
}

static void failed(struct talk *t, enum talk_failure how, const char *why)
{
	if (how == TALK_EARLY && answers_header(t, t->hello.step))
		unidentified(t, present_unknown_header);
	else
		no_tls(t, why);
}

void secure_begin(struct connect *c, void (*done)(struct connect *c, enum connect_result how))
{
	struct talk *t = c->talk;

	t->done = done;
	t->heard = heard;
	t->failed = failed;
	if (wanted(c)->wrap) {
		shake(t);
		return;
	}
	smtp_hello_begin(&t->hello, SMTP_HELLO_CLEAR_GREETING, c->rt->name);
	talk_ask(t);
}
