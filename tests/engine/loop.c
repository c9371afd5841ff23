/* SPDX-License-Identifier: ISC */
/* The loop itself: callbacks that go on, timers, tasks, limits. */
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* An operation that submits itself again from its own callback, and is freed in its last. */
struct chain {
	struct io_op op;
	struct io *io;
	unsigned left;
	unsigned *rounds;
	bool *over;
	int fds[2];
	char octet;
};

static void on_chain(struct io_op *op, int res)
{
	struct chain *c = container_of(op, struct chain, op);

	assert_int_equal(res, 1);
	assert_false(op->active);
	++*c->rounds;
	if (--c->left == 0) {
		*c->over = true;
		io_close(c->io, c->fds[0]);
		io_close(c->io, c->fds[1]);
		free(c);
	} else if (c->left % 2) {
		io_send(c->io, op, c->fds[1], "z", 1, 0);
	} else {
		io_recv(c->io, op, c->fds[0], &c->octet, 1);
	}
}

static void callbacks_resubmit_and_free(struct env *e)
{
	struct chain *c = calloc(1, sizeof(*c));
	unsigned rounds = 0;
	bool over = false;

	c->op.done = on_chain;
	c->io = e->io;
	c->left = 100;
	c->rounds = &rounds;
	c->over = &over;
	tcp_pair(c->fds);
	assert_int_equal(write(c->fds[1], "z", 1), 1);
	io_recv(e->io, &c->op, c->fds[0], &c->octet, 1);
	run_until(e, &over);
	assert_int_equal(rounds, 100);
}

/* Beyond limits.ops: refused, from the loop, and only for as long as the others are there. */
static void operations_have_a_limit(struct env *e)
{
	unsigned limit = e->io->limits.ops;
	struct watch *w = calloc(limit + 2, sizeof(*w));
	int sv[2];

	tcp_pair(sv);
	for (unsigned i = 0; i < limit + 2; i++) {
		watch_init(&w[i]);
		io_poll(e->io, &w[i].op, sv[0], POLLIN);
		assert_int_equal(w[i].calls, 0);
	}
	io_cancel(e->io, &w[limit + 1].op); /* it is over already: keeps its result */
	assert_int_equal(await(e, &w[limit]), -ENOBUFS);
	run_until(e, &w[limit + 1].over);
	assert_int_equal(w[limit + 1].res, -ENOBUFS);
	io_cancel(e->io, &w[0].op);
	assert_int_equal(await(e, &w[0]), -ECANCELED);
	watch_again(&w[limit]);
	io_poll(e->io, &w[limit].op, sv[0], POLLIN);
	assert_int_equal(write(sv[1], "x", 1), 1);
	for (unsigned i = 1; i <= limit; i++) {
		run_until(e, &w[i].over);
		assert_int_equal(w[i].res, POLLIN);
	}
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
	free(w);
}

/* More at once than a submission ring, and then a completion ring, has room for. */
static void more_than_the_rings_hold(struct env *e)
{
	unsigned count = e->io->limits.ops;
	struct watch *w = calloc(count, sizeof(*w));
	int sv[2];

	unix_pair(sv);
	for (unsigned i = 0; i < count; i++) {
		watch_init(&w[i]);
		io_poll(e->io, &w[i].op, sv[0], POLLIN);
	}
	run_for(e, 1);
	for (unsigned i = 0; i < count; i += 2)
		io_cancel(e->io, &w[i].op);
	assert_int_equal(write(sv[1], "x", 1), 1);
	for (unsigned i = 0; i < count; i++) {
		run_until(e, &w[i].over);
		assert_int_equal(w[i].calls, 1);
		assert_true(w[i].res == POLLIN || (i % 2 == 0 && w[i].res == -ECANCELED));
	}
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
	free(w);
}

/* Timers. */

#define TIMERS	5000
#define ROUNDS	20
#define TICK_US 8000 /* of the wheel, which fires after a tick and a millisecond are over */

struct clocks {
	struct io *io;
	uint64_t turn_us;  /* the time of the last turn */
	uint64_t slept_us; /* how late they fired, added up */
	unsigned left;
	bool all;
};

struct clock {
	struct io_timer t;
	struct clocks *of;
	uint64_t set_us, after_ms;
	unsigned fired;
};

/* In the first turn in which it is due, and never early. */
static void on_clock(struct io_timer *t)
{
	struct clock *c = container_of(t, struct clock, t);
	uint64_t due = c->set_us + c->after_ms * 1000;

	assert_true(io_now_us(c->of->io) >= due);
	assert_true(c->of->turn_us < due + 2 * TICK_US + 1000);
	c->of->slept_us += io_now_us(c->of->io) - due;
	c->fired++;
	c->of->all = --c->of->left == 0;
}

static void set_clocks(struct env *e, struct clock *c, struct clocks *of)
{
	*of = (struct clocks){ .io = e->io, .left = TIMERS };
	io_tick(e->io);
	for (unsigned i = 0; i < TIMERS; i++) {
		c[i] = (struct clock){ .of = of,
				       .set_us = io_now_us(e->io),
				       .after_ms = fake_below(&e->random, 300) };
		io_timer_init(&c[i].t, on_clock);
		/* Some are moved, and every tenth never fires. */
		if (i % 3 == 0)
			io_timer_set(e->io, &c[i].t, fake_below(&e->random, 100000));
		io_timer_set(e->io, &c[i].t, c[i].after_ms);
		if (i % 10 == 0) {
			io_timer_stop(e->io, &c[i].t);
			of->left--;
		}
	}
}

/* How late the loop wakes up for them depends on the machine too, so there are some chances. */
static void many_timers(struct env *e)
{
	struct clock *c = calloc(TIMERS, sizeof(*c));
	struct clocks of;
	unsigned round = 0;

	do {
		assert_true(round++ < ROUNDS);
		set_clocks(e, c, &of);
		while (!of.all) {
			assert_int_equal(io_run_once(e->io, 1000), 0);
			of.turn_us = io_now_us(e->io);
		}
		for (unsigned i = 0; i < TIMERS; i++)
			assert_int_equal(c[i].fired, i % 10 ? 1 : 0);
	} while (of.slept_us / TIMERS >= 50000);
	free(c);
}

struct pair {
	struct io_timer a, b;
	struct io *io;
	unsigned fired_a, fired_b;
	bool again;
};

static void on_a(struct io_timer *t)
{
	struct pair *p = container_of(t, struct pair, a);

	p->fired_a++;
	io_timer_stop(p->io, &p->b);
	if (p->again)
		io_timer_set(p->io, t, 0);
	p->again = false;
}

static void on_b(struct io_timer *t)
{
	struct pair *p = container_of(t, struct pair, b);

	p->fired_b++;
	io_timer_stop(p->io, &p->a);
}

/* Two that are due at once stop each other: one fires. */
static void timers_stop_timers(struct env *e)
{
	struct pair p = { .io = e->io };

	io_timer_init(&p.a, on_a);
	io_timer_init(&p.b, on_b);
	for (unsigned i = 1; i <= 5; i++) {
		io_timer_set(e->io, &p.a, 5);
		io_timer_set(e->io, &p.b, 5);
		run_for(e, 30);
		assert_int_equal(p.fired_a + p.fired_b, i);
	}
	io_timer_stop(e->io, &p.a);
	io_timer_stop(e->io, &p.b);
	/* One that sets itself again fires again, in a later turn. */
	p = (struct pair){ .io = e->io, .again = true };
	io_timer_init(&p.a, on_a);
	io_timer_init(&p.b, on_b);
	io_timer_set(e->io, &p.a, 0);
	run_for(e, 60);
	assert_int_equal(p.fired_a, 2);
}

/* Tasks. */

struct worker {
	struct io_task task;
	struct io_op op;
	struct io *io;
	unsigned runs, dones_seen, dones, want;
	bool enough, arrived;
	char octet;
};

static void on_run(struct io_task *t)
{
	struct worker *w = container_of(t, struct worker, task);

	w->runs++;
	w->dones_seen = w->dones;
	w->enough = w->runs >= w->want;
	if (!w->enough)
		io_defer(w->io, t);
}

static void on_octet(struct io_op *op, int res)
{
	struct worker *w = container_of(op, struct worker, op);

	assert_int_equal(res, 1);
	w->dones++;
	w->arrived = true;
}

static void tasks_run_once_a_turn(struct env *e)
{
	struct worker w = { .io = e->io, .want = 1 };

	io_task_init(&w.task, on_run);
	io_defer(e->io, &w.task);
	io_defer(e->io, &w.task);
	assert_int_equal(w.runs, 0);
	/* Work at hand: the turn does not wait. */
	assert_int_equal(io_run_once(e->io, -1), 0);
	assert_int_equal(w.runs, 1);
	assert_int_equal(io_run_once(e->io, 0), 0);
	assert_int_equal(w.runs, 1);
	w.want = 4;
	io_defer(e->io, &w.task);
	for (unsigned i = 2; i <= 4; i++) {
		assert_int_equal(io_run_once(e->io, -1), 0);
		assert_int_equal(w.runs, i);
	}
	io_defer(e->io, &w.task);
	io_undefer(&w.task);
	io_undefer(&w.task);
	assert_int_equal(io_run_once(e->io, 0), 0);
	assert_int_equal(w.runs, 4);
}

/* A task that never rests does not keep octets from arriving. */
static void tasks_do_not_starve(struct env *e)
{
	struct worker w = { .io = e->io, .want = 1u << 30, .op.done = on_octet };
	int sv[2];

	tcp_pair(sv);
	io_task_init(&w.task, on_run);
	io_defer(e->io, &w.task);
	io_recv(e->io, &w.op, sv[0], &w.octet, 1);
	assert_int_equal(io_run_once(e->io, -1), 0);
	assert_int_equal(write(sv[1], "x", 1), 1);
	run_until(e, &w.arrived);
	/* It ran in the turn of the octet too, and after it. */
	assert_int_equal(w.dones_seen, 1);
	io_undefer(&w.task);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

/* Two tasks of a turn, of which the first takes the other away. */
struct couple {
	struct io_task a, b;
	struct io *io;
	unsigned runs;
};

static void on_first(struct io_task *t)
{
	struct couple *c = container_of(t, struct couple, a);

	c->runs++;
	io_undefer(&c->b);
}

static void on_second(struct io_task *t)
{
	container_of(t, struct couple, b)->runs += 100;
}

static void tasks_take_tasks_away(struct env *e)
{
	struct couple c = { .io = e->io };

	io_task_init(&c.a, on_first);
	io_task_init(&c.b, on_second);
	io_defer(e->io, &c.a);
	io_defer(e->io, &c.b);
	assert_int_equal(io_run_once(e->io, 0), 0);
	assert_int_equal(io_run_once(e->io, 0), 0);
	assert_int_equal(c.runs, 1);
}

static void on_stop(struct io_task *t)
{
	struct worker *w = container_of(t, struct worker, task);

	w->runs++;
	io_stop(w->io);
}

static void the_loop_stops(struct env *e)
{
	struct worker w = { .io = e->io };

	io_task_init(&w.task, on_stop);
	for (unsigned i = 1; i <= 3; i++) {
		io_defer(e->io, &w.task);
		assert_int_equal(io_run(e->io), 0);
		assert_int_equal(w.runs, i);
	}
	/* Asked before it runs: it does not wait. */
	io_stop(e->io);
	assert_int_equal(io_run(e->io), 0);
}

const struct engine_case loop_cases[] = {
	{ .name = "callbacks resubmit and free", .run = callbacks_resubmit_and_free },
	{ .name = "operations have a limit", .run = operations_have_a_limit, .ops = 5 },
	{ .name = "more than the rings hold",
	  .run = more_than_the_rings_hold,
	  .ops = 20000,
	  .seeds = 1 },
	{ .name = "many timers", .run = many_timers, .seeds = 1 },
	{ .name = "timers stop timers", .run = timers_stop_timers, .seeds = 1 },
	{ .name = "tasks run once a turn", .run = tasks_run_once_a_turn, .seeds = 2 },
	{ .name = "tasks do not starve", .run = tasks_do_not_starve },
	{ .name = "tasks take tasks away", .run = tasks_take_tasks_away, .seeds = 1 },
	{ .name = "the loop stops", .run = the_loop_stops, .seeds = 1 },
	{ 0 },
};
