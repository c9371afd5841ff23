/* SPDX-License-Identifier: ISC */
/* fake: see fake.h. */
#include "fake.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/diag.h"
#include "io/net.h"

#define OP_TRIED IO_OP_BACKEND

struct fake {
	uint64_t random;
	const struct fake_rates *rates;
	struct list ops;
	bool put_off;	     /* something could be done, and was left */
	struct pollfd *fds;  /* limits.ops of each: what is waited for, */
	struct io_op **wait; /* and by whom */
};

uint64_t fake_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

unsigned fake_below(uint64_t *state, unsigned n)
{
	return (unsigned)(fake_random(state) % n);
}

static bool chance(struct fake *f, unsigned percent)
{
	return fake_below(&f->random, 100) < percent;
}

/* Listening and connecting are tried before they are waited for: they may be refused at once. */
static bool untried(const struct io_op *op)
{
	return (op->kind == IO_KIND_CONNECT || op->kind == IO_KIND_ACCEPT) &&
	       !(op->flags & OP_TRIED);
}

static int fake_open(struct io *io, const char **why)
{
	struct fake *f = calloc(1, sizeof(*f));

	(void)why;
	CHECK(f && io->arg);
	f->rates = io->arg;
	f->random = f->rates->seed;
	list_init(&f->ops);
	f->fds = calloc(io->limits.ops, sizeof(*f->fds));
	f->wait = calloc(io->limits.ops, sizeof(*f->wait));
	CHECK(f->fds && f->wait);
	io->priv = f;
	return 0;
}

static void fake_shut(struct io *io)
{
	struct fake *f = io->priv;

	free(f->fds);
	free(f->wait);
	free(f);
}

static void fake_submit(struct io *io, struct io_op *op)
{
	struct fake *f = io->priv;

	list_add_tail(&f->ops, &op->link);
}

/* A flag, seen in the next turn: by then the operation may have its own result. */
static void fake_cancel(struct io *io, struct io_op *op)
{
	(void)io;
	(void)op;
}

static void fake_forget(struct io *io, int fd)
{
	struct fake *f = io->priv;
	struct list *pos, *tmp;

	list_for_each (pos, tmp, &f->ops)
		CHECK(container_of(pos, struct io_op, link)->fd != fd);
}

/* An error that the operation's kind may meet. */
static int fault(struct fake *f, const struct io_op *op)
{
	static const int accept_faults[] = { -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM };
	static const int connect_faults[] = { -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH };
	static const int stream_faults[] = { -ECONNRESET, -ETIMEDOUT, -EPIPE };

	switch ((enum io_kind)op->kind) {
	case IO_KIND_ACCEPT:
		return accept_faults[fake_below(&f->random, 4)];
	case IO_KIND_CONNECT:
		return connect_faults[fake_below(&f->random, 3)];
	case IO_KIND_RECV:
		return stream_faults[fake_below(&f->random, 2)];
	case IO_KIND_RECV_BLOCK:
		return chance(f, 50) ? -ENOBUFS : -ECONNRESET;
	case IO_KIND_SEND:
		return stream_faults[fake_below(&f->random, 3)];
	case IO_KIND_POLL:
		break;
	}
	return -ENOMEM;
}

static size_t shortened(struct fake *f, size_t len)
{
	if (!chance(f, f->rates->shorten))
		return len;
	return 1 + fake_below(&f->random, len < 17 ? (unsigned)len : 17);
}

/* Each of these makes an attempt; -EAGAIN: it is to be made again. */

static int do_accept(struct io *io, struct io_op *op)
{
	struct fake *f = io->priv;
	int fd;

	do {
		fd = net_accept(op->fd, op->peer);
		if (fd < 0)
			return io_accept_goes_on(fd) ? -EAGAIN : fd;
		io_report(op, fd);
	} while (!(op->flags & IO_OP_CANCEL) && chance(f, 50));
	return -EAGAIN;
}

static int do_connect(struct io_op *op)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(op->addr, &ss);

	if (connect(op->fd, (struct sockaddr *)&ss, len) == 0 || errno == EISCONN)
		return 0;
	return errno == EINPROGRESS || errno == EALREADY ? -EAGAIN : -errno;
}

static int do_recv(struct io *io, struct io_op *op)
{
	ssize_t n = recv(op->fd, op->buf, shortened(io->priv, op->len), MSG_DONTWAIT);

	return n < 0 ? -errno : (int)n;
}

static int do_recv_block(struct io *io, struct io_op *op)
{
	uint8_t octet;
	ssize_t n;
	int err;

	if (!io_block_take(io, &op->block)) {
		n = recv(op->fd, &octet, 1, MSG_DONTWAIT | MSG_PEEK);
		return n > 0 ? -ENOBUFS : n == 0 ? 0 : -errno;
	}
	n = recv(op->fd, op->block.data, shortened(io->priv, io->limits.block_size), MSG_DONTWAIT);
	err = -errno;
	if (n <= 0)
		io_block_put(io, &op->block);
	return n < 0 ? err : (int)n;
}

static int do_send(struct io *io, struct io_op *op)
{
	size_t len = shortened(io->priv, op->len - op->moved);
	ssize_t n = send(op->fd, op->buf + op->moved, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	op->moved += (size_t)n;
	return op->moved < op->len ? -EAGAIN : (int)op->len;
}

static int attempt(struct io *io, struct io_op *op, int revents)
{
	switch ((enum io_kind)op->kind) {
	case IO_KIND_ACCEPT:
		return do_accept(io, op);
	case IO_KIND_CONNECT:
		return do_connect(op);
	case IO_KIND_RECV:
		return do_recv(io, op);
	case IO_KIND_RECV_BLOCK:
		return do_recv_block(io, op);
	case IO_KIND_SEND:
		return do_send(io, op);
	case IO_KIND_POLL:
		break;
	}
	return revents & POLLNVAL ? -EBADF : revents;
}

static void act(struct io *io, struct io_op *op, int revents)
{
	struct fake *f = io->priv;
	bool cancelled = op->flags & IO_OP_CANCEL;
	int res;

	if (chance(f, f->rates->delay)) {
		f->put_off = true;
		return;
	}
	if (cancelled && (!revents || chance(f, 50))) {
		io_finish(io, op, -ECANCELED);
		return;
	}
	if (!revents && !untried(op))
		return;
	op->flags |= OP_TRIED;
	if (chance(f, f->rates->fail))
		res = fault(f, op);
	else
		res = attempt(io, op, revents);
	if (res != -EAGAIN)
		io_finish(io, op, res);
	else
		f->put_off |= op->kind == IO_KIND_SEND || op->flags & IO_OP_CANCEL;
}

static short waits_for(const struct io_op *op)
{
	switch ((enum io_kind)op->kind) {
	case IO_KIND_ACCEPT:
	case IO_KIND_RECV:
	case IO_KIND_RECV_BLOCK:
		return POLLIN;
	case IO_KIND_CONNECT:
	case IO_KIND_SEND:
		return POLLOUT;
	case IO_KIND_POLL:
		break;
	}
	return (short)op->len;
}

/* Enters all operations, in an order of chance. True when one of them needs no event. */
static bool gather(struct fake *f, unsigned *count)
{
	bool at_once = f->put_off;
	struct list *pos, *tmp;
	unsigned n = 0;

	list_for_each (pos, tmp, &f->ops) {
		struct io_op *op = container_of(pos, struct io_op, link);
		unsigned at = fake_below(&f->random, n + 1);

		at_once |= op->flags & IO_OP_CANCEL || untried(op);
		f->wait[n] = f->wait[at];
		f->wait[at] = op;
		n++;
	}
	for (unsigned i = 0; i < n; i++) {
		struct io_op *op = f->wait[i];
		/* An unconnected socket says POLLHUP: not to be asked. */
		int fd = untried(op) ? -1 : op->fd;

		f->fds[i] = (struct pollfd){ .fd = fd, .events = waits_for(op) };
	}
	*count = n;
	return at_once;
}

static int fake_wait(struct io *io, int64_t wait_us)
{
	struct fake *f = io->priv;
	unsigned count;
	int64_t ms = wait_us < 0 ? -1 : (wait_us + 999) / 1000;

	if (gather(f, &count))
		ms = 0;
	f->put_off = false;
	if (poll(f->fds, count, ms > INT32_MAX ? INT32_MAX : (int)ms) < 0 && errno != EINTR)
		return -errno;
	io_tick(io);
	/* No operation here ends but by io_finish(), once: the table stays good through callbacks.
	 */
	for (unsigned i = 0; i < count; i++)
		act(io, f->wait[i], f->fds[i].revents);
	return 0;
}

const struct io_backend fake_backend = {
	.name = "fake",
	.open = fake_open,
	.shut = fake_shut,
	.submit = fake_submit,
	.cancel = fake_cancel,
	.forget = fake_forget,
	.wait = fake_wait,
};
