/* SPDX-License-Identifier: ISC */
/*
 * parting: the end of a connection to a destination that has a max=. Our close(2) is not yet the
 * destination's: until it has seen the end, a new connection would be one too many in its eyes. So
 * the connection is shut down, what comes is thrown away, and the place at the destination is free
 * when that has closed too, or after PARTING_MS.
 */
#ifndef UPSTREAM_PARTING_H
#define UPSTREAM_PARTING_H

#include "runtime/context.h"

struct parting {
	struct context *ctx;
	struct io_op op;
	struct io_timer timer;
	uint32_t place;
	int fd;
};

/* Owns FD, a socket without an operation in flight, and the seat PLACE from here on. */
void parting_begin(struct context *ctx, int fd, uint32_t place);

#endif
