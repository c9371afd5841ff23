/* SPDX-License-Identifier: ISC */
/* turn: see turn.h. */
#include "session/turn.h"

#include <errno.h>

#include "base/diag.h"
#include "session/chunk.h"
#include "session/deadline.h"
#include "session/ends.h"
#include "session/gateway.h"
#include "session/leave.h"
#include "session/reach.h"
#include "session/seat.h"
#include "session/rename.h"
#include "session/secure.h"
#include "session/work.h"
#include "upstream/greeting.h"
#include "upstream/odd.h"

/* ---- receiving ---- */

static void keep_client(struct session *s, struct span in)
{
	session_borrow(s);
	session_keep(&s->work->client_in, in);
}

static void client_received(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	session_changed(s);
	if (res > 0) {
		struct span in = span_of(op->block.data, (size_t)res);

		if (session_is_leaving(s))
			s->left_bytes += (uint64_t)res;
		else if (s->state == SESSION_RUNNING && s->transfer.mover &&
			 s->transfer.mover->take)
			s->transfer.mover->take(s, in);
		else if (s->state == SESSION_RUNNING)
			keep_client(s, in);
		io_block_put(s->ctx->io, &op->block);
	} else if (res != -ENOBUFS && res != -ECANCELED) {
		session_client_ended(s, res);
	}
}

static void dest_received(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.recv);

	session_changed(s);
	if (res > 0) {
		if (session_gateway_stray(s)) {
			s->dest.eof = true;
			odd_stray(s->ctx, s->rt, s->dest_index, &s->dialog.id,
				  span_of(op->block.data, (size_t)res));
		} else if (s->dialog.link.state != LINK_CLOSING && s->state == SESSION_RUNNING) {
			session_borrow(s);
			session_keep(&s->work->dest_in, span_of(op->block.data, (size_t)res));
		}
		io_block_put(s->ctx->io, &op->block);
	} else if (res != -ENOBUFS && res != -ECANCELED) {
		s->dest.eof = true;
		if (res < 0)
			stream_failed(&s->dest.stream);
	}
}

static void client_readable(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	if (res != -ECANCELED)
		s->transfer.queue = QUEUE_READABLE;
	session_changed(s);
}

static void arm_client(struct session *s)
{
	/* Behind DATA, octets that come are either too early or the first of a body; those of a
	 * body that is to be spliced stay where they are. */
	if (s->dialog.server.state == SMTP_ORDER_DATA && s->transfer.queue != QUEUE_READABLE &&
	    body_by_splice(s)) {
		s->client.recv.done = client_readable;
		stream_await(s->ctx->io, &s->client.stream, &s->client.recv);
		return;
	}
	s->transfer.queue = QUEUE_UNKNOWN;
	s->client.recv.done = client_received;
	stream_recv_block(s->ctx->io, &s->client.stream, &s->client.recv);
}

static void arm_receives(struct session *s)
{
	struct session_work *w = s->work;

	if (!io_in_flight(&s->client.recv) && !s->client.eof && !s->transfer.body &&
	    !s->transfer.splice && dialog_wants_client(&s->dialog) &&
	    (!w || buf_len(&w->client_in) + WORKER_BLOCK <= SESSION_COMMANDS))
		arm_client(s);
	if (!io_in_flight(&s->dest.recv) && !s->dest.eof && stream_is_open(&s->dest.stream) &&
	    link_talks(&s->dialog.link) && (!w || buf_space(&w->dest_in) >= WORKER_BLOCK)) {
		s->dest.recv.done = dest_received;
		stream_recv_block(s->ctx->io, &s->dest.stream, &s->dest.recv);
	}
}

/* ---- sending ---- */

static void sent(struct buf *out, int res)
{
	out->pinned = false;
	buf_consume(out, res >= 0 ? (size_t)res : buf_len(out));
}

static void client_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.send);

	sent(&s->work->dialog.to_client, res);
	session_changed(s);
	if (res >= 0)
		return;
	s->client.broken = true;
	if (s->state == SESSION_RUNNING) {
		s->client.eof = true;
		dialog_client_lost(&s->dialog);
	}
}

static void dest_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);

	sent(&s->work->dialog.to_destination, res);
	session_changed(s);
	if (res >= 0) {
		stream_count(&s->dest.stream, res);
		if (s->transfer.mover)
			window_go(s);
		dialog_flushed(&s->dialog, s->flushing);
		chunk_flushed(s);
	} else if (res != -ECANCELED) {
		session_dest_broken(s);
	}
}

/* Nothing goes on here before one of the peers has said something. */
static bool waits_for_peers(const struct session *s)
{
	if (s->dialog.tls == DIALOG_ASKED || s->dialog.tls == DIALOG_SHAKING)
		return false; /* what has left is waited for */
	return s->state == SESSION_RUNNING && !s->transfer.mover &&
	       buf_len(&s->work->client_in) == 0 && buf_len(&s->work->dest_in) == 0 &&
	       !s->client.eof && !s->dest.eof && s->dialog.link.state != LINK_CLOSING &&
	       !dialog_gateway_owes(&s->dialog);
}

/* Behind its last words the client's connection is shut down or closed at once: the FIN goes in
 * their segment. */
static unsigned how_to_send(const struct session *s, const struct session_side *side)
{
	if (s->state == SESSION_LEAVING && side == &s->client)
		return IO_SEND_MORE;
	return waits_for_peers(s) ? IO_SEND_LAZY : 0;
}

static void flush(struct session *s, struct session_side *side, struct buf *out,
		  void (*done)(struct io_op *op, int res))
{
	struct span octets = buf_span(out);

	if (io_in_flight(&side->send) || octets.n == 0)
		return;
	if (!stream_is_open(&side->stream) || side->broken) {
		buf_clear(out);
		return;
	}
	side->send.done = done;
	out->pinned = true;
	stream_send(s->ctx->io, &side->stream, &side->send, octets.p, octets.n,
		    how_to_send(s, side));
}

static void flush_both(struct session *s)
{
	struct dialog_work *w = s->dialog.work;

	if (!w)
		return;
	if (s->dialog.link.state != LINK_CLOSING && !io_in_flight(&s->dest.send) &&
	    !(s->transfer.mover && s->transfer.mover->sends_alone)) {
		s->flushing = s->dialog.destination.unsent;
		flush(s, &s->dest, &w->to_destination, dest_sent);
	}
	if (!dialog_gateway_gathers(&s->dialog))
		flush(s, &s->client, &w->to_client, client_sent);
}

/* ---- the turn ---- */

/*
 * A reply to the end of data brings the acknowledgement of the end of data with it, in its own
 * segment: while octets of ours are not acknowledged, what the destination says is none. This tells
 * one that answers early, and still reads a body or takes it for commands, from one that answers.
 */
static void note_given(struct session *s)
{
	bool all = stream_acked(&s->dest.stream) == STREAM_ACKED_ALL;

	/* Before the last chunk of ours others may be answered. */
	if (!all && dialog_counts(&s->dialog)) {
		counted_look(s);
		return;
	}
	window_go(s);
	if (!all)
		return;
	counted_all(s);
	dialog_message_reached(&s->dialog);
}

/* Gives kept input to the dialog until nothing moves any more. */
static void feed(struct session *s)
{
	struct session_work *w = s->work;
	size_t a, b;

	if (!w || s->state != SESSION_RUNNING)
		return;
	dialog_gateway_step(&s->dialog); /* what there was no room to answer */
	do {
		a = b = 0;
		/* The client first: what it sent before it can have seen an answer came too early.
		 */
		if (!dialog_in_body(&s->dialog) &&
		    (buf_len(&w->client_in) > 0 || s->dialog.client_closed)) {
			a = dialog_from_client(&s->dialog, buf_span(&w->client_in));
			buf_consume(&w->client_in, a);
		}
		if (buf_len(&w->dest_in) > 0 && link_talks(&s->dialog.link)) {
			if (dialog_message_leaves(&s->dialog))
				note_given(s);
			else
				counted_look(s);
			b = dialog_from_destination(&s->dialog, buf_span(&w->dest_in));
			buf_consume(&w->dest_in, b);
		}
		/* A client's commands do not give the destination more time for its reply. */
		if (b || (a && s->wait == WAIT_COMMAND))
			s->progress++;
	} while ((a || b) && s->dialog.end == END_RUNS);
	if (s->dest.eof && link_talks(&s->dialog.link) && dialog_has_room(&s->dialog))
		dialog_destination_lost(&s->dialog, false);
}

/* The destination's words against the protocol, if it said any. */
static void tell_odd(struct session *s)
{
	struct dialog_work *w = s->dialog.work;
	struct span said;

	if (!w || w->odd_len == 0)
		return;
	said = span_of(w->odd, w->odd_len);
	if (s->dialog.reason == REASON_IDENTITY) {
		odd_identity(s->ctx, s->rt, s->dest_index, &s->dialog.id, said);
		if (w->unfit)
			greeting_record_bad(s->ctx, s->rt, s->dest_index, s->reach_ms,
					    connect_unidentified);
	} else {
		odd_reply(s->ctx, s->rt, s->dest_index, &s->dialog.id, said);
	}
	w->odd_len = 0;
}

/* When the message's last octets were given to the kernel; 0: not yet, or they have arrived. */
static uint64_t sent_us(const struct session *s)
{
	return dialog_message_leaves(&s->dialog) ? s->transfer.taking_us : 0;
}

static void run(struct session *s)
{
	struct dialog *d = &s->dialog;

	/* The end of a stream is dealt with like octets: it may need words. So may a body. */
	if ((s->dest.eof && link_talks(&d->link)) || d->client_closed || s->transfer.mover)
		session_borrow(s);
	session_times_look(&s->times, d, sent_us(s), io_now_us(s->ctx->io));
	feed(s);
	tell_odd(s);
	session_times_look(&s->times, d, sent_us(s), io_now_us(s->ctx->io));
	session_secure(s);
	session_rename(s);
	session_greeted(s);
	if (d->who.logged_in && s->seat_is == SEAT_COUNTED) {
		s->seat_is = SEAT_KNOWN;
		seats_uncount(s->rt->seats, s->seat);
	}
	session_gateway_release(s);
	if (link_closes(&d->link) && stream_is_open(&s->dest.stream))
		session_close_destination(s);
	session_gateway_reach(s);
	if (dialog_in_body(d) && !s->transfer.mover)
		transfer_begin(s, dialog_in_chunk(d) ? &chunk_mover : &body_mover);
	if (s->transfer.mover)
		s->transfer.mover->step(s);
	session_seat_useful(s);
	if (d->end != END_RUNS) {
		tell_odd(s); /* a connection of the pool may have been no good at first sight */
		session_ends(s);
		if (s->heir) /* which has the client's connection */
			session_close_all(s);
	}
	flush_both(s);
	if (s->state == SESSION_RUNNING)
		arm_receives(s);
}

void session_turn(struct io_task *task)
{
	struct session *s = container_of(task, struct session, task);

	if (s->state == SESSION_RUNNING)
		run(s);
	if (session_is_leaving(s)) {
		session_close_destination(s);
		if (s->work)
			flush(s, &s->client, &s->work->dialog.to_client, client_sent);
		if (!session_seat_given(s))
			session_close_all(s);
		else if (!io_in_flight(&s->client.send) && !s->transfer.splice)
			session_leave(s);
	}
	if (s->state == SESSION_CLOSING) {
		session_finish_closing(s);
		return;
	}
	if (s->state == SESSION_RUNNING)
		session_return_idle_work(s);
	transfer_settle(s);
	session_deadline(s);
}
