/* SPDX-License-Identifier: ISC */
/*
 * io_uring: the engine over liburing. One system call a turn: it hands over what has been submitted
 * and waits.
 *
 * A submission only enters the operation into `todo`; entries of the ring are written when the turn
 * comes to wait. So no callback ever meets a full ring, and an operation that is cancelled before
 * that never reaches the kernel. user_data is the operation; 0 is a cancellation, whose own result
 * says nothing that the operation's does not. An entry of `todo` that has OP_STARTED is one to be
 * cancelled.
 *
 * io_recv_block() takes from a ring of provided buffers. The ring holds few of the free blocks, the
 * warmest ones; the rest waits on the engine's stack. The kernel answers -ENOBUFS also where
 * nothing has arrived yet: such a receive is made again, to choose its block when octets are there.
 *
 * A lazy send asks for no completion where it succeeds (IOSQE_CQE_SKIP_SUCCESS), and never waits
 * for room in the kernel (MSG_DONTWAIT): so once its entry has been taken, either all of it is sent
 * or a completion says that it was not. The turn that hands it over then ends with the next event,
 * and not at once with a completion that nobody waits for. Where there was no room, what is left is
 * sent in the ordinary way.
 *
 * Connections are accepted by accept4(2) when a poll says that one waits, and not by the ring: the
 * kernel takes a killed process's ring down some time after the process, and until then a ring that
 * accepts would take connections that nobody serves. It costs no more, and the limit on descriptors
 * that counts is the one in force. For the same reason a poll is exclusive (EPOLLEXCLUSIVE) only on
 * a socket that is shared: a dead ring's would be woken in place of its successor's.
 *
 * One thread: the one that created it. io_uring_make.c makes it.
 */
#include "io/io_uring_inner.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "io/net.h"

#define ACCEPTS_MAX 64 /* of one listener in a turn */
#define PAUSE_MS    10
#define OP_STARTED  (IO_OP_BACKEND << 0) /* the kernel has it */
#define OP_QUIET    (IO_OP_BACKEND << 2) /* a lazy send that is in `quiet` */

/* Entries of the submission ring. */

static void prep_connect(struct uring *u, struct io_op *op, struct io_uring_sqe *sqe)
{
	struct sockaddr_storage *ss = &u->addrs[sqe - u->ring.sq.sqes];

	io_uring_prep_connect(sqe, op->fd, (struct sockaddr *)ss, addr_to_sockaddr(op->addr, ss));
}

static void prep_send(struct io_op *op, struct io_uring_sqe *sqe)
{
	int flags = MSG_NOSIGNAL | (op->flags & IO_OP_PARTS ? 0 : MSG_WAITALL) |
		    (op->flags & IO_OP_MORE ? MSG_MORE : 0);

	io_uring_prep_send(sqe, op->fd, op->buf + op->moved, op->len - op->moved, flags);
}

static void prep_quiet_send(struct uring *u, struct io_op *op, struct io_uring_sqe *sqe)
{
	op->flags |= OP_QUIET;
	list_add_tail(&u->quiet, &op->link);
	prep_send(op, sqe);
	sqe->msg_flags |= MSG_DONTWAIT;
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* A receive that is expected to find nothing yet looks for readiness before it tries. */
static bool receives(const struct io_op *op)
{
	return op->kind == IO_KIND_RECV || op->kind == IO_KIND_RECV_BLOCK;
}

static void prep(struct io *io, struct io_op *op, struct io_uring_sqe *sqe)
{
	struct uring *u = io->priv;

	switch ((enum io_kind)op->kind) {
	case IO_KIND_ACCEPT:
		io_uring_prep_poll_add(sqe, op->fd,
				       POLLIN | (op->flags & IO_OP_SHARED ? EPOLLEXCLUSIVE : 0));
		break;
	case IO_KIND_CONNECT:
		prep_connect(u, op, sqe);
		break;
	case IO_KIND_RECV:
		io_uring_prep_recv(sqe, op->fd, op->buf, op->len < INT32_MAX ? op->len : INT32_MAX,
				   0);
		break;
	case IO_KIND_RECV_BLOCK:
		io_uring_prep_recv(sqe, op->fd, NULL, io->limits.block_size, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = BLOCK_GROUP;
		break;
	case IO_KIND_SEND:
		if (u->skips && op->flags & IO_OP_LAZY && op->moved == 0)
			prep_quiet_send(u, op, sqe);
		else
			prep_send(op, sqe);
		break;
	case IO_KIND_POLL:
		io_uring_prep_poll_add(sqe, op->fd, (unsigned)op->len);
		break;
	}
	if (op->flags & OP_POLL_FIRST || (receives(op) && !io->fds[op->fd].unread))
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	io_uring_sqe_set_data(sqe, op);
	op->flags |= OP_STARTED;
}

static struct io_uring_sqe *next_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	/* Full: what stands in it goes first. Refused, where completions must be taken before. */
	if (!sqe && io_uring_submit(&u->ring) >= 0)
		sqe = io_uring_get_sqe(&u->ring);
	return sqe;
}

static void write_entries(struct io *io)
{
	struct uring *u = io->priv;

	while (list_linked(&u->todo)) {
		struct io_op *op = container_of(u->todo.next, struct io_op, link);
		struct io_uring_sqe *sqe = next_sqe(u);

		if (!sqe)
			return;
		list_del(&op->link);
		if (op->flags & OP_STARTED) {
			io_uring_prep_cancel(sqe, op, 0);
			io_uring_sqe_set_data(sqe, NULL);
		} else {
			prep(io, op, sqe);
		}
	}
}

/* What a poll of any other descriptor would wait for is not known. */
static bool is_listener(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

static void uring_submit(struct io *io, struct io_op *op)
{
	struct uring *u = io->priv;

	if (op->kind == IO_KIND_ACCEPT && !is_listener(op->fd)) {
		op->res = -EINVAL;
		list_add_tail(&io->refused, &op->link);
	} else {
		list_add_tail(&u->todo, &op->link);
	}
}

static void uring_cancel(struct io *io, struct io_op *op)
{
	struct uring *u = io->priv;

	if (op->flags & OP_QUIET)
		return; /* it does not wait for anything */
	list_del(&op->link);
	if (op->flags & OP_STARTED) {
		list_add_tail(&u->todo, &op->link);
	} else {
		op->res = -ECANCELED;
		list_add_tail(&io->refused, &op->link);
	}
}

static void uring_forget(struct io *io, int fd)
{
	io->fds[fd].unread = false;
}

/* Hands blocks to the kernel until it has enough to choose from. */
static void feed_blocks(struct io *io)
{
	struct uring *u = io->priv;
	struct io_block block;
	int added = 0;

	while (u->fed < u->feed_want && io_block_take(io, &block)) {
		io_uring_buf_ring_add(u->feed, block.data, io->limits.block_size, block.id,
				      io_uring_buf_ring_mask(u->feed_size), added++);
		u->fed++;
	}
	if (added)
		io_uring_buf_ring_advance(u->feed, added);
}

/* Completions. Each takes an operation that the kernel has done with, and that is in no list. */

/*
 * The kernel ends a poll at POLLRDHUP, asked or not. Waiting for room towards a peer that has
 * closed its own direction would thus spin; such a poll is made again after a pause.
 */
static void on_poll(struct io *io, struct io_op *op, int res)
{
	struct uring *u = io->priv;
	int wanted = (int)op->len | POLLERR | POLLHUP;

	if (res > 0 && !(res & wanted) && !(op->flags & IO_OP_CANCEL)) {
		list_add_tail(&u->later, &op->link);
		if (!list_linked(&u->pause.link))
			io_timer_set(io, &u->pause, PAUSE_MS);
		return;
	}
	if (res > 0)
		res &= wanted;
	io_finish(io, op, res ? res : -ECANCELED);
}

static void after_pause(struct io_timer *t)
{
	struct uring *u = container_of(t, struct uring, pause);

	while (list_linked(&u->later)) {
		struct list *op = u->later.next;

		list_del(op);
		list_add_tail(&u->todo, op);
	}
}

/* A connection waits, or another process was quicker. */
static void on_accept(struct io *io, struct io_op *op, int res)
{
	struct uring *u = io->priv;

	for (int i = 0; res >= 0 && i < ACCEPTS_MAX && !(op->flags & IO_OP_CANCEL); i++) {
		int fd = net_accept(op->fd, op->peer);

		if (fd >= 0) {
			io_report(op, fd);
			/* The callback may have cancelled it, which has put it into a list. */
			if (op->flags & IO_OP_CANCEL)
				return;
		} else if (fd == -EAGAIN) {
			break;
		} else if (!io_accept_goes_on(fd)) {
			res = fd;
		}
	}
	if (op->flags & IO_OP_CANCEL)
		io_finish(io, op, -ECANCELED);
	else if (res < 0)
		io_finish(io, op, res);
	else
		list_add_tail(&u->todo, &op->link);
}

static void take_block(struct io *io, struct io_op *op, int res, unsigned cqe_flags)
{
	struct uring *u = io->priv;

	op->block = io_block_at(io, (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT));
	u->fed--;
	/* A receive of nothing or an error may have chosen one too. */
	if (res <= 0)
		io_block_put(io, &op->block);
}

static void on_recv_block(struct io *io, struct io_op *op, int res)
{
	struct uring *u = io->priv;

	if (res == -ENOBUFS && !(op->flags & IO_OP_CANCEL) &&
	    (io->blocks_free || !(op->flags & OP_POLL_FIRST))) {
		op->flags |= OP_POLL_FIRST;
		list_add_tail(&u->todo, &op->link);
		return;
	}
	io_finish(io, op, res);
}

static void on_send(struct io *io, struct io_op *op, int res)
{
	struct uring *u = io->priv;

	if (res > 0) {
		op->moved += (size_t)res;
		if (op->moved < op->len && !(op->flags & IO_OP_CANCEL)) {
			list_add_tail(&u->todo, &op->link);
			return;
		}
		res = op->moved < op->len ? -ECANCELED : (int)op->len;
	}
	io_finish(io, op, res == 0 ? -EIO : res);
}

static void on_cqe(struct io *io, struct io_op *op, int res, unsigned cqe_flags)
{
	struct uring *u = io->priv;

	list_del(&op->link); /* a cancellation that comes too late */
	op->flags &= ~(OP_STARTED | IO_OP_LAZY);
	if (receives(op))
		io->fds[op->fd].unread = cqe_flags & IORING_CQE_F_SOCK_NONEMPTY;
	if (cqe_flags & IORING_CQE_F_BUFFER)
		take_block(io, op, res, cqe_flags);
	if (res == -EINTR || res == -EAGAIN) {
		if (!(op->flags & IO_OP_CANCEL)) {
			list_add_tail(&u->todo, &op->link);
			return;
		}
		res = -ECANCELED;
	}
	switch ((enum io_kind)op->kind) {
	case IO_KIND_ACCEPT:
		on_accept(io, op, res);
		break;
	case IO_KIND_RECV_BLOCK:
		on_recv_block(io, op, res);
		break;
	case IO_KIND_SEND:
		on_send(io, op, res);
		break;
	case IO_KIND_POLL:
		on_poll(io, op, res);
		break;
	case IO_KIND_CONNECT:
	case IO_KIND_RECV:
		io_finish(io, op, res);
		break;
	}
}

/* Lazy sends of which nothing was said have succeeded, once the kernel has taken all entries and
 * holds no completion back. */
static void finish_quiet(struct io *io)
{
	struct uring *u = io->priv;
	struct io_uring_cqe *cqe;
	struct list done;
	unsigned head;

	if (!list_linked(&u->quiet) || io_uring_sq_ready(&u->ring) ||
	    io_uring_cq_has_overflow(&u->ring))
		return;
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		struct io_op *op = io_uring_cqe_get_data(cqe);

		if (op && op->flags & OP_QUIET) {
			op->flags &= ~OP_QUIET;
			list_del(&op->link);
		}
	}
	/* What a callback sends is not among them. */
	list_take(&done, &u->quiet);
	while (list_linked(&done)) {
		struct io_op *op = container_of(done.next, struct io_op, link);

		op->flags &= ~(OP_QUIET | OP_STARTED);
		op->moved = op->len;
		io_finish(io, op, (int)op->len);
	}
}

static void reap(struct io *io)
{
	struct uring *u = io->priv;
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;

	finish_quiet(io);
	/* No callback enters the kernel's ring, so that the entries stay until they are released.
	 */
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		struct io_op *op = io_uring_cqe_get_data(cqe);

		count++;
		if (op)
			on_cqe(io, op, cqe->res, cqe->flags);
	}
	io_uring_cq_advance(&u->ring, count);
}

static int enter(struct uring *u, int64_t wait_us)
{
	struct io_uring_cqe *cqe;

	if (wait_us == 0)
		return io_uring_submit_and_get_events(&u->ring);
	if (wait_us < 0)
		return io_uring_submit_and_wait(&u->ring, 1);

	struct __kernel_timespec ts = { .tv_sec = wait_us / 1000000,
					.tv_nsec = wait_us % 1000000 * 1000 };

	return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
}

static int uring_wait(struct io *io, int64_t wait_us)
{
	struct uring *u = io->priv;
	int ret;

	feed_blocks(io);
	write_entries(io);
	if (list_linked(&u->todo))
		wait_us = 0;
	ret = enter(u, wait_us);
	io_tick(io);
	/* -EBUSY: completions first. -EAGAIN: the kernel has no memory for a request just now. */
	if (ret < 0 && ret != -ETIME && ret != -EINTR && ret != -EBUSY && ret != -EAGAIN)
		return ret;
	reap(io);
	return 0;
}

static int uring_open(struct io *io, const char **why)
{
	struct uring *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	list_init(&u->todo);
	list_init(&u->later);
	list_init(&u->quiet);
	io_timer_init(&u->pause, after_pause);
	return uring_make(io, u, why);
}

const struct io_backend io_backend_uring = {
	.name = "io_uring",
	.open = uring_open,
	.shut = uring_shut,
	.locked = uring_locked,
	.submit = uring_submit,
	.cancel = uring_cancel,
	.forget = uring_forget,
	.wait = uring_wait,
};
