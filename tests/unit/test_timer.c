/* SPDX-License-Identifier: ISC */
/* The timing wheel against a clock of our own: exact, whatever the machine is doing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "io/inner.h"

#define LATE_MAX 8 /* ms: a tick */

static uint64_t now, random_state;

static unsigned below(unsigned n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % n;
}

struct probe {
	struct io_timer t;
	unsigned fired;
	uint64_t at;
	struct probe *victim;	/* stopped when this one fires */
	struct io_wheel *again; /* set anew there, once */
	uint64_t again_after;
};

static void on_fire(struct io_timer *t)
{
	struct probe *p = container_of(t, struct probe, t);

	assert_true(now > t->due_ms);
	assert_true(now - t->due_ms <= LATE_MAX);
	assert_false(list_linked(&t->link));
	p->fired++;
	p->at = now;
	if (p->victim)
		list_del(&p->victim->t.link);
	if (p->again) {
		t->due_ms = now + p->again_after;
		io_wheel_add(p->again, t);
		p->again = NULL;
	}
}

static void set(struct io_wheel *w, struct probe *p, uint64_t after)
{
	list_del(&p->t.link);
	p->t.due_ms = now + after;
	io_wheel_add(w, &p->t);
}

static void init(struct probe *p)
{
	*p = (struct probe){ 0 };
	io_timer_init(&p->t, on_fire);
}

/* Goes to where the wheel says that it has work, as the loop does, never past UNTIL. */
static void run(struct io_wheel *w, uint64_t until)
{
	while (now < until) {
		uint64_t next = io_wheel_next_ms(w);

		assert_true(next > now);
		now = next < until ? next : until;
		io_wheel_run(w, now);
	}
}

/* Around every border of slot, level and clamp, from starts at every offset of a tick. */
static void every_border(void **state)
{
	static const uint64_t bases[] = {
		0, 8, 512, 32768, 2097152, 134217728, 134217728 * 3ull, 1ull << 40
	};
	struct io_wheel w;
	struct probe p;

	(void)state;
	for (size_t b = 0; b < sizeof(bases) / sizeof(bases[0]); b++)
		for (uint64_t start = 1000000; start < 1000016; start++)
			for (uint64_t off = 0; off < 32; off++) {
				uint64_t after = bases[b] < 16 ? off : bases[b] - 16 + off;

				now = start * 515;
				io_wheel_init(&w, now);
				init(&p);
				set(&w, &p, after);
				run(&w, now + after + LATE_MAX);
				assert_int_equal(p.fired, 1);
				assert_int_equal(io_wheel_next_ms(&w), UINT64_MAX);
			}
}

#define COUNT 5000

/* A model: all that is due fires in its time, nothing else does, whatever is moved and stopped. */
static void thousands_at_random(void **state)
{
	struct probe *p = calloc(COUNT, sizeof(*p));
	uint64_t *due = calloc(COUNT, sizeof(*due)); /* 0: not set */
	static const unsigned ranges[] = { 10, 600, 40000, 3000000, 300000000 };
	struct io_wheel w;

	(void)state;
	now = 12345678;
	random_state = 1;
	io_wheel_init(&w, now);
	for (unsigned i = 0; i < COUNT; i++)
		init(&p[i]);
	for (unsigned step = 0; step < 300; step++) {
		for (unsigned n = 0; n < 100; n++) {
			unsigned i = below(COUNT);
			uint64_t after = below(ranges[below(5)]);

			p[i].fired = 0;
			if (below(4)) {
				set(&w, &p[i], after);
				due[i] = now + after;
			} else {
				list_del(&p[i].t.link);
				due[i] = 0;
			}
		}
		run(&w, now + below(ranges[below(4)]));
		for (unsigned i = 0; i < COUNT; i++) {
			if (due[i] && p[i].fired) {
				assert_int_equal(p[i].fired, 1);
				p[i].fired = 0;
				due[i] = 0;
			}
			assert_int_equal(p[i].fired, 0);
			assert_true(!due[i] || due[i] + LATE_MAX > now);
		}
	}
	free(p);
	free(due);
}

static uint64_t last_due;
static unsigned woken;

static void on_late(struct io_timer *t)
{
	assert_true(t->due_ms < now);
	/* In the order of their ticks, although all are late. */
	assert_true(t->due_ms / LATE_MAX >= last_due / LATE_MAX);
	last_due = t->due_ms;
	woken++;
}

/* A loop that has slept for hours finds all that came due meanwhile, once, and nothing else. */
static void after_a_long_sleep(void **state)
{
	struct io_wheel w;
	struct io_timer t[300];

	(void)state;
	now = 99;
	last_due = woken = 0;
	io_wheel_init(&w, now);
	for (unsigned i = 0; i < 300; i++) {
		io_timer_init(&t[i], on_late);
		t[i].due_ms = now + (uint64_t)i * i * i;
		io_wheel_add(&w, &t[i]);
	}
	now += 200 * 200 * 200;
	io_wheel_run(&w, now);
	assert_int_equal(woken, 200);
	io_wheel_run(&w, now);
	assert_int_equal(woken, 200);
	for (unsigned i = 200; i < 300; i++)
		assert_true(list_linked(&t[i].link));
	now += 100000000;
	io_wheel_run(&w, now);
	assert_int_equal(woken, 300);
	assert_int_equal(io_wheel_next_ms(&w), UINT64_MAX);
}

/* Timers of one tick may stop one another and set themselves again. */
static void callbacks_change_the_wheel(void **state)
{
	struct io_wheel w;
	struct probe a, b, c;

	(void)state;
	for (uint64_t start = 0; start < 600; start++) {
		uint64_t first;

		now = start;
		io_wheel_init(&w, now);
		init(&a);
		init(&b);
		init(&c);
		a.victim = &b;
		c.again = &w;
		c.again_after = start % 3 ? 0 : start * 7;
		set(&w, &a, start);
		set(&w, &b, start);
		set(&w, &c, start);
		run(&w, start + start + LATE_MAX);
		assert_int_equal(a.fired, 1);
		assert_int_equal(b.fired, 0);
		assert_true(c.fired >= 1);
		first = c.at;
		run(&w, now + c.again_after + 2 * LATE_MAX);
		assert_int_equal(c.fired, 2);
		/* Not in the same turn. */
		assert_true(c.at > first || c.again_after == 0);
		assert_int_equal(io_wheel_next_ms(&w), UINT64_MAX);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_border),
		cmocka_unit_test(thousands_at_random),
		cmocka_unit_test(after_a_long_sleep),
		cmocka_unit_test(callbacks_change_the_wheel),
	};

	return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
