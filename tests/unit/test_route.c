/* SPDX-License-Identifier: ISC */
/*
 * route: the three ways to cooperate and the three balances; what a failure does to a session, to
 * the others and to the pauses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "routeworld.h"
#include "route/busy.h"

static void test_single(void **state)
{
	struct world w;
	struct route_search search = { 0 };
	struct addr a;

	(void)state;
	world_init(&w, "10.0.0.1:225,max=2", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &(struct addr){ .family = 4, .ip = { 10, 0, 0, 1 } }));
	assert_int_equal(a.port, 225);
	assert_int_equal(pick_new(&w), 0);
	assert_int_equal(pick_new(&w), FULL);
	assert_int_equal(w.sessions[0], 2);
	w.sessions[0]--;
	assert_int_equal(pick_new(&w), 0);
	/* It fails: nothing is left for this session, but the next one tries it all the same. */
	assert_true(route_up(w.shared, 0));
	assert_true(failed(&w, &search, 0));
	assert_false(route_up(w.shared, 0));
	assert_int_equal(pick(&w, &search), GONE);
	search = (struct route_search){ 0 };
	assert_int_equal(pick(&w, &search), 0);
	assert_false(failed(&w, &search, 0)); /* it was down already: no record */
	assert_true(route_connected(w.shared, 0, w.now));
	assert_true(route_up(w.shared, 0));
	assert_false(route_connected(w.shared, 0, w.now));
	assert_int_equal(route_to_resolve(w.shared, &w.route), 0); /* an address is no name */
	world_end(&w);
}

static void test_addresses_in_turn(void **state)
{
	struct addr list[3] = { ip("10.0.0.1", 25), ip("10.0.0.2", 25), ip("2001:db8::3", 0) };
	struct addr got[ROUTE_ADDRESSES], a;
	struct route_search search = { 0 }, other = { 0 };
	struct world w;

	(void)state;
	world_init(&w, "name.example:25,max=1", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	/* The name has no address yet. It is to be resolved, and that is said once. */
	assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
	assert_int_equal(route_to_resolve(w.shared, &w.route), 0);
	assert_int_equal(pick_new(&w), GONE);
	assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
	assert_false(route_set_addresses(w.shared, 0, list, 0));
	assert_true(route_set_addresses(w.shared, 0, list, 3));
	assert_int_equal(route_get_addresses(w.shared, 0, got), 3);
	assert_true(addr_same_ip(&got[2], &list[2]));
	assert_int_equal(got[2].port, 25);

	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &list[0]));
	assert_false(failed(&w, &search, 0)); /* two are left: it is not down */
	assert_true(route_up(w.shared, 0));
	assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
	/* Others begin with the next address from now on, and with it so does the background. */
	assert_int_equal(route_get_addresses(w.shared, 0, got), 3);
	assert_true(addr_same_ip(&got[0], &list[1]));
	assert_int_equal(pick_address(&w, &other, &a), 0);
	assert_true(addr_same_ip(&a, &list[1]));
	/* The only seat is taken: the first session waits, and then goes on where it was. */
	assert_int_equal(pick(&w, &search), FULL);
	w.sessions[0]--;
	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &list[1]));
	assert_false(failed(&w, &search, 0));
	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &list[2]));
	assert_true(failed(&w, &search, 0)); /* all three */
	assert_false(route_up(w.shared, 0));
	assert_int_equal(pick(&w, &search), GONE);
	world_end(&w);
}

static void test_changed_addresses(void **state)
{
	struct addr list[ROUTE_ADDRESSES + 3], got[ROUTE_ADDRESSES];
	struct addr turned[2] = { ip("10.0.0.2", 25), ip("10.0.0.1", 25) };
	struct world w;

	(void)state;
	world_init(&w, "name.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	for (unsigned i = 0; i < ROUTE_ADDRESSES + 3; i++) {
		list[i] = ip("10.0.0.1", 25);
		list[i].ip[3] = (uint8_t)(i + 1);
	}
	assert_true(route_set_addresses(w.shared, 0, list, 2));
	assert_false(route_set_addresses(w.shared, 0, list, 2));
	assert_false(route_set_addresses(w.shared, 0, turned, 2)); /* another order is no change */
	assert_true(route_set_addresses(w.shared, 0, list, 3));
	assert_true(route_set_addresses(w.shared, 0, list, 2));
	assert_true(route_set_addresses(w.shared, 0, list, ROUTE_ADDRESSES + 3)); /* the first 8 */
	assert_int_equal(route_get_addresses(w.shared, 0, got), ROUTE_ADDRESSES);
	assert_int_equal(got[ROUTE_ADDRESSES - 1].ip[3], ROUTE_ADDRESSES);
	list[0] = list[1] = list[2] = (struct addr){ 0 };
	list[4] = list[3];
	assert_true(route_set_addresses(w.shared, 0, list, 6)); /* none, and twice the same */
	assert_int_equal(route_get_addresses(w.shared, 0, got), 2);
	assert_false(route_set_addresses(w.shared, 0, list, 3));
	assert_int_equal(route_get_addresses(w.shared, 0, got), 2);
	/* New addresses end a pause: they are worth a try. */
	break_destination(&w, 0);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
	assert_true(route_set_addresses(w.shared, 0, turned, 2));
	assert_false(route_up(w.shared, 0));
	assert_int_equal(route_due(w.shared, &w.route, w.now), 1);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
	world_end(&w);
}

static void test_pauses(void **state)
{
	static const uint64_t pauses[] = { 500, 1000, 2000, 4000, 5000, 5000, 5000 };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
	for (unsigned round = 0; round < 2; round++) {
		assert_true(route_failed(w.shared, NULL, 1, w.now));
		for (unsigned i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
			uint64_t from = w.now;

			/* Failures in a pause, of those who were at it already, change nothing. */
			w.now = from + pauses[i] - 1;
			assert_false(route_failed(w.shared, NULL, 1, w.now));
			assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
			w.now = from + pauses[i];
			/* One caller gets it; its failure belongs to the pause that began there. */
			assert_int_equal(route_due(w.shared, &w.route, w.now), 2);
			assert_int_equal(route_due(w.shared, &w.route, w.now), 0);
			assert_false(route_failed(w.shared, NULL, 1, w.now));
		}
		assert_true(route_connected(w.shared, 1, w.now)); /* and it begins anew */
		assert_int_equal(route_due(w.shared, &w.route, w.now + 100000), 0);
	}
	world_end(&w);
}

/* What is down is the background's to try, also when its pause is over, while another one is up. */
static void test_no_session_waits(void **state)
{
	struct route_search search = { 0 };
	struct addr a;
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	break_destination(&w, 0);
	assert_int_equal(pick_new(&w), 1);
	w.now += 500;
	assert_int_equal(pick_new(&w), 1);
	w.now += 100000;
	assert_int_equal(pick_new(&w), 1);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 1);
	assert_true(route_try(w.shared, 0, &a));
	assert_true(route_came_back(w.shared, 0, &a, w.now));
	assert_false(route_came_back(w.shared, 0, &a, w.now));
	assert_int_equal(pick_new(&w), 0);
	/* Both down: a session tries, and one whose pause is over has its try by that. */
	break_destination(&w, 0);
	break_destination(&w, 1);
	assert_int_equal(pick(&w, &search), 0);
	assert_int_equal(route_due(w.shared, &w.route, w.now + 500), 3);
	w.now += 1500;
	search = (struct route_search){ 0 };
	assert_int_equal(pick(&w, &search), 0);
	assert_int_equal(route_due(w.shared, &w.route, w.now), 2);
	world_end(&w);
}

/* An attempt that hung while the destination went and came back says nothing about it. */
static void test_old_failures(void **state)
{
	struct route_search old = { 0 }, fresh = { 0 };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	assert_int_equal(pick(&w, &old), 0);
	w.now += 1000;
	break_destination(&w, 0);
	w.now += 1000;
	assert_true(route_connected(w.shared, 0, w.now));
	assert_false(failed(&w, &old, 0));
	assert_true(route_up(w.shared, 0));
	assert_int_equal(pick(&w, &old), GONE); /* for that session it did fail */
	assert_int_equal(pick(&w, &fresh), 0);
	w.now += 1;
	/* Being up is no news: it does not make later failures old. */
	assert_false(route_connected(w.shared, 0, w.now + 5000));
	assert_true(failed(&w, &fresh, 0));
	assert_false(route_up(w.shared, 0));
	world_end(&w);
}

/* Tries take the addresses of a name in turn, and sessions begin with the one that answered. */
static void test_tries_take_turns(void **state)
{
	struct addr list[3] = { ip("10.0.0.1", 25), ip("10.0.0.2", 25), ip("10.0.0.3", 25) };
	struct route_search search = { 0 };
	struct addr a, good = { 0 };
	unsigned seen = 0;
	struct world w;

	(void)state;
	world_init(&w, "name.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	assert_false(route_try(w.shared, 0, &a));
	assert_true(route_set_addresses(w.shared, 0, list, 3));
	break_destination(&w, 0);
	assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
	for (unsigned i = 0; i < 3; i++) {
		w.now += 10000;
		assert_int_equal(route_due(w.shared, &w.route, w.now), 1);
		assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
		assert_true(route_try(w.shared, 0, &a));
		seen |= 1u << a.ip[3];
		if (i == 1)
			good = a;
	}
	assert_int_equal(seen, 1 << 1 | 1 << 2 | 1 << 3);
	/* The second try answers when the third one is under way already. */
	assert_true(route_came_back(w.shared, 0, &good, w.now));
	assert_int_equal(pick_address(&w, &search, &a), 0);
	assert_true(addr_same_ip(&a, &good));
	world_end(&w);
}

/* Who waits for room says so to all who may have some to give. */
static void test_room_wanted(void **state)
{
	struct world w;
	uint32_t before;

	(void)state;
	world_init(&w, "10.0.0.1:25,max=1 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	before = route_room_wanted(w.shared, 1);
	assert_int_equal(route_room_wanted(w.shared, 1), before);
	route_want_room(w.shared, 0);
	assert_int_equal(route_room_wanted(w.shared, 1), before);
	route_want_room(w.shared, 1);
	assert_int_not_equal(route_room_wanted(w.shared, 1), before);
	world_end(&w);
}

static void test_checks(void **state)
{
	struct addr list[2] = { ip("10.0.1.1", 25), ip("10.0.1.2", 25) };
	struct route_search search;
	struct addr a;
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 name.example:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_true(route_set_addresses(w.shared, 1, list, 2));
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now, 9000), 3);
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now + 8999, 9000), 0);
	/* One is done with; the other one's owner was killed. */
	route_check_done(w.shared, 0, w.now + 1000);
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now + 999, 9000), 0);
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now + 1000, 99000), 1);
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now + 9000, 9000), 2);
	/* It tries every address of its destination and no other destination. */
	assert_true(route_check_begin(w.shared, &search, 1, w.now, &a));
	assert_true(addr_same_ip(&a, &list[0]));
	assert_false(route_failed(w.shared, &search, 1, w.now));
	assert_true(route_check_next(w.shared, &search, &a));
	assert_true(addr_same_ip(&a, &list[1]));
	assert_true(route_failed(w.shared, &search, 1, w.now));
	assert_false(route_check_next(w.shared, &search, &a));
	assert_false(route_up(w.shared, 1));
	/* What is down is tried, not checked. */
	w.now += 1000000;
	assert_int_equal(route_checks_due(w.shared, &w.route, w.now, 9000), 1);
	/* What moves no mail is news once. */
	assert_false(route_check_found(w.shared, 0, true));
	assert_true(route_check_found(w.shared, 0, false));
	assert_false(route_check_found(w.shared, 0, false));
	assert_true(route_up(w.shared, 0));
	assert_true(route_check_found(w.shared, 0, true));
	world_end(&w);
}

static void test_backup(void **state)
{
	struct route_search search = { 0 };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25,max=2 10.0.0.2:25,max=1 10.0.0.3:25", ROUTE_BACKUP,
		   ROUTE_ROUND_ROBIN);
	assert_int_equal(pick(&w, &search), 0);
	assert_int_equal(pick_new(&w), 0);
	assert_int_equal(pick_new(&w), FULL); /* waited for: a backup is for one that is gone */
	assert_int_equal(w.sessions[1] + w.sessions[2], 0);
	assert_true(failed(&w, &search, 0));
	assert_int_equal(pick(&w, &search), 1);
	assert_int_equal(pick_new(&w), FULL);
	assert_true(failed(&w, &search, 1));
	assert_int_equal(pick(&w, &search), 2);
	assert_true(failed(&w, &search, 2));
	assert_int_equal(pick(&w, &search), GONE);
	/* All are set aside: old news, so they are tried in their order all the same. */
	search = (struct route_search){ 0 };
	w.sessions[0] = 0;
	assert_int_equal(pick(&w, &search), 0);
	assert_false(failed(&w, &search, 0));
	assert_int_equal(pick(&w, &search), 1);
	assert_false(failed(&w, &search, 1));
	assert_int_equal(pick(&w, &search), 2);
	assert_true(route_connected(w.shared, 2, w.now));
	assert_int_equal(pick_new(&w), 2);
	assert_true(route_connected(w.shared, 0, w.now));
	assert_int_equal(pick_new(&w), 0);
	world_end(&w);
}

static void test_cluster_full_and_failed(void **state)
{
	struct route_search search = { 0 };
	struct world w;
	int first, second;

	(void)state;
	for (int balance = ROUTE_LEAST_SESSIONS; balance <= ROUTE_SOURCE; balance++) {
		world_init(&w, "10.0.0.1:25,max=1 10.0.0.2:25,max=1 10.0.0.3:25,max=1",
			   ROUTE_CLUSTER, (enum route_balance)balance);
		search = (struct route_search){ 0 };
		first = pick(&w, &search);
		assert_true(first >= 0);
		assert_true(pick_new(&w) >= 0);
		assert_true(pick_new(&w) >= 0);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(w.sessions[i], 1);
		assert_int_equal(pick_new(&w), FULL);
		/* It fails. The others are full, and they are waited for: not this one again. */
		assert_true(failed(&w, &search, first));
		assert_int_equal(pick(&w, &search), FULL);
		assert_int_equal(pick_new(&w), FULL);
		second = (first + 1) % 3;
		w.sessions[second] = 0;
		assert_int_equal(pick(&w, &search), second);
		assert_true(failed(&w, &search, second));
		w.sessions[(first + 2) % 3] = 0;
		assert_int_equal(pick(&w, &search), (first + 2) % 3);
		assert_true(failed(&w, &search, (first + 2) % 3));
		assert_int_equal(pick(&w, &search), GONE);
		assert_true(pick_new(&w) >= 0); /* all set aside, tried all the same */
		world_end(&w);
	}
}

static void test_cluster_without_addresses(void **state)
{
	struct world w;

	(void)state;
	for (int balance = ROUTE_LEAST_SESSIONS; balance <= ROUTE_SOURCE; balance++) {
		world_init(&w, "silent.example:25 10.0.0.2:25", ROUTE_CLUSTER,
			   (enum route_balance)balance);
		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(pick_new(&w), 1);
		assert_int_equal(route_to_resolve(w.shared, &w.route), 1);
		world_end(&w);
	}
}

/* What a destination says is told of once a second, each one's for itself. */
static void test_telling(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	assert_true(route_may_tell(w.shared, 0, 5000));
	assert_false(route_may_tell(w.shared, 0, 5000));
	assert_false(route_may_tell(w.shared, 0, 5999));
	assert_true(route_may_tell(w.shared, 1, 5999));
	assert_true(route_may_tell(w.shared, 0, 6000));
	assert_false(route_may_tell(w.shared, 0, 6001));
	world_end(&w);
}

/* A drained destination is no candidate, whatever the mode and the state of the others. */
static void test_drained(void **state)
{
	struct route_search search = { 0 };
	struct addr two[2] = { ip("10.0.0.1", 25), ip("10.0.0.9", 25) };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	assert_false(route_drained(w.shared, 0));
	assert_false(route_drain(w.shared, 0, false));
	assert_true(route_drain(w.shared, 0, true));
	assert_false(route_drain(w.shared, 0, true));
	assert_true(route_drained(w.shared, 0));
	assert_true(route_up(w.shared, 0));
	assert_int_equal(pick_new(&w), GONE);
	assert_true(route_drain(w.shared, 0, false));
	assert_int_equal(pick_new(&w), 0);
	world_end(&w);

	/* The backup takes over, also from one that is full; there is none behind the backup. */
	world_init(&w, "10.0.0.1:25,max=1 10.0.0.2:25", ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	assert_int_equal(pick_new(&w), 0);
	assert_int_equal(pick_new(&w), FULL);
	assert_true(route_drain(w.shared, 0, true));
	assert_int_equal(w.sessions[0], 1);
	assert_int_equal(pick_new(&w), 1);
	break_destination(&w, 1);
	assert_int_equal(pick_leave(&w), 1);
	assert_true(route_drain(w.shared, 1, true));
	assert_int_equal(pick_new(&w), GONE);
	world_end(&w);

	/* Between two addresses of one name, too. */
	world_init(&w, "a:25 10.0.0.2:25", ROUTE_CLUSTER, ROUTE_SOURCE);
	assert_true(route_set_addresses(w.shared, 0, two, 2));
	assert_true(route_drain(w.shared, 1, true));
	assert_int_equal(pick(&w, &search), 0);
	assert_false(failed(&w, &search, 0));
	assert_true(route_drain(w.shared, 0, true));
	assert_true(route_drain(w.shared, 1, false));
	assert_int_equal(pick(&w, &search), 1);
	world_end(&w);
}

/* What a drained destination would have got goes to the others, by the same balance. */
static void test_drained_in_cluster(void **state)
{
	static const enum route_balance balances[] = { ROUTE_LEAST_SESSIONS, ROUTE_ROUND_ROBIN,
						       ROUTE_SOURCE };
	struct world w;

	(void)state;
	for (unsigned b = 0; b < 3; b++) {
		unsigned got[3] = { 0 };

		world_init(&w, "10.0.0.1:25 10.0.0.2:25 10.0.0.3:25", ROUTE_CLUSTER, balances[b]);
		assert_true(route_drain(w.shared, 1, true));
		for (unsigned i = 0; i < 200; i++) {
			w.client.ip[3] = (uint8_t)i;
			got[pick_new(&w)]++;
		}
		assert_int_equal(got[1], 0);
		assert_in_range(got[0], balances[b] == ROUTE_SOURCE ? 60 : 100,
				balances[b] == ROUTE_SOURCE ? 140 : 100);
		assert_true(route_drain(w.shared, 1, false));
		for (unsigned i = 0; i < 200; i++) {
			w.client.ip[3] = (uint8_t)i;
			got[pick_new(&w)]++;
		}
		assert_true(got[1] > 30);
		world_end(&w);
	}
}

static void test_least_sessions(void **state)
{
	unsigned got[3] = { 0 };
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25,weight=5 10.0.0.2:25 10.0.0.3:25,weight=2", ROUTE_CLUSTER,
		   ROUTE_LEAST_SESSIONS);
	for (unsigned i = 0; i < 800; i++)
		assert_true(pick_new(&w) >= 0);
	assert_int_equal(w.sessions[0], 500);
	assert_int_equal(w.sessions[1], 100);
	assert_int_equal(w.sessions[2], 200);
	w.sessions[1] = 0;
	assert_int_equal(pick_new(&w), 1);
	/* Equal ones in turn, whatever the third one does. */
	w.sessions[0] = 500;
	w.sessions[1] = 150;
	w.sessions[2] = 200;
	for (unsigned i = 0; i < 100; i++)
		got[pick_leave(&w)]++;
	assert_int_equal(got[0], 50);
	assert_int_equal(got[1], 0);
	assert_int_equal(got[2], 50);
	break_destination(&w, 2);
	w.sessions[2] = 0;
	assert_int_equal(pick_leave(&w), 0);
	world_end(&w);
}

static void sequence(struct world *w, char *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		out[i] = (char)('a' + pick_leave(w));
	out[n] = '\0';
}

static void test_round_robin(void **state)
{
	char got[32];
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25 10.0.0.3:25", ROUTE_CLUSTER, ROUTE_ROUND_ROBIN);
	sequence(&w, got, 9);
	assert_string_equal(got, "abcabcabc");
	/* One that was away does not get what it missed. */
	break_destination(&w, 1);
	sequence(&w, got, 6);
	assert_string_equal(got, "acacac");
	for (unsigned i = 0; i < 1000; i++)
		pick_leave(&w);
	assert_true(route_connected(w.shared, 1, w.now));
	unsigned n[3] = { 0 };

	for (unsigned i = 0; i < 30; i++)
		n[pick_leave(&w)]++;
	assert_in_range(n[1], 10, 11);
	world_end(&w);

	world_init(&w, "10.0.0.1:25,weight=5 10.0.0.2:25 10.0.0.3:25", ROUTE_CLUSTER,
		   ROUTE_ROUND_ROBIN);
	sequence(&w, got, 14);
	assert_string_equal(got, "abaacaaabaacaa");
	world_end(&w);
}

/* Any weights: the shares are right to one turn at every moment. */
static void test_round_robin_is_smooth(void **state)
{
	(void)state;
	srandom(3);
	for (unsigned round = 0; round < 50; round++) {
		unsigned n = 2 + (unsigned)random() % 8, total = 0, got[16] = { 0 };
		char list[512] = "";
		struct world w;

		for (unsigned i = 0; i < n; i++) {
			char one[48];
			unsigned weight = 1 + (unsigned)random() % (round % 2 ? 10 : 1000);

			snprintf(one, sizeof(one), "10.0.0.%u:25,weight=%u ", i + 1, weight);
			strcat(list, one);
			total += weight;
		}
		world_init(&w, list, ROUTE_CLUSTER, ROUTE_ROUND_ROBIN);
		for (unsigned i = 1; i <= 5000; i++) {
			got[pick_leave(&w)]++;
			for (unsigned d = 0; d < n; d++) {
				double fair = (double)i * w.route.destination[d].weight / total;

				if (got[d] > fair + 2 || got[d] + 2 < fair)
					fail_msg("%s: %u of %u picks at %u", list, got[d], i, d);
			}
		}
		world_end(&w);
	}
}

static void test_source(void **state)
{
	enum { CLIENTS = 20000 };
	static int8_t before[CLIENTS];
	unsigned got[4] = { 0 }, moved = 0;
	struct world w, less;

	(void)state;
	world_init(&w, "10.0.0.1:25 10.0.0.2:25 10.0.0.3:25,weight=2 10.0.0.4:25,weight=4",
		   ROUTE_CLUSTER, ROUTE_SOURCE);
	/* The second one is gone and the others stand in another order. */
	world_init(&less, "10.0.0.4:25,weight=4 10.0.0.1:25 10.0.0.3:25,weight=2", ROUTE_CLUSTER,
		   ROUTE_SOURCE);
	static const int same[] = { 1, -1, 2, 0 };

	for (unsigned i = 0; i < CLIENTS; i++) {
		w.client = ip("192.0.0.0", (uint16_t)i); /* the port says nothing */
		w.client.ip[2] = (uint8_t)(i >> 8);
		w.client.ip[3] = (uint8_t)i;
		before[i] = (int8_t)pick_leave(&w);
		got[before[i]]++;
		w.client.port++;
		assert_int_equal(pick_leave(&w), before[i]);
		less.client = w.client;
		int now = pick_leave(&less);

		if (before[i] == 1)
			moved++;
		else
			assert_int_equal(now, same[before[i]]);
	}
	for (unsigned d = 0; d < 4; d++) /* 8 shares in all; 4 sigma */
		assert_in_range(got[d], CLIENTS * w.route.destination[d].weight / 8 - 280,
				CLIENTS * w.route.destination[d].weight / 8 + 280);
	assert_int_equal(moved, got[1]);
	/* Down is the same as not there, and its clients come back. */
	break_destination(&w, 1);
	for (unsigned i = 0; i < CLIENTS; i++) {
		w.client.ip[2] = (uint8_t)(i >> 8);
		w.client.ip[3] = (uint8_t)i;
		assert_int_equal(pick_leave(&w) == before[i], before[i] != 1);
	}
	assert_true(route_connected(w.shared, 1, w.now));
	for (unsigned i = 0; i < CLIENTS; i++) {
		w.client.ip[2] = (uint8_t)(i >> 8);
		w.client.ip[3] = (uint8_t)i;
		assert_int_equal(pick_leave(&w), before[i]);
	}
	/* IPv6 by /64. */
	for (unsigned i = 0; i < 1000; i++) {
		w.client = ip("2001:db8:0:1::1", 1);
		w.client.ip[6] = (uint8_t)i;
		int dest = pick_leave(&w);

		memset(w.client.ip + 8, (int)i, 8);
		assert_int_equal(pick_leave(&w), dest);
	}
	world_end(&less);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single),
		cmocka_unit_test(test_addresses_in_turn),
		cmocka_unit_test(test_changed_addresses),
		cmocka_unit_test(test_pauses),
		cmocka_unit_test(test_no_session_waits),
		cmocka_unit_test(test_old_failures),
		cmocka_unit_test(test_tries_take_turns),
		cmocka_unit_test(test_checks),
		cmocka_unit_test(test_room_wanted),
		cmocka_unit_test(test_backup),
		cmocka_unit_test(test_cluster_full_and_failed),
		cmocka_unit_test(test_cluster_without_addresses),
		cmocka_unit_test(test_telling),
		cmocka_unit_test(test_drained),
		cmocka_unit_test(test_drained_in_cluster),
		cmocka_unit_test(test_least_sessions),
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_round_robin_is_smooth),
		cmocka_unit_test(test_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
