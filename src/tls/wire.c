/* SPDX-License-Identifier: ISC */
/*
 * wire: octets between OpenSSL and the socket. It reads from the socket, or what was read of it
 * while a ClientHello was awaited, and writes into a buffer of ours. It never blocks, and never
 * tells OpenSSL of the end of the peer's stream: a peer that goes away without a word of TLS is an
 * ordinary end for SMTP, whose own words tell what is complete.
 */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/diag.h"
#include "tls/inner.h"

void tls_conn_failed(struct tls_conn *c, enum tls_fault fault)
{
	if (c->state == TLS_FAILED)
		return;
	c->state = TLS_FAILED;
	c->fault = fault;
	if (fault != TLS_FAULT_PROTOCOL && fault != TLS_FAULT_RESOURCES)
		return;
	c->reason = ERR_peek_error();
	if (fault == TLS_FAULT_PROTOCOL && c->reason)
		c->fault = tls_fault_of(c->reason);
}

/* ---- reading ---- */

void tls_came_free(struct tls_came *came)
{
	free(came->octets);
	*came = (struct tls_came){ 0 };
}

/* Where the records end (RFC 8446 5.1). */
static void follow_records(struct tls_conn *c, const char *p, size_t n)
{
	while (n > 0) {
		size_t k = 1;

		if (c->record_left > 0) {
			k = n < c->record_left ? n : c->record_left;
			c->record_left = (uint16_t)(c->record_left - k);
		} else {
			c->header[c->header_n++] = (uint8_t)*p;
		}
		if (c->header_n == sizeof(c->header)) {
			c->record_left = (uint16_t)(c->header[3] << 8 | c->header[4]);
			c->header_n = 0;
		}
		p += k;
		n -= k;
	}
}

static int read_came(struct tls_came *came, char *out, int len)
{
	int n = came->n - came->used;

	if (n > len)
		n = len;
	memcpy(out, came->octets + came->used, (size_t)n);
	came->used = (uint16_t)(came->used + n);
	if (came->used == came->n)
		tls_came_free(came);
	return n;
}

static int wire_read(BIO *bio, char *out, int len)
{
	struct tls_conn *c = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (c->came.octets) {
		n = read_came(&c->came, out, len);
		follow_records(c, out, (size_t)n);
		return (int)n;
	}
	/* One that says too much there is read no further. */
	if (c->late > TLS_LATE_MAX) {
		BIO_set_retry_read(bio);
		return -1;
	}
	n = c->eof ? 0 : recv(c->fd, out, (size_t)len, MSG_DONTWAIT);
	if (n > 0) {
		follow_records(c, out, (size_t)n);
		return (int)n;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		c->error = n < 0 ? -errno : c->error;
		c->eof = true;
	}
	BIO_set_retry_read(bio);
	return -1;
}

/* ---- writing ---- */

size_t tls_conn_room(struct tls_conn *c)
{
	if (!c->out) {
		c->out = pool_get(&c->tls->outs);
		if (c->out)
			c->out->n = 0;
	}
	return c->out ? sizeof(c->out->octets) - c->out->n : 0;
}

/* Our Finished of TLS 1.2 with AES-GCM ends what the handshake writes: a record of 40 octets that
 * begins with its nonce (RFC 5246 7.4.9, RFC 5288 3). */
static void note_nonce(struct tls_conn *c, const char *octets, size_t n)
{
	static const char head[] = { 22, 3, 3, 0, 40 };
	const char *at = octets + n - sizeof(head) - 40;

	if (n < sizeof(head) + 40 || memcmp(at, head, sizeof(head)) != 0)
		return;
	memcpy(c->nonce, at + sizeof(head), sizeof(c->nonce));
	c->finished = true;
}

static int wire_write(BIO *bio, const char *octets, int len)
{
	struct tls_conn *c = BIO_get_data(bio);
	size_t n = tls_conn_room(c);

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (n == 0) {
		BIO_set_retry_write(bio);
		return -1;
	}
	if (n > (size_t)len)
		n = (size_t)len;
	if (c->tls->kernel && c->state == TLS_SHAKING)
		note_nonce(c, octets, n);
	memcpy(c->out->octets + c->out->n, octets, n);
	c->out->n += (uint32_t)n;
	return (int)n;
}

static long wire_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH; /* what was written goes when its owner says so */
}

BIO_METHOD *tls_wire_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "caronte");

	if (m && BIO_meth_set_read(m, wire_read) && BIO_meth_set_write(m, wire_write) &&
	    BIO_meth_set_ctrl(m, wire_ctrl))
		return m;
	BIO_meth_free(m);
	return NULL;
}

bool tls_wire_to(struct tls_conn *c, BIO_METHOD *method)
{
	BIO *bio = BIO_new(method);

	if (!bio)
		return false;
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(c->ssl, bio, bio);
	return true;
}

/* ---- the socket ---- */

static void put_out(struct tls_conn *c, struct tls_out **out)
{
	pool_put(&c->tls->outs, *out);
	*out = NULL;
}

static void sent(struct io_op *op, int res)
{
	struct tls_conn *c = container_of(op, struct tls_conn, tx);

	c->sent += op->moved;
	put_out(c, &c->flying);
	c->done(c, res);
}

void tls_conn_send(struct tls_conn *c, unsigned how, void (*done)(struct tls_conn *c, int res))
{
	CHECK(!c->flying && c->out && c->out->n > 0);
	c->done = done;
	c->flying = c->out;
	c->out = NULL;
	c->tx.done = sent;
	io_send(c->tls->io, &c->tx, c->fd, c->flying->octets, c->flying->n, how);
}

void tls_conn_send_now(struct tls_conn *c)
{
	ssize_t n;

	if (!c->out || c->flying)
		return;
	n = c->out->n ? send(c->fd, c->out->octets, c->out->n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	if (n > 0) {
		c->sent += (uint64_t)n;
		c->out->n -= (uint32_t)n;
		memmove(c->out->octets, c->out->octets + n, c->out->n);
	}
	if (c->out->n == 0)
		put_out(c, &c->out);
}
