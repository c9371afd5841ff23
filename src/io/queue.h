/* SPDX-License-Identifier: ISC */
/*
 * queue: connecting to Unix sockets, for all backends. connect(2) to one ends at once: with a
 * connection, which waits in the listener's queue until it is accepted, with a fault, or with
 * EAGAIN where that queue is full, and nothing tells when it no longer is (unix(7)). So it is made
 * at once, when the operation is submitted, and tried again every QUEUE_MS where the queue is full.
 */
#ifndef IO_QUEUE_H
#define IO_QUEUE_H

#include "io/inner.h"

void io_queue_init(struct io *io);
/* OP is in no list: it is over soon, or waits. */
void io_queue_submit(struct io *io, struct io_op *op);
void io_queue_cancel(struct io *io, struct io_op *op);

#endif
