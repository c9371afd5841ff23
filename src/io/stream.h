/* SPDX-License-Identifier: ISC */
/*
 * stream: the one place that touches a connected socket of the mail. A stream is the octets that
 * two peers exchange: a TCP connection, or a connection over a Unix socket ("local").
 *
 * What waits is an operation of the engine, with its completion contract (io.h). What does not wait
 * asks the kernel at once. Nothing here is allocated, and no call costs more than the system call
 * that it stands for.
 *
 * Who owns a stream owns its descriptor. While no operation is in flight a stream may be moved
 * (stream_move()): it keeps nothing that points at itself.
 *
 * A local stream knows less of what has arrived. Its kernel counts the memory of what was not read,
 * and frees it when the peer's program has read all of it: so "all is acknowledged" means more than
 * with TCP, and how many octets are is not known. A peer that closes with octets unread frees them
 * too, and leaves a fault in their place, which the next operation takes: its owner says so by
 * stream_failed(). There is no clock of acknowledgements either: stream_timing() counts from its
 * own first look.
 *
 * A layer (struct stream_layer) can stand between a stream and its socket: TLS does (tls/conn.h).
 * Each function here asks for it first; without one, nothing is different. With one:
 *
 *   - Octets can wait inside of the layer, beside those in the kernel. stream_await() completes for
 *     them too, and stream_unread() counts them. An operation may take several of the engine's, so
 *     it is cancelled by stream_cancel() and not by io_cancel().
 *   - The kernel counts records, not the peers' octets. So nobody compares its queue with a number
 *     of octets: stream_acked() does that, with what the layer has seen leave.
 *   - A record can come that brings no octet (a session ticket). stream_await() may therefore
 *     complete in vain, with -EAGAIN from stream_take(). stream_silent() and stream_heard() take
 *     such a record in and go on calling the stream silent.
 *   - The end of what we say is a record (close_notify): stream_half_close().
 *   - Octets cannot be left in the kernel's queue and read: who wants that asks stream_can_peek()
 *     first. Nor can the kernel move them, but to a socket where it is the layer itself (from one
 *     it may lose some: tls/kernel.h): stream_can_splice().
 */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "io/io.h"
#include "io/pipe.h"

struct stream_layer;

struct stream {
	int fd;	       /* -1: none */
	uint32_t sent; /* octets since stream_mark(); 32 bits hold more than a kernel's queue */
	struct stream_layer *layer; /* which the stream owns; NULL: none */
	/* Of a local one. */
	uint32_t read_ms; /* when it was first seen that the peer has read all; 0: not yet */
	bool is_local;
	bool failed;
};

/* A stream over FD, a prepared socket (net.h), or over none: -1. */
static inline struct stream stream_of(int fd)
{
	return (struct stream){ .fd = fd };
}

/* The same over a Unix socket. */
static inline struct stream stream_of_local(int fd)
{
	return (struct stream){ .fd = fd, .is_local = true };
}

static inline bool stream_is_open(const struct stream *st)
{
	return st->fd >= 0;
}

/* Hands the stream over: FROM has none afterwards. */
static inline struct stream stream_move(struct stream *from)
{
	struct stream st = *from;

	*from = stream_of(-1);
	return st;
}

/* Makes a socket and begins to connect it to ADDR, which must stay until completion. 0, and OP is
 * in flight; or -errno, and there is neither. */
int stream_connect(struct io *io, struct stream *st, struct io_op *op, const struct addr *addr)
	__attribute__((warn_unused_result));
/* The same to the Unix socket at PATH. */
int stream_connect_path(struct io *io, struct stream *st, struct io_op *op, const char *path)
	__attribute__((warn_unused_result));
/* No operation is in flight. A stream that is none is left alone. */
void stream_close(struct io *io, struct stream *st);

/* ---- operations: see io.h ---- */

void stream_recv(struct io *io, struct stream *st, struct io_op *op, void *buf, size_t len);
/* The block is given back before `done` returns. */
void stream_recv_block(struct io *io, struct stream *st, struct io_op *op);
/* Waits until stream_take() would say something: octets, the end, a fault. */
void stream_await(struct io *io, struct stream *st, struct io_op *op);
/* HOW: enum io_send_how. */
void stream_send(struct io *io, struct stream *st, struct io_op *op, const void *buf, size_t len,
		 unsigned how);
void stream_cancel(struct io *io, struct stream *st, struct io_op *op);

/* Whether octets can be looked at and left where they are. */
static inline bool stream_can_peek(const struct stream *st)
{
	return !st->layer;
}

/* Whether the kernel can move octets from FROM to TO. */
bool stream_can_splice(const struct stream *from, const struct stream *to);
/* Moves COUNT octets: see io_splice_start(). It can. */
void stream_splice(struct io *io, struct io_splice *s, struct io_pipe *pipe, struct stream *from,
		   struct stream *to, uint64_t count);

/* ---- at once: what has come ---- */

/* Octets, at most LEN (> 0); 0 at the end; or -errno, which is -EAGAIN where none are here yet. */
ssize_t stream_take(struct stream *st, void *buf, size_t len) __attribute__((warn_unused_result));
/* The same, and they stay. Only where stream_can_peek(). */
ssize_t stream_peek(struct stream *st, void *buf, size_t len) __attribute__((warn_unused_result));
/* Throws away N octets that were looked at, or as many of them as are still here. */
void stream_skip(struct stream *st, size_t n);
/* How many octets are here and were not taken; where stream_can_splice() so many can be moved
 * without waiting. Or -errno. */
int stream_unread(const struct stream *st) __attribute__((warn_unused_result));
/* Nothing has come that was not taken: no octet, no end, no fault. */
bool stream_silent(struct stream *st) __attribute__((warn_unused_result));
/* Looks at N streams together. Those that are not silent come to the front of ST, in the order that
 * they had. How many. */
unsigned stream_heard(struct stream **st, unsigned n) __attribute__((warn_unused_result));
/* It is over in both directions, or has failed. What has come before can still be taken. */
bool stream_gone(const struct stream *st) __attribute__((warn_unused_result));

/* ---- at once: what was sent ---- */

/* Says a few octets where there is room for all of them. Nobody learns whether there was. */
void stream_say(struct stream *st, const void *octets, size_t n);
/* Of a stream whose octets are all acknowledged: stream_acked() knows from now on what is sent.
 * The owner of a stream_send() tells what became of it, RES, by stream_count(). Who asks for
 * STREAM_ACKED_ALL alone needs neither. */
void stream_mark(struct stream *st);
void stream_count(struct stream *st, int res);
/* Something was sent since stream_mark(), as far as stream_count() was told. */
static inline bool stream_has_sent(const struct stream *st)
{
	return st->sent > 0;
}

/* An operation has failed, otherwise than by being cancelled: what is not acknowledged until now
 * never is. */
void stream_failed(struct stream *st);

/* What the peer's kernel has acknowledged of the caller's octets; over a Unix socket, what its
 * program has read. */
enum stream_acked {
	STREAM_ACKED_ALL,  /* everything */
	STREAM_ACKED_SOME, /* not everything */
	/* Nothing of what was sent since stream_mark(), which is something. Never said of a local
	 * one: what was read of it cannot be told from nothing. */
	STREAM_ACKED_NONE,
};
/* One of these, or -errno, which is none of them. */
int stream_acked(const struct stream *st) __attribute__((warn_unused_result));

struct stream_timing {
	bool all_acked;	    /* as STREAM_ACKED_ALL */
	uint32_t quiet_ms;  /* since the peer's last acknowledgement, of whatever kind */
	uint32_t resend_us; /* after so long a peer like us sends again what was lost (RFC 6298) */
};

/* 0 or -errno. */
int stream_timing(struct io *io, struct stream *st, struct stream_timing *t)
	__attribute__((warn_unused_result));

/* ---- at once: ending ---- */

/* Tells the peer, through a layer, that no more comes (close_notify in TLS). Without a layer,
 * nothing is sent. The caller closes the stream next. */
void stream_goodbye(struct stream *st);
/* The same, and we say no more; the peer can go on. A peer that is gone already says so to who
 * receives. */
void stream_half_close(struct stream *st);
/* Nothing more is said, and nothing more comes: what has come already is received, then the end. */
void stream_cut(struct stream *st);

/* ---- layers ---- */

/* A layer's functions. Each stands in for the stream's function of the same name and keeps its
 * contract. A layer knows its own engine and descriptor. It begins an operation that it was given
 * by stream_op_begin(), and completes it by stream_op_end(), from within the engine's run only. */
struct stream_kind {
	void (*recv)(struct stream_layer *l, struct io_op *op, void *buf, size_t len);
	void (*recv_block)(struct stream_layer *l, struct io_op *op);
	void (*await)(struct stream_layer *l, struct io_op *op);
	void (*send)(struct stream_layer *l, struct io_op *op, const void *buf, size_t len,
		     unsigned how);
	void (*cancel)(struct stream_layer *l, struct io_op *op);
	ssize_t (*take)(struct stream_layer *l, void *buf, size_t len);
	int (*unread)(struct stream_layer *l);
	bool (*silent)(struct stream_layer *l);
	void (*say)(struct stream_layer *l, const void *octets, size_t n);
	/* Octets that the kernel was given so far: records, as the kernel counts them. */
	uint64_t (*sent)(const struct stream_layer *l);
	/* … behind the caller's last octet: the layer's own, which nobody else waits for. */
	uint64_t (*own)(const struct stream_layer *l);
	void (*half_close)(struct stream_layer *l);
	/* The layer is over, and its memory is given back. The socket stays. */
	void (*drop)(struct stream_layer *l);
};

struct stream_layer {
	const struct stream_kind *kind;
	uint64_t marked; /* sent() at stream_mark() */
	bool splices;	 /* the kernel can move octets to the socket */
};

/* L stands on ST's socket from now on. No operation is in flight, and nothing was read ahead. */
static inline void stream_put_on(struct stream *st, struct stream_layer *l)
{
	st->layer = l;
}

/* OP is in the hands of a layer: as if the engine had it. */
static inline void stream_op_begin(struct io_op *op)
{
	op->active = true;
	op->more = false;
	op->moved = 0;
}

static inline void stream_op_end(struct io_op *op, int res)
{
	op->active = false;
	op->done(op, res);
}

#endif
