/* SPDX-License-Identifier: ISC */
/* queue: see queue.h. */
#include "io/queue.h"

#include <errno.h>
#include <string.h>

#include "io/net.h"

#define QUEUE_MS 16 /* a step or two of the timers: what waits is to be served soon */
/* Connections that find no room, of one try: there may be thousands, at sockets that all are full.
 * They come round in turn. */
#define QUEUE_TRIES 64

/* It is over, with RES: the loop says so, as of what was refused. */
static void over(struct io *io, struct io_op *op, int res)
{
	op->res = res;
	list_add_tail(&io->refused, &op->link);
}

/* False: there is no room. */
static bool try(struct io *io, struct io_op *op)
{
	int res = net_connect_path(op->fd, op->path);

	if (res == -EAGAIN)
		return false;
	over(io, op, res);
	return true;
}

static void wait_again(struct io *io)
{
	if (list_linked(&io->queued) && !list_linked(&io->queue_timer.link))
		io_timer_set(io, &io->queue_timer, QUEUE_MS);
}

/* Those that were not tried come before those that were. */
static void try_again(struct io_timer *t)
{
	struct io *io = container_of(t, struct io, queue_timer);
	struct list batch, full;
	unsigned tries = 0;

	list_init(&full);
	list_take(&batch, &io->queued);
	while (list_linked(&batch)) {
		struct io_op *op = container_of(batch.next, struct io_op, link);

		list_del(&op->link);
		if (tries == QUEUE_TRIES)
			list_add_tail(&io->queued, &op->link);
		else if (!try(io, op)) {
			list_add_tail(&full, &op->link);
			tries++;
		}
	}
	while (list_linked(&full)) {
		struct list *op = full.next;

		list_del(op);
		list_add_tail(&io->queued, op);
	}
	wait_again(io);
}

void io_queue_init(struct io *io)
{
	list_init(&io->queued);
	io_timer_init(&io->queue_timer, try_again);
}

/* Whoever waits there already comes first. Of those that wait the first one's word is enough, where
 * there is one such socket. */
static bool others_wait(struct io *io, const char *path)
{
	return list_linked(&io->queued) &&
	       strcmp(container_of(io->queued.next, struct io_op, link)->path, path) == 0;
}

void io_queue_submit(struct io *io, struct io_op *op)
{
	if (others_wait(io, op->path) || !try(io, op))
		list_add_tail(&io->queued, &op->link);
	wait_again(io);
}

void io_queue_cancel(struct io *io, struct io_op *op)
{
	list_del(&op->link);
	over(io, op, -ECANCELED);
}
