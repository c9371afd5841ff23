/* SPDX-License-Identifier: ISC */
/* transfer: see transfer.h. */
#include "session/transfer.h"

#include <errno.h>

#include "base/diag.h"
#include "session/ends.h"
#include "session/session.h"
#include "session/window.h"

void transfer_begin(struct session *s, const struct mover *mover)
{
	s->transfer.mover = mover;
	s->progress++;
	mover->begin(s);
}

void transfer_over(struct session *s)
{
	s->transfer.mover = NULL;
	s->transfer.queue = QUEUE_UNKNOWN;
	s->progress++;
	session_changed(s); /* what follows the message are commands */
}

/* ---- what is borrowed ---- */

static struct session_body *take_buffer(struct session *s)
{
	struct session_body *b = pool_get(&s->ctx->bodies);

	CHECK(b); /* the pool holds two for each session */
	return b;
}

void transfer_borrow(struct session *s)
{
	if (!s->transfer.body)
		s->transfer.body = take_buffer(s);
}

void transfer_borrow_repaired(struct session *s)
{
	if (!s->transfer.repaired)
		s->transfer.repaired = take_buffer(s);
}

void transfer_return_buffers(struct session *s)
{
	struct transfer *t = &s->transfer;

	pool_put(&s->ctx->bodies, t->body);
	pool_put(&s->ctx->bodies, t->repaired);
	t->body = t->repaired = NULL;
}

bool transfer_take_pipe(struct session *s)
{
	if (!s->transfer.pipe)
		s->transfer.pipe = io_pipe_get(&s->ctx->pipes);
	return s->transfer.pipe != NULL;
}

void transfer_return_pipe(struct session *s)
{
	if (s->transfer.pipe)
		io_pipe_put(&s->ctx->pipes, s->transfer.pipe);
	s->transfer.pipe = NULL;
}

void transfer_return(struct session *s)
{
	transfer_return_buffers(s);
	transfer_return_pipe(s);
	s->transfer.rest = (struct span){ 0 };
}

/* ---- long steps ---- */

#define QUICK_US 250000 /* a destination that takes a step in that time takes a long one soon */

size_t transfer_room(struct session *s)
{
	struct transfer *t = &s->transfer;

	if (t->came < WORKER_STEP / 2 || t->took_us > QUICK_US)
		return WORKER_STEP;
	if (!t->has_long && s->ctx->long_steps == WORKER_LONG)
		return WORKER_STEP;
	if (!t->has_long)
		s->ctx->long_steps++;
	t->has_long = true;
	return WORKER_BODY;
}

void transfer_settle(struct session *s)
{
	struct transfer *t = &s->transfer;

	if (!t->has_long || t->body || t->repaired ||
	    (s->work && buf_len(&s->work->client_in) > WORKER_STEP))
		return;
	t->has_long = false;
	s->ctx->long_steps--;
}

/* ---- from the client ---- */

void transfer_came(struct session *s, size_t n)
{
	s->progress++;
	s->window.bytes += n;
	s->transfer.came = (uint32_t)n;
}

size_t transfer_take(struct session *s, size_t most, bool looking)
{
	struct stream *from = &s->client.stream;
	ssize_t n;

	transfer_borrow(s);
	n = looking ? stream_peek(from, s->transfer.body->data, most)
		    : stream_take(from, s->transfer.body->data, most);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		session_client_ended(s, (int)n);
		return 0;
	}
	transfer_came(s, (size_t)n);
	return (size_t)n;
}

bool transfer_woken(struct session *s, int res)
{
	session_changed(s);
	return s->state == SESSION_RUNNING && res != -ECANCELED;
}

static void receivable(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);
	size_t n;

	if (!transfer_woken(s, res))
		return;
	n = transfer_take(s, s->transfer.most, false);
	if (n == 0)
		return;
	s->transfer.queue = QUEUE_UNKNOWN;
	s->transfer.rest = span_of(s->transfer.body->data, n);
}

void transfer_receive(struct session *s, size_t most)
{
	transfer_return_buffers(s);
	s->transfer.most = (uint32_t)most;
	s->client.recv.done = receivable;
	stream_await(s->ctx->io, &s->client.stream, &s->client.recv);
}

void transfer_stalled(struct session *s)
{
	if (io_in_flight(&s->client.recv) && s->transfer.body)
		stream_cancel(s->ctx->io, &s->client.stream, &s->client.recv);
}

/* ---- to the destination ---- */

void transfer_dest_takes(struct session *s)
{
	s->progress++;
	s->transfer.taking_us = io_now_us(s->ctx->io);
	window_stand(s);
}

void transfer_dest_took(struct session *s)
{
	s->transfer.took_us = io_now_us(s->ctx->io) - s->transfer.taking_us;
	s->progress++;
	window_go(s);
	session_changed(s);
}

void transfer_send(struct session *s, struct span octets, bool more,
		   void (*done)(struct io_op *op, int res))
{
	s->dest.send.done = done;
	transfer_dest_takes(s);
	stream_send(s->ctx->io, &s->dest.stream, &s->dest.send, octets.p, octets.n,
		    more ? IO_SEND_MORE : 0);
}

bool transfer_can_splice(const struct session *s)
{
	return stream_can_splice(&s->client.stream, &s->dest.stream);
}

static void splice_done(struct io_splice *sp, int res)
{
	struct session_splice *own = container_of(sp, struct session_splice, io);
	struct session *s = own->session;
	struct session_splice how = *own;

	/* What follows may need it again. */
	pool_put(&s->ctx->splices, own);
	s->transfer.splice = NULL;
	transfer_dest_took(s);
	how.spliced(s, &how.io, res);
}

void transfer_splice(struct session *s, uint64_t n,
		     void (*spliced)(struct session *s, const struct io_splice *how, int res))
{
	struct transfer *t = &s->transfer;

	t->splice = pool_get(&s->ctx->splices);
	CHECK(t->splice); /* the pool holds one for each pipe */
	*t->splice = (struct session_splice){ { .done = splice_done }, s, spliced };
	transfer_dest_takes(s);
	stream_splice(s->ctx->io, &t->splice->io, t->pipe, &s->client.stream, &s->dest.stream, n);
}
