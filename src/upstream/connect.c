/* SPDX-License-Identifier: ISC */
/* connect: see connect.h. */
#include "upstream/connect.h"

#include <errno.h>
#include <string.h>

#include "base/diag.h"
#include "route/parse.h"
#include "route/shared.h"
#include "upstream/greeting.h"
#include "upstream/present.h"
#include "upstream/secure.h"
#include "upstream/talk.h"

const char connect_insecure[] = "no TLS: see the fault destination-tls";
const char connect_unidentified[] = "no identity of clients: see the fault identity";

static bool is_reached(int res)
{
	return res >= 0 || res == -ECONNRESET || res == -EPIPE;
}

static bool lacks_means(int res)
{
	return res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM;
}

/* The destination of C is spoken to by TLS. */
static bool is_secured(const struct connect *c)
{
	return !c->alone && c->version->peers[c->dest];
}

/* Whether a client has a part, perhaps, in what the destination said. By a header it knows the
 * client before all else. */
static bool is_of_client(const struct connect *c)
{
	return c->is_of_client || (c->identity && present_by_header(c));
}

/* It is there, and not of use: WHY. A visit judges that itself: health.c. */
static void record_useless(struct connect *c, const char *why)
{
	if (c->purpose == CONNECT_MAIL && !is_of_client(c))
		greeting_record_bad(c->ctx, c->rt, c->dest, c->search.began_ms, why);
}

/* C may be gone afterwards. */
static void over(struct connect *c, enum connect_result how)
{
	struct pool *pool = &c->ctx->talks;
	struct talk *talk = c->talk;

	c->under_way = false;
	c->talk = NULL;
	if (c->cancelled)
		how = CONNECT_CANCELLED;
	if (is_secured(c) && (how == CONNECT_REACHED || how == CONNECT_INSECURE))
		route_note_insecure(c->rt->route_shared, c->dest, how == CONNECT_INSECURE);
	if (how == CONNECT_UNIDENTIFIED)
		route_note_unidentified(c->rt->route_shared, c->dest, true);
	if (how == CONNECT_INSECURE)
		record_useless(c, connect_insecure);
	else if (how == CONNECT_UNIDENTIFIED)
		record_useless(c, connect_unidentified);
	if (how == CONNECT_FAILED || how == CONNECT_NO_MEANS)
		stream_close(c->ctx->io, &c->stream);
	c->done(c, how);
	pool_put(pool, talk);
}

/* ---- what comes between the connection and its use ---- */

static void next_stage(struct connect *c);

static void failed(struct connect *c, int error);

static void stage_done(struct connect *c, enum connect_result how)
{
	if (c->cancelled)
		over(c, CONNECT_CANCELLED);
	else if (how == CONNECT_REACHED)
		next_stage(c);
	else if (how == CONNECT_FAILED)
		failed(c, -ETIMEDOUT);
	else
		over(c, how);
}

static bool speaks_for_client(const struct connect *c)
{
	return !c->alone && present_by_command(c);
}

static const struct {
	bool (*wanted)(const struct connect *c);
	void (*begin)(struct connect *c, void (*done)(struct connect *c, enum connect_result how));
} stages[] = {
	{ present_by_header, present_header },
	{ is_secured, secure_begin },
	{ speaks_for_client, present_client },
};

#define STAGES (sizeof(stages) / sizeof(stages[0]))

static void next_stage(struct connect *c)
{
	while (c->stage < STAGES && !stages[c->stage].wanted(c))
		c->stage++;
	if (c->stage == STAGES) {
		over(c, CONNECT_REACHED);
		return;
	}
	if (!c->talk)
		c->talk = talk_new(c);
	if (c->talk)
		stages[c->stage++].begin(c, stage_done);
	else
		over(c, CONNECT_NO_MEANS);
}

static void reached(struct connect *c)
{
	struct route_shared *s = c->rt->route_shared;
	uint64_t now = io_now_ms(c->ctx->io);
	bool is_back = c->purpose == CONNECT_MAIL ? route_connected(s, c->dest, now)
						  : route_came_back(s, c->dest, &c->addr, now);

	if (is_back)
		context_destination_record(c->ctx, c->rt, c->dest, ROUTE_UP, "connected");
	c->stage = 0;
	next_stage(c);
}

static void failed(struct connect *c, int error)
{
	if (lacks_means(error)) {
		over(c, CONNECT_NO_MEANS);
		return;
	}
	if (c->purpose != CONNECT_TRY &&
	    route_failed(c->rt->route_shared, &c->search, c->dest, io_now_ms(c->ctx->io)))
		context_destination_record(c->ctx, c->rt, c->dest, ROUTE_DOWN, strerror(-error));
	over(c, CONNECT_FAILED);
}

static void connected(struct io_op *op, int res)
{
	struct connect *c = container_of(op, struct connect, op);

	io_timer_stop(c->ctx->io, &c->timer);
	if (c->cancelled)
		over(c, CONNECT_CANCELLED);
	else if (is_reached(res))
		reached(c);
	else
		failed(c, res == -ECANCELED ? -ETIMEDOUT : res);
}

static void out_of_time(struct io_timer *t)
{
	connect_expire(container_of(t, struct connect, timer));
}

int connect_pool(struct pool *pool, unsigned count)
{
	return pool_init(pool, sizeof(struct talk), count);
}

void connect_init(struct connect *c, struct context *ctx, const struct context_version *version,
		  enum connect_purpose purpose,
		  void (*done)(struct connect *c, enum connect_result how))
{
	*c = (struct connect){
		.ctx = ctx,
		.version = version,
		.rt = &version->rt,
		.done = done,
		.purpose = purpose,
		.stream = stream_of(-1),
	};
	io_timer_init(&c->timer, out_of_time);
}

bool connect_first(struct connect *c, unsigned dest)
{
	struct route_shared *s = c->rt->route_shared;

	c->dest = dest;
	if (c->purpose == CONNECT_TRY)
		return route_try(s, dest, &c->addr);
	return route_check_begin(s, &c->search, dest, io_now_ms(c->ctx->io), &c->addr);
}

bool connect_next(struct connect *c)
{
	return c->purpose != CONNECT_TRY &&
	       route_check_next(c->rt->route_shared, &c->search, &c->addr);
}

static int begin(struct connect *c)
{
	struct io *io = c->ctx->io;

	if (c->addr.family == ADDR_UNIX)
		return stream_connect_path(io, &c->stream, &c->op,
					   route_path(c->rt->route->destination[c->dest].name));
	return stream_connect(io, &c->stream, &c->op, &c->addr);
}

void connect_to(struct connect *c, uint64_t ms)
{
	struct io *io = c->ctx->io;
	int res;

	CHECK(!c->under_way && !stream_is_open(&c->stream));
	c->op.done = connected;
	c->said = span_of(NULL, 0);
	c->cancelled = c->presented = c->is_of_client = false;
	c->offer = NULL;
	res = begin(c);
	if (res < 0) {
		failed(c, res);
		return;
	}
	c->under_way = true;
	c->began_us = io_now_us(io);
	io_timer_set(io, &c->timer, ms);
}

void connect_again(struct connect *c, struct stream *st, unsigned dest, uint32_t xclient)
{
	CHECK(!c->under_way && c->identity);
	c->dest = dest;
	c->stream = stream_move(st);
	c->said = span_of(NULL, 0);
	c->cancelled = c->presented = c->is_of_client = false;
	c->offer = NULL;
	c->xclient = xclient;
	c->under_way = true;
	c->talk = talk_new(c);
	if (c->talk)
		present_again(c, over);
	else
		over(c, CONNECT_STALE);
}

void connect_cancel(struct connect *c)
{
	c->cancelled = true;
	connect_expire(c);
}

void connect_expire(struct connect *c)
{
	if (c->under_way)
		stream_cancel(c->ctx->io, &c->stream, &c->op);
}

bool connect_place(struct context *ctx, const struct runtime *rt, unsigned dest, bool *has_place,
		   uint32_t *place)
{
	unsigned max = rt->route->destination[dest].max;

	*has_place = max > 0 && seats_place(rt->seats, ctx->slot, rt->slot[dest], max, place);
	return max == 0 || *has_place;
}
