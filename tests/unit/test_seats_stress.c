/* SPDX-License-Identifier: ISC */
/*
 * seats: IPv6 networks at each border of their limits, and whose seat a newcomer takes in stress.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/seats_inner.h"

static struct seats *make(unsigned max)
{
	struct seats *s = mmap(NULL, seats_room(max), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(s != MAP_FAILED);
	assert_int_equal(seats_init(s, max), 0);
	return s;
}

static void drop(struct seats *s, unsigned max)
{
	munmap(s, seats_room(max));
}

static void sleep_ms(unsigned ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

/* A process dies while it holds the mutex: what is derived is made anew. */
static void die_inside(struct seats *s)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(pthread_mutex_lock(&s->lock) != 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- networks ---- */

/* A client in the /64 number C of the /56 number B of the /48 number A. */
static struct addr client(unsigned a, unsigned b, unsigned c, unsigned host)
{
	return (struct addr){ .family = 6,
			      .ip = { 0x20, 1, 0xd, 0xb8, 0, (uint8_t)a, (uint8_t)b,
				      (uint8_t)c, [15] = (uint8_t)host } };
}

static enum seats_verdict come(struct seats *s, struct addr a, uint32_t *seat)
{
	return seats_take(s, 0, &a, true, 2, seat);
}

/* Two clients of each of the /64s from FIRST on, which are served. */
static void fill(struct seats *s, unsigned a, unsigned b, unsigned first, unsigned count)
{
	uint32_t seat;

	for (unsigned c = first; c < first + count; c++)
		for (unsigned host = 0; host < 2; host++)
			assert_int_equal(come(s, client(a, b, c, host), &seat), SEATS_OK);
}

static void test_networks(void **state)
{
	enum { MAX = 200 };
	struct seats *s = make(MAX);
	uint32_t first, last, seat;
	struct addr v4 = { .family = 4, .ip = { 0x20, 1, 0xd, 0xb8 } };

	(void)state;
	/* One /64. */
	assert_int_equal(come(s, client(1, 1, 0, 1), &first), SEATS_OK);
	assert_int_equal(come(s, client(1, 1, 0, 2), &last), SEATS_OK);
	assert_int_equal(come(s, client(1, 1, 0, 3), &seat), SEATS_ADDRESS_FULL);
	/* Its /56 has eight, and the fifth /64 none. */
	fill(s, 1, 1, 1, 3);
	assert_int_equal(come(s, client(1, 1, 4, 1), &seat), SEATS_ADDRESS_FULL);
	seats_release(s, first);
	assert_int_equal(come(s, client(1, 1, 4, 1), &first), SEATS_OK);
	assert_int_equal(come(s, client(1, 1, 0, 1), &seat), SEATS_ADDRESS_FULL);
	seats_uncount(s, last); /* a login is no stranger of any of them */
	assert_int_equal(come(s, client(1, 1, 0, 1), &seat), SEATS_OK);
	assert_int_equal(come(s, client(1, 1, 5, 1), &seat), SEATS_ADDRESS_FULL);
	/* The /48 has 32, in whatever /56. */
	for (unsigned b = 2; b < 5; b++)
		fill(s, 1, b, 0, 4);
	die_inside(s);
	assert_int_equal(come(s, client(1, 5, 0, 1), &seat), SEATS_ADDRESS_FULL);
	assert_int_equal(come(s, client(1, 2, 9, 1), &seat), SEATS_ADDRESS_FULL);
	seats_release(s, first);
	assert_int_equal(come(s, client(1, 5, 0, 1), &first), SEATS_OK);
	assert_int_equal(come(s, client(1, 5, 1, 1), &seat), SEATS_ADDRESS_FULL);
	/* Others are in nobody's way, nor is an IPv4 address whose octets are the same. */
	fill(s, 2, 1, 0, 4);
	assert_int_equal(seats_take(s, 0, &v4, true, 1, &seat), SEATS_OK);
	assert_int_equal(seats_take(s, 0, &v4, true, 1, &seat), SEATS_ADDRESS_FULL);
	/* All have gone, and nothing is left of them. */
	assert_int_equal(seats_release_worker(s, 0, 0), 32 + 1 + 8 + 1);
	for (unsigned b = 1; b < 5; b++)
		fill(s, 1, b, 0, 4);
	assert_int_equal(come(s, client(1, 5, 0, 1), &seat), SEATS_ADDRESS_FULL);
	drop(s, MAX);
}

/* As many records as can be at once: no two sessions share any network. */
static void test_records(void **state)
{
	enum { MAX = 256 };
	struct seats *s = make(MAX);
	uint32_t seat[MAX];

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < MAX; i++)
			assert_int_equal(come(s, client(i, i, i, 1), &seat[i]), SEATS_OK);
		if (round == 1)
			die_inside(s);
		for (unsigned i = 0; i < MAX; i++)
			seats_release(s, seat[round == 0 ? i : MAX - 1 - i]);
	}
	assert_int_equal(s->fresh_networks, SEATS_WIDTHS * MAX);
	drop(s, MAX);
}

/* In a child of its own: for a process, another table is one for good. */
static int both_tables(struct seats *old, struct seats *new)
{
	uint32_t seat;

	fill(old, 1, 1, 0, 4);
	for (unsigned b = 2; b < 5; b++)
		fill(old, 1, b, 0, 2);
	if (!seats_count_with(old))
		return 1;
	if (come(new, client(1, 1, 0, 1), &seat) != SEATS_ADDRESS_FULL || /* the /64 */
	    come(new, client(1, 1, 9, 1), &seat) != SEATS_ADDRESS_FULL)	  /* the /56 */
		return 2;
	fill(new, 1, 2, 2, 2);
	if (come(new, client(1, 2, 9, 1), &seat) != SEATS_ADDRESS_FULL)
		return 3;
	fill(new, 1, 3, 2, 2);
	fill(new, 1, 4, 2, 2);
	return come(new, client(1, 9, 9, 1), &seat) != SEATS_ADDRESS_FULL || /* the /48 */
	       come(new, client(2, 1, 1, 1), &seat) != SEATS_OK;
}

static void test_networks_of_two_tables(void **state)
{
	struct seats *old = make(100), *new = make(100);
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(both_tables(old, new));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	drop(old, 100);
	drop(new, 100);
}

/* ---- the most useless ---- */

enum { AGAIN_MS = 60 }; /* a look that found few is not repeated sooner */

static uint32_t take(struct seats *s, bool counted)
{
	static unsigned serial;
	struct addr a = { .family = 4, .ip = { 10, (uint8_t)(serial >> 8), (uint8_t)serial } };
	uint32_t seat = NONE;

	serial++;
	assert_int_equal(seats_take(s, 0, &a, counted, 0, &seat), SEATS_OK);
	sleep_ms(2);
	return seat;
}

static unsigned count_asked(const struct seats *s)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < s->head.max; i++)
		n += s->seat[i].is.taken && s->seat[i].asked;
	return n;
}

/* From three quarters on each newcomer takes one seat, the longest useless one's. */
static void test_who_is_asked(void **state)
{
	enum { MAX = 16 };
	struct seats *s = make(MAX);
	uint32_t seat[MAX + 1];

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		seat[i] = take(s, i != 1); /* one of a relay network */
		assert_false(seats_ask(s, 0));
	}
	seat[12] = take(s, true);
	assert_false(seats_ask(s, 3600000));
	sleep_ms(AGAIN_MS);
	assert_int_equal(seats_asked(s), 0);
	assert_true(seats_ask(s, 0));
	assert_int_equal(seats_asked(s), 1);
	assert_true(seats_is_asked(s, seat[0]));
	assert_int_equal(count_asked(s), 1);
	assert_false(seats_ask(s, 0)); /* it will be three quarters again */
	die_inside(s);
	assert_false(seats_ask(s, 0));
	/* A login is no stranger; who has been of use, or waits for others, is not asked. */
	seats_uncount(s, seat[2]);
	seats_useful(s, seat[3]);
	seats_spare(s, seat[4], true);
	seat[13] = take(s, true);
	assert_true(seats_ask(s, 0));
	assert_true(seats_is_asked(s, seat[5]));
	seats_spare(s, seat[4], false);
	sleep_ms(AGAIN_MS);
	seat[14] = take(s, true);
	/* Found before that by the look that found the last one: the next look sees it. */
	s->useless_next = s->useless_count;
	assert_true(seats_ask(s, 0));
	assert_true(seats_is_asked(s, seat[4]));
	/* One that has been of use since it was found is passed over. */
	seats_useful(s, seat[6]);
	seat[15] = take(s, true);
	assert_true(seats_ask(s, 0));
	assert_true(seats_is_asked(s, seat[7]));
	assert_int_equal(count_asked(s), 4);
	/* A refused newcomer takes one too. */
	seats_release(s, seat[0]);
	seats_release(s, seat[5]);
	seat[0] = take(s, true);
	assert_true(seats_ask(s, 0));
	assert_true(seats_is_asked(s, seat[8]));
	/* The next owner of such a seat was not asked. */
	for (unsigned i = 0; i < MAX; i++)
		if (i != 5)
			seats_release(s, seat[i]);
	assert_int_equal(s->asked, 0);
	for (unsigned i = 0; i < MAX; i++)
		take(s, true);
	assert_int_equal(count_asked(s), 0);
	drop(s, MAX);
}

/* Where it did not ask in vain just before. */
static bool asks_at(struct seats *s, unsigned dest, unsigned max, unsigned idle_ms)
{
	sleep_ms(AGAIN_MS);
	return seats_ask_at(s, dest, max, idle_ms);
}

/* At a destination that has all its sessions, far from any stress: one for each that waits. */
static void test_who_is_asked_at_a_destination(void **state)
{
	enum { MAX = 100, THERE = 3, AT = 5 };
	struct seats *s = make(MAX);
	uint32_t elsewhere = take(s, true), seat[THERE], place;

	(void)state;
	assert_true(seats_at_destination(s, elsewhere, AT + 1, 1));
	for (unsigned i = 0; i < THERE; i++) {
		assert_false(asks_at(s, AT, THERE, 0));
		seat[i] = take(s, i != 0); /* the first is of a relay network */
		assert_true(seats_at_destination(s, seat[i], AT, THERE));
	}
	assert_false(asks_at(s, AT, THERE, 3600000));
	seats_useful(s, seat[1]);
	assert_true(asks_at(s, AT, THERE, 1));
	assert_true(seats_is_asked(s, seat[2]));
	assert_int_equal(count_asked(s), 1);
	assert_false(asks_at(s, AT, THERE, 0)); /* that one is about to leave */
	assert_true(seats_gives_up(s, seat[2], 0));
	seats_release(s, seat[2]);
	assert_int_equal(s->asked, 0);
	assert_false(asks_at(s, AT, THERE, 0)); /* there is room */
	/* A connection that has lost its session is about to leave, too, as is one of the pool. */
	assert_true(seats_place(s, 0, AT, THERE, &place));
	assert_false(asks_at(s, AT, THERE, 0));
	seats_release(s, place);
	seat[2] = take(s, true);
	assert_true(seats_at_destination(s, seat[2], AT, THERE));
	seats_useful(s, seat[2]);
	assert_true(asks_at(s, AT, THERE, 0));
	assert_true(seats_is_asked(s, seat[1]));
	assert_false(asks_at(s, AT, THERE, 0));
	seats_release(s, seat[1]);
	assert_true(seats_place(s, 0, AT, THERE, &place));
	assert_false(asks_at(s, AT, THERE, 0));
	drop(s, MAX);
}

/* It is asked, and has become of use before its worker hears of that. */
static void test_it_stays_after_all(void **state)
{
	enum { MAX = 4, IDLE_MS = 100 };
	struct seats *s = make(MAX);
	uint32_t seat[MAX];

	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < MAX; i++)
			seat[i] = take(s, true);
		assert_false(seats_gives_up(s, seat[0], 0)); /* it was not asked */
		sleep_ms(IDLE_MS);
		assert_true(seats_ask(s, IDLE_MS));
		assert_true(seats_is_asked(s, seat[0]));
		if (round == 1)
			seats_useful(s, seat[0]);
		else if (round == 2)
			seats_uncount(s, seat[0]);
		else if (round == 3)
			seats_spare(s, seat[0], true);
		assert_int_equal(seats_gives_up(s, seat[0], IDLE_MS), round == 0);
		assert_int_equal(seats_is_asked(s, seat[0]), round == 0);
		assert_int_equal(s->asked, round == 0);
		if (round == 0) /* until it is free */
			assert_true(seats_gives_up(s, seat[0], IDLE_MS));
		if (round == 1)
			assert_int_equal(seats_release_worker(s, 0, 0), MAX);
		else
			for (unsigned i = 0; i < MAX; i++)
				seats_release(s, seat[i]);
		assert_int_equal(s->asked, 0);
	}
	drop(s, MAX);
}

/* Exact also where one look finds more than it keeps, and what it found is of use meanwhile. */
static void test_in_order(void **state)
{
	enum { MAX = 8 * USELESS_MAX };
	struct seats *s = make(MAX);
	uint32_t seat[MAX];
	uint64_t last = 0;

	(void)state;
	for (unsigned i = 0; i < MAX; i++) {
		struct addr a = { .family = 4, .ip = { 10, (uint8_t)(i >> 8), (uint8_t)i } };

		assert_int_equal(seats_take(s, 0, &a, true, 0, &seat[i]), SEATS_OK);
		s->seat[seat[i]].useful_ms = 1 + i * 7919u % MAX; /* each once */
	}
	for (unsigned n = 0; n < MAX / 4; n++) {
		uint32_t victim = NONE;

		assert_true(seats_ask(s, 1000));
		for (unsigned i = 0; i < MAX; i++)
			if (seats_is_asked(s, seat[i]) && s->seat[seat[i]].useful_ms > last &&
			    (victim == NONE ||
			     s->seat[seat[i]].useful_ms > s->seat[victim].useful_ms))
				victim = seat[i];
		assert_true(victim != NONE);
		for (unsigned i = 0; i < MAX; i++) /* nobody who was not asked is older */
			if (!seats_is_asked(s, seat[i]))
				assert_true(s->seat[seat[i]].useful_ms > s->seat[victim].useful_ms);
		last = s->seat[victim].useful_ms;
		if (n % 10 == 0) /* the one that would be next */
			for (unsigned i = 0; i < MAX; i++)
				if (s->seat[seat[i]].useful_ms == last + 1)
					s->seat[seat[i]].useful_ms = MAX + 1 + n;
	}
	assert_false(seats_ask(s, 1000)); /* three quarters */
	drop(s, MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_networks_of_two_tables),
		cmocka_unit_test(test_who_is_asked),
		cmocka_unit_test(test_who_is_asked_at_a_destination),
		cmocka_unit_test(test_it_stays_after_all),
		cmocka_unit_test(test_in_order),
	};

	return cmocka_run_group_tests_name("seats_stress", tests, NULL, NULL);
}
