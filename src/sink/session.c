/* SPDX-License-Identifier: ISC */
/*
 * session: connections. A session has one operation in flight and never two: it receives, or sends
 * all that it has to say, or waits. What one receive brought is seen to as far as it goes, the
 * answers leave together (RFC 2920), then it receives again.
 *
 * A session ends in session_close() alone, which runs only when its operation has completed. When
 * we end a connection politely, its input is thrown away (and recorded) until the peer closes, for
 * two seconds or a mebibyte at most: else the kernel's RST could destroy our last answer.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/diag.h"
#include "io/net.h"
#include "sink/inner.h"

#define DRAIN_MS	2000
#define DRAIN_OCTETS	(1u << 20)
#define ACCEPT_PAUSE_MS 100

static void session_run(struct sink_session *s);

static void session_close(struct sink_session *s)
{
	struct sink *k = s->sink;

	io_timer_stop(k->io, &s->timer);
	sink_transaction_reset(s);
	sink_message_end(&s->message);
	if (!s->said_quit)
		k->stats->lost++;
	sink_note(s, '-', "%s", s->why);
	if (s->raw >= 0)
		close(s->raw);
	list_del(&s->link);
	/* One that has been told goodbye is over for its part, though the peer has not closed. */
	if (!s->draining)
		atomic_fetch_sub(&k->shared->open, 1);
	io_close(k->io, s->fd);
	pool_put(&k->pool, s);
}

/* Receiving. */

static void on_recv(struct io_op *op, int res)
{
	struct sink_session *s = container_of(op, struct sink_session, op);
	uint64_t rate = s->sink->opt->rate;
	struct span got;

	if (res <= 0) {
		if (!s->draining)
			s->why = res == 0 ? "lost" : strerror(-res);
		session_close(s);
		return;
	}
	got = span_of(s->in.data + s->in.tail, (size_t)res);
	s->sink->stats->received += got.n;
	sink_raw_write(s, got);
	if (s->draining) {
		s->drained += (uint32_t)res;
		if (s->drained > DRAIN_OCTETS)
			session_close(s);
		else
			session_run(s);
		return;
	}
	buf_added(&s->in, got.n);
	if (rate)
		s->wait_ms = (uint32_t)(got.n * 1000 / rate);
	session_run(s);
}

static void receive(struct sink_session *s)
{
	size_t len = buf_space(&s->in);
	uint64_t rate = s->sink->opt->rate;
	uint8_t *room;

	CHECK(len > 0);
	room = buf_room(&s->in, len);
	if (rate && len > rate / 20 + 1)
		len = (size_t)(rate / 20 + 1);
	s->op.done = on_recv;
	io_recv(s->sink->io, &s->op, s->fd, room, len);
}

/* Sending. */

static void on_send(struct io_op *op, int res)
{
	struct sink_session *s = container_of(op, struct sink_session, op);

	if (res < 0) {
		s->why = strerror(-res);
		session_close(s);
		return;
	}
	buf_clear(&s->out);
	s->flush = false;
	session_run(s);
}

static void send_out(struct sink_session *s)
{
	struct span out = buf_span(&s->out);

	s->op.done = on_send;
	io_send(s->sink->io, &s->op, s->fd, out.p, out.n, 0);
}

/* Notes octets that came before the answer which the client should have waited for. */
static void tell_early(struct sink_session *s)
{
	int queued = 0;
	size_t n;

	s->watch_early = false;
	if (s->sink->transcript < 0)
		return;
	if (ioctl(s->fd, FIONREAD, &queued) < 0)
		queued = 0;
	n = buf_len(&s->in) + (size_t)queued;
	if (n > 0)
		sink_note(s, 'N', "%zu octets came before this answer", n);
}

/* Puts the next octets of what is being said into the buffer, and does what follows them. */
static void speak(struct sink_session *s)
{
	const struct sink_step *step = s->steps;
	struct span rest = span_from(step->octets, s->step_at);

	if (s->watch_early)
		tell_early(s);
	if (s->step_at == 0)
		sink_transcript_lines(s, 'S', rest);
	if (rest.n > buf_space(&s->out))
		rest.n = buf_space(&s->out);
	CHECK(buf_put(&s->out, rest) == 0);
	s->step_at += rest.n;
	if (s->step_at < step->octets.n) {
		s->flush = true;
		return;
	}
	s->step_at = 0;
	s->steps++;
	s->steps_left--;
	s->wait_ms = step->pause_ms;
	/* 354, or a word in the midst of a body: at once. */
	s->flush = s->phase == SINK_DATA || s->phase == SINK_CHUNK;
	if (step->ending) {
		s->ending = step->ending;
		s->why = "ended";
	}
}

/* Waiting. */

static void on_timer(struct io_timer *t)
{
	struct sink_session *s = container_of(t, struct sink_session, timer);

	if (s->draining)
		io_cancel(s->sink->io, &s->op);
	else
		session_run(s);
}

static void on_peer_gone(struct io_op *op, int res)
{
	struct sink_session *s = container_of(op, struct sink_session, op);

	(void)res;
	s->why = "lost while stalled";
	session_close(s);
}

/* Reads no more, and ends when the peer does. */
static void stall(struct sink_session *s)
{
	s->op.done = on_peer_gone;
	io_poll(s->sink->io, &s->op, s->fd, POLLRDHUP);
}

static void finish(struct sink_session *s)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	if (s->ending == SINK_POLITE) {
		s->draining = true;
		atomic_fetch_sub(&s->sink->shared->open, 1);
		buf_clear(&s->in);
		(void)shutdown(s->fd,
			       SHUT_WR); /* fails only where the peer is gone: recv says so */
		io_timer_set(s->sink->io, &s->timer, DRAIN_MS);
		receive(s);
		return;
	}
	if (s->ending == SINK_RESET)
		(void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	session_close(s);
}

/* What is to leave before anything else is done. */
static bool must_flush(const struct sink_session *s)
{
	if (buf_len(&s->out) == 0)
		return false;
	return s->flush || s->wait_ms || s->stall || (s->ending && !s->steps_left);
}

static void session_run(struct sink_session *s)
{
	if (s->draining) {
		receive(s);
		return;
	}
	for (;;) {
		if (must_flush(s)) {
			send_out(s);
			return;
		}
		if (s->wait_ms) {
			io_timer_set(s->sink->io, &s->timer, s->wait_ms);
			s->wait_ms = 0;
			return;
		}
		if (s->stall) {
			stall(s);
			return;
		}
		if (s->steps_left) {
			speak(s);
			continue;
		}
		if (s->ending) {
			finish(s);
			return;
		}
		if (!sink_dialog_step(s))
			break;
	}
	if (buf_len(&s->out))
		send_out(s);
	else
		receive(s);
}

/* Accepting. */

static void turn_away(struct sink *k, int fd)
{
	static const char busy[] = "421 4.3.2 Too many sessions\r\n";

	/* A fresh socket has room for a line; nobody waits for one that is gone already. */
	(void)!send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(fd, SHUT_WR);
	io_close(k->io, fd);
	k->stats->turned_away++;
}

static void session_open(struct sink *k, int fd, uint64_t number)
{
	struct sink_session *s = pool_get(&k->pool);
	char from[ADDR_TEXT_MAX];

	CHECK(s); /* the caller has looked */
	memset(s, 0, offsetof(struct sink_session, out_mem));
	s->sink = k;
	s->fd = fd;
	s->raw = -1;
	s->number = number;
	s->message.fd = -1;
	s->why = "lost";
	buf_init(&s->in, s->in_mem, sizeof(s->in_mem));
	buf_init(&s->out, s->out_mem, sizeof(s->out_mem));
	io_timer_init(&s->timer, on_timer);
	list_add_tail(&k->sessions, &s->link);
	if (k->transcript >= 0) {
		addr_format(&k->peer, from);
		sink_note(s, '+', "%s", k->opt->listen_path ? "unix" : from);
	}
	sink_raw_open(s);
	sink_dialog_connect(s);
	session_run(s);
}

static void on_connection(struct sink *k, int fd)
{
	unsigned open = atomic_fetch_add(&k->shared->open, 1) + 1;
	unsigned peak = atomic_load(&k->shared->peak);

	net_prepare(fd);
	k->stats->connections++;
	if (open > k->opt->sessions || k->pool.in_use == k->pool.count) {
		atomic_fetch_sub(&k->shared->open, 1);
		turn_away(k, fd);
		return;
	}
	while (open > peak && !atomic_compare_exchange_weak(&k->shared->peak, &peak, open))
		;
	session_open(k, fd, atomic_fetch_add(&k->shared->connections, 1) + 1);
}

static void on_accept(struct io_op *op, int res)
{
	struct sink *k = container_of(op, struct sink, accept);

	if (res >= 0)
		on_connection(k, res);
	if (op->more || k->full)
		return;
	if (res >= 0)
		io_accept(k->io, &k->accept, k->listener, &k->peer, true);
	else /* out of descriptors or memory: what ends meanwhile gives some back */
		io_timer_set(k->io, &k->accept_again, ACCEPT_PAUSE_MS);
}

static void on_accept_again(struct io_timer *t)
{
	struct sink *k = container_of(t, struct sink, accept_again);

	if (!k->full)
		io_accept(k->io, &k->accept, k->listener, &k->peer, true);
}

int sink_listen_start(struct sink *k)
{
	/* As many again may have been told goodbye, and their peers not have closed. */
	int err = pool_init(&k->pool, sizeof(struct sink_session), 2 * (size_t)k->opt->sessions);

	if (err < 0)
		return err;
	list_init(&k->sessions);
	io_timer_init(&k->accept_again, on_accept_again);
	sink_limit_init(k);
	k->accept.done = on_accept;
	io_accept(k->io, &k->accept, k->listener, &k->peer, true);
	return 0;
}

void sink_sessions_abandon(struct sink *k)
{
	struct list *at, *tmp;

	list_for_each (at, tmp, &k->sessions) {
		struct sink_session *s = container_of(at, struct sink_session, link);

		sink_transaction_reset(s);
		sink_message_end(&s->message);
	}
}
