/* SPDX-License-Identifier: ISC */
/*
 * warm: see warm.h. A connection of the pool is in one of two ways:
 *
 *   idle   in its destination's list, the next to be taken last, with no operation in flight: one
 *          look at all every TICK_MS sees what came, and warm_take() looks once more
 *   busy   one operation at a time: connect, greeting, EHLO (HELO), or RSET. It keeps the version
 *          alive meanwhile
 *
 * Owns its descriptors and their seats. It fails by closing: the next session connects itself.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "route/busy.h"
#include "route/note.h"
#include "route/shared.h"
#include "upstream/learn.h"
#include "upstream/odd.h"
#include "upstream/parting.h"
#include "upstream/warm_inner.h"

#define TICK_MS		250
#define TICK_SEATED_MS	25 /* while seats are held that others may wait for */
#define PER_DESTINATION 32
#define IDLE_MS		30000
#define AGE_MS		300000
#define USES_MAX	100
#define RSET_MS		10000
#define WANTED_MS	100  /* a session that waits for a place asks every 50 ms */
#define LEARN_AGAIN_MS	2000 /* behind a balancer each connection may say something else */

/* ---- ending ---- */

/* POLITE: the destination is not to wonder why. */
static void close_line(struct warm *p, struct warm_line *l, bool polite)
{
	struct context *ctx = p->ctx;
	bool open = stream_is_open(&l->stream);

	if (open && polite)
		stream_say(&l->stream, smtp_hello_quit, strlen(smtp_hello_quit));
	if (open && l->has_place)
		parting_begin(ctx, &l->stream, l->place);
	else if (open)
		stream_close(ctx->io, &l->stream);
	else if (l->has_place)
		seats_release(warm_runtime(p)->seats, l->place);
	l->has_place = false;
}

static void forget(struct warm_conn *c)
{
	struct warm *p = c->pool;

	list_del(&c->link);
	p->at[c->line.dest].count--;
	p->idle--;
	pool_put(&p->ctx->warms, c);
}

static void retire(struct warm_conn *c, bool polite)
{
	close_line(c->pool, &c->line, polite);
	forget(c);
}

/* Something has come over an idle connection, its end perhaps. */
static void retire_heard(struct warm_conn *c)
{
	uint8_t said[DIALOG_ODD_MAX];
	ssize_t n = stream_take(&c->line.stream, said, sizeof(said));

	if (n > 0)
		odd_stray(c->pool->ctx, warm_runtime(c->pool), c->line.dest, NULL,
			  span_of(said, (size_t)n));
	retire(c, false);
}

/* A busy connection is over, or idle from now on. The pool may be gone afterwards. */
static void leave_busy(struct warm *p)
{
	context_version_put(p->ctx, p->version);
}

void warm_drop(struct warm_conn *c, bool polite)
{
	struct warm *p = c->pool;

	io_timer_stop(p->ctx->io, &c->timer);
	close_line(p, &c->line, polite);
	pool_put(&p->ctx->warms, c);
	leave_busy(p);
}

/* ---- what clients are offered ---- */

static bool eligible(const struct warm *p, unsigned dest)
{
	struct route_shared *s = warm_runtime(p)->route_shared;

	return route_up(s, dest) && !route_drained(s, dest);
}

/* It is busy, and is to be left alone for now. */
static bool is_resting(const struct warm *p, unsigned dest)
{
	return route_busy_rests(warm_runtime(p)->route_shared, dest, warm_now_ms(p));
}

/* What all eligible destinations offer that have answered; where none is eligible, all that have
 * ever answered: what is offered is no promise that there is one. */
void warm_make_offer(struct warm *p)
{
	unsigned count = warm_runtime(p)->route->count, found = 0;

	for (unsigned pass = 0; pass < 2 && !found; pass++)
		for (unsigned i = 0; i < count; i++) {
			if (!p->at[i].note || (pass == 0 && !eligible(p, i)))
				continue;
			if (found++)
				smtp_offer_meet(&p->offer, &p->at[i].offer);
			else
				p->offer = p->at[i].offer;
		}
}

const struct smtp_offer *warm_offer(const struct warm *p)
{
	return &p->offer;
}

/* ---- idle ---- */

/* Some session has just asked for a place at DEST. It asks again and again while it waits, so that
 * what it has asked for while nothing was idle counts too. */
static bool room_is_wanted(struct warm *p, unsigned dest)
{
	struct warm_known *k = &p->at[dest];
	uint32_t wanted = route_room_wanted(warm_runtime(p)->route_shared, dest);

	if (wanted != k->room_wanted) {
		k->room_wanted = wanted;
		k->wanted_until_ms = warm_now_ms(p) + WANTED_MS;
	}
	return warm_now_ms(p) < k->wanted_until_ms;
}

/* Places are for sessions where one waits, and for others where they become few. */
static bool may_hold_place(struct warm *p, const struct warm_line *l)
{
	return !l->has_place ||
	       (!room_is_wanted(p, l->dest) && !seats_places_are_few(warm_runtime(p)->seats));
}

/* It can do what its destination is known to do. (What it offers to a client may be for that client
 * alone.) */
static bool is_as_known(const struct warm *p, const struct warm_line *l)
{
	const struct warm_known *k = &p->at[l->dest];

	return !k->note || l->speaks_for.session.serial ||
	       (l->ext == k->offer.ext && l->size_max == k->offer.size_max &&
		memcmp(&l->mechanisms, &k->offer.login, sizeof(l->mechanisms)) == 0);
}

static bool is_over(struct warm *p, const struct warm_line *l)
{
	return p->ctx->draining || warm_now_ms(p) - l->born_ms >= AGE_MS ||
	       route_drained(warm_runtime(p)->route_shared, l->dest) || !may_hold_place(p, l);
}

static enum route_identity identity_of(const struct warm *p, unsigned dest)
{
	return warm_runtime(p)->route->destination[dest].identity;
}

/* Another client can have it one day. */
static bool is_for_others(const struct warm *p, const struct warm_line *l)
{
	enum route_identity identity = identity_of(p, l->dest);

	return identity == ROUTE_IDENTITY_XCLIENT ? l->xclient & SMTP_ATTRIBUTE_ADDR
						  : !route_identity_binds(identity);
}

static bool may_keep(struct warm *p, const struct warm_line *l)
{
	return p->running && p->at[l->dest].count < PER_DESTINATION && l->uses < USES_MAX &&
	       is_for_others(p, l) && !is_over(p, l);
}

static void keep(struct warm_conn *c)
{
	struct warm *p = c->pool;
	struct warm_known *k = &p->at[c->line.dest];

	c->idle_ms = warm_now_ms(p);
	/* One of before a change may turn away what another one would carry: it is taken last. */
	list_add_tail(is_as_known(p, &c->line) ? &k->idle : k->idle.next, &c->link);
	k->count++;
	p->idle++;
	/* Never later than it is due: others are given back sooner than that. */
	if (c->line.has_place && p->timer.due_ms > c->idle_ms + TICK_SEATED_MS)
		io_timer_set(p->ctx->io, &p->timer, TICK_SEATED_MS);
}

void warm_keep(struct warm_conn *c)
{
	struct warm *p = c->pool;

	io_timer_stop(p->ctx->io, &c->timer);
	if (!may_keep(p, &c->line)) {
		warm_drop(c, true);
		return;
	}
	keep(c);
	leave_busy(p);
}

static bool covers(const struct warm_line *l, const struct warm_need *need)
{
	return smtp_offer_covers(l->ext, l->size_max, need->ext, need->size) &&
	       (need->login.n == 0 || smtp_mechanisms_have(&l->mechanisms, need->login));
}

bool warm_speaks_for(const struct warm_line *l, const struct warm_client *c)
{
	return l->speaks_for.session.serial == c->session.serial &&
	       l->speaks_for.session.epoch_us == c->session.epoch_us &&
	       l->speaks_for.helo == c->helo;
}

/* OWN: the connection speaks for the client already. Any other one can be told to. */
static bool is_for(const struct warm *p, const struct warm_line *l, const struct warm_need *need,
		   bool own)
{
	if (identity_of(p, l->dest) != ROUTE_IDENTITY_XCLIENT)
		return true;
	return !own || warm_speaks_for(l, &need->client);
}

/* The next one that is of use, or NULL. OWN: it needs not be told of the client. */
static struct warm_conn *idle_for(struct warm *p, unsigned dest, const struct warm_need *need,
				  bool own)
{
	struct list *pos = p->at[dest].idle.prev;

	while (pos != &p->at[dest].idle) {
		struct warm_conn *c = container_of(pos, struct warm_conn, link);

		pos = pos->prev;
		if (!covers(&c->line, need) || !is_for(p, &c->line, need, own))
			continue; /* a new one may do, and this one for others */
		if (stream_silent(&c->line.stream))
			return c;
		retire_heard(c);
	}
	return NULL;
}

bool warm_take(struct warm *p, unsigned dest, uint32_t seat, const struct warm_need *need,
	       struct warm_line *line)
{
	struct warm_conn *c = idle_for(p, dest, need, true);
	struct seats *seats = warm_runtime(p)->seats;

	if (!c && identity_of(p, dest) == ROUTE_IDENTITY_XCLIENT)
		c = idle_for(p, dest, need, false);
	if (!c)
		return false;
	*line = c->line;
	forget(c);
	if (line->has_place)
		seats_take_over(seats, seat, line->place);
	else
		CHECK(seats_at_destination(seats, seat, warm_runtime(p)->slot[dest], 0));
	line->has_place = false;
	return true;
}

static void out_of_time(struct io_timer *t)
{
	struct warm_conn *c = container_of(t, struct warm_conn, timer);

	stream_cancel(c->pool->ctx->io, &c->line.stream, &c->op);
}

struct warm_conn *warm_conn_new(struct warm *p, const struct warm_line *line)
{
	struct warm_conn *c = pool_get(&p->ctx->warms);

	if (!c)
		return NULL;
	memset(c, 0, offsetof(struct warm_conn, hello));
	c->pool = p;
	c->line = *line;
	list_init(&c->link);
	io_timer_init(&c->timer, out_of_time);
	p->version->users++;
	return c;
}

/* ---- given back ---- */

static void reset_done(struct warm_conn *c, enum smtp_hello_result how)
{
	if (how == SMTP_HELLO_GOOD)
		warm_keep(c);
	else
		warm_drop(c, false);
}

void warm_give(struct warm *p, struct warm_line *line, bool begun)
{
	struct route_shared *s = warm_runtime(p)->route_shared;
	struct warm_line own = *line;
	struct warm_conn *c;

	line->stream = stream_of(-1);
	/* It does not say what we were told ahead: learn anew. */
	if (!is_as_known(p, &own))
		route_note_next(s, own.dest, route_note_since(s, own.dest) + LEARN_AGAIN_MS);
	c = may_keep(p, &own) ? warm_conn_new(p, &own) : NULL;
	if (!c) {
		close_line(p, &own, true);
		return;
	}
	if (begun) {
		smtp_hello_begin(&c->hello, SMTP_HELLO_RSET, NULL);
		warm_ask(c, RSET_MS, reset_done);
	} else {
		warm_keep(c);
	}
}

static bool knows(const struct warm *p)
{
	for (unsigned i = 0; i < warm_runtime(p)->route->count; i++)
		if (p->at[i].note)
			return true;
	return false;
}

/* All that any worker has learnt. */
static void see_all(struct warm *p)
{
	for (unsigned i = 0; i < warm_runtime(p)->route->count; i++)
		warm_see(p, i);
	warm_make_offer(p);
}

enum warm_knowledge warm_knowledge(struct warm *p, uint64_t since_ms)
{
	struct route_shared *s = warm_runtime(p)->route_shared;
	enum warm_knowledge answer = WARM_HOPELESS;

	if (knows(p))
		return WARM_KNOWS;
	see_all(p);
	if (knows(p))
		return WARM_KNOWS;
	for (unsigned i = 0; i < warm_runtime(p)->route->count; i++) {
		if (route_drained(s, i))
			continue;
		warm_learn(p, i, since_ms);
		if (route_note_since(s, i) < since_ms || route_note_awaited(s, i, warm_now_ms(p)))
			answer = WARM_LEARNS;
	}
	return answer;
}

/* ---- the tick ---- */

/* Retires those over which anything has come. */
static void look(struct warm *p)
{
	struct stream *st[WARM_MAX];
	struct list *pos, *tmp;
	unsigned n = 0;

	for (unsigned i = 0; i < warm_runtime(p)->route->count && p->idle > n; i++)
		list_for_each (pos, tmp, &p->at[i].idle)
			st[n++] = &container_of(pos, struct warm_conn, link)->line.stream;
	n = stream_heard(st, n);
	for (unsigned i = 0; i < n; i++)
		retire_heard(container_of(st[i], struct warm_conn, line.stream));
}

/* Retires those that are to be no more. */
static void weed(struct warm *p, unsigned dest)
{
	struct list *pos, *tmp;

	list_for_each (pos, tmp, &p->at[dest].idle) {
		struct warm_conn *c = container_of(pos, struct warm_conn, link);

		if (warm_now_ms(p) - c->idle_ms >= IDLE_MS || is_over(p, &c->line))
			retire(c, true);
	}
}

static void on_tick(struct io_timer *t)
{
	struct warm *p = container_of(t, struct warm, timer);
	bool seated = false;

	look(p);
	for (unsigned i = 0; i < warm_runtime(p)->route->count; i++) {
		struct warm_known *k = &p->at[i];

		weed(p, i);
		seated = seated || (k->count && warm_runtime(p)->route->destination[i].max > 0);
		if (!p->ctx->draining && eligible(p, i) && !is_resting(p, i))
			warm_learn(p, i, 0);
	}
	see_all(p);
	io_timer_set(p->ctx->io, &p->timer, seated ? TICK_SEATED_MS : TICK_MS);
}

/* ---- life ---- */

int warm_pool(struct pool *pool)
{
	return pool_init(pool, sizeof(struct warm_conn), WARM_MAX);
}

int warm_make(struct warm **made, struct context *ctx, struct context_version *v)
{
	struct warm *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->ctx = ctx;
	p->version = v;
	io_timer_init(&p->timer, on_tick);
	for (unsigned i = 0; i < DESTINATIONS_MAX; i++)
		list_init(&p->at[i].idle);
	*made = p;
	return 0;
}

void warm_begin(struct warm *p)
{
	p->running = true;
	on_tick(&p->timer);
}

void warm_end(struct warm *p)
{
	struct list *pos, *tmp;

	p->running = false;
	io_timer_stop(p->ctx->io, &p->timer);
	for (unsigned i = 0; i < DESTINATIONS_MAX; i++)
		list_for_each (pos, tmp, &p->at[i].idle)
			retire(container_of(pos, struct warm_conn, link), true);
}

void warm_free(struct warm *p)
{
	CHECK(!p || (!p->running && p->idle == 0));
	free(p);
}
