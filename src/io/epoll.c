/* SPDX-License-Identifier: ISC */
/*
 * epoll: completions over readiness, for kernels or sandboxes that refuse io_uring.
 *
 * An operation is tried at once, from the loop, and parked on its descriptor only where the kernel
 * says EAGAIN. A descriptor is registered once, edge-triggered, for everything, so that a
 * connection costs one epoll_ctl() in its life. Two things follow. A descriptor that a read has
 * drained is not read again before the next edge (epoll(7), question 9): a TCP stream only, and
 * only until it shows a hang-up or urgent data, at which a read stops short with more behind it.
 * And readiness without a parked operation is forgotten, which is harmless, since the next
 * operation tries first.
 *
 * Listening sockets are registered level-triggered and exclusively, for as long as their accept
 * lasts: they may be shared with other processes, one of which shall wake.
 *
 * It fails only where epoll itself does; a descriptor that epoll refuses fails its operation.
 */
#include "io/inner.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/net.h"

#define EVENTS_MAX    512
#define ACCEPTS_MAX   64	    /* of one listener in a turn */
#define UNWAITED_MAX  16	    /* turns that may pass without asking the kernel for events */
#define UNWAITED_US   1000	    /* … and time, since some turns are long: handshakes of TLS */
#define OP_WOKEN      IO_OP_BACKEND /* poll: op->res is the answer */
#define EPOLL_BROKEN  (EPOLLHUP | EPOLLERR)
#define EPOLL_READ    (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLL_BROKEN)
#define EPOLL_WRITE   (EPOLLOUT | EPOLL_BROKEN)
#define EPOLL_SPECIAL (EPOLLPRI | EPOLLRDHUP | EPOLL_BROKEN)

#define FD_REGISTERED 1u
#define FD_LISTENER   2u
#define FD_DRAINED    4u  /* nothing to read before the next edge */
#define FD_STREAM     8u  /* accepted or connected here, so a stream */
#define FD_SPECIAL    16u /* a short read says nothing */

struct epoll_fd {
	struct list ops; /* parked; a zeroed head is an empty one */
	unsigned flags;
};

struct epoll {
	int fd;
	unsigned unwaited;
	uint64_t asked_us;
	struct list ready; /* to be tried */
	struct epoll_fd *fds;
	struct epoll_event events[EVENTS_MAX];
};

static int epoll_open(struct io *io, const char **why)
{
	struct epoll *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	list_init(&e->ready);
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	e->fds = io_map(io->fd_count, sizeof(*e->fds));
	if (e->fd < 0 || !e->fds) {
		int err = e->fd < 0 ? -errno : -ENOMEM;

		*why = "epoll_create1";
		if (e->fd >= 0)
			close(e->fd);
		io_unmap(e->fds, io->fd_count, sizeof(*e->fds));
		free(e);
		return err;
	}
	io->priv = e;
	return 0;
}

static void epoll_shut(struct io *io)
{
	struct epoll *e = io->priv;

	close(e->fd);
	io_unmap(e->fds, io->fd_count, sizeof(*e->fds));
	free(e);
}

static void epoll_submit(struct io *io, struct io_op *op)
{
	struct epoll *e = io->priv;

	list_add_tail(&e->ready, &op->link);
}

static void epoll_cancel(struct io *io, struct io_op *op)
{
	struct epoll *e = io->priv;

	list_del(&op->link);
	list_add_tail(&e->ready, &op->link);
}

static void unregister(struct epoll *e, int fd)
{
	struct epoll_fd *f = &e->fds[fd];

	if (f->flags & FD_REGISTERED)
		epoll_ctl(e->fd, EPOLL_CTL_DEL, fd, NULL);
	f->flags = 0;
}

static void epoll_forget(struct io *io, int fd)
{
	struct epoll *e = io->priv;

	/* close(2) unregisters, but not where another process holds the same socket. */
	if (e->fds[fd].flags & FD_LISTENER)
		unregister(e, fd);
	e->fds[fd].flags = 0;
}

static int register_fd(struct epoll *e, const struct io_op *op)
{
	bool listener = op->kind == IO_KIND_ACCEPT;
	struct epoll_event ev = { .data.fd = op->fd };

	if (listener)
		ev.events = EPOLLIN | (op->flags & IO_OP_SHARED ? EPOLLEXCLUSIVE : 0);
	else
		ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
	/* EEXIST: it was closed behind our back, and another process still holds the old one. */
	if (epoll_ctl(e->fd, EPOLL_CTL_ADD, op->fd, &ev) < 0 &&
	    (errno != EEXIST || epoll_ctl(e->fd, EPOLL_CTL_MOD, op->fd, &ev) < 0))
		return -errno;
	e->fds[op->fd].flags &= FD_STREAM;
	e->fds[op->fd].flags |= FD_REGISTERED | (listener ? FD_LISTENER : 0);
	return 0;
}

/* Leaves OP on its descriptor until an event. False: it could not be, and is finished. */
static bool park(struct io *io, struct io_op *op)
{
	struct epoll *e = io->priv;
	struct epoll_fd *f = &e->fds[op->fd];

	if (!(f->flags & FD_REGISTERED)) {
		int ret = register_fd(e, op);

		if (ret < 0) {
			io_finish(io, op, ret);
			return false;
		}
	}
	if (!f->ops.next)
		list_init(&f->ops);
	list_add_tail(&f->ops, &op->link);
	return true;
}

/*
 * Each try_*() makes one attempt at an operation that is in no list. True when it was finished or
 * reported, that is when a callback has run.
 */

static bool finish_accept(struct io *io, struct io_op *op, int res)
{
	struct epoll *e = io->priv;
	struct epoll_fd *f = &e->fds[op->fd];

	if (f->flags & FD_LISTENER) {
		unregister(e, op->fd);
		/* Polls that were parked beside it register the descriptor for themselves. */
		while (f->ops.next && list_linked(&f->ops)) {
			struct list *other = f->ops.next;

			list_del(other);
			list_add_tail(&e->ready, other);
		}
	}
	io_finish(io, op, res);
	return true;
}

static bool try_accept(struct io *io, struct io_op *op)
{
	struct epoll *e = io->priv;
	bool reported = false;

	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int fd = net_accept(op->fd, op->peer);

		if (fd >= 0) {
			if ((unsigned)fd < io->fd_count)
				e->fds[fd].flags = FD_STREAM;
			io_report(op, fd);
			reported = true;
			/* The callback may have cancelled it, which has put it into a list. */
			if (op->flags & IO_OP_CANCEL)
				return true;
		} else if (fd == -EAGAIN) {
			return !park(io, op) || reported;
		} else if (!io_accept_goes_on(fd)) {
			return finish_accept(io, op, fd);
		}
	}
	list_add_tail(&e->ready, &op->link);
	return reported;
}

static bool try_connect(struct io *io, struct io_op *op)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(op->addr, &ss);
	struct epoll *e = io->priv;

	e->fds[op->fd].flags |= FD_STREAM;
	/* Asking again tells how the first attempt went. */
	if (connect(op->fd, (struct sockaddr *)&ss, len) == 0 || errno == EISCONN) {
		io_finish(io, op, 0);
		return true;
	}
	if (errno == EINPROGRESS || errno == EALREADY || errno == EINTR)
		return !park(io, op);
	io_finish(io, op, -errno);
	return true;
}

static ssize_t recv_once(int fd, void *buf, size_t len, int flags)
{
	ssize_t n;

	do
		n = recv(fd, buf, len, MSG_DONTWAIT | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* A stream that gave less than was asked for has no more, as long as nothing special is on it. */
static void note_read(struct epoll_fd *f, ssize_t n, size_t asked)
{
	const unsigned trusted = FD_REGISTERED | FD_STREAM;

	if (n > 0 && (size_t)n < asked && (f->flags & (trusted | FD_SPECIAL)) == trusted)
		f->flags |= FD_DRAINED;
}

static bool try_recv(struct io *io, struct io_op *op)
{
	struct epoll *e = io->priv;
	struct epoll_fd *f = &e->fds[op->fd];
	size_t len = op->len < INT32_MAX ? op->len : INT32_MAX;
	ssize_t n;

	if (f->flags & FD_DRAINED)
		return !park(io, op);
	n = recv_once(op->fd, op->buf, len, 0);
	if (n == -EAGAIN)
		return !park(io, op);
	note_read(f, n, len);
	io_finish(io, op, (int)n);
	return true;
}

static bool try_recv_block(struct io *io, struct io_op *op)
{
	struct epoll *e = io->priv;
	struct epoll_fd *f = &e->fds[op->fd];
	ssize_t n;

	if (f->flags & FD_DRAINED)
		return !park(io, op);
	if (io_block_take(io, &op->block)) {
		n = recv_once(op->fd, op->block.data, io->limits.block_size, 0);
		if (n <= 0)
			io_block_put(io, &op->block);
	} else {
		uint8_t octet;

		n = recv_once(op->fd, &octet, 1, MSG_PEEK);
		if (n > 0)
			n = -ENOBUFS;
	}
	if (n == -EAGAIN)
		return !park(io, op);
	note_read(f, n, io->limits.block_size);
	io_finish(io, op, (int)n);
	return true;
}

static bool try_send(struct io *io, struct io_op *op)
{
	int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (op->flags & IO_OP_MORE ? MSG_MORE : 0);
	int res = (int)op->len;

	while (op->moved < op->len) {
		ssize_t n = send(op->fd, op->buf + op->moved, op->len - op->moved, flags);

		if (n >= 0) {
			op->moved += (size_t)n;
		} else if (errno == EAGAIN) {
			return !park(io, op);
		} else if (errno != EINTR) {
			res = -errno;
			break;
		}
	}
	io_finish(io, op, res);
	return true;
}

static bool try_poll(struct io *io, struct io_op *op)
{
	struct pollfd p = { .fd = op->fd, .events = (short)op->len };
	int n;

	if (op->flags & OP_WOKEN) {
		io_finish(io, op, op->res);
		return true;
	}
	n = poll(&p, 1, 0);
	if (n == 0 || (n < 0 && errno == EINTR))
		return !park(io, op);
	if (n < 0)
		io_finish(io, op, -errno);
	else
		io_finish(io, op, p.revents & POLLNVAL ? -EBADF : p.revents);
	return true;
}

static bool try(struct io *io, struct io_op *op)
{
	if (op->flags & IO_OP_CANCEL) {
		if (op->kind == IO_KIND_ACCEPT)
			return finish_accept(io, op, -ECANCELED);
		io_finish(io, op, -ECANCELED);
		return true;
	}
	switch ((enum io_kind)op->kind) {
	case IO_KIND_ACCEPT:
		return try_accept(io, op);
	case IO_KIND_CONNECT:
		return try_connect(io, op);
	case IO_KIND_RECV:
		return try_recv(io, op);
	case IO_KIND_RECV_BLOCK:
		return try_recv_block(io, op);
	case IO_KIND_SEND:
		return try_send(io, op);
	case IO_KIND_POLL:
		break;
	}
	return try_poll(io, op);
}

/* Tries all that is ready now; what callbacks submit meanwhile comes next time. */
static bool try_ready(struct io *io)
{
	struct epoll *e = io->priv;
	bool called = false;
	struct list batch;

	list_take(&batch, &e->ready);
	while (list_linked(&batch)) {
		struct io_op *op = container_of(batch.next, struct io_op, link);

		list_del(&op->link);
		called |= try(io, op);
	}
	return called;
}

static bool wakes(const struct io_op *op, uint32_t events)
{
	switch ((enum io_kind)op->kind) {
	case IO_KIND_ACCEPT:
	case IO_KIND_RECV:
	case IO_KIND_RECV_BLOCK:
		return events & EPOLL_READ;
	case IO_KIND_CONNECT:
	case IO_KIND_SEND:
		return events & EPOLL_WRITE;
	case IO_KIND_POLL:
		return events & (op->len | EPOLL_BROKEN);
	}
	return false;
}

static void on_event(struct epoll *e, int fd, uint32_t events)
{
	struct epoll_fd *f = &e->fds[fd];
	struct list *pos, *tmp;

	if (events & EPOLL_READ)
		f->flags &= ~FD_DRAINED;
	if (events & EPOLL_SPECIAL)
		f->flags |= FD_SPECIAL;
	if (!f->ops.next)
		return;
	list_for_each (pos, tmp, &f->ops) {
		struct io_op *op = container_of(pos, struct io_op, link);

		if (!wakes(op, events))
			continue;
		if (op->kind == IO_KIND_POLL) {
			op->flags |= OP_WOKEN;
			op->res = (int)(events & (op->len | EPOLL_BROKEN));
		}
		list_del(pos);
		list_add_tail(&e->ready, pos);
	}
}

static int timeout_ms(int64_t wait_us)
{
	int64_t ms = (wait_us + 999) / 1000;

	if (wait_us < 0)
		return -1;
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static int epoll_turn(struct io *io, int64_t wait_us)
{
	struct epoll *e = io->priv;
	int n;

	if (try_ready(io)) {
		/* There is something to go on with; the kernel is asked now and then only. */
		if (++e->unwaited < UNWAITED_MAX && io->now_us - e->asked_us < UNWAITED_US)
			return 0;
		wait_us = 0;
	}
	if (list_linked(&e->ready))
		wait_us = 0;
	e->unwaited = 0;
	n = epoll_wait(e->fd, e->events, EVENTS_MAX, timeout_ms(wait_us));
	io_tick(io);
	e->asked_us = io->now_us;
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	/* All events before any callback, which might close a descriptor that an event names. */
	for (int i = 0; i < n; i++)
		on_event(e, e->events[i].data.fd, e->events[i].events);
	try_ready(io);
	return 0;
}

const struct io_backend io_backend_epoll = {
	.name = "epoll",
	.open = epoll_open,
	.shut = epoll_shut,
	.submit = epoll_submit,
	.cancel = epoll_cancel,
	.forget = epoll_forget,
	.wait = epoll_turn,
};
