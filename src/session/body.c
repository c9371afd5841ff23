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
#include <time.h>

#include "base/diag.h"
#include "session/ends.h"
#include "session/gate.h"
#include "session/session.h"
#include "session/tap.h"
#include "session/window.h"
#include "session/work.h"

static void borrow_buffers(struct session *s)
{
	transfer_borrow(s);
	if (s->version->env.normalize)
		transfer_borrow_repaired(s);
}

bool body_by_splice(const struct session *s)
{
	return s->rt->config->set.body == BODY_SPLICE && !s->version->env.normalize &&
	       !message_is_discarded(&s->dialog.message) && stream_can_peek(&s->client.stream) &&
	       transfer_can_splice(s);
}

/* ---- from the client ---- */

/* It is waited for already. */
static void begin(struct session *s)
{
	s->step = (struct body_step){ 0 };
	s->transfer.came = 0;
	if (s->version->env.add_received)
		dialog_trace_at(&s->dialog, (uint64_t)time(NULL));
	counted_reset(s);
	window_begin(s);
}

/* OCTETS have come as a block, which is not kept. */
static void take(struct session *s, struct span octets)
{
	struct transfer *t = &s->transfer;
	size_t n = octets.n;

	borrow_buffers(s);
	memcpy(t->body->data, octets.p, n);
	/* It filled the block, so there is more: the step that it begins is to be a large one. */
	if (n == WORKER_BLOCK && !body_by_splice(s)) {
		ssize_t more = stream_take(&s->client.stream, t->body->data + n, WORKER_STEP - n);

		n += more > 0 ? (size_t)more : 0;
	}
	transfer_came(s, n);
	t->rest = span_of(t->body->data, n);
}

/* Octets of a body that flows. */
static void received(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	s->transfer.came = 0;
	if (!transfer_woken(s, res))
		return;
	if (res <= 0) {
		session_client_ended(s, res);
		return;
	}
	transfer_came(s, (size_t)res);
	s->transfer.rest = span_of(s->transfer.body->data, (size_t)res);
}

/* ---- memory that was scanned ---- */

/* What goes on, from memory or by splice. */
static void show_taps(struct session *s, const struct dialog_forward *f)
{
	tap_begin(s);
	if (f->cr_first)
		tap_add(s, SPAN("\r"));
	tap_add(s, f->octets);
}

/* The octets of a step were given to the kernel, or (GOOD is false) were not. */
static void body_left(struct session *s, bool good)
{
	bool whole = s->dialog.message.state == MESSAGE_WHOLE;

	if (good && whole)
		dialog_message_given(&s->dialog);
	else if (good && dialog_counts(&s->dialog))
		counted_sent(s);
}

static void forward_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);

	transfer_dest_took(s);
	if (res < 0 && res != -ECANCELED)
		session_dest_broken(s);
	body_left(s, res >= 0);
}

static void send_scanned(struct session *s, struct span octets)
{
	transfer_send(s, octets, false, forward_sent);
}

/* The octets go out of the memory at DATA, behind the command of their chunk, the message's trace,
 * and a CR that was the last octet of the block before. There is room before them: `spare`, or what
 * has left already. */
static struct span with_head(const struct dialog_forward *f, const struct session_body *b)
{
	size_t n = f->command_len + (size_t)f->trace_len + (f->cr_first ? 1u : 0u);
	uint8_t *octets = (uint8_t *)(uintptr_t)(f->octets.n ? f->octets.p : b->data),
		*at = octets - n;

	CHECK(n <= sizeof(b->spare));
	memcpy(at, f->command, f->command_len);
	memcpy(at + f->command_len, f->trace, f->trace_len);
	if (f->cr_first)
		octets[-1] = '\r';
	return span_of(at, n + f->octets.n);
}

/* Scans what was received and sends what may be sent of it. */
static void scan_rest(struct session *s)
{
	struct transfer *t = &s->transfer;
	struct dialog_forward f;
	struct buf out;

	buf_init(&out, t->repaired ? t->repaired->data : NULL, t->repaired ? WORKER_BODY : 0);
	dialog_body(&s->dialog, (uint8_t *)(uintptr_t)t->rest.p, t->rest.n, &out, false, &f);
	t->rest = span_from(t->rest, f.consumed);
	if (f.gate)
		gate_shut(s);
	if (f.octets.n + f.command_len == 0 || s->dest.broken)
		return;
	show_taps(s, &f);
	struct span all = with_head(&f, t->repaired ? t->repaired : t->body);

	send_scanned(s, all);
}

/* ---- BODY_SPLICE ---- */

/* What stands behind the octets that were moved, and does not go on, leaves the queue here: the end
 * of a counted body, or a CR that is held back. Something else in the place of that was put there
 * behind our look (a sender on the same kernel can): that ends the session. */
static void take_behind(struct session *s)
{
	const struct message *m = &s->dialog.message;
	bool goes_on = m->state == MESSAGE_COMING || message_is_discarded(m);
	uint8_t c = 0;

	if (goes_on && s->step.behind > 0) {
		if (stream_take(&s->client.stream, &c, 1) != 1 || c != '\r')
			dialog_client_lost(&s->dialog);
	} else {
		stream_skip(&s->client.stream, s->step.behind);
	}
	s->step.behind = 0;
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
	} else if (res < 0 && sp->side == IO_SPLICE_FROM && res != -ECANCELED &&
		   s->dialog.link.state != LINK_CLOSING) {
		/* An urgent mark, or a socket that cannot splice: what has not arrived, be it still
		 * in the pipe, goes from the memory that was scanned, and the next steps by
		 * receiving. */
		dialog_message_copied(&s->dialog);
		transfer_return_pipe(s);
		send_scanned(s, span_of(s->transfer.body->data + sp->moved,
					(size_t)(sp->count - sp->moved)));
	} else if (res < 0 && res != -ECANCELED) {
		session_dest_broken(s);
	}
}

static void head_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);

	transfer_dest_took(s);
	if (res >= 0 && s->state == SESSION_RUNNING && s->dialog.link.state != LINK_CLOSING &&
	    s->step.forwarded > 0) {
		transfer_splice(s, s->step.forwarded, spliced);
		return;
	}
	stream_skip(&s->client.stream, s->step.forwarded);
	take_behind(s);
	if (res >= 0)
		body_left(s, s->step.forwarded == 0);
	else if (res != -ECANCELED)
		session_dest_broken(s);
}

/* Scans what was looked at, and moves what may be moved of it. */
static void scan_peeked(struct session *s)
{
	struct dialog_forward f;
	size_t n = s->step.peeked;

	s->step.peeked = 0;
	dialog_body(&s->dialog, s->transfer.body->data, n, NULL, true, &f);
	if (f.gate)
		gate_shut(s);
	if (f.octets.n + f.command_len == 0 || s->dest.broken) {
		stream_skip(&s->client.stream, f.consumed);
		return;
	}
	show_taps(s, &f);
	struct span all = with_head(&f, s->transfer.body);

	if (f.changed) { /* dots were taken off: what is in the queue is not what goes on */
		dialog_message_copied(&s->dialog);
		stream_skip(&s->client.stream, f.consumed);
		send_scanned(s, all);
		return;
	}
	s->step.forwarded = (uint32_t)f.octets.n;
	s->step.behind = (uint8_t)(f.consumed - f.octets.n);
	/* The command of a chunk, or a CR that was held back, goes before what is moved. */
	if (all.n > f.octets.n)
		transfer_send(s, span_of(all.p, all.n - f.octets.n), s->step.forwarded > 0,
			      head_sent);
	else
		transfer_splice(s, s->step.forwarded, spliced);
}

static void body_readable(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	if (transfer_woken(s, res))
		s->step.peeked = (uint32_t)transfer_take(s, transfer_room(s), true);
}

/* ---- the step ---- */

static void receive_more(struct session *s)
{
	struct transfer *t = &s->transfer;

	/* More of it comes at once, as a rule: deadline.c sees to it if not. */
	if (t->came >= WORKER_BLOCK && t->body && !body_by_splice(s)) {
		s->client.recv.done = received;
		stream_recv(s->ctx->io, &s->client.stream, &s->client.recv, t->body->data,
			    transfer_room(s));
		return;
	}
	transfer_return_buffers(s);
	/* They come as a block, unless they are to be left in the socket. */
	if (!body_by_splice(s) || !transfer_take_pipe(s))
		return;
	s->client.recv.done = body_readable;
	stream_await(s->ctx->io, &s->client.stream, &s->client.recv);
}

static void finish(struct session *s)
{
	if (s->dialog.end == END_RUNS)
		session_keep(&s->work->client_in, s->transfer.rest);
	gate_reset(s);
	tap_end(s);
	transfer_return(s);
	transfer_over(s);
}

/* While answers to chunks are waited for, the client is not to blame (MIN_RATE); after that it is:
 * the window goes on with the answer, not with the octets that come some time after it. */
static bool answers_wait(struct session *s)
{
	bool waits = counted_waits(s);

	if (waits)
		window_stand(s);
	else
		window_go(s);
	return waits;
}

static void step(struct session *s)
{
	struct dialog *d = &s->dialog;
	struct transfer *t = &s->transfer;

	if (io_in_flight(&s->dest.send) || t->splice || io_in_flight(&s->client.recv))
		return;
	while (dialog_in_body(d) && (t->rest.n > 0 || s->step.peeked > 0) && !gate_waits(s) &&
	       !answers_wait(s)) {
		if (s->dest.broken && !message_is_discarded(&d->message))
			return; /* its end of stream tells what it said last */
		if (s->step.peeked > 0)
			scan_peeked(s);
		else
			scan_rest(s);
		if (io_in_flight(&s->dest.send) || t->splice)
			return;
	}
	if (!dialog_in_body(d))
		finish(s);
	else if ((!s->dest.broken || message_is_discarded(&d->message)) && !gate_waits(s) &&
		 !answers_wait(s))
		receive_more(s);
}

const struct mover body_mover = { begin, step, take, .sends_alone = true };
