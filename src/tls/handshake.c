/* SPDX-License-Identifier: ISC */
/*
 * handshake: how a connection becomes a TLS one, and how the handshakes of a process share its time
 * and memory: see conn.h.
 */
#include "tls/handshake.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/diag.h"
#include "tls/hello.h"
#include "tls/inner.h"

#define STEPS 8 /* in a turn: 0.3 to 2.3 ms each */

/* ---- who may shake hands ---- */

static void is_due(struct tls_conn *c)
{
	struct tls *t = c->tls;

	list_add_tail(&t->due, &c->link);
	io_defer(t->io, &t->task);
}

static void go(struct tls_conn *c)
{
	c->state = TLS_SHAKING;
	is_due(c);
}

static void admit(struct tls_conn *c)
{
	c->tls->under_way++;
	c->counted = true;
	go(c);
}

static void ask_for_turn(struct tls_conn *c)
{
	struct tls *t = c->tls;

	c->state = TLS_WAITING;
	if (!c->role.server)
		go(c);
	else if (t->under_way < t->most)
		admit(c);
	else
		list_add_tail(&t->waiting, &c->link);
}

void tls_handshake_leave(struct tls_conn *c)
{
	struct tls *t = c->tls;

	list_del(&c->link);
	if (!c->counted)
		return;
	c->counted = false;
	t->under_way--;
	if (t->under_way < t->most && list_linked(&t->waiting)) {
		struct tls_conn *next = container_of(t->waiting.next, struct tls_conn, link);

		list_del(&next->link);
		admit(next);
	}
}

static void over(struct tls_conn *c, int res)
{
	struct io_op *op = c->shaking;

	CHECK(op); /* a handshake ends once */
	c->shaking = NULL;
	tls_handshake_leave(c);
	if (res == 0) {
		c->state = TLS_OPEN;
		c->version = SSL_get_version(c->ssl);
		c->cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(c->ssl));
	}
	stream_op_end(op, res);
}

static void fail(struct tls_conn *c, enum tls_fault fault, int res)
{
	tls_conn_failed(c, fault);
	tls_conn_send_now(c); /* OpenSSL's alert */
	over(c, res);
}

/* ---- the steps ---- */

static bool make_ssl(struct tls_conn *c)
{
	ERR_clear_error();
	c->ssl = SSL_new(c->role.ctx);
	if (!c->ssl || !SSL_set_app_data(c->ssl, c) || !tls_wire_to(c, c->tls->method))
		return false;
	if (c->tls->kernel)
		SSL_set_read_ahead(c->ssl, 0); /* what it has read the kernel cannot */
	if (c->role.server)
		SSL_set_accept_state(c->ssl);
	else
		SSL_set_connect_state(c->ssl);
	return !c->role.prepare || c->role.prepare(c->ssl, c->role.arg);
}

static void readable(struct io_op *op, int res)
{
	struct tls_conn *c = container_of(op, struct tls_conn, rx);

	if (res == -ECANCELED)
		fail(c, TLS_FAULT_TIMEOUT, res);
	else if (res < 0)
		fail(c, TLS_FAULT_CLOSED, res);
	else
		is_due(c);
}

static void wait_for_octets(struct tls_conn *c)
{
	c->rx.done = readable;
	io_poll(c->tls->io, &c->rx, c->fd, POLLIN);
}

static void said(struct tls_conn *c, int res)
{
	if (res == -ECANCELED)
		fail(c, TLS_FAULT_TIMEOUT, res);
	else if (res < 0)
		fail(c, TLS_FAULT_CLOSED, res);
	else if (c->state == TLS_OPEN)
		over(c, 0);
	else
		is_due(c);
}

/* OpenSSL can go no further for now. */
static void stopped(struct tls_conn *c)
{
	int why = SSL_get_error(c->ssl, -1);

	if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
		fail(c, TLS_FAULT_PROTOCOL, -EPROTO);
	else if (c->out && c->out->n > 0)
		tls_conn_send(c, 0, said);
	else if (why == SSL_ERROR_WANT_WRITE)
		fail(c, TLS_FAULT_RESOURCES, -ENOBUFS);
	else if (c->eof)
		fail(c, TLS_FAULT_CLOSED, -ECONNRESET);
	else
		wait_for_octets(c);
}

static void step(struct tls_conn *c)
{
	if (!c->ssl && !make_ssl(c)) {
		fail(c, TLS_FAULT_RESOURCES, -ENOMEM);
		return;
	}
	ERR_clear_error();
	if (SSL_do_handshake(c->ssl) != 1) {
		stopped(c);
		return;
	}
	c->state = TLS_OPEN;
	if (c->out && c->out->n > 0)
		tls_conn_send(c, 0, said);
	else
		over(c, 0);
}

void tls_handshake_task(struct io_task *task)
{
	struct tls *t = container_of(task, struct tls, task);

	for (unsigned i = 0; i < STEPS && list_linked(&t->due); i++) {
		struct tls_conn *c = container_of(t->due.next, struct tls_conn, link);

		list_del(&c->link);
		if (c->fault == TLS_FAULT_TIMEOUT)
			fail(c, TLS_FAULT_TIMEOUT, -ECANCELED);
		else
			step(c);
	}
	if (list_linked(&t->due))
		io_defer(t->io, &t->task);
}

/* ---- the ClientHello ---- */

static void hello_readable(struct io_op *op, int res);

static void wait_for_hello(struct tls_conn *c)
{
	c->rx.done = hello_readable;
	io_poll(c->tls->io, &c->rx, c->fd, POLLIN);
}

/* A fatal alert, decode_error, in a record of its own (RFC 8446 6.2). */
static void alert(struct tls_conn *c)
{
	static const uint8_t decode_error[] = { 21, 3, 1, 0, 2, 2, 50 };

	(void)!send(c->fd, decode_error, sizeof(decode_error), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void judge_hello(struct tls_conn *c, struct span in)
{
	switch (tls_hello_look(in)) {
	case TLS_HELLO_MORE:
		wait_for_hello(c);
		break;
	case TLS_HELLO_WHOLE:
		ask_for_turn(c);
		break;
	case TLS_HELLO_TOO_LARGE:
		alert(c);
		fail(c, TLS_FAULT_PROTOCOL, -EPROTO);
		break;
	case TLS_HELLO_NONE:
		fail(c, TLS_FAULT_NOT_TLS, -EPROTO);
		break;
	}
}

/* The N octets of the block leave the socket, and are kept. */
static bool keep(struct tls_conn *c, size_t n)
{
	struct tls_came *came = &c->came;
	uint8_t *octets = realloc(came->octets, came->n + n);

	if (!octets)
		return false;
	memcpy(octets + came->n, c->tls->block, n);
	came->octets = octets;
	came->n = (uint16_t)(came->n + n);
	return recv(c->fd, c->tls->block, n, MSG_DONTWAIT) == (ssize_t)n;
}

/* N octets of it, or of its rest, stand in the socket, and were looked at. */
static void hello_came(struct tls_conn *c, size_t n)
{
	struct span in = span_of(c->tls->block, n);

	if (!c->came.octets && tls_hello_look(in) != TLS_HELLO_MORE)
		judge_hello(c, in);
	else if (keep(c, n))
		judge_hello(c, span_of(c->came.octets, c->came.n));
	else
		fail(c, TLS_FAULT_RESOURCES, -ENOMEM);
}

static void hello_readable(struct io_op *op, int res)
{
	struct tls_conn *c = container_of(op, struct tls_conn, rx);
	ssize_t n;

	if (res >= 0 && c->fault == TLS_FAULT_TIMEOUT)
		res = -ECANCELED;
	if (res < 0) {
		fail(c, res == -ECANCELED ? TLS_FAULT_TIMEOUT : TLS_FAULT_CLOSED, res);
		return;
	}
	n = recv(c->fd, c->tls->block, TLS_HELLO_MAX - c->came.n, MSG_PEEK | MSG_DONTWAIT);
	if (n > 0)
		hello_came(c, (size_t)n);
	else if (n < 0 && (errno == EAGAIN || errno == EINTR))
		wait_for_hello(c);
	else
		fail(c, TLS_FAULT_CLOSED, n == 0 ? -ECONNRESET : -errno);
}

/* ---- beginning and end ---- */

void tls_handshake(struct tls_conn *c, struct io_op *op)
{
	CHECK(!c->shaking && c->state == TLS_HELLO);
	c->shaking = op;
	stream_op_begin(op);
	if (c->role.server)
		wait_for_hello(c);
	else
		ask_for_turn(c);
}

/* The engine may bring what was awaited all the same: then the next step sees the fault. */
void tls_handshake_cancel(struct tls_conn *c)
{
	c->fault = TLS_FAULT_TIMEOUT;
	if (io_in_flight(&c->rx)) {
		io_cancel(c->tls->io, &c->rx);
	} else if (io_in_flight(&c->tx)) {
		io_cancel(c->tls->io, &c->tx);
	} else {
		list_del(&c->link);
		is_due(c);
	}
}
