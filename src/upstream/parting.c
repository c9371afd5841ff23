/* SPDX-License-Identifier: ISC */
/* parting: see parting.h. What cannot be waited for, for want of memory, ends at once. */
#include "upstream/parting.h"

#include <sys/socket.h>

/* What comes is not looked at, so all of them may write into it. */
static uint8_t thrown_away[16384];

static void received(struct io_op *op, int res)
{
	struct parting *p = container_of(op, struct parting, op);
	struct context *ctx = p->ctx;

	if (res > 0) {
		io_recv(ctx->io, op, p->fd, thrown_away, sizeof(thrown_away));
		return;
	}
	io_timer_stop(ctx->io, &p->timer);
	io_close(ctx->io, p->fd);
	seats_release(ctx->rt->seats, p->place);
	pool_put(&ctx->partings, p);
}

static void out_of_time(struct io_timer *t)
{
	struct parting *p = container_of(t, struct parting, timer);

	io_cancel(p->ctx->io, &p->op);
}

void parting_begin(struct context *ctx, int fd, uint32_t place)
{
	struct parting *p = pool_get(&ctx->partings);

	if (!p) {
		io_close(ctx->io, fd);
		seats_release(ctx->rt->seats, place);
		return;
	}
	*p = (struct parting){ .ctx = ctx, .fd = fd, .place = place };
	p->op.done = received;
	io_timer_init(&p->timer, out_of_time);
	io_timer_set(ctx->io, &p->timer, PARTING_MS);
	shutdown(fd, SHUT_WR); /* fails only where the destination is gone: recv says so */
	io_recv(ctx->io, &p->op, fd, thrown_away, sizeof(thrown_away));
}
