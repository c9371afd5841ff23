/* SPDX-License-Identifier: ISC */
/*
 * inner: what the parts of the engine share: the engine itself, the table that a backend fills
 * in, and the timing wheel. Nobody outside src/io and the engine's tests includes it.
 *
 * A backend takes operations by submit(), never calls `done` there, and finishes each with
 * io_finish() from within wait(). An operation belongs to the backend from submit() to io_finish(),
 * op->link included. A callback may submit, cancel and free what it was called for, so that a
 * backend touches no operation after io_finish() and no list node that it did not look up again.
 */
#ifndef IO_INNER_H
#define IO_INNER_H

#include "io/io.h"

enum io_kind {
	IO_KIND_ACCEPT = 1,
	IO_KIND_CONNECT,
	IO_KIND_RECV,
	IO_KIND_RECV_BLOCK,
	IO_KIND_SEND,
	IO_KIND_POLL, /* op->len holds the events */
};

/* op->flags: the low half is common, the upper half the backend's own. */
#define IO_OP_CANCEL  0x0001u /* io_cancel() was called */
#define IO_OP_MORE    0x0002u /* send: MSG_MORE */
#define IO_OP_REFUSED 0x0004u /* never reached the backend */
#define IO_OP_LAZY    0x0008u /* send: IO_SEND_LAZY */
#define IO_OP_SHARED  0x0010u /* accept: others accept there too */
#define IO_OP_PARTS   0x0040u /* send: IO_SEND_PARTS */
#define IO_OP_PATH    0x0020u /* connect: to a Unix socket; the backend never hears of it */
#define IO_OP_BACKEND 0x10000u

/* A descriptor may have one reading and one writing operation, and any number of polls. */
struct io_fd {
	bool reading, writing;
	bool unread; /* the last receive left octets in the socket, as far as is known */
	uint16_t polls;
};

#define WHEEL_TICK_MS 8
#define WHEEL_LEVELS  4
#define WHEEL_SLOTS   64

struct io_wheel {
	uint64_t tick;		     /* all ticks up to this one have been handled */
	uint64_t used[WHEEL_LEVELS]; /* a bit is clear only where the slot is empty */
	struct list slot[WHEEL_LEVELS][WHEEL_SLOTS];
};

void io_wheel_init(struct io_wheel *w, uint64_t now_ms);
void io_wheel_add(struct io_wheel *w, struct io_timer *t);
/* When the wheel next has work, in ms of its clock; UINT64_MAX when it holds no timer. */
uint64_t io_wheel_next_ms(struct io_wheel *w);
/* Fires all timers that are due. */
void io_wheel_run(struct io_wheel *w, uint64_t now_ms);

struct io_backend {
	const char *name;
	/* Makes io->priv. 0, or -errno with *WHY set to what is lacking (static text). */
	int (*open)(struct io *io, const char **why);
	void (*shut)(struct io *io);
	/* io_locked(). NULL: none. */
	uint64_t (*locked)(const struct io *io);
	void (*submit)(struct io *io, struct io_op *op);
	/* Called once for an operation at most; io_finish() still follows. */
	void (*cancel)(struct io *io, struct io_op *op);
	/* FD is about to be closed; no operation is on it. */
	void (*forget)(struct io *io, int fd);
	/* Waits at most WAIT_US (-1: without end) and finishes what is over. 0 or -errno. */
	int (*wait)(struct io *io, int64_t wait_us);
};

struct io {
	const struct io_backend *backend;
	void *priv; /* the backend's */
	void *arg;  /* io_create_with()'s, for the backend */
	struct io_limits limits;
	unsigned in_flight;
	bool running, stop;
	uint64_t now_us;
	struct list refused; /* operations that are over before the backend saw them */
	struct list queued;  /* connections that wait for room at a Unix socket, the oldest first */
	struct io_timer queue_timer; /* … and when they are tried again */
	struct list tasks;
	struct io_wheel wheel;
	struct io_fd *fds;
	unsigned fd_count;
	uint8_t *blocks;
	size_t block_stride;
	uint16_t *block_stack; /* free blocks, the warmest on top */
	unsigned blocks_free;
};

extern const struct io_backend io_backend_uring, io_backend_epoll;

/* The io_uring backend's `arg`, for tests: makes do without what old kernels lack. */
struct io_uring_less {
	bool setup_flags, cqe_skip;
};

/* An engine over BACKEND, which finds ARG in io->arg: one of ours without an ARG, or a test's. */
int io_create_with(struct io **out, const struct io_backend *backend,
		   const struct io_limits *limits, void *arg, const char **why)
	__attribute__((warn_unused_result));

/* Reads the clock for io_now_*(); a backend calls it when its wait is over. */
void io_tick(struct io *io);
/* The operation's last completion; it is the owner's again (and may be gone) afterwards. */
void io_finish(struct io *io, struct io_op *op, int res);
/* A completion of io_accept() that is not the last. */
void io_report(struct io_op *op, int res);
/* True for an accept that failed for the sake of one connection: the next one may well succeed. */
bool io_accept_goes_on(int err);

/* A free block into *BLOCK; false when there is none. */
bool io_block_take(struct io *io, struct io_block *block);
struct io_block io_block_at(const struct io *io, uint16_t id);

/* Memory that costs nothing until it is touched; NULL when the address space has no room. */
void *io_map(size_t count, size_t size);
void io_unmap(void *p, size_t count, size_t size);

#endif
