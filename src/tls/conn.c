/* SPDX-License-Identifier: ISC */
/* conn: see conn.h. Here: what a stream asks of its layer. */
#include "tls/conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "tls/kernel.h"
#include "tls/inner.h"

#define PAUSE_MS 10

enum { READ_NOTHING, READ_OCTETS, READ_BLOCK, READ_AWAIT };

static struct tls_conn *conn_of(struct stream_layer *l)
{
	return container_of(l, struct tls_conn, layer);
}

/* ---- reading ---- */

/* Nothing more will come, for whatever reason. */
static bool is_over(const struct tls_conn *c)
{
	return c->eof || c->tidy || c->state != TLS_OPEN;
}

/* A call of OpenSSL's has brought nothing. 0: the end; or -errno. (It wants to write only where the
 * peer makes it answer again and again, and takes no answer: such a peer would be read for ever.)
 */
static int failed(struct tls_conn *c, int result)
{
	int why = SSL_get_error(c->ssl, result);

	if (why == SSL_ERROR_ZERO_RETURN) {
		c->tidy = true;
		return 0;
	}
	if (why == SSL_ERROR_WANT_READ)
		return c->eof ? c->error : -EAGAIN;
	tls_conn_failed(c, TLS_FAULT_PROTOCOL);
	return -EPROTO;
}

/* At most LEN octets, as many as there are now: 0 at the end, or -errno. */
static ssize_t take(struct tls_conn *c, uint8_t *buf, size_t len)
{
	size_t n = 0;
	int ret = 0;

	if (c->state != TLS_OPEN)
		return -EPROTO;
	if (c->kernel)
		return tls_kernel_read(c, buf, len);
	ERR_clear_error();
	while (n < len) {
		size_t got = 0;

		if (SSL_read_ex(c->ssl, buf + n, len - n, &got) != 1) {
			ret = failed(c, 0);
			break;
		}
		n += got;
	}
	tls_conn_send_now(c);
	if (c->late > TLS_LATE_MAX && c->state == TLS_OPEN) {
		tls_conn_failed(c, TLS_FAULT_KEY_UPDATE);
		return -EPROTO;
	}
	return n > 0 ? (ssize_t)n : ret;
}

static void read_over(struct tls_conn *c, int res)
{
	struct io_op *op = c->reading.op;

	c->reading = (struct tls_reading){ 0 };
	stream_op_end(op, res);
}

static void wait_for_octets(struct tls_conn *c)
{
	io_poll(c->tls->io, &c->rx, c->fd, POLLIN);
}

/* The kernel said that there is something to read, and there is nothing yet. Where it has the
 * records, it says so of any part of one before Linux 6.5, again and again until the rest is there:
 * so the reader rests for a moment. */
static void wait_again(struct tls_conn *c)
{
	c->reading.rested = c->kernel;
	if (c->kernel)
		io_timer_set(c->tls->io, &c->pause, PAUSE_MS);
	else
		wait_for_octets(c);
}

static void paused(struct io_timer *t)
{
	wait_for_octets(container_of(t, struct tls_conn, pause));
}

/* True: a reader who waited in vain waits no more. */
static bool end_pause(struct tls_conn *c)
{
	if (!list_linked(&c->pause.link))
		return false;
	io_timer_stop(c->tls->io, &c->pause);
	io_defer(c->tls->io, &c->read_task);
	return true;
}

static void try_octets(struct tls_conn *c, uint8_t *buf, size_t len)
{
	ssize_t n = take(c, buf, len);

	if (n == -EAGAIN)
		wait_again(c);
	else
		read_over(c, (int)n);
}

/* Takes in what has come, up to the first octet. How many wait behind it, that one included. */
static int look(struct tls_conn *c)
{
	uint8_t octet;
	size_t n;
	int ret = 0;

	if (c->state != TLS_OPEN)
		return -EPROTO;
	if (c->kernel)
		return tls_kernel_look(c);
	ERR_clear_error();
	if (SSL_peek_ex(c->ssl, &octet, 1, &n) == 1)
		ret = SSL_pending(c->ssl);
	else if (failed(c, 0) == -EPROTO)
		ret = -EPROTO;
	tls_conn_send_now(c);
	return ret;
}

static void try_read(struct tls_conn *c)
{
	struct tls_reading *r = &c->reading;

	if (r->cancelled) {
		read_over(c, -ECANCELED);
	} else if (r->how == READ_AWAIT && look(c) == 0 && !is_over(c) && !r->rested) {
		wait_again(c); /* part of a record, or one that brings no octet */
	} else if (r->how == READ_AWAIT) {
		read_over(c, POLLIN);
	} else if (r->how == READ_BLOCK) {
		/* Given back before the next one is lent: see stream_recv_block(). */
		r->op->block = (struct io_block){ c->tls->block, IO_BLOCK_FOREIGN };
		try_octets(c, c->tls->block, sizeof(c->tls->block));
	} else {
		try_octets(c, r->buf, r->len);
	}
}

static void readable(struct io_op *op, int res)
{
	struct tls_conn *c = container_of(op, struct tls_conn, rx);

	/* What was cancelled by look_now() finds something. */
	if (res < 0 && (res != -ECANCELED || c->reading.cancelled))
		read_over(c, res);
	else
		try_read(c);
}

static void read_task(struct io_task *task)
{
	try_read(container_of(task, struct tls_conn, read_task));
}

static void begin_read(struct tls_conn *c, struct io_op *op, unsigned how, void *buf, size_t len)
{
	CHECK(!c->reading.op && !c->shaking);
	c->reading = (struct tls_reading){ .op = op, .how = (uint8_t)how, .buf = buf, .len = len };
	c->rx.done = readable;
	stream_op_begin(op);
	if (is_over(c) || (!c->kernel && SSL_has_pending(c->ssl)))
		io_defer(c->tls->io, &c->read_task);
	else
		wait_for_octets(c);
}

static void conn_recv(struct stream_layer *l, struct io_op *op, void *buf, size_t len)
{
	begin_read(conn_of(l), op, READ_OCTETS, buf, len);
}

static void conn_recv_block(struct stream_layer *l, struct io_op *op)
{
	begin_read(conn_of(l), op, READ_BLOCK, NULL, 0);
}

static void conn_await(struct stream_layer *l, struct io_op *op)
{
	begin_read(conn_of(l), op, READ_AWAIT, NULL, 0);
}

static ssize_t conn_take(struct stream_layer *l, void *buf, size_t len)
{
	return take(conn_of(l), buf, len);
}

/* The same while somebody may wait for it: what has left the kernel wakes nobody any more. */
static int look_now(struct tls_conn *c)
{
	int n = look(c);

	if ((n != 0 || is_over(c)) && c->reading.op && !end_pause(c) && io_in_flight(&c->rx))
		io_cancel(c->tls->io, &c->rx);
	return n;
}

static int conn_unread(struct stream_layer *l)
{
	return look_now(conn_of(l));
}

/* Part of a record is a word that has begun. */
static bool conn_silent(struct stream_layer *l)
{
	struct tls_conn *c = conn_of(l);

	return look_now(c) == 0 && !is_over(c) &&
	       !(c->kernel ? tls_kernel_is_between(c) : tls_conn_is_between(c));
}

/* ---- writing ---- */

static void write_over(struct tls_conn *c, int res)
{
	struct io_op *op = c->writing.op;

	op->moved = c->writing.len - c->writing.left;
	c->writing = (struct tls_writing){ 0 };
	stream_op_end(op, res);
}

/* The caller's octets have just been put behind all others. */
static void note_said(struct tls_conn *c)
{
	c->said = c->sent + (c->flying ? c->flying->n : 0) + (c->out ? c->out->n : 0);
}

/* Encrypts as much as there is room for. 0 or -errno. */
static int encrypt(struct tls_conn *c)
{
	struct tls_writing *w = &c->writing;

	if (c->state != TLS_OPEN)
		return -EPIPE;
	ERR_clear_error();
	while (w->left > 0 && tls_conn_room(c) >= TLS_OUT_RECORD) {
		size_t n = w->left < TLS_RECORD ? w->left : TLS_RECORD, done = 0;

		if (SSL_write_ex(c->ssl, w->octets, n, &done) != 1) {
			tls_conn_failed(c, TLS_FAULT_PROTOCOL);
			return -EPROTO;
		}
		w->octets += done;
		w->left -= done;
		note_said(c);
	}
	return c->out ? 0 : -ENOBUFS;
}

static void octets_sent(struct tls_conn *c, int res);

static void write_on(struct tls_conn *c)
{
	struct tls_writing *w = &c->writing;

	w->fault = encrypt(c);
	if (w->fault < 0)
		io_defer(c->tls->io, &c->write_task);
	else
		tls_conn_send(c, w->left > 0 ? IO_SEND_MORE : w->how, octets_sent);
}

static void write_task(struct io_task *task)
{
	struct tls_conn *c = container_of(task, struct tls_conn, write_task);

	write_over(c, c->writing.fault);
}

static void octets_sent(struct tls_conn *c, int res)
{
	struct tls_writing *w = &c->writing;

	if (res >= 0)
		res = w->fault;
	if (res < 0)
		write_over(c, res);
	else if (w->left > 0)
		write_on(c);
	else
		write_over(c, (int)w->len);
}

static void kernel_sent(struct io_op *op, int res)
{
	struct tls_conn *c = container_of(op, struct tls_conn, tx);

	c->writing.left = c->writing.len - op->moved;
	write_over(c, res);
}

static void conn_send(struct stream_layer *l, struct io_op *op, const void *buf, size_t len,
		      unsigned how)
{
	struct tls_conn *c = conn_of(l);

	CHECK(!c->writing.op && !c->shaking && len > 0 && len <= INT32_MAX);
	c->writing = (struct tls_writing){
		.op = op, .octets = buf, .left = len, .len = len, .how = how
	};
	stream_op_begin(op);
	if (!c->kernel || c->state != TLS_OPEN) {
		write_on(c);
		return;
	}
	tls_kernel_send(c, buf, len, kernel_sent);
}

static void conn_say(struct stream_layer *l, const void *octets, size_t n)
{
	struct tls_conn *c = conn_of(l);
	size_t done;

	if (c->state != TLS_OPEN || c->writing.op)
		return;
	if (c->kernel) {
		tls_kernel_say(c, octets, n);
		return;
	}
	ERR_clear_error();
	if (SSL_write_ex(c->ssl, octets, n, &done) != 1)
		tls_conn_failed(c, TLS_FAULT_PROTOCOL);
	note_said(c);
	tls_conn_send_now(c);
}

static uint64_t conn_sent(const struct stream_layer *l)
{
	const struct tls_conn *c = container_of(l, const struct tls_conn, layer);

	return c->kernel ? tls_kernel_sent(c) : c->sent;
}

static uint64_t conn_own(const struct stream_layer *l)
{
	const struct tls_conn *c = container_of(l, const struct tls_conn, layer);

	return !c->kernel && c->sent > c->said ? c->sent - c->said : 0;
}

/* ---- ending ---- */

static void conn_cancel(struct stream_layer *l, struct io_op *op)
{
	struct tls_conn *c = conn_of(l);

	if (op == c->shaking) {
		tls_handshake_cancel(c);
	} else if (op == c->reading.op) {
		c->reading.cancelled = true;
		if (!end_pause(c))
			io_cancel(c->tls->io, &c->rx);
	} else if (op == c->writing.op) {
		c->writing.fault = -ECANCELED;
		io_cancel(c->tls->io, &c->tx);
	}
}

static void conn_half_close(struct stream_layer *l)
{
	struct tls_conn *c = conn_of(l);

	if (c->state != TLS_OPEN || c->writing.op)
		return;
	if (c->kernel) {
		tls_kernel_goodbye(c);
		return;
	}
	ERR_clear_error();
	(void)SSL_shutdown(c->ssl);
	tls_conn_send_now(c);
}

void tls_end(struct tls_conn *c)
{
	struct tls *t = c->tls;

	CHECK(!c->shaking && !c->reading.op && !c->writing.op && !c->flying);
	tls_handshake_leave(c);
	/* Or OpenSSL would resume no session of which the end was not said. */
	if (c->ssl && c->state == TLS_OPEN)
		SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	tls_kernel_settle(c);
	free(c->name);
	SSL_free(c->ssl);
	tls_came_free(&c->came);
	pool_put(&t->outs, c->out);
	pool_put(&t->conns, c);
}

static void conn_drop(struct stream_layer *l)
{
	tls_end(conn_of(l));
}

static const struct stream_kind kind = {
	.recv = conn_recv,
	.recv_block = conn_recv_block,
	.await = conn_await,
	.send = conn_send,
	.cancel = conn_cancel,
	.take = conn_take,
	.unread = conn_unread,
	.silent = conn_silent,
	.say = conn_say,
	.sent = conn_sent,
	.own = conn_own,
	.half_close = conn_half_close,
	.drop = conn_drop,
};

struct tls_conn *tls_begin(struct tls *t, int fd, const struct tls_role *role)
{
	struct tls_conn *c = pool_get(&t->conns);

	if (!c)
		return NULL;
	if (t->conns.in_use > t->crowd)
		t->crowd = t->conns.in_use;
	*c = (struct tls_conn){ .layer.kind = &kind, .tls = t, .role = *role, .fd = fd };
	list_init(&c->link);
	io_task_init(&c->read_task, read_task);
	io_timer_init(&c->pause, paused);
	io_task_init(&c->write_task, write_task);
	return c;
}

struct tls_conn *tls_of(const struct stream *st)
{
	return st->layer && st->layer->kind == &kind ? conn_of(st->layer) : NULL;
}

const char *tls_conn_why(const struct tls_conn *c, char out[TLS_FAULT_TEXT])
{
	const char *reason = tls_fault_reason(c->reason);

	snprintf(out, TLS_FAULT_TEXT, "%s%s%s", tls_fault_name(c->fault), reason ? ": " : "",
		 reason ? reason : "");
	return out;
}
