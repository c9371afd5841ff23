/* SPDX-License-Identifier: ISC */
/*
 * parting: the end of a connection to a destination that has a max=. Our close(2) is not yet the
 * destination's: until it has seen the end, a new connection would be one too many in its eyes. So
 * the connection is shut down, what comes is thrown away, and the place at the destination is free
 * when that has closed too, or after PARTING_MS.
 */
#ifndef UPSTREAM_PARTING_H
#define UPSTREAM_PARTING_H

#include "io/stream.h"
#include "runtime/context.h"

struct parting {
	struct context *ctx;
	struct io_op op;
	struct io_timer timer;
	struct stream stream;
	uint32_t place;
};

/* Takes over ST, on which no operation is in flight and which is none afterwards, and the seat
 * PLACE. */
void parting_begin(struct context *ctx, struct stream *st, uint32_t place);

#endif
