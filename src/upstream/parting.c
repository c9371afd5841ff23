/* SPDX-License-Identifier: ISC */
/* parting: see parting.h. What cannot be waited for, for want of memory, ends at once. */
#include "upstream/parting.h"

/* What comes is not looked at, so all of them may write into it. */
static uint8_t thrown_away[16384];

static void received(struct io_op *op, int res)
{
	struct parting *p = container_of(op, struct parting, op);
	struct context *ctx = p->ctx;

	if (res > 0) {
		stream_recv(ctx->io, &p->stream, op, thrown_away, sizeof(thrown_away));
		return;
	}
	io_timer_stop(ctx->io, &p->timer);
	stream_close(ctx->io, &p->stream);
	seats_release(ctx->rt->seats, p->place);
	pool_put(&ctx->partings, p);
}

static void out_of_time(struct io_timer *t)
{
	struct parting *p = container_of(t, struct parting, timer);

	stream_cancel(p->ctx->io, &p->stream, &p->op);
}

void parting_begin(struct context *ctx, struct stream *st, uint32_t place)
{
	struct parting *p = pool_get(&ctx->partings);

	if (!p) {
		stream_close(ctx->io, st);
		seats_release(ctx->rt->seats, place);
		return;
	}
	*p = (struct parting){ .ctx = ctx, .stream = stream_move(st), .place = place };
	p->op.done = received;
	io_timer_init(&p->timer, out_of_time);
	io_timer_set(ctx->io, &p->timer, PARTING_MS);
	stream_half_close(&p->stream);
	stream_recv(ctx->io, &p->stream, &p->op, thrown_away, sizeof(thrown_away));
}
