/* SPDX-License-Identifier: ISC */
/* route: destinations that greet with a refusal are busy, and what that is to sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "routeworld.h"
#include "route/busy.h"

static void busy_for_ms(struct world *w, unsigned dest, uint64_t ms)
{
	assert_true(route_busy(w->shared, dest));
	assert_true(route_busy_rests(w->shared, dest, w->now + ms - 1));
	assert_false(route_busy_rests(w->shared, dest, w->now + ms));
}

/* A session of its own is greeted with a refusal at once. */
static bool turned_away(struct world *w, unsigned dest)
{
	return route_turned_away(w->shared, dest, w->now, w->now, "421 no");
}

static void test_busy_pauses(void **state)
{
	static const unsigned seconds[] = { 2, 4, 8, 16, 32, 60, 60, 60 };
	struct world w;
	char words[ROUTE_WORDS_MAX];

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_int_equal(route_health(w.shared, 0), ROUTE_UP);
	assert_int_equal(route_busy_words(w.shared, 0, words), 0);
	for (unsigned i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		/* Many sessions are turned away at the same time: that is one greeting. */
		for (unsigned k = 0; k < 5; k++)
			assert_int_equal(turned_away(&w, 0), i == 0 && k == 0);
		busy_for_ms(&w, 0, 1000 * seconds[i]);
		assert_int_equal(route_busy_due(w.shared, &w.route, w.now + 1000 * seconds[i] - 1),
				 0);
		w.now += 1000 * seconds[i];
		/* One caller looks; a look that never ends is replaced after the same time. */
		assert_int_equal(route_busy_due(w.shared, &w.route, w.now), 1);
		busy_for_ms(&w, 0, 1000 * seconds[i]);
		assert_int_equal(route_busy_due(w.shared, &w.route, w.now), 0);
	}
	assert_int_equal(route_health(w.shared, 0), ROUTE_BUSY);
	assert_int_equal(route_health(w.shared, 1), ROUTE_UP);
	assert_int_equal(route_busy_since(w.shared, 0), 1000000);
	assert_int_equal(route_busy_words(w.shared, 0, words), 6);
	assert_string_equal(words, "421 no");
	/* What the look found ends it, whenever that was; then all begins anew. */
	assert_true(route_welcomed(w.shared, 0, w.now, w.now + 1));
	assert_false(route_welcomed(w.shared, 0, w.now, w.now + 1));
	assert_int_equal(route_health(w.shared, 0), ROUTE_UP);
	assert_int_equal(route_busy_since(w.shared, 0), 0);
	w.now += 2;
	assert_true(turned_away(&w, 0));
	busy_for_ms(&w, 0, 2000);
	world_end(&w);
}

/* Sessions that were on their way when it changed say nothing about it. */
static void test_busy_old_greetings(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_true(turned_away(&w, 0));
	assert_false(route_welcomed(w.shared, 0, w.now - 1, w.now + 5000));
	assert_false(route_turned_away(w.shared, 0, w.now - 1, w.now + 5000, "421 no"));
	busy_for_ms(&w, 0, 2000);
	/* Greetings of both kinds at the same time: the first pause holds. */
	assert_false(route_welcomed(w.shared, 0, w.now + 1, w.now + 1999));
	assert_true(route_welcomed(w.shared, 0, w.now + 1, w.now + 2000));
	assert_false(route_turned_away(w.shared, 0, w.now + 1999, w.now + 3000, "421 no"));
	assert_false(route_busy(w.shared, 0));
	assert_true(route_turned_away(w.shared, 0, w.now + 2000, w.now + 3000, "421 no"));
	world_end(&w);
}

static void test_busy_is_no_candidate(void **state)
{
	static const enum route_balance balances[] = { ROUTE_LEAST_SESSIONS, ROUTE_ROUND_ROBIN,
						       ROUTE_SOURCE };

	(void)state;
	for (unsigned b = 0; b < 3; b++) {
		struct route_search search = { 0 };
		struct world w;
		unsigned seen = 0;

		world_init(&w, "10.0.0.1:25 10.0.0.2:25,max=200 10.0.0.3:25", ROUTE_CLUSTER,
			   balances[b]);
		int first = pick_leave(&w);

		assert_true(turned_away(&w, (unsigned)first));
		for (unsigned i = 0; i < 300; i++) {
			w.now += 100; /* nor when the pause is over: to look is the background's */
			assert_int_not_equal(pick_leave(&w), first);
		}
		/* One that is down is worse than one that is busy. */
		for (unsigned i = 0; i < 3; i++)
			if ((int)i != first)
				break_destination(&w, i);
		assert_int_equal(pick_leave(&w), first);
		/* Where the free ones fail a session, it goes to the busy one. */
		for (unsigned i = 0; i < 3; i++)
			if ((int)i != first)
				route_connected(w.shared, i, w.now);
		for (unsigned i = 0; i < 2; i++) {
			int dest = pick(&w, &search);

			assert_int_not_equal(dest, first);
			failed(&w, &search, dest);
		}
		assert_int_equal(pick(&w, &search), first);
		w.sessions[first]--;
		/* All are busy: all are candidates. */
		for (unsigned i = 0; i < 3; i++) {
			route_connected(w.shared, i, w.now);
			turned_away(&w, i);
		}
		for (unsigned i = 0; i < 200; i++) {
			w.client.ip[3] = (uint8_t)i;
			seen |= 1u << pick_leave(&w);
		}
		assert_int_equal(seen, 7);
		world_end(&w);
	}
}

/* A single destination, and one with backups, is used whatever it says. */
static void test_busy_beyond_clusters(void **state)
{
	static const struct {
		const char *list;
		enum route_cooperation cooperation;
	} rows[] = { { "10.0.0.1:25", ROUTE_SINGLE }, { "10.0.0.1:25 10.0.0.2:25", ROUTE_BACKUP } };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct world w;

		world_init(&w, rows[i].list, rows[i].cooperation, ROUTE_LEAST_SESSIONS);
		assert_true(turned_away(&w, 0));
		assert_int_equal(route_health(w.shared, 0), ROUTE_BUSY);
		assert_int_equal(pick_leave(&w), 0);
		w.now += 2000;
		assert_int_equal(route_busy_due(w.shared, &w.route, w.now), 0);
		assert_int_equal(pick_leave(&w), 0);
		assert_false(turned_away(&w, 0));
		busy_for_ms(&w, 0, 4000);
		assert_true(route_welcomed(w.shared, 0, w.now, w.now + 2000));
		world_end(&w);
	}
}

/* What goes is forgotten, what stays in the list is known. */
static void test_busy_is_kept(void **state)
{
	struct world was, is;
	char words[ROUTE_WORDS_MAX];

	(void)state;
	world_init(&was, "10.0.0.1:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	world_init(&is, "10.0.0.3:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_true(turned_away(&was, 0));
	was.now += 10;
	assert_true(turned_away(&was, 1));
	is.now = was.now;
	route_carry_over(is.shared, &is.route, was.shared, &was.route);
	assert_false(route_busy(is.shared, 0));
	busy_for_ms(&is, 1, 2000);
	assert_int_equal(route_busy_since(is.shared, 1), is.now);
	assert_int_equal(route_busy_words(is.shared, 1, words), 6);
	assert_string_equal(words, "421 no");
	/* One that goes down is that, and is not busy when it comes back, whatever those find who
	 * were on their way to it before. */
	break_destination(&is, 1);
	assert_int_equal(route_health(is.shared, 1), ROUTE_DOWN);
	assert_false(turned_away(&is, 1));
	is.now += 10;
	assert_true(route_connected(is.shared, 1, is.now));
	assert_int_equal(route_health(is.shared, 1), ROUTE_UP);
	assert_false(route_turned_away(is.shared, 1, is.now - 1, is.now, "421 no"));
	assert_true(turned_away(&is, 1));
	world_end(&was);
	world_end(&is);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_busy_pauses),
		cmocka_unit_test(test_busy_old_greetings),
		cmocka_unit_test(test_busy_is_no_candidate),
		cmocka_unit_test(test_busy_beyond_clusters),
		cmocka_unit_test(test_busy_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
