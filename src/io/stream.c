/* SPDX-License-Identifier: ISC */
/* stream: see stream.h. Over a socket: the engine waits for it, the kernel answers at once. Where
 * there is a layer, it answers in their place. */
#include "io/stream.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "io/net.h"

#define LOOK_MAX 128 /* streams in one poll(2) */

int stream_connect(struct io *io, struct stream *st, struct io_op *op, const struct addr *addr)
{
	int fd = net_socket(addr);

	*st = stream_of(fd < 0 ? -1 : fd);
	if (fd < 0)
		return fd;
	io_connect(io, op, fd, addr);
	return 0;
}

int stream_connect_path(struct io *io, struct stream *st, struct io_op *op, const char *path)
{
	int fd = net_path_socket();

	*st = stream_of_local(fd < 0 ? -1 : fd);
	if (fd < 0)
		return fd;
	io_connect_path(io, op, fd, path);
	return 0;
}

void stream_close(struct io *io, struct stream *st)
{
	if (st->layer)
		st->layer->kind->drop(st->layer);
	if (st->fd >= 0)
		io_close(io, st->fd);
	*st = stream_of(-1);
}

/* ---- operations ---- */

void stream_recv(struct io *io, struct stream *st, struct io_op *op, void *buf, size_t len)
{
	if (st->layer)
		st->layer->kind->recv(st->layer, op, buf, len);
	else
		io_recv(io, op, st->fd, buf, len);
}

void stream_recv_block(struct io *io, struct stream *st, struct io_op *op)
{
	if (st->layer)
		st->layer->kind->recv_block(st->layer, op);
	else
		io_recv_block(io, op, st->fd);
}

void stream_await(struct io *io, struct stream *st, struct io_op *op)
{
	if (st->layer)
		st->layer->kind->await(st->layer, op);
	else
		io_poll(io, op, st->fd, POLLIN);
}

void stream_send(struct io *io, struct stream *st, struct io_op *op, const void *buf, size_t len,
		 unsigned how)
{
	st->read_ms = 0;
	if (st->layer)
		st->layer->kind->send(st->layer, op, buf, len, how);
	else
		io_send(io, op, st->fd, buf, len, how);
}

void stream_cancel(struct io *io, struct stream *st, struct io_op *op)
{
	if (st->layer)
		st->layer->kind->cancel(st->layer, op);
	else
		io_cancel(io, op);
}

bool stream_can_splice(const struct stream *from, const struct stream *to)
{
	return !from->layer && (!to->layer || to->layer->splices);
}

void stream_splice(struct io *io, struct io_splice *s, struct io_pipe *pipe, struct stream *from,
		   struct stream *to, uint64_t count)
{
	to->read_ms = 0;
	io_splice_start(io, s, pipe, from->fd, to->fd, count);
}

/* ---- what has come ---- */

static ssize_t take(int fd, void *buf, size_t len, int flags)
{
	ssize_t n;

	do
		n = recv(fd, buf, len, flags | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t stream_take(struct stream *st, void *buf, size_t len)
{
	return st->layer ? st->layer->kind->take(st->layer, buf, len) : take(st->fd, buf, len, 0);
}

ssize_t stream_peek(struct stream *st, void *buf, size_t len)
{
	return take(st->fd, buf, len, MSG_PEEK);
}

/* TCP throws away what it is asked to (tcp(7)); a Unix socket would write it somewhere. */
static ssize_t drop(struct stream *st, size_t n)
{
	uint8_t octets[4096];

	if (!st->is_local && !st->layer)
		return take(st->fd, NULL, n, MSG_TRUNC);
	return stream_take(st, octets, n < sizeof(octets) ? n : sizeof(octets));
}

void stream_skip(struct stream *st, size_t n)
{
	while (n > 0) {
		ssize_t got = drop(st, n);

		if (got <= 0)
			return;
		n -= (size_t)got;
	}
}

int stream_unread(const struct stream *st)
{
	int n = 0;

	if (st->layer)
		return st->layer->kind->unread(st->layer);
	return ioctl(st->fd, FIONREAD, &n) < 0 ? -errno : n;
}

static bool is_heard(struct stream *st, short revents)
{
	return st->layer ? !st->layer->kind->silent(st->layer) : revents != 0;
}

/* One poll(2) of N streams, at most LOOK_MAX: those that are not silent go to TO. */
static unsigned look(struct stream **to, struct stream **from, unsigned n)
{
	struct pollfd fds[LOOK_MAX];
	unsigned heard = 0;

	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct pollfd){ from[i]->fd, POLLIN | POLLRDHUP, 0 };
	if (poll(fds, n, 0) < 0)
		return 0;
	for (unsigned i = 0; i < n; i++)
		if (is_heard(from[i], fds[i].revents))
			to[heard++] = from[i];
	return heard;
}

unsigned stream_heard(struct stream **st, unsigned n)
{
	unsigned heard = 0;

	for (unsigned i = 0; i < n; i += LOOK_MAX)
		heard += look(st + heard, st + i, n - i < LOOK_MAX ? n - i : LOOK_MAX);
	return heard;
}

bool stream_silent(struct stream *st)
{
	struct pollfd p = { .fd = st->fd, .events = POLLIN | POLLRDHUP };

	return st->layer ? st->layer->kind->silent(st->layer) : poll(&p, 1, 0) == 0;
}

bool stream_gone(const struct stream *st)
{
	struct pollfd p = { .fd = st->fd };

	return poll(&p, 1, 0) > 0;
}

/* ---- what was sent ---- */

void stream_say(struct stream *st, const void *octets, size_t n)
{
	st->read_ms = 0;
	if (st->layer)
		st->layer->kind->say(st->layer, octets, n);
	else
		(void)!send(st->fd, octets, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void stream_mark(struct stream *st)
{
	st->sent = 0;
	if (st->layer)
		st->layer->marked = st->layer->kind->sent(st->layer);
}

/* Octets that the kernel was given since the mark, as it counts them. */
static uint64_t sent_since_mark(const struct stream *st)
{
	return st->layer ? st->layer->kind->sent(st->layer) - st->layer->marked : st->sent;
}

void stream_count(struct stream *st, int res)
{
	uint32_t n = res > 0 ? (uint32_t)res : 0;

	st->sent = UINT32_MAX - st->sent < n ? UINT32_MAX : st->sent + n;
}

void stream_failed(struct stream *st)
{
	st->failed = true;
}

/* Of a peer that closes with octets unread the fault is there before the kernel frees them: so it
 * is looked for after the number. */
static bool lost_octets(const struct stream *st)
{
	struct pollfd p = { .fd = st->fd };

	return st->failed || (poll(&p, 1, 0) > 0 && p.revents & POLLERR);
}

int stream_acked(const struct stream *st)
{
	int waiting = 0;

	if (ioctl(st->fd, SIOCOUTQ, &waiting) < 0)
		return -errno;
	if (st->is_local)
		return waiting > 0 || lost_octets(st) ? STREAM_ACKED_SOME : STREAM_ACKED_ALL;
	if (waiting <= 0 || (st->layer && (uint64_t)waiting <= st->layer->kind->own(st->layer)))
		return STREAM_ACKED_ALL;
	return (uint64_t)waiting < sent_since_mark(st) ? STREAM_ACKED_SOME : STREAM_ACKED_NONE;
}

/* No octet of a local stream is ever lost on its way. */
static void local_timing(struct io *io, struct stream *st, struct stream_timing *t)
{
	uint32_t now = (uint32_t)io_now_ms(io);

	if (t->all_acked && !st->read_ms)
		st->read_ms = now ? now : 1;
	t->quiet_ms = t->all_acked ? now - st->read_ms : 0;
}

int stream_timing(struct io *io, struct stream *st, struct stream_timing *t)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int acked = stream_acked(st);

	if (acked < 0)
		return acked;
	*t = (struct stream_timing){ .all_acked = acked == STREAM_ACKED_ALL };
	if (st->is_local) {
		local_timing(io, st, t);
		return 0;
	}
	if (getsockopt(st->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	t->quiet_ms = info.tcpi_last_ack_recv;
	t->resend_us = info.tcpi_rtt + 4 * info.tcpi_rttvar;
	return 0;
}

/* ---- ending ---- */

void stream_goodbye(struct stream *st)
{
	if (st->layer)
		st->layer->kind->half_close(st->layer);
}

void stream_half_close(struct stream *st)
{
	stream_goodbye(st);
	(void)shutdown(st->fd, SHUT_WR);
}

void stream_cut(struct stream *st)
{
	(void)shutdown(st->fd, SHUT_RDWR);
}
