/* SPDX-License-Identifier: ISC */
/*
 * warm: see warm.h. A connection of the pool is in one of two ways:
 *
 *   idle   in its destination's list, the youngest last, with no operation in flight: a look at all
 *          of them with one poll(2) every TICK_MS sees what came, and warm_take() looks once more
 *   busy   one operation at a time: connect, greeting, EHLO (HELO), or RSET. It keeps the version
 *          alive meanwhile
 *
 * Owns its descriptors and their seats. It fails by closing: the next session connects itself.
 */
#include "proxy/warm.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/diag.h"
#include "io/net.h"
#include "proxy/health.h"
#include "proxy/parting.h"

#define TICK_MS		250
#define TICK_SEATED_MS	25 /* while seats are held that others may wait for */
#define PER_DESTINATION 32
#define IDLE_MS		30000
#define AGE_MS		300000
#define USES_MAX	100
#define LEARN_MS	60000
#define RSET_MS		10000

static const uint16_t pauses_ms[] = { 500, 1000, 2000, 4000, 5000 };

#define LAST_PAUSE (sizeof(pauses_ms) / sizeof(pauses_ms[0]) - 1)

static const char quit[] = "QUIT\r\n";
static const char rset[] = "RSET\r\n";

struct conn {
	struct list link; /* of the idle ones of its destination */
	struct warm *pool;
	struct warm_line line;
	struct io_op op;
	struct io_timer timer;
	struct route_search search;
	uint64_t idle_ms; /* since when it is idle */
	void (*replied)(struct conn *c, const struct smtp_reply *reply);
	struct buf in;
	char say[DIALOG_NAME_MAX + 16];
	uint8_t mem[SMTP_REPLY_MAX];
};

struct known {
	struct list idle;
	unsigned count;
	uint32_t room_wanted; /* route_room_wanted() when it was last looked at */
	struct smtp_offer offer;
	bool known, learning;
	uint64_t tried_ms; /* when the last attempt to learn ended, 0: never */
	uint8_t pause;
	uint64_t learn_ms; /* when it is to be asked again */
};

struct warm {
	struct worker *worker;
	struct worker_version *version;
	struct io_timer timer;
	unsigned idle;
	bool running;
	struct smtp_offer offer;
	struct known at[ROUTE_MAX];
};

static const struct runtime *runtime_of(const struct warm *p)
{
	return &p->version->rt;
}

static uint64_t now_ms(const struct warm *p)
{
	return io_now_ms(p->worker->io);
}

static unsigned max_at(const struct warm *p, unsigned dest)
{
	return runtime_of(p)->route->destination[dest].max;
}

/* ---- ending ---- */

/* Closes a connection; POLITE: it is not to wonder why. */
static void close_line(struct warm *p, struct warm_line *l, bool polite)
{
	struct worker *w = p->worker;

	if (l->fd >= 0 && polite)
		(void)!send(l->fd, quit, sizeof(quit) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (l->fd >= 0 && l->has_place)
		parting_begin(w, l->fd, l->place);
	else if (l->fd >= 0)
		io_close(w->io, l->fd);
	else if (l->has_place)
		seats_release(runtime_of(p)->seats, l->place);
	l->fd = -1;
	l->has_place = false;
}

static void forget(struct conn *c)
{
	struct warm *p = c->pool;

	list_del(&c->link);
	p->at[c->line.dest].count--;
	p->idle--;
	pool_put(&p->worker->warms, c);
}

static void retire(struct conn *c, bool polite)
{
	close_line(c->pool, &c->line, polite);
	forget(c);
}

/* A busy connection is over, or idle from now on. The pool may be gone afterwards. */
static void leave_busy(struct warm *p)
{
	worker_version_put(p->worker, p->version);
}

static void drop(struct conn *c, bool polite)
{
	struct warm *p = c->pool;

	io_timer_stop(p->worker->io, &c->timer);
	close_line(p, &c->line, polite);
	pool_put(&p->worker->warms, c);
	leave_busy(p);
}

/* ---- what clients are offered ---- */

static bool eligible(const struct warm *p, unsigned dest)
{
	struct route_shared *s = runtime_of(p)->route_shared;

	return route_up(s, dest) && !route_drained(s, dest);
}

/* What all eligible destinations offer that have answered; where none is eligible, all that have
 * ever answered: what is offered is no promise that there is one. */
static void make_offer(struct warm *p)
{
	unsigned count = runtime_of(p)->route->count, found = 0;

	for (unsigned pass = 0; pass < 2 && !found; pass++)
		for (unsigned i = 0; i < count; i++) {
			if (!p->at[i].known || (pass == 0 && !eligible(p, i)))
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

static bool may_keep(const struct warm *p, const struct warm_line *l)
{
	const struct runtime *rt = runtime_of(p);

	if (!p->running || p->worker->draining || p->at[l->dest].count >= PER_DESTINATION)
		return false;
	if (l->uses >= USES_MAX || now_ms(p) - l->born_ms >= AGE_MS)
		return false;
	if (route_drained(rt->route_shared, l->dest))
		return false;
	/* Seats are for sessions when they become few. */
	return !l->has_place ||
	       seats_sessions(rt->seats) * 4 <= (unsigned)rt->config->set.max_sessions * 3;
}

static void keep(struct conn *c)
{
	struct warm *p = c->pool;
	struct known *k = &p->at[c->line.dest];

	if (c->line.has_place && k->count == 0)
		k->room_wanted = route_room_wanted(runtime_of(p)->route_shared, c->line.dest);
	c->idle_ms = now_ms(p);
	list_add_tail(&k->idle, &c->link);
	k->count++;
	p->idle++;
	if (c->line.has_place)
		io_timer_set(p->worker->io, &p->timer, TICK_SEATED_MS);
}

/* Of those that one step leaves behind. */
static void keep_or_close(struct conn *c)
{
	struct warm *p = c->pool;

	io_timer_stop(p->worker->io, &c->timer);
	if (!may_keep(p, &c->line)) {
		drop(c, true);
		return;
	}
	keep(c);
	leave_busy(p);
}

static bool is_silent(int fd)
{
	uint8_t octet;

	return recv(fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	       (errno == EAGAIN || errno == EINTR);
}

bool warm_take(struct warm *p, unsigned dest, uint32_t seat, struct warm_line *line)
{
	struct known *k = &p->at[dest];
	struct seats *seats = runtime_of(p)->seats;

	while (list_linked(&k->idle)) {
		struct conn *c = container_of(k->idle.prev, struct conn, link);

		if (!is_silent(c->line.fd)) {
			retire(c, false);
			continue;
		}
		*line = c->line;
		forget(c);
		if (line->has_place)
			seats_take_over(seats, seat, line->place);
		else
			CHECK(seats_at_destination(seats, seat, runtime_of(p)->slot[dest], 0));
		line->has_place = false;
		return true;
	}
	return false;
}

/* ---- busy: one thing is said, one reply awaited ---- */

static void received(struct io_op *op, int res);

static void receive(struct conn *c)
{
	size_t room = buf_space(&c->in);

	c->op.done = received;
	io_recv(c->pool->worker->io, &c->op, c->line.fd, buf_room(&c->in, room), room);
}

/* Exactly one well-formed reply, or nothing that counts. */
static void received(struct io_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, op);
	struct smtp_reply reply;
	size_t consumed;

	if (res <= 0) {
		c->replied(c, NULL);
		return;
	}
	buf_added(&c->in, (size_t)res);
	switch (smtp_reply_parse(buf_span(&c->in), &reply, &consumed)) {
	case SMTP_REPLY_OK:
		c->replied(c, consumed == buf_len(&c->in) ? &reply : NULL);
		break;
	case SMTP_REPLY_MORE:
		if (buf_space(&c->in) > 0) {
			receive(c);
			break;
		}
		/* fall through */
	default:
		c->replied(c, NULL);
	}
}

static void said(struct io_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, op);

	if (res < 0)
		c->replied(c, NULL);
	else
		receive(c);
}

/* Says C->say, or with an empty one only listens, and calls REPLIED with the reply; NULL where
 * there is none in time. */
static void ask(struct conn *c, uint64_t ms,
		void (*replied)(struct conn *, const struct smtp_reply *))
{
	struct io *io = c->pool->worker->io;

	c->replied = replied;
	buf_init(&c->in, c->mem, sizeof(c->mem));
	io_timer_set(io, &c->timer, ms);
	c->op.done = said;
	if (*c->say)
		io_send(io, &c->op, c->line.fd, c->say, strlen(c->say), false);
	else
		receive(c);
}

static void out_of_time(struct io_timer *t)
{
	struct conn *c = container_of(t, struct conn, timer);

	io_cancel(c->pool->worker->io, &c->op);
}

/* A new one, busy; NULL: there are enough. */
static struct conn *new_conn(struct warm *p, const struct warm_line *line)
{
	struct conn *c = pool_get(&p->worker->warms);

	if (!c)
		return NULL;
	memset(c, 0, offsetof(struct conn, mem));
	c->pool = p;
	c->line = *line;
	list_init(&c->link);
	io_timer_init(&c->timer, out_of_time);
	p->version->users++;
	return c;
}

/* ---- given back ---- */

static void reset_done(struct conn *c, const struct smtp_reply *reply)
{
	if (reply && reply->code == 250)
		keep_or_close(c);
	else
		drop(c, false);
}

void warm_give(struct warm *p, const struct warm_line *line, bool begun)
{
	struct known *k = &p->at[line->dest];
	struct warm_line own = *line;
	struct conn *c;

	/* It does not say what we were told ahead: learn anew. */
	if (k->known && (own.ext != k->offer.ext || own.size_max != k->offer.size_max))
		k->learn_ms = 0;
	c = may_keep(p, &own) ? new_conn(p, &own) : NULL;
	if (!c) {
		close_line(p, &own, true);
		return;
	}
	if (begun) {
		snprintf(c->say, sizeof(c->say), "%s", rset);
		ask(c, RSET_MS, reset_done);
	} else {
		keep_or_close(c);
	}
}

/* ---- learning ---- */

static uint64_t patience_ms(const struct warm *p)
{
	return 1000 * (uint64_t)runtime_of(p)->config->set.timeout_connect;
}

/* What came of it; C is over, or idle. */
static void learnt(struct conn *c, const struct smtp_reply *answer)
{
	struct warm *p = c->pool;
	struct known *k = &p->at[c->line.dest];

	k->tried_ms = now_ms(p);
	k->learning = false;
	if (!answer) {
		k->learn_ms = now_ms(p) + pauses_ms[k->pause];
		if (k->pause < LAST_PAUSE)
			k->pause++;
		drop(c, false);
		return;
	}
	smtp_offer_read(&k->offer, answer);
	k->known = true;
	k->pause = 0;
	k->learn_ms = now_ms(p) + LEARN_MS;
	make_offer(p);
	c->line.ext = k->offer.ext;
	c->line.size_max = k->offer.size_max;
	if (c->line.has_place)
		drop(c, true); /* others may have better use for it */
	else
		keep_or_close(c);
}

static void helo_answered(struct conn *c, const struct smtp_reply *reply)
{
	learnt(c, reply && reply->code / 100 == 2 ? reply : NULL);
}

static void ehlo_answered(struct conn *c, const struct smtp_reply *reply)
{
	if (reply && (reply->code / 100 == 2 || reply->code == 421)) {
		helo_answered(c, reply);
	} else if (reply) {
		snprintf(c->say, sizeof(c->say), "HELO %s\r\n", c->pool->worker->name);
		ask(c, patience_ms(c->pool), helo_answered);
	} else {
		learnt(c, NULL);
	}
}

static void greeted(struct conn *c, const struct smtp_reply *greeting)
{
	if (!greeting || greeting->code / 100 != 2) {
		learnt(c, NULL);
		return;
	}
	snprintf(c->say, sizeof(c->say), "EHLO %s\r\n", c->pool->worker->name);
	ask(c, patience_ms(c->pool), ehlo_answered);
}

static void connect_to(struct conn *c);

static void connect_failed(struct conn *c, int error)
{
	struct warm *p = c->pool;
	const struct runtime *rt = runtime_of(p);

	if (health_own_want(error)) {
		learnt(c, NULL);
		return;
	}
	if (route_failed(rt->route_shared, &c->search, c->line.dest, now_ms(p)))
		worker_destination_record(p->worker, rt, c->line.dest, false, strerror(-error));
	if (route_check_next(rt->route_shared, &c->search, &c->line.addr))
		connect_to(c);
	else
		learnt(c, NULL);
}

static void connected(struct io_op *op, int res)
{
	struct conn *c = container_of(op, struct conn, op);
	struct warm *p = c->pool;
	const struct runtime *rt = runtime_of(p);

	if (!health_reached(res)) {
		io_close(p->worker->io, c->line.fd);
		c->line.fd = -1;
		connect_failed(c, res == -ECANCELED ? -ETIMEDOUT : res);
		return;
	}
	if (route_connected(rt->route_shared, c->line.dest, now_ms(p)))
		worker_destination_record(p->worker, rt, c->line.dest, true, "connected");
	ask(c, patience_ms(p), greeted);
}

static void connect_to(struct conn *c)
{
	struct warm *p = c->pool;

	c->line.fd = net_socket(&c->line.addr);
	if (c->line.fd < 0) {
		int error = c->line.fd;

		c->line.fd = -1;
		connect_failed(c, error);
		return;
	}
	io_timer_set(p->worker->io, &c->timer, patience_ms(p));
	c->op.done = connected;
	io_connect(p->worker->io, &c->op, c->line.fd, &c->line.addr);
}

/* A seat at a destination with a max=. False: there is none now. */
static bool take_place(struct warm *p, struct warm_line *l)
{
	const struct runtime *rt = runtime_of(p);
	unsigned max = max_at(p, l->dest);

	if (max == 0)
		return true;
	if (seats_take(rt->seats, p->worker->slot, &l->addr, false, 0, &l->place) != SEATS_OK)
		return false;
	l->has_place = seats_at_destination(rt->seats, l->place, rt->slot[l->dest], max);
	if (!l->has_place) {
		seats_release(rt->seats, l->place);
		route_want_room(rt->route_shared, l->dest);
	}
	return l->has_place;
}

static void learn(struct warm *p, unsigned dest)
{
	struct known *k = &p->at[dest];
	struct warm_line line = { .fd = -1, .dest = dest, .born_ms = now_ms(p) };
	struct route_search search;
	struct conn *c;

	if (!route_check_begin(runtime_of(p)->route_shared, &search, dest, now_ms(p), &line.addr)) {
		k->tried_ms = now_ms(p); /* the name has no address now */
		return;
	}
	if (!take_place(p, &line))
		return;
	c = new_conn(p, &line);
	if (!c) {
		close_line(p, &line, false);
		return;
	}
	c->search = search;
	k->learning = true;
	connect_to(c);
}

enum warm_knowledge warm_knowledge(struct warm *p, uint64_t since_ms)
{
	enum warm_knowledge answer = WARM_HOPELESS;

	for (unsigned i = 0; i < runtime_of(p)->route->count; i++)
		if (p->at[i].known)
			return WARM_KNOWS;
	for (unsigned i = 0; i < runtime_of(p)->route->count; i++) {
		struct known *k = &p->at[i];

		if (!p->running || route_drained(runtime_of(p)->route_shared, i))
			continue;
		if (!k->learning && k->tried_ms < since_ms)
			learn(p, i);
		if (k->learning || k->tried_ms < since_ms)
			answer = WARM_LEARNS;
	}
	return answer;
}

/* ---- the tick ---- */

static bool is_worn(const struct warm *p, const struct conn *c)
{
	return now_ms(p) - c->idle_ms >= IDLE_MS || now_ms(p) - c->line.born_ms >= AGE_MS;
}

/* Retires those over which anything has come. */
static void look(struct warm *p)
{
	struct pollfd fds[WARM_MAX];
	struct conn *conns[WARM_MAX];
	struct list *pos, *tmp;
	unsigned n = 0;

	for (unsigned i = 0; i < runtime_of(p)->route->count && p->idle > n; i++)
		list_for_each (pos, tmp, &p->at[i].idle) {
			conns[n] = container_of(pos, struct conn, link);
			fds[n] = (struct pollfd){ conns[n]->line.fd, POLLIN | POLLRDHUP, 0 };
			n++;
		}
	if (n == 0 || poll(fds, n, 0) <= 0)
		return;
	for (unsigned i = 0; i < n; i++)
		if (fds[i].revents)
			retire(conns[i], false);
}

/* Retires those that are to be no more. */
static void weed(struct warm *p, unsigned dest)
{
	struct route_shared *s = runtime_of(p)->route_shared;
	struct known *k = &p->at[dest];
	uint32_t wanted = route_room_wanted(s, dest);
	struct list *pos, *tmp;

	list_for_each (pos, tmp, &k->idle) {
		struct conn *c = container_of(pos, struct conn, link);

		if (is_worn(p, c) || route_drained(s, dest) || p->worker->draining ||
		    (c->line.has_place && (wanted != k->room_wanted || !may_keep(p, &c->line))))
			retire(c, true);
	}
	k->room_wanted = wanted;
}

static void on_tick(struct io_timer *t)
{
	struct warm *p = container_of(t, struct warm, timer);
	bool seated = false;

	look(p);
	for (unsigned i = 0; i < runtime_of(p)->route->count; i++) {
		struct known *k = &p->at[i];

		weed(p, i);
		seated = seated || (k->count && max_at(p, i));
		if (!k->learning && now_ms(p) >= k->learn_ms && !p->worker->draining &&
		    eligible(p, i))
			learn(p, i);
	}
	make_offer(p);
	io_timer_set(p->worker->io, &p->timer, seated ? TICK_SEATED_MS : TICK_MS);
}

/* ---- life ---- */

int warm_pool(struct pool *pool)
{
	return pool_init(pool, sizeof(struct conn), WARM_MAX);
}

int warm_make(struct warm **made, struct worker *w, struct worker_version *v)
{
	struct warm *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->worker = w;
	p->version = v;
	io_timer_init(&p->timer, on_tick);
	for (unsigned i = 0; i < ROUTE_MAX; i++)
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
	io_timer_stop(p->worker->io, &p->timer);
	for (unsigned i = 0; i < ROUTE_MAX; i++)
		list_for_each (pos, tmp, &p->at[i].idle)
			retire(container_of(pos, struct conn, link), true);
}

void warm_free(struct warm *p)
{
	CHECK(!p || (!p->running && p->idle == 0));
	free(p);
}
