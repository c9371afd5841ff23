/* SPDX-License-Identifier: ISC */
/*
 * The mover of chunks (BDAT, RFC 3030): octets that are counted, from the client's socket to the
 * destination's, or, where the dialog throws them away, to nowhere. What was received together with
 * the command leaves together with it. What must be seen (dialog/chunk.h) is received and sent. The
 * rest is moved by splice(2), as many octets at a time as are there, so that what it waits for, and
 * how long, is known: nobody reads them. With BODY_COPY, without a pipe, at an urgent mark, and
 * where a copy of the message is written, they are received and sent, too.
 *
 * It never takes an octet behind the chunk: that is a command. One step at a time: a slow
 * destination slows its client (invariant 8). The pipe and the buffer are the worker's, held while
 * a chunk moves.
 */
#include "session/chunk.h"

#include <errno.h>

#include "base/diag.h"
#include "session/ends.h"
#include "session/session.h"
#include "session/tap.h"
#include "session/window.h"
#include "session/work.h"

/* Octets of one step by splice: a pipe full. The destination has TIMEOUT_DATA for each step. */
#define SPLICE_STEP PIPE_WANTED

static size_t no_more_than(uint64_t left, size_t n)
{
	return left < n ? (size_t)left : n;
}

void chunk_flushed(struct session *s)
{
	if (!dialog_chunk_leaves(&s->dialog))
		return;
	dialog_message_given(&s->dialog);
	if (s->dialog.message.last) /* one without octets has no other end */
		tap_end(s);
}

/* All chunks of a message have one rate, with the time that the client takes between them: one that
 * comes with its octets is never waited for. */
static void begin_window(struct session *s)
{
	const struct dialog *d = &s->dialog;

	window_go(s);
	if (!message_is_open(&d->message) || s->window.message != d->transactions)
		window_begin(s);
	else if (window_was_too_slow(s))
		dialog_client_timeout(&s->dialog);
	s->window.message = d->transactions;
}

static void begin(struct session *s)
{
	s->transfer.queue = QUEUE_UNKNOWN;
	s->transfer.came = 0;
	begin_window(s);
	if (!message_is_discarded(&s->dialog.message))
		tap_begin(s);
}

static void finish(struct session *s)
{
	if (s->dialog.message.last)
		tap_end(s);
	transfer_return(s);
	transfer_over(s);
	window_stand(s); /* until it is answered */
}

/* ---- from memory ---- */

/* What came with the command goes with it. */
static void move_kept(struct session *s)
{
	struct buf *in = &s->work->client_in, *out = &s->work->dialog.to_destination;
	struct span octets = buf_span(in);
	bool discard = message_is_discarded(&s->dialog.message);

	octets.n = no_more_than(s->dialog.message.left, octets.n);
	if (!discard)
		octets.n = no_more_than(buf_space(out), octets.n);
	if (octets.n == 0)
		return;
	discard = discard || !dialog_chunk_look(&s->dialog, octets);
	if (!discard) {
		tap_add(s, octets);
		session_keep(out, octets);
		transfer_dest_takes(s);
	}
	s->window.bytes += octets.n;
	s->progress++;
	buf_consume(in, octets.n);
	dialog_chunk(&s->dialog, octets.n, discard ? 0 : octets.n);
}

static void chunk_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);

	transfer_dest_took(s);
	if (res >= 0)
		chunk_flushed(s);
	else if (res != -ECANCELED)
		session_dest_broken(s);
}

static void move_received(struct session *s)
{
	struct span octets = s->transfer.rest;

	s->transfer.rest = (struct span){ 0 };
	if (message_is_discarded(&s->dialog.message) || s->dest.broken ||
	    !dialog_chunk_look(&s->dialog, octets)) {
		dialog_chunk(&s->dialog, octets.n, 0);
		return;
	}
	tap_add(s, octets);
	dialog_chunk(&s->dialog, octets.n, octets.n);
	transfer_send(s, octets, false, chunk_sent);
}

static void receive(struct session *s)
{
	transfer_receive(s, no_more_than(s->dialog.message.left, transfer_room(s)));
}

/* ---- by splice ---- */

static void spliced(struct session *s, const struct io_splice *sp, int res)
{
	bool from = sp->side == IO_SPLICE_FROM;

	if (s->state != SESSION_RUNNING || s->dialog.end != END_RUNS)
		return;
	dialog_chunk(&s->dialog, sp->moved + sp->in_pipe, sp->moved);
	if (res == 0)
		chunk_flushed(s);
	else if (res == -ENODATA || (from && sp->in_pipe && res != -ECANCELED))
		dialog_client_lost(&s->dialog);
	else if (from && res != -ECANCELED)
		s->transfer.queue =
			QUEUE_AT_MARK; /* or a socket that cannot splice: the next step receives */
	else if (res != -ECANCELED)
		session_dest_broken(s);
}

static void readable(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	if (res != -ECANCELED)
		s->transfer.queue = QUEUE_READABLE;
	session_changed(s);
}

static bool may_splice(struct session *s)
{
	if (s->rt->config->set.body == BODY_COPY || message_is_discarded(&s->dialog.message) ||
	    dialog_chunk_must_be_seen(&s->dialog) || s->transfer.queue == QUEUE_AT_MARK ||
	    tap_reads(s) || !transfer_can_splice(s))
		return false;
	return transfer_take_pipe(s);
}

static void move_more(struct session *s)
{
	int queued;

	if (!may_splice(s)) {
		receive(s);
		return;
	}
	transfer_return_buffers(s); /* the last step may have been received */
	queued = stream_unread(&s->client.stream);
	if (queued > 0) {
		uint64_t n = no_more_than(s->dialog.message.left,
					  no_more_than(SPLICE_STEP, (size_t)queued));

		s->transfer.queue = QUEUE_UNKNOWN;
		s->window.bytes += n;
		transfer_splice(s, n, spliced);
	} else if (s->transfer.queue == QUEUE_READABLE) {
		receive(s); /* the end of the stream, or a fault: that is said there */
	} else {
		s->client.recv.done = readable;
		stream_await(s->ctx->io, &s->client.stream, &s->client.recv);
	}
}

/* ---- the step ---- */

static void step(struct session *s)
{
	struct dialog *d = &s->dialog;

	if (d->end != END_RUNS)
		return;
	if (io_in_flight(&s->dest.send) || s->transfer.splice)
		return;
	if (s->dest.broken && !message_is_discarded(&d->message))
		return; /* its end of stream tells what it said last */
	if (dialog_in_chunk(d))
		move_kept(s);
	if (dialog_in_chunk(d) && s->transfer.rest.n > 0)
		move_received(s);
	if (io_in_flight(&s->dest.send))
		return;
	if (!dialog_in_chunk(d)) {
		finish(s);
		return;
	}
	if (io_in_flight(&s->client.recv) ||
	    (!message_is_discarded(&d->message) && buf_len(&s->work->dialog.to_destination) > 0))
		return;
	if (s->client.eof)
		dialog_client_lost(d);
	else
		move_more(s);
}

const struct mover chunk_mover = { begin, step, NULL, .sends_alone = false };
