/* SPDX-License-Identifier: ISC */
/* check_destination_tls: see check_destination_tls.h. */
#include "ctl/check_destination_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route/parse.h"
#include "smtp/hello.h"
#include "tls/peer.h"

/* ---- what is asked of it ---- */

static X509_STORE *read_authorities(const char *file, char why[TLS_WHY_MAX])
{
	FILE *in = fopen(file, "re");
	char *text = NULL;
	size_t cap = 0;
	ssize_t n = in ? getdelim(&text, &cap, '\0', in) : -1;
	X509_STORE *store = NULL;

	if (n > 0)
		store = tls_authorities(span_of(text, (size_t)n), why);
	else
		snprintf(why, TLS_WHY_MAX, "%s", in ? "is empty" : strerror(errno));
	free(text);
	if (in)
		fclose(in);
	return store;
}

static bool make_peer(struct probe_tls *t, const char *host, X509_STORE *authorities,
		      char why[TLS_WHY_MAX])
{
	const struct route_secure *s = t->secure;

	t->peer = tls_peer_make(
		&(struct tls_peer_want){
			.name = *s->name ? s->name : host,
			.verify = authorities,
			.pin = s->pin,
			.pins = s->pins,
		},
		why);
	if (t->peer) /* which the daemon's connections have, and this one has not */
		SSL_CTX_set_msg_callback(tls_peer_context(t->peer), NULL);
	return t->peer;
}

bool probe_tls_make(struct probe_tls *t, const struct route_destination *d, const char *ca_file,
		    const char *name, char *why, size_t cap)
{
	bool verify = d->secure.tls == ROUTE_TLS_VERIFY;
	char host[DESTINATION_NAME_MAX], reason[TLS_WHY_MAX];
	X509_STORE *authorities = verify ? read_authorities(ca_file, reason) : NULL;

	*t = (struct probe_tls){
		.secure = &d->secure,
		.name = name,
		.header = route_identity_binds(d->identity),
	};
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes by write(2) */
	if (verify && !authorities) {
		snprintf(why, cap, "TLS_DESTINATION_CA_FILE %s: %s", ca_file, reason);
		return false;
	}
	route_host(d->name, host);
	if (!make_peer(t, host, authorities, reason))
		snprintf(why, cap, "%s", reason);
	X509_STORE_free(authorities);
	return t->peer;
}

void probe_tls_free(struct probe_tls *t)
{
	tls_peer_free(t->peer);
}

/* ---- the handshake ---- */

static int refuse(struct probe_smtp *s, const char *what, const char *words)
{
	snprintf(s->why, sizeof(s->why), "no TLS: %s%s", what, words);
	return -EPROTO;
}

/* What OpenSSL waits for has come. */
static bool wait_for_it(struct probe_smtp *s, int result)
{
	int why = SSL_get_error(s->ssl, result);

	return (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) &&
	       probe_await(s, why == SSL_ERROR_WANT_WRITE);
}

static int shake(struct probe_smtp *s, const struct probe_tls *t)
{
	const char *fault, *reason;
	int res;

	ERR_clear_error();
	s->ssl = SSL_new(tls_peer_context(t->peer));
	if (!s->ssl || !tls_peer_prepare(s->ssl, t->peer) || SSL_set_fd(s->ssl, s->fd) != 1)
		return refuse(s, "no memory", "");
	while ((res = SSL_connect(s->ssl)) != 1)
		if (!wait_for_it(s, res)) {
			fault = tls_peer_fault(s->ssl);
			reason = ERR_reason_error_string(ERR_peek_error());
			s->not_tls = ERR_GET_REASON(ERR_peek_error()) == SSL_R_WRONG_VERSION_NUMBER;
			return refuse(s, "the handshake fails: ",
				      fault	 ? fault
				      : reason	 ? reason
				      : s->ended ? "closed"
						 : "it says nothing more");
		}
	snprintf(s->how, sizeof(s->how), "%s, %s, certificate %s", SSL_get_version(s->ssl),
		 SSL_CIPHER_standard_name(SSL_get_current_cipher(s->ssl)),
		 tls_peer_trust(t->peer) == TLS_TRUST_NONE
			 ? "not looked at"
			 : tls_trust_name(tls_peer_trust(t->peer)));
	return 0;
}

/* ---- STARTTLS ---- */

/* The answer to a step. PROBE_REPLY: H goes on by HOW. */
static enum probe_heard ask(struct probe_smtp *s, struct smtp_hello *h, struct smtp_reply *reply,
			    enum smtp_hello_result *how)
{
	enum probe_heard heard;

	if (*h->line && !probe_send(s, h->line, strlen(h->line)))
		return PROBE_SILENT;
	heard = probe_hear(s, reply);
	if (heard == PROBE_REPLY)
		*how = smtp_hello_heard(h, reply);
	return heard;
}

/* The greeting is heard once more, as if it came now. */
static void hear_again(struct probe_smtp *s, const char *greeting, size_t n)
{
	memcpy(s->in, greeting, n);
	s->got = n;
	s->taken = 0;
}

static int no_starttls(struct probe_smtp *s, const struct probe_tls *t, const char *words)
{
	if (t->secure->tls != ROUTE_TLS_MAY)
		return refuse(s, words, "");
	snprintf(s->how, sizeof(s->how), "it is spoken to in clear, since %s", words);
	return 0;
}

static int starttls(struct probe_smtp *s, const struct probe_tls *t, struct smtp_hello *h)
{
	enum smtp_hello_result how = SMTP_HELLO_BAD;
	struct smtp_reply reply;

	if (ask(s, h, &reply, &how) != PROBE_REPLY)
		return refuse(s, "EHLO gets no answer", "");
	s->astray = t->header && how == SMTP_HELLO_BAD;
	if (s->astray)
		return refuse(s, "EHLO gets ", h->words);
	if (how != SMTP_HELLO_ON || !(h->offer.ext & SMTP_EXT_STARTTLS))
		return no_starttls(s, t, "it does not offer STARTTLS");
	if (ask(s, h, &reply, &how) != PROBE_REPLY)
		return refuse(s, "STARTTLS gets no answer", "");
	if (how != SMTP_HELLO_GOOD)
		return no_starttls(s, t, h->words);
	if (s->got > s->taken)
		return refuse(s, "more has come behind the answer to STARTTLS", "");
	return shake(s, t);
}

int probe_tls_begin(struct probe_smtp *s, const struct probe_tls *t)
{
	enum smtp_hello_result how = SMTP_HELLO_BAD;
	char greeting[SMTP_REPLY_MAX];
	struct smtp_reply reply;
	struct smtp_hello h;
	size_t n;
	int err;

	if (t->secure->wrap)
		return shake(s, t);
	smtp_hello_begin(&h, SMTP_HELLO_CLEAR_GREETING, t->name);
	if (ask(s, &h, &reply, &how) != PROBE_REPLY)
		return refuse(s, "there is no greeting", "");
	n = reply.text.n;
	memcpy(greeting, reply.text.p, n);
	/* A greeting that is a refusal is told of as such. */
	err = how == SMTP_HELLO_ON ? starttls(s, t, &h) : 0;
	if (!err)
		hear_again(s, greeting, n);
	return err;
}

/* ---- octets ---- */

/* As recv(2) says it. */
static ssize_t failed(struct probe_smtp *s)
{
	int why = SSL_get_error(s->ssl, 0);

	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
		errno = EAGAIN;
		return -1;
	}
	return 0;
}

ssize_t probe_tls_recv(struct probe_smtp *s, void *out, size_t n)
{
	size_t got;

	ERR_clear_error();
	return SSL_read_ex(s->ssl, out, n, &got) == 1 ? (ssize_t)got : failed(s);
}

ssize_t probe_tls_send(struct probe_smtp *s, const void *octets, size_t n)
{
	size_t sent;

	ERR_clear_error();
	if (SSL_write_ex(s->ssl, octets, n, &sent) == 1)
		return (ssize_t)sent;
	if (failed(s) < 0)
		return -1;
	errno = EPIPE;
	return -1;
}
