/* SPDX-License-Identifier: ISC */
/*
 * io: the engine. Completion semantics over io_uring or epoll (and, in tests, a seeded fake).
 *
 * An operation is a struct io_op inside its owner. Submitting it lends it, and the memory it names,
 * to the engine until its `done` is called; every submitted operation is completed exactly once
 * (io_accept() alone completes several times while op->more is set). `done` runs only inside
 * io_run(), never inside a submit call, so a submitter's invariants hold until it returns. A result
 * is a count of octets, 0 for end of stream, or -errno; -ECANCELED after io_cancel().
 *
 * It refuses to allocate after io_create(): when the kernel's or its own room is exhausted, the
 * operation completes with -ENOBUFS or -EAGAIN's cause. SIGPIPE never arises (MSG_NOSIGNAL; the
 * process ignores it for splice).
 *
 * A descriptor has at most one reading operation (accept, recv), one writing (connect, send) and
 * any number of polls at a time.
 *
 * Closing: io_close() only when no operation on that descriptor is in flight; cancel and await. A
 * descriptor that the engine has had to do with is closed that way, never by close(2): a backend
 * may keep notes on its number.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/list.h"

struct io;

enum io_engine { IO_ENGINE_AUTO, IO_ENGINE_URING, IO_ENGINE_EPOLL };

struct io_limits {
	unsigned ops;	      /* operations in flight at most, all kinds together */
	unsigned timers;      /* informative: timers are intrusive */
	unsigned block_size;  /* octets of one block for io_recv_block() */
	unsigned block_count; /* blocks in all */
};

/* A receive buffer that the engine lends; give it back with io_block_put(). */
struct io_block {
	uint8_t *data;
	uint16_t id; /* IO_BLOCK_FOREIGN: a layer has lent it (stream.h), until `done` returns */
};
#define IO_BLOCK_FOREIGN UINT16_MAX

struct io_op {
	void (*done)(struct io_op *op, int res);
	struct io_block block; /* io_recv_block(): set when res > 0 */
	bool more;	       /* io_accept(): another completion will follow this one */

	/* The engine's own from here on; zero before the first submit, not touched by owners. In
	 * this order there are no holes: an idle session has five of these. */
	bool active;
	uint8_t kind;
	int fd;
	uint32_t flags;
	int res;
	uint8_t *buf;
	size_t len;
	size_t moved;
	struct list link;
	union {
		const struct addr *addr;
		const char *path;
		struct addr *peer;
		void *other;
	};
};

/*
 * Creates an engine: IO_ENGINE_AUTO takes io_uring when the kernel lets this very process use all
 * that the engine needs, else epoll, and then *WHY (when not NULL) says in a few words what
 * io_uring lacked (static text). 0 or -errno; -EOPNOTSUPP when ENGINE names one that does not work
 * here.
 */
int io_create(struct io **io, enum io_engine engine, const struct io_limits *limits,
	      const char **why) __attribute__((warn_unused_result));
void io_destroy(struct io *io);
/* "io_uring", "epoll" or "fake". */
const char *io_name(const struct io *io);
/*
 * How many octets the kernel counts for IO against RLIMIT_MEMLOCK, where the rings of all processes
 * of a user are counted together. 0: none; kernels from before 6.14 or so, this process is allowed
 * to lock memory, or another engine. It tries: the process's soft limit is 0 meanwhile.
 */
uint64_t io_locked(const struct io *io);

/*
 * Accepts until cancelled or failed; res is a non-blocking, close-on-exec descriptor >= 0, and
 * *PEER, which must stay as long, its other end, known also where it is reset already. On an error
 * (-EMFILE, -ENFILE, -ENOBUFS, …) the operation is over (more == false): pause, submit again.
 *
 * SHARED: other processes accept on that socket too, and a connection is to wake one of them. Where
 * one was killed, it may have been that one for some time after its death (io_uring.c): whoever
 * shares looks into the queue now and then.
 */
void io_accept(struct io *io, struct io_op *op, int fd, struct addr *peer, bool shared);
/* Connects the non-blocking socket FD; ADDR must stay until completion. 0 or -errno. */
void io_connect(struct io *io, struct io_op *op, int fd, const struct addr *addr);
/* The same to the Unix socket at PATH (ADDR_PATH_MAX). Where its queue is full, it waits for room
 * there until it is cancelled, as TCP does. */
void io_connect_path(struct io *io, struct io_op *op, int fd, const char *path);
/* Receives at least 1 and at most LEN (> 0) octets into BUF. */
void io_recv(struct io *io, struct io_op *op, int fd, void *buf, size_t len);
/* Receives into a block chosen when octets arrive, so that a waiting session holds no memory.
 * -ENOBUFS when no block is free at that time (nothing is lost: submit again later). */
void io_recv_block(struct io *io, struct io_op *op, int fd);
void io_block_put(struct io *io, struct io_block *block);
/* How octets are sent. */
enum io_send_how {
	IO_SEND_MORE = 1, /* further octets follow at once (MSG_MORE) */
	IO_SEND_LAZY = 2, /* nobody waits for the completion: it may come with the next event of any
			     other operation or timer, and before its callback */
	IO_SEND_PARTS = 4, /* the socket may not be asked to take all at once (MSG_WAITALL) */
};
/* Sends all LEN (1 to INT32_MAX) octets, however many system calls it takes. LEN, or -errno with
 * op->moved octets sent before the fault. */
void io_send(struct io *io, struct io_op *op, int fd, const void *buf, size_t len, unsigned how);
/* Waits until one of EVENTS (POLLIN, POLLOUT, POLLRDHUP, …) holds; res is the set that holds. */
void io_poll(struct io *io, struct io_op *op, int fd, unsigned events);
/* OP was submitted, and its `done` was not called yet. */
static inline bool io_in_flight(const struct io_op *op)
{
	return op->active;
}
/* Asks for an early end of OP: it still completes once, with -ECANCELED or its own result. No
 * effect on an operation that is not active. */
void io_cancel(struct io *io, struct io_op *op);
void io_close(struct io *io, int fd);

/* Timers: coarse (never early, at most about 16 ms late), intrusive, any number. */
struct io_timer {
	struct list link;
	uint64_t due_ms;
	void (*fire)(struct io_timer *t);
};

void io_timer_init(struct io_timer *t, void (*fire)(struct io_timer *t));
/* Sets or moves the timer to AFTER_MS from io_now_ms(). */
void io_timer_set(struct io *io, struct io_timer *t, uint64_t after_ms);
void io_timer_stop(struct io *io, struct io_timer *t);

/* Work for the end of this turn of the loop, after all completions at hand have been delivered (so
 * that what they produced leaves together). Deferring a task twice in a turn runs it once. */
struct io_task {
	struct list link;
	void (*run)(struct io_task *t);
};

void io_task_init(struct io_task *t, void (*run)(struct io_task *t));
void io_defer(struct io *io, struct io_task *t);
void io_undefer(struct io_task *t);

/* CLOCK_MONOTONIC as of this turn of the loop. */
uint64_t io_now_ms(const struct io *io);
uint64_t io_now_us(const struct io *io);

/* Runs until io_stop(). 0 or -errno (a fault of the engine itself). */
int io_run(struct io *io) __attribute__((warn_unused_result));
/* One turn: waits at most WAIT_MS (-1: until something happens). */
int io_run_once(struct io *io, int wait_ms) __attribute__((warn_unused_result));
void io_stop(struct io *io);

#endif
