/* SPDX-License-Identifier: ISC */
/*
 * The body mover: a message's octets from the client's socket to the destination's. Two ways,
 * chosen by BODY_*: received into memory, scanned there and sent from that very memory (invariant
 * 1); or, with BODY_SPLICE, looked at in the socket's queue, scanned, and as many octets as the
 * scan has let through moved by splice(2). Whatever stops the second way goes on as the first from
 * the memory that was scanned. One step at a time: a slow destination slows its client (invariant
 * 8).
 */
#include "session/body.h"

#include <errno.h>

#include "base/diag.h"
#include "session/chunk.h"
#include "session/deadline.h"
#include "session/ends.h"
#include "session/gate.h"
#include "session/work.h"

static void forward_sent(struct io_op *op, int res);

static const char *debug_dir(const struct session *s)
{
	return s->rt->config->set.debug_dir;
}

/* A body that waits for its client holds no buffer. */
static void return_buffers(struct session *s)
{
	pool_put(&s->ctx->bodies, s->body);
	pool_put(&s->ctx->bodies, s->repaired);
	s->body = s->repaired = NULL;
}

void session_body_return(struct session *s)
{
	struct context *ctx = s->ctx;

	return_buffers(s);
	if (s->pipe)
		io_pipe_put(&ctx->pipes, s->pipe);
	s->pipe = NULL;
	s->body_open = false;
	s->rest = (struct span){ 0 };
	s->peeked = 0;
	s->held_cr = s->at_gate = false;
}

void session_body_release(struct session *s)
{
	copy_end(&s->copy, &s->dialog, debug_dir(s));
	session_body_return(s);
}

static struct session_body *take_buffer(struct session *s)
{
	struct session_body *b = pool_get(&s->ctx->bodies);

	CHECK(b); /* the pool holds two for each session */
	return b;
}

static void borrow_buffers(struct session *s)
{
	if (!s->body)
		s->body = take_buffer(s);
	if (s->version->env.normalize && !s->in_chunk && !s->repaired)
		s->repaired = take_buffer(s);
}

static void open_body(struct session *s)
{
	s->body_open = true;
	copy_begin(&s->copy, &s->dialog, debug_dir(s));
}

static void note_octets(struct session *s, size_t n)
{
	s->progress++;
	s->window_bytes += n;
	s->flows = n >= WORKER_BLOCK;
}

void session_body_take(struct session *s, struct span octets)
{
	size_t n = octets.n;

	if (!s->body_open)
		open_body(s);
	borrow_buffers(s);
	memcpy(s->body->data, octets.p, n);
	/* It filled the block, so there is more: the step that it begins is to be a large one. */
	if (n == WORKER_BLOCK && !session_body_by_splice(s)) {
		ssize_t more = stream_take(&s->client.stream, s->body->data + n, WORKER_BODY - n);

		n += more > 0 ? (size_t)more : 0;
	}
	note_octets(s, n);
	s->rest = span_of(s->body->data, n);
}

bool session_can_splice(const struct session *s)
{
	return stream_can_splice(&s->client.stream) && stream_can_splice(&s->dest.stream);
}

bool session_body_by_splice(const struct session *s)
{
	return s->rt->config->set.body == BODY_SPLICE && !s->version->env.normalize &&
	       !s->dialog.discard && stream_can_peek(&s->client.stream) && session_can_splice(s);
}

/* ---- received octets ---- */

/* Octets have come, or the end of the stream. How many; BY_LOOKING leaves them in the queue. */
static ssize_t take_octets(struct session *s, size_t most, bool by_looking)
{
	ssize_t n;

	borrow_buffers(s);
	n = by_looking ? stream_peek(&s->client.stream, s->body->data, most)
		       : stream_take(&s->client.stream, s->body->data, most);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		session_client_ended(s, (int)n);
		return 0;
	}
	note_octets(s, (size_t)n);
	return n;
}

/* True where the session still cares for it. */
static bool woken(struct session *s, int res)
{
	s->client.receiving = false;
	session_changed(s);
	return s->state == SESSION_RUNNING && res != -ECANCELED;
}

static void receivable(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);
	ssize_t n;

	if (!woken(s, res))
		return;
	n = take_octets(s, s->receive_most, false);
	if (n == 0)
		return;
	s->at_mark = false;
	s->rest = span_of(s->body->data, (size_t)n);
}

/* Octets of a body that flows. */
static void received(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	s->flows = false;
	if (!woken(s, res))
		return;
	if (res <= 0) {
		session_client_ended(s, res);
		return;
	}
	note_octets(s, (size_t)res);
	s->rest = span_of(s->body->data, (size_t)res);
}

void session_body_stalled(struct session *s)
{
	if (s->client.receiving && s->body)
		stream_cancel(s->ctx->io, &s->client.stream, &s->client.recv);
}

void session_body_receive(struct session *s, size_t most)
{
	return_buffers(s);
	s->receive_most = (uint32_t)most;
	s->client.receiving = true;
	s->client.recv.done = receivable;
	stream_await(s->ctx->io, &s->client.stream, &s->client.recv);
}

void session_dest_takes(struct session *s)
{
	s->progress++;
	s->taking_us = io_now_us(s->ctx->io);
	session_window_stand(s);
}

void session_dest_took(struct session *s)
{
	s->progress++;
	session_window_go(s);
	session_changed(s);
}

/* Sends memory that was scanned. */
static void send_scanned(struct session *s, const uint8_t *p, size_t n, bool more)
{
	s->dest.sending = true;
	s->dest.send.done = forward_sent;
	session_dest_takes(s);
	stream_send(s->ctx->io, &s->dest.stream, &s->dest.send, p, n, more ? IO_SEND_MORE : 0);
}

/* What goes on, from memory or by splice, goes into the copy too. */
static void copy_forward(struct session *s, const struct dialog_forward *f)
{
	if (f->cr_first)
		copy_add(&s->copy, &s->dialog, SPAN("\r"));
	copy_add(&s->copy, &s->dialog, f->octets);
}

static void forward_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);

	s->dest.sending = false;
	session_dest_took(s);
	if (res < 0 && res != -ECANCELED)
		session_dest_broken(s);
	s->body_sent = res >= 0 && s->body_complete;
}

/* Scans what was received and sends what may be sent of it. */
static void scan_rest(struct session *s)
{
	struct dialog_forward f;
	struct buf out;

	buf_init(&out, s->repaired ? s->repaired->data : NULL, s->repaired ? WORKER_BODY : 0);
	dialog_body(&s->dialog, s->rest, &out, false, &f);
	s->rest = span_from(s->rest, f.consumed);
	s->body_complete = !dialog_in_body(&s->dialog);
	if (f.gate)
		session_gate_shut(s);
	if (f.octets.n == 0 || s->dest.broken)
		return;
	copy_forward(s, &f);
	if (f.cr_first) {
		/* It was the last octet of the block before this one, whose first is its LF. */
		CHECK(f.octets.p == s->body->data);
		s->body->spare[sizeof(s->body->spare) - 1] = '\r';
		f.octets = span_of(f.octets.p - 1, f.octets.n + 1);
	}
	send_scanned(s, f.octets.p, f.octets.n, false);
}

/* ---- BODY_SPLICE ---- */

/* The CR behind the octets that were moved is held back: it leaves the queue here. Something else
 * in its place was put there behind our look (a sender on the same kernel can): that ends the
 * session. */
static void take_held_cr(struct session *s)
{
	uint8_t c = 0;

	if (!s->held_cr)
		return;
	s->held_cr = false;
	if (stream_take(&s->client.stream, &c, 1) != 1 || c != '\r')
		dialog_client_lost(&s->dialog);
}

static void splice_done(struct io_splice *sp, int res)
{
	struct session_splice *own = container_of(sp, struct session_splice, io);
	struct session *s = own->session;
	struct session_splice how = *own;

	/* What follows may need it again. */
	pool_put(&s->ctx->splices, own);
	s->splice = NULL;
	session_dest_took(s);
	how.spliced(s, &how.io, res);
}

void session_splice(struct session *s, uint64_t n,
		    void (*spliced)(struct session *s, const struct io_splice *how, int res))
{
	s->splice = pool_get(&s->ctx->splices);
	CHECK(s->splice); /* the pool holds one for each pipe */
	*s->splice = (struct session_splice){ { .done = splice_done }, s, spliced };
	session_dest_takes(s);
	stream_splice(s->ctx->io, &s->splice->io, s->pipe, &s->client.stream, &s->dest.stream, n);
}

static void spliced(struct session *s, const struct io_splice *sp, int res)
{
	size_t left = (size_t)(sp->count - sp->moved - sp->in_pipe);

	if (res < 0 && res != -ENODATA)
		stream_skip(&s->client.stream, left);
	if (s->state != SESSION_RUNNING)
		return;
	take_held_cr(s);
	s->body_sent = res == 0 && s->body_complete;
	if (res == -ENODATA) {
		dialog_client_lost(&s->dialog);
	} else if (res < 0 && sp->side == IO_SPLICE_FROM && res != -ECANCELED && !s->dest_closing) {
		/* An urgent mark, or a socket that cannot splice: what has not arrived, be it still
		 * in the pipe, goes from the memory that was scanned, and the next steps by
		 * receiving. */
		s->dialog.copied = true;
		io_pipe_put(&s->ctx->pipes, s->pipe);
		s->pipe = NULL;
		send_scanned(s, s->body->data + sp->moved, (size_t)(sp->count - sp->moved), false);
	} else if (res < 0 && res != -ECANCELED) {
		session_dest_broken(s);
	}
}

static void held_cr_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);

	s->dest.sending = false;
	session_dest_took(s);
	if (res < 0) {
		stream_skip(&s->client.stream, s->forwarded);
		take_held_cr(s);
		if (res != -ECANCELED)
			session_dest_broken(s);
	} else if (s->state == SESSION_RUNNING && !s->dest_closing) {
		session_splice(s, s->forwarded, spliced);
	} else {
		stream_skip(&s->client.stream, s->forwarded);
		take_held_cr(s);
	}
}

/* Scans what was looked at, and moves what may be moved of it. */
static void scan_peeked(struct session *s)
{
	struct dialog_forward f;
	struct span in = span_of(s->body->data, s->peeked);

	s->peeked = 0;
	dialog_body(&s->dialog, in, NULL, true, &f);
	s->body_complete = !dialog_in_body(&s->dialog);
	if (f.gate)
		session_gate_shut(s);
	s->forwarded = (uint32_t)f.octets.n;
	if (f.octets.n == 0 || s->dest.broken) {
		stream_skip(&s->client.stream, f.consumed);
		return;
	}
	copy_forward(s, &f);
	s->held_cr = f.consumed > f.octets.n;
	if (f.cr_first) {
		static const uint8_t cr = '\r';

		s->dest.sending = true;
		s->dest.send.done = held_cr_sent;
		session_dest_takes(s);
		stream_send(s->ctx->io, &s->dest.stream, &s->dest.send, &cr, 1, IO_SEND_MORE);
		return;
	}
	session_splice(s, s->forwarded, spliced);
}

static void body_readable(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	if (woken(s, res))
		s->peeked = (uint32_t)take_octets(s, WORKER_BODY, true);
}

/* Takes a pipe for it; without one the octets are received. */
static bool may_splice(struct session *s)
{
	if (!session_body_by_splice(s))
		return false;
	if (!s->pipe)
		s->pipe = io_pipe_get(&s->ctx->pipes);
	return s->pipe != NULL;
}

/* ---- the step ---- */

static void receive_more(struct session *s)
{
	/* More of it comes at once, as a rule: deadline.c sees to it if not. */
	if (s->flows && s->body && !session_body_by_splice(s)) {
		s->client.receiving = true;
		s->client.recv.done = received;
		stream_recv(s->ctx->io, &s->client.stream, &s->client.recv, s->body->data,
			    WORKER_BODY);
		return;
	}
	return_buffers(s);
	if (!session_body_by_splice(s))
		return; /* they come as a block, session_body_take() */
	if (!s->body_open)
		open_body(s);
	if (!may_splice(s))
		return;
	s->client.receiving = true;
	s->client.recv.done = body_readable;
	stream_await(s->ctx->io, &s->client.stream, &s->client.recv);
}

static void finish(struct session *s)
{
	if (s->dialog.end == END_RUNS)
		session_keep(&s->work->client_in, s->rest);
	session_body_release(s);
	s->in_body = s->body_complete = s->readable = false;
	s->progress++;
	session_changed(s); /* what followed the message are commands */
}

void session_body_step(struct session *s)
{
	struct dialog *d = &s->dialog;

	if (s->in_chunk || dialog_in_chunk(d)) {
		session_chunk_step(s);
		return;
	}
	if (s->dest.sending || s->splice || s->client.receiving)
		return;
	while (dialog_in_body(d) && (s->rest.n > 0 || s->peeked > 0) && !session_gate_waits(s)) {
		if (s->dest.broken && !d->discard)
			return; /* its end of stream tells what it said last */
		if (s->peeked > 0)
			scan_peeked(s);
		else
			scan_rest(s);
		if (s->dest.sending || s->splice)
			return;
	}
	if (!dialog_in_body(d))
		finish(s);
	else if ((!s->dest.broken || d->discard) && !session_gate_waits(s))
		receive_more(s);
}
