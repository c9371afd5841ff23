/* SPDX-License-Identifier: ISC */
/* session: see session.h. */
#include "session/session.h"

#include <errno.h>

#include "base/diag.h"
#include "session/deadline.h"
#include "smtp/words.h"
#include "upstream/odd.h"
#include "dialog/records.h"

/* A peer that is told goodbye may go on sending for so long (invariant 10). */
#define LEAVE_BYTES	(64u << 20)
#define PROXY_HEADER_US (60 * 1000000ull) /* between two records of a PROXY header */

void session_changed(struct session *s)
{
	io_defer(s->ctx->io, &s->task);
}

void session_keep(struct buf *in, struct span octets)
{
	int res = buf_put(in, octets);

	CHECK(res == 0);
}

/* ---- memory ---- */

static void keep_letter(struct session *s)
{
	const struct dialog_letter *l = &s->work->dialog.letter;

	s->letter = pool_get(&s->ctx->letters);
	CHECK(s->letter); /* the pool holds one for each session */
	memcpy(s->letter, l, offsetof(struct dialog_letter, to) + l->to_len);
}

static void take_letter(struct session *s)
{
	if (!s->letter)
		return;
	memcpy(&s->work->dialog.letter, s->letter,
	       offsetof(struct dialog_letter, to) + s->letter->to_len);
	pool_put(&s->ctx->letters, s->letter);
	s->letter = NULL;
}

void session_borrow(struct session *s)
{
	if (s->work)
		return;
	s->work = pool_get(&s->ctx->works);
	CHECK(s->work); /* the pool holds one for each session */
	dialog_work_init(&s->work->dialog);
	buf_init(&s->work->client_in, s->work->client_mem, sizeof(s->work->client_mem));
	buf_init(&s->work->dest_in, s->work->dest_mem, sizeof(s->work->dest_mem));
	s->dialog.work = &s->work->dialog;
	take_letter(s);
}

static void return_work(struct session *s)
{
	pool_put(&s->ctx->works, s->work);
	s->work = NULL;
	s->dialog.work = NULL;
}

/* Sessions that wait for their client hold no buffers. */
static void return_idle_work(struct session *s)
{
	if (s->work && !s->client.sending && !s->dest.sending && !s->body && !s->splice &&
	    dialog_rests(&s->dialog) && buf_len(&s->work->client_in) == 0 &&
	    buf_len(&s->work->dest_in) == 0) {
		if (!dialog_idle(&s->dialog))
			keep_letter(s);
		return_work(s);
	}
}

/* ---- closing ---- */

void session_forget_destination(struct session *s)
{
	if (s->has_seat)
		seats_leave_destination(s->rt->seats, s->seat);
}

/* Closes the destination's connection as soon as no operation uses it. */
static void close_destination(struct session *s)
{
	s->reaching = false;
	if (session_is_connecting(s))
		connect_cancel(&s->reach->connect);
	if (!stream_is_open(&s->dest.stream))
		return;
	s->dest_closing = true;
	if (s->splice) {
		io_splice_cancel(&s->splice->io);
		return;
	}
	if (s->dest.receiving)
		stream_cancel(s->ctx->io, &s->dest.stream, &s->dest.recv);
	if (s->dest.sending)
		stream_cancel(s->ctx->io, &s->dest.stream, &s->dest.send);
	if (s->dest.receiving || s->dest.sending)
		return;
	session_part(s);
}

/* Whoever sends a PROXY header stands between us and the clients, and all of them have its address:
 * in RELAY_NETWORKS, it would make the whole world a relay client. Told once a minute. */
static void record_proxy_header(struct session *s)
{
	struct context *ctx = s->ctx;
	uint64_t now = io_now_us(ctx->io);
	char client[ADDR_TEXT_MAX], detail[256];

	if (ctx->proxy_header_us && now - ctx->proxy_header_us < PROXY_HEADER_US)
		return;
	ctx->proxy_header_us = now;
	addr_format(&s->dialog.client_addr, client);
	snprintf(detail, sizeof(detail),
		 "%s sends a PROXY header, which Caronte does not take: behind it the clients' "
		 "addresses are not known, and it must not stand in RELAY_NETWORKS",
		 client);
	context_fault_record(ctx, "proxy-header", detail);
}

/* The session's record, once it is decided how it ends: not when a client at last hangs up. */
static void record_end(struct session *s)
{
	if (s->recorded)
		return;
	s->recorded = true;
	if (s->dialog.proxy_header)
		record_proxy_header(s);
	record_session(&s->dialog, io_now_us(s->ctx->io) - s->started_us);
}

static void release(struct session *s)
{
	struct context *ctx = s->ctx;
	struct context_version *version = s->version;

	record_end(s);
	if (s->has_seat)
		seats_release(s->rt->seats, s->seat);
	else
		ctx->refused--;
	stream_close(ctx->io, &s->client.stream);
	io_timer_stop(ctx->io, &s->timer);
	io_undefer(&s->task);
	session_body_release(s);
	return_work(s);
	pool_put(&ctx->letters, s->letter);
	pool_put(&ctx->reaches, s->reach);
	dialog_release(&s->dialog);
	list_del(&s->link);
	pool_put(&ctx->sessions, s);
	context_version_put(ctx, version);
	ctx->open_count--;
	stats_now(ctx->stats, open, ctx->open_count);
	ctx->session_gone(ctx);
}

/* Closes both sides at once; the session is gone when the last operation has come back. */
static void close_all(struct session *s)
{
	s->state = SESSION_CLOSING;
	session_changed(s);
}

/* The last thing that a turn does: S may be gone afterwards. The client sees its end last, when its
 * seat is free again for whoever comes next. */
static void finish_closing(struct session *s)
{
	struct session_side *c = &s->client;

	close_destination(s);
	if (s->splice)
		return;
	if (c->receiving)
		stream_cancel(s->ctx->io, &c->stream, &c->recv);
	if (c->sending)
		stream_cancel(s->ctx->io, &c->stream, &c->send);
	if (c->receiving || c->sending || stream_is_open(&s->dest.stream) ||
	    session_is_connecting(s))
		return;
	release(s);
}

static void left_received(struct io_op *op, int res);

/* The last words have gone out. What the client still sends is thrown away until it has read them,
 * or a close would turn into a reset that destroys them (invariant 10). */
static void leave(struct session *s)
{
	bool quiet = s->dialog.end == END_QUIT && (!s->work || buf_len(&s->work->client_in) == 0) &&
		     stream_unread(&s->client.stream) == 0;

	if (s->client.eof || s->client.broken || quiet || s->dialog.end == END_LOST_CLIENT ||
	    s->left_bytes > LEAVE_BYTES) {
		close_all(s);
		return;
	}
	if (!s->shut) {
		s->shut = true;
		stream_half_close(&s->client.stream);
	}
	if (!s->client.receiving) {
		s->client.receiving = true;
		s->client.recv.done = left_received;
		stream_recv_block(s->ctx->io, &s->client.stream, &s->client.recv);
	}
}

static void left_received(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	s->client.receiving = false;
	if (res > 0) {
		s->left_bytes += (uint64_t)res;
		io_block_put(s->ctx->io, &op->block);
	} else if (res != -ENOBUFS) {
		s->client.eof = true;
	}
	session_changed(s);
}

/* ---- receiving ---- */

void session_client_ended(struct session *s, int res)
{
	s->client.eof = true;
	session_borrow(s);
	if (res == 0) {
		dialog_client_closed(&s->dialog);
		return;
	}
	s->reset = true;
	dialog_client_lost(&s->dialog);
}

static void keep_client(struct session *s, struct span in)
{
	session_borrow(s);
	session_keep(&s->work->client_in, in);
}

static void client_received(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	s->client.receiving = false;
	session_changed(s);
	if (res > 0) {
		struct span in = span_of(op->block.data, (size_t)res);

		if (s->state == SESSION_LEAVING)
			s->left_bytes += (uint64_t)res;
		else if (s->state == SESSION_RUNNING && s->in_body && !s->in_chunk)
			session_body_take(s, in);
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

	s->dest.receiving = false;
	session_changed(s);
	if (res > 0) {
		if (session_gateway_stray(s)) {
			s->dest.eof = true;
			odd_stray(s->ctx, s->rt, s->dest_index, &s->dialog.id,
				  span_of(op->block.data, (size_t)res));
		} else if (!s->dest_closing && s->state == SESSION_RUNNING) {
			session_borrow(s);
			session_keep(&s->work->dest_in, span_of(op->block.data, (size_t)res));
		}
		io_block_put(s->ctx->io, &op->block);
	} else if (res != -ENOBUFS && res != -ECANCELED) {
		s->dest.eof = true;
	}
}

static void client_readable(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	s->client.receiving = false;
	if (res != -ECANCELED)
		s->readable = true;
	session_changed(s);
}

static void arm_client(struct session *s)
{
	s->client.receiving = true;
	/* Behind DATA, octets that come are either too early or the first of a body; those of a
	 * body that is to be spliced stay where they are. */
	if (s->dialog.server.state == SMTP_SERVER_DATA && !s->readable &&
	    session_body_by_splice(s)) {
		s->client.recv.done = client_readable;
		stream_await(s->ctx->io, &s->client.stream, &s->client.recv);
		return;
	}
	s->readable = false;
	s->client.recv.done = client_received;
	stream_recv_block(s->ctx->io, &s->client.stream, &s->client.recv);
}

static void arm_receives(struct session *s)
{
	struct session_work *w = s->work;

	if (!s->client.receiving && !s->client.eof && !s->body && !s->splice &&
	    dialog_wants_client(&s->dialog) && (!w || buf_space(&w->client_in) >= WORKER_BLOCK))
		arm_client(s);
	if (!s->dest.receiving && !s->dest.eof && stream_is_open(&s->dest.stream) &&
	    !s->dest_closing && !s->reaching && s->dialog.gateway.release == DIALOG_KEEPS &&
	    (!w || buf_space(&w->dest_in) >= WORKER_BLOCK)) {
		s->dest.receiving = true;
		s->dest.recv.done = dest_received;
		stream_recv_block(s->ctx->io, &s->dest.stream, &s->dest.recv);
	}
}

/* ---- sending ---- */

void session_dest_broken(struct session *s)
{
	s->dest.broken = true;
	stream_cut(&s->dest.stream);
}

static void sent(struct session_side *side, struct buf *out, int res)
{
	side->sending = false;
	out->pinned = false;
	buf_consume(out, res >= 0 ? (size_t)res : buf_len(out));
}

static void client_sent(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.send);

	sent(&s->client, &s->work->dialog.to_client, res);
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

	sent(&s->dest, &s->work->dialog.to_destination, res);
	session_changed(s);
	if (res >= 0) {
		stream_count(&s->dest.stream, res);
		if (s->in_chunk)
			session_window_go(s);
		dialog_flushed(&s->dialog, s->flushing);
		session_chunk_flushed(s);
	} else if (res != -ECANCELED) {
		session_dest_broken(s);
	}
}

/* Nothing goes on here before one of the peers has said something. */
static bool waits_for_peers(const struct session *s)
{
	return s->state == SESSION_RUNNING && !s->in_body && buf_len(&s->work->client_in) == 0 &&
	       buf_len(&s->work->dest_in) == 0 && !s->client.eof && !s->dest.eof &&
	       !s->dest_closing && !dialog_gateway_owes(&s->dialog);
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

	if (side->sending || octets.n == 0)
		return;
	if (!stream_is_open(&side->stream) || side->broken) {
		buf_clear(out);
		return;
	}
	side->sending = true;
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
	if (!s->dest_closing && (!s->in_body || s->in_chunk) && !s->dest.sending) {
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
static void note_body_sent(struct session *s)
{
	s->body_sent = false;
	session_window_go(s);
	if (stream_acked(&s->dest.stream) == STREAM_ACKED_ALL)
		dialog_body_sent(&s->dialog);
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
		if (buf_len(&w->dest_in) > 0 && !s->dialog.drop_destination) {
			if (s->body_sent)
				note_body_sent(s);
			b = dialog_from_destination(&s->dialog, buf_span(&w->dest_in));
			buf_consume(&w->dest_in, b);
		}
		/* A client's commands do not give the destination more time for its reply. */
		if (b || (a && s->wait == WAIT_COMMAND))
			s->progress++;
	} while ((a || b) && s->dialog.end == END_RUNS);
	if (s->dest.eof && !s->dest_closing && !s->dialog.drop_destination &&
	    s->dialog.gateway.release == DIALOG_KEEPS && dialog_has_room(&s->dialog))
		dialog_destination_lost(&s->dialog, false);
}

/* The destination's words against the protocol, if it said any. */
static void tell_odd(struct session *s)
{
	struct dialog_work *w = s->dialog.work;

	if (!w || w->odd_len == 0)
		return;
	odd_reply(s->ctx, s->rt, s->dest_index, &s->dialog.id, span_of(w->odd, w->odd_len));
	w->odd_len = 0;
}

static void run(struct session *s)
{
	struct dialog *d = &s->dialog;

	/* The end of a stream is dealt with like octets: it may need words. So may a body. */
	if ((s->dest.eof && !s->dest_closing) || d->client_closed || s->in_body)
		session_borrow(s);
	session_times_look(&s->times, d, s->body_sent ? s->taking_us : 0, io_now_us(s->ctx->io));
	feed(s);
	tell_odd(s);
	session_times_look(&s->times, d, s->body_sent ? s->taking_us : 0, io_now_us(s->ctx->io));
	session_greeted(s);
	if (d->who.logged_in && s->counted) {
		s->counted = false;
		seats_uncount(s->rt->seats, s->seat);
	}
	session_gateway_release(s);
	if (d->drop_destination && stream_is_open(&s->dest.stream))
		close_destination(s);
	session_gateway_reach(s);
	if (dialog_in_body(d) && !s->in_body) {
		s->in_body = true;
		s->progress++;
		if (!dialog_in_chunk(d))
			session_window_begin(s); /* the first octet is waited for already */
	}
	if (s->in_body)
		session_body_step(s);
	session_seat_useful(s);
	if (d->end != END_RUNS)
		s->state = SESSION_LEAVING;
	flush_both(s);
	if (s->state == SESSION_RUNNING)
		arm_receives(s);
}

static void turn(struct io_task *task)
{
	struct session *s = container_of(task, struct session, task);

	if (s->state == SESSION_RUNNING)
		run(s);
	if (s->state == SESSION_LEAVING) {
		close_destination(s);
		record_end(s);
		if (s->work)
			flush(s, &s->client, &s->work->dialog.to_client, client_sent);
		if (!session_seat_given(s))
			close_all(s);
		else if (!s->client.sending && !s->splice)
			leave(s);
	}
	if (s->state == SESSION_CLOSING) {
		finish_closing(s);
		return;
	}
	if (s->state == SESSION_RUNNING)
		return_idle_work(s);
	session_deadline(s);
}

void session_refuse(struct session *s, const char *reply, enum session_end end, enum reason why)
{
	s->state = SESSION_RUNNING;
	session_borrow(s);
	dialog_close(&s->dialog, reply, end, why);
	session_changed(s);
}

/* ---- deadlines: what happens when one is over (deadline.c keeps them) ---- */

void session_timed_out(struct session *s)
{
	switch (s->wait) {
	case WAIT_SEAT:
		if (!session_client_gone(s))
			session_connect(s);
		return;
	case WAIT_GREETING:
	case WAIT_REPLY:
	case WAIT_DONE:
	case WAIT_BODY:
		session_borrow(s);
		dialog_destination_lost(&s->dialog, true);
		break;
	case WAIT_GATE:
		session_gate_timed_out(s);
		break;
	case WAIT_COMMAND:
	case WAIT_BLOCK:
		session_borrow(s);
		dialog_client_timeout(&s->dialog);
		break;
	case WAIT_LEAVE:
		close_all(s);
		return;
	case WAIT_CONNECT:
	case WAIT_NOTHING:
		return;
	}
	session_changed(s);
}

bool session_client_gone(struct session *s)
{
	if (s->client.receiving || s->reset || !stream_gone(&s->client.stream))
		return false;
	if (s->state == SESSION_CONNECTING)
		s->state = SESSION_RUNNING;
	session_client_ended(s, -ECONNRESET);
	session_changed(s);
	return true;
}

/* ---- start and stop ---- */

/* There is no room for a session that would wait until the client has read WORDS. */
static void turn_away(struct context *ctx, struct stream st, const char *words)
{
	stream_say(&st, words, strlen(words));
	stats_reply(ctx->stats, span_str(words));
	stream_close(ctx->io, &st);
}

bool session_start(struct context *ctx, int fd, const struct addr *client, bool in_network,
		   enum session_refusal refusal, uint32_t seat)
{
	const char *words =
		smtp_words(refusal == SESSION_ADDRESS_TOO_MANY ? WORD_BUSY : WORD_TOO_MANY);
	struct session *s = NULL;

	/* However many are refused, they take no room from those who are served. */
	if (refusal == SESSION_SERVE || ctx->refused < WORKER_REFUSALS)
		s = pool_get(&ctx->sessions);
	if (!s) {
		turn_away(ctx, stream_of(fd), words);
		return false;
	}
	*s = (struct session){
		.ctx = ctx,
		.client.stream = stream_of(fd),
		.dest.stream = stream_of(-1),
		.line.stream = stream_of(-1),
	};
	s->version = context_version_get(ctx);
	s->rt = &s->version->rt;
	ctx->next_id.serial++;
	dialog_init(&s->dialog, &s->version->env, client, in_network, &ctx->next_id);
	session_timer_init(s);
	io_task_init(&s->task, turn);
	list_init(&s->link);
	list_add_tail(&ctx->open, &s->link);
	ctx->open_count++;
	stats_now(ctx->stats, open, ctx->open_count);
	s->started_us = io_now_us(ctx->io);
	s->patience_ms = io_now_ms(ctx->io) + 1000 * (uint64_t)s->rt->config->set.timeout_connect;
	s->has_seat = refusal == SESSION_SERVE;
	s->counted = s->has_seat && !in_network;
	s->seat = seat;
	if (refusal == SESSION_SERVE) {
		session_connect(s);
	} else {
		ctx->refused++;
		session_refuse(s, words, END_LIMIT,
			       refusal == SESSION_ADDRESS_TOO_MANY ? REASON_MAX_SESSIONS_PER_ADDRESS
								   : REASON_MAX_SESSIONS);
	}
	return true;
}

void session_stop(struct session *s, bool polite)
{
	if (s->state == SESSION_CLOSING)
		return;
	if (s->dialog.end == END_RUNS && !polite)
		s->dialog.end = END_STOP;
	if (!polite) {
		close_all(s);
		return;
	}
	session_borrow(s);
	if (s->state == SESSION_CONNECTING)
		s->state = SESSION_RUNNING;
	dialog_close(&s->dialog, smtp_words(WORD_STOP), END_STOP, REASON_NONE);
	session_changed(s);
}
