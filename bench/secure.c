/* SPDX-License-Identifier: ISC */
/*
 * secure: TLS for caronte-load, by OpenSSL over the socket itself: what it costs is not measured.
 */
#include "inner.h"

#include <err.h>
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sysexits.h>

#define RECORD 16384 /* octets of one at most (RFC 8446 5.1) */

/* A server may offer several: the last one is taken. */
static int keep(SSL *ssl, SSL_SESSION *session)
{
	struct load *l = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(l->session);
	l->session = session;
	return 1; /* the reference is ours */
}

void load_secure_make(struct load *l)
{
	l->tls = SSL_CTX_new(TLS_client_method());
	if (!l->tls)
		errx(EX_OSERR, "TLS cannot be had");
	SSL_CTX_set_app_data(l->tls, l);
	SSL_CTX_set_mode(l->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
					 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					 SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(l->tls, 1);
	if (!l->opt->resume)
		return;
	SSL_CTX_set_session_cache_mode(l->tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(l->tls, keep);
}

/* A copy is used: OpenSSL lets a session of TLS 1.3 be used once. */
static bool resume(SSL *ssl, const SSL_SESSION *session)
{
	SSL_SESSION *copy = SSL_SESSION_dup(session);
	bool ok = copy && SSL_set_session(ssl, copy) == 1;

	SSL_SESSION_free(copy);
	return ok;
}

/* One that stops behind its ClientHello never reads what answers it. */
static bool put_on(SSL *ssl, const struct load_connection *c)
{
	BIO *nothing;

	if (c->load->opt->half_open != LOAD_BEHIND_HELLO)
		return SSL_set_fd(ssl, c->fd) == 1;
	nothing = BIO_new(BIO_s_mem());
	if (!nothing || SSL_set_wfd(ssl, c->fd) != 1)
		return false;
	SSL_set0_rbio(ssl, nothing);
	return true;
}

void load_secure_begin(struct load_connection *c)
{
	struct load *l = c->load;

	c->ssl = SSL_new(l->tls);
	if (!c->ssl || !put_on(c->ssl, c) || (l->session && !resume(c->ssl, l->session)))
		errx(EX_OSERR, "no memory for TLS");
	SSL_set_connect_state(c->ssl);
	c->shaking = true;
}

static bool must_wait(const struct load_connection *c, int res)
{
	int why = SSL_get_error(c->ssl, res);

	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

enum load_shaken load_secure_shake(struct load_connection *c)
{
	struct load_figures *g = &c->load->figures;
	int res;

	ERR_clear_error();
	res = SSL_do_handshake(c->ssl);
	if (res != 1)
		return must_wait(c, res) ? LOAD_SHAKES : LOAD_SHAKE_FAILED;
	c->shaking = false;
	g->handshakes++;
	if (SSL_session_reused(c->ssl))
		g->resumed++;
	return LOAD_SHAKEN;
}

static ssize_t result(struct load_connection *c, int res)
{
	if (res > 0)
		return res;
	if (SSL_get_error(c->ssl, res) == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = must_wait(c, res) ? EAGAIN : ECONNRESET;
	return -1;
}

/* A record is as long as what is there lets it be, as of a client that writes into a buffer. */
ssize_t load_secure_send(struct load_connection *c)
{
	static uint8_t record[RECORD];
	size_t n = 0;

	for (unsigned i = c->piece_at; i < c->piece_count && n < sizeof(record); i++) {
		const struct iovec *piece = &c->pieces[i];
		size_t room = sizeof(record) - n;
		size_t part = piece->iov_len < room ? piece->iov_len : room;

		memcpy(record + n, piece->iov_base, part);
		n += part;
	}
	ERR_clear_error();
	return result(c, SSL_write(c->ssl, record, (int)n));
}

ssize_t load_secure_receive(struct load_connection *c, void *room, size_t n)
{
	ERR_clear_error();
	return result(c, SSL_read(c->ssl, room, (int)n));
}

void load_secure_end(struct load_connection *c, bool tidy)
{
	if (!c->ssl)
		return;
	ERR_clear_error();
	if (tidy && !c->shaking)
		(void)SSL_shutdown(c->ssl);
	SSL_free(c->ssl);
	c->ssl = NULL;
	c->shaking = false;
}
