/* SPDX-License-Identifier: ISC */
/*
 * pipe: pipes for splice(2), pooled per worker. One is taken only while a body moves, and never
 * handed out again unless it is empty. When none can be had, or the kernel gave it less than
 * PIPE_WANTED (pipe-user-pages-soft), the caller copies instead.
 */
#ifndef IO_PIPE_H
#define IO_PIPE_H

#include <stddef.h>
#include <stdint.h>

#include "io/io.h"

#define PIPE_WANTED (256 * 1024)

struct io_pipe {
	int rd, wr;
	uint32_t size;	 /* octets that it holds */
	uint32_t filled; /* octets in it now */
	struct io_pipe *next;
};

struct io_pipes {
	struct io_pipe *all, *free;
	unsigned count, made;
};

int io_pipes_init(struct io_pipes *p, unsigned count) __attribute__((warn_unused_result));
void io_pipes_destroy(struct io_pipes *p);
/* A pipe of at least 64 KiB, or NULL. */
struct io_pipe *io_pipe_get(struct io_pipes *p);
/* One that is not empty is closed and made anew on its next use. */
void io_pipe_put(struct io_pipes *p, struct io_pipe *pipe);

/*
 * Counted splice: moves exactly COUNT octets from socket FROM to socket TO through PIPE, waiting on
 * either side as needed (invariant 1: where octets are counted no look is needed; for DATA only
 * what a scan has counted is given here). `done` is called once, from the loop: COUNT moved -> 0;
 * otherwise -errno with `moved` octets already at TO, `in_pipe` taken from FROM and not delivered,
 * and `side` telling which side failed. FROM's end of stream is -ENODATA. An urgent mark that stops
 * splice(2) is -ESTRPIPE: nothing is lost, the caller goes on with recv(2) behind `moved`.
 */
struct io_splice {
	void (*done)(struct io_splice *s, int res);
	uint64_t count, moved;
	uint32_t in_pipe;
	enum { IO_SPLICE_FROM, IO_SPLICE_TO } side;

	/* The mover's own. */
	struct io *io;
	struct io_pipe *pipe;
	int from, to;
	struct io_op op;
	bool cancelled;
	struct io_task task;
};

void io_splice_start(struct io *io, struct io_splice *s, struct io_pipe *pipe, int from, int to,
		     uint64_t count);
/* `done` follows with -ECANCELED (or its own result). */
void io_splice_cancel(struct io_splice *s);

#endif
