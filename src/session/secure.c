/* SPDX-License-Identifier: ISC */
/* secure: see secure.h. While the handshake is under way the client's stream is OpenSSL's: nothing
 * is said (client.broken), and its receive stands for the handshake. */
#include "session/secure.h"

#include "session/deadline.h"
#include "session/ends.h"
#include "session/reach.h"
#include "session/session.h"
#include "session/work.h"
#include "smtp/words.h"
#include "tls/client.h"
#include "tls/handshake.h"
#include "tls/kernel.h"

/* TLS_HANDSHAKES_PER_ADDRESS is reached. A proxy that may name clients shakes hands for many. */
static bool has_too_many(const struct session *s)
{
	unsigned most = (unsigned)s->rt->config->set.tls_handshakes_per_address;
	const struct dialog *d = &s->dialog;

	return most && !d->who.in_network && !d->may_rename &&
	       rates_count(s->rt->handshakes, &d->client_addr, io_now_ms(s->ctx->io)) >= most;
}

static void client_fault(const struct session *s, const char *what, const char *detail)
{
	context_client_fault(s->ctx, what, &s->dialog.id, &s->dialog.client_addr, detail);
}

/* STARTTLS was said. Not one octet may have come behind it, neither here nor in the socket, before
 * our answer leaves. */
static void begin(struct session *s)
{
	if (io_in_flight(&s->client.recv)) {
		stream_cancel(s->ctx->io, &s->client.stream, &s->client.recv);
		return;
	}
	session_borrow(s);
	if (buf_len(&s->work->client_in) > 0 || stream_unread(&s->client.stream) > 0) {
		client_fault(s, "starttls-injection",
			     "more has come behind STARTTLS, before it was answered");
		s->client.broken = true;
		dialog_tls_injected(&s->dialog);
	} else if (!stream_silent(&s->client.stream)) { /* its end has come */
		s->client.eof = true;
		dialog_client_lost(&s->dialog);
	} else if (has_too_many(s)) {
		dialog_tls_later(&s->dialog);
	} else {
		dialog_tls_begins(&s->dialog);
	}
}

/* The record names the fault and OpenSSL's reason for it. */
static void record_fault(struct session *s, const struct tls_conn *c)
{
	char why[TLS_FAULT_TEXT];

	stats_count(s->ctx->stats, handshakes[STATS_FAILED], 1);
	client_fault(s, "tls-handshake", tls_conn_why(c, why));
}

/* In TLS 1.3 a client looks at our certificate behind what is our end of the handshake. */
static const char *late_fault(enum tls_fault fault)
{
	switch (fault) {
	case TLS_FAULT_CERTIFICATE:
		return "tls-handshake";
	case TLS_FAULT_KEY_UPDATE:
		return "tls-key-update";
	default:
		return "tls-record";
	}
}

void session_secure_ends(struct session *s)
{
	const struct tls_conn *c = tls_of(&s->client.stream);
	char why[TLS_FAULT_TEXT];

	if (c && s->dialog.tls == DIALOG_SECURE && c->state == TLS_FAILED)
		client_fault(s, late_fault(c->fault), tls_conn_why(c, why));
}

static void secured(struct session *s, struct tls_conn *c)
{
	SSL *ssl = c->ssl;
	bool first = s->state == SESSION_CONNECTING;
	struct dialog_secure how = {
		.version = c->version,
		.cipher = c->cipher,
		.name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name),
		.resumed = SSL_session_reused(ssl),
		.first = first,
	};

	_Static_assert(sizeof(how.client) == CLIENT_WORDS, "the dialog knows nothing of TLS");
	client_words(ssl, how.client);
	stats_count(s->ctx->stats, handshakes[how.resumed ? STATS_RESUMED : STATS_FULL], 1);
	if (!how.resumed)
		rates_add(s->rt->handshakes, &s->dialog.client_addr, io_now_ms(s->ctx->io));
	s->client.broken = false;
	how.kernel = tls_kernel_take_over(c);
	if (how.kernel)
		how.name = c->name;
	dialog_tls_done(&s->dialog, &how);
	tls_kernel_settle(c);
	if (first)
		session_begin(s);
}

static bool is_open(const struct session *s)
{
	return s->state == SESSION_RUNNING || s->state == SESSION_CONNECTING;
}

/* No octet more will come, and none can be said. */
static void lost(struct session *s)
{
	s->client.eof = true;
	if (!is_open(s))
		return;
	s->state = SESSION_RUNNING;
	dialog_client_lost(&s->dialog);
}

static void shaken(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);
	struct tls_conn *c = tls_of(&s->client.stream);

	session_changed(s);
	s->progress++;
	if (res == 0 && is_open(s)) {
		secured(s, c);
		return;
	}
	if (res < 0 && s->dialog.end != END_STOP)
		record_fault(s, c);
	lost(s);
}

/* 220 has left, or TLS comes FIRST. */
static void shake(struct session *s, bool first)
{
	const struct tls_role role = {
		.ctx = tls_set_context(s->version->tls),
		.server = true,
		.alpn = first && s->rt->config->set.tls_alpn_strict,
	};
	struct tls_conn *c = tls_begin(&s->ctx->tls, s->client.stream.fd, &role);

	s->client.broken = true;
	if (!c) {
		lost(s);
		return;
	}
	stream_put_on(&s->client.stream, &c->layer);
	s->client.recv.done = shaken;
	tls_handshake(c, &s->client.recv);
}

static bool was_said(const struct session *s)
{
	return !io_in_flight(&s->client.send) &&
	       (!s->work || buf_len(&s->work->dialog.to_client) == 0);
}

void session_secure(struct session *s)
{
	if (dialog_tls_is_asked(&s->dialog) && !io_in_flight(&s->client.send))
		begin(s);
	else if (s->dialog.tls == DIALOG_SHAKING && !s->client.stream.layer && was_said(s))
		shake(s, false);
}

void session_secure_first(struct session *s)
{
	dialog_tls_comes_first(&s->dialog);
	if (has_too_many(s)) {
		s->client.broken = true; /* nothing is said in clear there */
		session_refuse(s, smtp_words(WORD_TLS_LATER), END_LIMIT, REASON_TLS_HANDSHAKES);
		return;
	}
	shake(s, true);
	session_changed(s);
}
