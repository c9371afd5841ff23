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
	if (s->version->env.normalize && s->moves != MOVES_CHUNK && !s->repaired)
		s->repaired = take_buffer(s);
}

static void open_body(struct session *s)
{
	s->body_open = true;
	counted_reset(s);
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
	       !message_is_discarded(&s->dialog.message) && stream_can_peek(&s->client.stream) &&
	       session_can_splice(s);
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

/* The octets of a step were given to the kernel, or (GOOD is false) were not. */
static void body_left(struct session *s, bool good)
{
	bool whole = s->dialog.message.state == MESSAGE_WHOLE;

	if (good && whole)
		dialog_message_given(&s->dialog);
	else if (good && dialog_counts(&s->dialog))
		counted_sent(s, s->step_size);
}

static void forward_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);

	s->dest.sending = false;
	session_dest_took(s);
	if (res < 0 && res != -ECANCELED)
		session_dest_broken(s);
	body_left(s, res >= 0);
}

/* The octets go out of the memory at DATA, behind the command of their chunk, and a CR that was the
 * last octet of the block before. There is room before them: `spare`, or what has left already. */
static struct span with_head(const struct dialog_forward *f, const struct session_body *b)
{
	size_t n = f->command_len + (f->cr_first ? 1u : 0u);
	uint8_t *octets = (uint8_t *)(uintptr_t)(f->octets.n ? f->octets.p : b->data),
		*at = octets - n;

	CHECK(n <= sizeof(b->spare));
	memcpy(at, f->command, f->command_len);
	if (f->cr_first)
		octets[-1] = '\r';
	return span_of(at, n + f->octets.n);
}

/* Scans what was received and sends what may be sent of it. */
static void scan_rest(struct session *s)
{
	struct dialog_forward f;
	struct buf out;

	buf_init(&out, s->repaired ? s->repaired->data : NULL, s->repaired ? WORKER_BODY : 0);
	dialog_body(&s->dialog, (uint8_t *)(uintptr_t)s->rest.p, s->rest.n, &out, false, &f);
	s->rest = span_from(s->rest, f.consumed);
	if (f.gate)
		session_gate_shut(s);
	if (f.octets.n + f.command_len == 0 || s->dest.broken)
		return;
	if (f.command_len && dialog_in_body(&s->dialog))
		counted_begin(s);
	copy_forward(s, &f);
	struct span all = with_head(&f, s->repaired ? s->repaired : s->body);

	s->step_size = (uint32_t)all.n;
	send_scanned(s, all.p, all.n, false);
}

/* ---- BODY_SPLICE ---- */

/* What stands behind the octets that were moved, and does not go on, leaves the queue here: the end
 * of a counted body, or a CR that is held back. Something else in the place of that was put there
 * behind our look (a sender on the same kernel can): that ends the session. */
static void take_behind(struct session *s)
{
	uint8_t c = 0;

	if (s->held_cr) {
		if (stream_take(&s->client.stream, &c, 1) != 1 || c != '\r')
			dialog_client_lost(&s->dialog);
	} else {
		stream_skip(&s->client.stream, s->behind);
	}
	s->held_cr = false;
	s->behind = 0;
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
	take_behind(s);
	body_left(s, res == 0);
	if (res == -ENODATA) {
		dialog_client_lost(&s->dialog);
	} else if (res < 0 && sp->side == IO_SPLICE_FROM && res != -ECANCELED && !s->dest_closing) {
		/* An urgent mark, or a socket that cannot splice: what has not arrived, be it still
		 * in the pipe, goes from the memory that was scanned, and the next steps by
		 * receiving. */
		dialog_message_copied(&s->dialog);
		io_pipe_put(&s->ctx->pipes, s->pipe);
		s->pipe = NULL;
		send_scanned(s, s->body->data + sp->moved, (size_t)(sp->count - sp->moved), false);
	} else if (res < 0 && res != -ECANCELED) {
		session_dest_broken(s);
	}
}

static void head_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);

	s->dest.sending = false;
	session_dest_took(s);
	if (res >= 0 && s->state == SESSION_RUNNING && !s->dest_closing && s->forwarded > 0) {
		session_splice(s, s->forwarded, spliced);
		return;
	}
	stream_skip(&s->client.stream, s->forwarded);
	take_behind(s);
	if (res >= 0)
		body_left(s, s->forwarded == 0);
	else if (res != -ECANCELED)
		session_dest_broken(s);
}

/* What goes before the octets that are moved: the command of a chunk, a CR that was held back. */
static void send_head(struct session *s, struct span head)
{
	s->dest.sending = true;
	s->dest.send.done = head_sent;
	session_dest_takes(s);
	stream_send(s->ctx->io, &s->dest.stream, &s->dest.send, head.p, head.n,
		    s->forwarded ? IO_SEND_MORE : 0);
}

/* Scans what was looked at, and moves what may be moved of it. */
static void scan_peeked(struct session *s)
{
	struct dialog_forward f;
	size_t n = s->peeked;

	s->peeked = 0;
	dialog_body(&s->dialog, s->body->data, n, NULL, true, &f);
	if (f.gate)
		session_gate_shut(s);
	if (f.octets.n + f.command_len == 0 || s->dest.broken) {
		stream_skip(&s->client.stream, f.consumed);
		return;
	}
	if (f.command_len && dialog_in_body(&s->dialog))
		counted_begin(s);
	copy_forward(s, &f);
	struct span all = with_head(&f, s->body);

	s->step_size = (uint32_t)all.n;
	if (f.changed) { /* dots were taken off: what is in the queue is not what goes on */
		dialog_message_copied(&s->dialog);
		stream_skip(&s->client.stream, f.consumed);
		send_scanned(s, all.p, all.n, false);
		return;
	}
	s->forwarded = (uint32_t)f.octets.n;
	s->behind = (uint8_t)(f.consumed - f.octets.n);
	s->held_cr = s->behind > 0 && dialog_in_body(&s->dialog);
	if (all.n > f.octets.n)
		send_head(s, span_of(all.p, all.n - f.octets.n));
	else
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
	s->moves = MOVES_NOTHING;
	s->readable = false;
	s->progress++;
	session_changed(s); /* what followed the message are commands */
}

/* While answers to chunks are waited for, the client is not to blame (MIN_RATE); after that it is:
 * the window goes on with the answer, not with the octets that come some time after it. */
static bool answers_wait(struct session *s)
{
	bool waits = counted_waits(s);

	if (waits)
		session_window_stand(s);
	else
		session_window_go(s);
	return waits;
}

void session_body_step(struct session *s)
{
	struct dialog *d = &s->dialog;

	if (s->moves == MOVES_CHUNK) {
		session_chunk_step(s);
		return;
	}
	if (s->dest.sending || s->splice || s->client.receiving)
		return;
	while (dialog_in_body(d) && (s->rest.n > 0 || s->peeked > 0) && !session_gate_waits(s) &&
	       !answers_wait(s)) {
		if (s->dest.broken && !message_is_discarded(&d->message))
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
	else if ((!s->dest.broken || message_is_discarded(&d->message)) && !session_gate_waits(s) &&
		 !answers_wait(s))
		receive_more(s);
}
