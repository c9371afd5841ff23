/* SPDX-License-Identifier: ISC */
/*
 * pipe: see pipe.h. The pool, and the mover over splice(2) on readiness.
 *
 * The mover fills the pipe from FROM, empties it to TO, and waits only when neither moves: for room
 * at TO while the pipe holds something, else for octets at FROM. FROM's end of stream and an urgent
 * mark are reported only when the pipe is empty; they last, so that nothing has to be remembered
 * meanwhile. A fault of either side is reported at once. It never takes more than COUNT from FROM:
 * what follows is somebody else's, to be parsed.
 *
 * splice(2) answers an urgent mark with EAGAIN or, after the peer's FIN, with 0: only
 * net_at_mark() tells it from "nothing yet" and "end".
 */
#include "io/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/diag.h"
#include "io/net.h"

#define PIPE_LEAST  (64 * 1024)
#define TURN_OCTETS (4u * PIPE_WANTED) /* moved in one turn, then others have theirs */
#define FLAGS	    (SPLICE_F_NONBLOCK | SPLICE_F_MOVE)

/* The pool. */

int io_pipes_init(struct io_pipes *p, unsigned count)
{
	*p = (struct io_pipes){ .count = count };
	if (count == 0)
		return 0;
	p->all = calloc(count, sizeof(*p->all));
	if (!p->all)
		return -ENOMEM;
	for (unsigned i = count; i-- > 0;) {
		p->all[i].rd = p->all[i].wr = -1;
		p->all[i].next = p->free;
		p->free = &p->all[i];
	}
	return 0;
}

static void shut_pipe(struct io_pipes *p, struct io_pipe *pipe)
{
	if (pipe->rd < 0)
		return;
	close(pipe->rd);
	close(pipe->wr);
	pipe->rd = pipe->wr = -1;
	pipe->filled = 0;
	p->made--;
}

static bool open_pipe(struct io_pipes *p, struct io_pipe *pipe)
{
	int fds[2], size;

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
		return false;
	pipe->rd = fds[0];
	pipe->wr = fds[1];
	pipe->filled = 0;
	p->made++;
	/* Refused past pipe-user-pages-soft; then the pipe is as it was made, or has shrunk. */
	(void)fcntl(pipe->wr, F_SETPIPE_SZ, PIPE_WANTED);
	size = fcntl(pipe->wr, F_GETPIPE_SZ);
	if (size < PIPE_LEAST) {
		shut_pipe(p, pipe);
		return false;
	}
	pipe->size = (uint32_t)size;
	return true;
}

void io_pipes_destroy(struct io_pipes *p)
{
	for (unsigned i = 0; p->all && i < p->count; i++)
		shut_pipe(p, &p->all[i]);
	free(p->all);
	*p = (struct io_pipes){ 0 };
}

struct io_pipe *io_pipe_get(struct io_pipes *p)
{
	struct io_pipe *pipe = p->free;

	if (!pipe || (pipe->rd < 0 && !open_pipe(p, pipe)))
		return NULL;
	p->free = pipe->next;
	pipe->next = NULL;
	return pipe;
}

void io_pipe_put(struct io_pipes *p, struct io_pipe *pipe)
{
	int held = 0;

	if (!pipe)
		return;
	/* Asked of the kernel too: what is left in it would go to somebody else's destination. */
	if (pipe->filled || ioctl(pipe->rd, FIONREAD, &held) < 0 || held)
		shut_pipe(p, pipe);
	pipe->next = p->free;
	p->free = pipe;
}

/* The mover. */

static void finish(struct io_splice *s, int res)
{
	io_undefer(&s->task);
	s->in_pipe = s->pipe->filled;
	s->done(s, res);
}

static int splice_some(int from, int to, size_t n)
{
	ssize_t ret;

	do
		ret = splice(from, NULL, to, NULL, n, FLAGS);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : (int)ret;
}

/* Octets taken from FROM, or -EAGAIN, or what has ended it. */
static int fill(struct io_splice *s)
{
	uint64_t left = s->count - s->moved - s->pipe->filled;
	uint32_t room = s->pipe->size - s->pipe->filled;
	int n;

	if (left == 0 || room == 0)
		return -EAGAIN;
	n = splice_some(s->from, s->pipe->wr, left < room ? left : room);
	if (n > 0)
		s->pipe->filled += (uint32_t)n;
	else if ((n == 0 || n == -EAGAIN) && net_at_mark(s->from))
		n = -ESTRPIPE;
	else if (n == 0)
		n = -ENODATA;
	return n;
}

static int drain(struct io_splice *s)
{
	int n;

	if (s->pipe->filled == 0)
		return -EAGAIN;
	n = splice_some(s->pipe->rd, s->to, s->pipe->filled);
	if (n == 0)
		return -EPIPE;
	if (n > 0) {
		s->pipe->filled -= (uint32_t)n;
		s->moved += (uint64_t)n;
	}
	return n;
}

/* A side that claims to be broken, yet neither moves nor fails, shall not be asked for ever. */
static int broken(const struct io_splice *s, int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (s->op.res < 0)
		return s->op.res;
	if (!(s->op.res & (POLLERR | POLLHUP | POLLNVAL)))
		return 0;
	(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return err ? -err : -EIO;
}

static void fail(struct io_splice *s, bool to, int res)
{
	s->side = to ? IO_SPLICE_TO : IO_SPLICE_FROM;
	finish(s, res);
}

static void wait_for(struct io_splice *s, bool to)
{
	int fd = to ? s->to : s->from;
	int err = (s->side == IO_SPLICE_TO) == to ? broken(s, fd) : 0;

	if (err) {
		fail(s, to, err);
		return;
	}
	s->side = to ? IO_SPLICE_TO : IO_SPLICE_FROM;
	io_poll(s->io, &s->op, fd, to ? POLLOUT : POLLIN);
}

static void step(struct io_splice *s)
{
	uint64_t enough = s->moved + TURN_OCTETS;

	while (s->moved < s->count) {
		int in = fill(s);
		int out = drain(s);
		bool lasting = in == -ENODATA || in == -ESTRPIPE;

		if (out < 0 && out != -EAGAIN) {
			fail(s, true, out);
			return;
		}
		if (in < 0 && in != -EAGAIN && (!lasting || s->pipe->filled == 0)) {
			fail(s, false, in);
			return;
		}
		if (in < 0 && out < 0) {
			wait_for(s, s->pipe->filled > 0);
			return;
		}
		s->op.res = 0;
		if (s->moved >= enough && s->moved < s->count) {
			io_defer(s->io, &s->task);
			return;
		}
	}
	finish(s, 0);
}

static void on_task(struct io_task *t)
{
	struct io_splice *s = container_of(t, struct io_splice, task);

	if (s->cancelled)
		finish(s, -ECANCELED);
	else
		step(s);
}

static void on_poll(struct io_op *op, int res)
{
	struct io_splice *s = container_of(op, struct io_splice, op);

	if (s->cancelled) {
		finish(s, -ECANCELED);
	} else if (res < 0) {
		finish(s, res);
	} else {
		s->op.res = res;
		step(s);
	}
}

void io_splice_start(struct io *io, struct io_splice *s, struct io_pipe *pipe, int from, int to,
		     uint64_t count)
{
	CHECK(s->done && pipe->filled == 0);
	s->count = count;
	s->moved = 0;
	s->in_pipe = 0;
	s->side = IO_SPLICE_FROM;
	s->io = io;
	s->pipe = pipe;
	s->from = from;
	s->to = to;
	s->op = (struct io_op){ .done = on_poll };
	s->cancelled = false;
	io_task_init(&s->task, on_task);
	io_defer(io, &s->task);
}

void io_splice_cancel(struct io_splice *s)
{
	s->cancelled = true;
	io_cancel(s->io, &s->op);
}
