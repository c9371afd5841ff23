/* SPDX-License-Identifier: ISC */
/*
 * seats: the limits, what counts against which of them, and workers that are killed in the middle
 * of it: whatever the instruction, afterwards all counts are exact, and no limit was ever exceeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/seats.h"
#include "size.h"

static void *shared(size_t n)
{
	void *mem = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(mem != MAP_FAILED);
	return mem;
}

static struct seats *make(unsigned max)
{
	struct seats *s = shared(seats_room(max));

	assert_int_equal(seats_init(s, max), 0);
	return s;
}

static void drop(struct seats *s, unsigned max)
{
	munmap(s, seats_room(max));
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, text), 0);
	return a;
}

/* A seat for worker 0, which must be given. */
static uint32_t take(struct seats *s, const struct addr *a, bool counted)
{
	uint32_t seat = UINT32_MAX;

	assert_int_equal(seats_take(s, 0, a, counted, 0, &seat), SEATS_OK);
	return seat;
}

static void test_all_seats(void **state)
{
	enum { MAX = 5 };
	struct seats *s = make(MAX);
	struct addr a = ip("192.0.2.1");
	uint32_t seat[MAX], more = 99;
	uint8_t seen = 0;

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < MAX; i++) {
			seat[i] = take(s, &a, true);
			assert_true(seat[i] < MAX);
			seen |= (uint8_t)(1u << seat[i]);
		}
		assert_int_equal(seen, 0x1f);
		assert_int_equal(seats_take(s, 0, &a, true, 0, &more), SEATS_FULL);
		assert_int_equal(seats_take(s, 0, &a, true, 6, &more), SEATS_FULL);
		assert_int_equal(seats_take(s, 0, &a, true, 5, &more), SEATS_ADDRESS_FULL);
		assert_int_equal(more, 99);
		assert_int_equal(seats_sessions(s), MAX);
		for (unsigned i = 0; i < MAX; i++)
			seats_release(s, seat[(i + round) % MAX]);
		assert_int_equal(seats_sessions(s), 0);
		assert_int_equal(seats_of_address(s, &a), 0);
	}
	drop(s, MAX);
	/* One seat, and none. */
	s = make(1);
	seat[0] = take(s, &a, true);
	assert_int_equal(seats_take(s, 0, &a, true, 0, &more), SEATS_FULL);
	seats_release(s, seat[0]);
	assert_int_equal(seats_init(s, 0), -EINVAL);
	drop(s, 1);
}

static void test_addresses(void **state)
{
	struct seats *s = make(100);
	struct addr a = ip("192.0.2.1"), b = ip("192.0.2.2");
	struct addr net = ip("2001:db8:0:1::1"), same = ip("2001:db8:0:1:ffff::"),
		    next = ip("2001:db8:0:2::1"), zero = ip("c000:201::");
	uint32_t first, seat;

	(void)state;
	assert_int_equal(seats_take(s, 0, &a, true, 2, &first), SEATS_OK);
	assert_int_equal(seats_take(s, 0, &a, true, 2, &seat), SEATS_OK);
	assert_int_equal(seats_take(s, 0, &a, true, 2, &seat), SEATS_ADDRESS_FULL);
	assert_int_equal(seats_sessions(s), 2);
	assert_int_equal(seats_take(s, 0, &b, true, 2, &seat), SEATS_OK);
	/* Relay networks are neither counted nor refused; 0 is no limit, but is counted. */
	assert_int_equal(seats_take(s, 0, &a, false, 2, &seat), SEATS_OK);
	assert_int_equal(seats_of_address(s, &a), 2);
	assert_int_equal(seats_take(s, 0, &a, true, 0, &seat), SEATS_OK);
	assert_int_equal(seats_of_address(s, &a), 3);
	/* A login leaves the count, once. */
	seats_uncount(s, seat);
	seats_uncount(s, seat);
	seats_uncount(s, first);
	assert_int_equal(seats_of_address(s, &a), 1);
	assert_int_equal(seats_take(s, 0, &a, true, 2, &seat), SEATS_OK);
	assert_int_equal(seats_take(s, 0, &a, true, 2, &seat), SEATS_ADDRESS_FULL);
	seats_release(s, first); /* it is out of the count already */
	assert_int_equal(seats_of_address(s, &a), 2);
	/* The port is no part of it. */
	a.port = 4711;
	assert_int_equal(seats_take(s, 0, &a, true, 2, &seat), SEATS_ADDRESS_FULL);
	/* IPv6 by /64; one whose octets begin like an IPv4 address is another. */
	assert_int_equal(seats_take(s, 0, &net, true, 1, &seat), SEATS_OK);
	assert_int_equal(seats_take(s, 0, &same, true, 1, &seat), SEATS_ADDRESS_FULL);
	assert_int_equal(seats_take(s, 0, &next, true, 1, &seat), SEATS_OK);
	assert_int_equal(seats_of_address(s, &same), 1);
	assert_int_equal(seats_of_address(s, &zero), 0);
	drop(s, 100);
}

static void test_destinations(void **state)
{
	struct seats *s = make(10);
	struct addr a = ip("192.0.2.1");
	uint32_t x = take(s, &a, true), y = take(s, &a, true);

	(void)state;
	assert_true(seats_at_destination(s, x, 0, 1));
	assert_true(seats_at_destination(s, x, 0, 1)); /* it is there */
	assert_false(seats_at_destination(s, y, 0, 1));
	assert_true(seats_at_destination(s, y, 63, 1));
	assert_int_equal(seats_of_destination(s, 0), 1);
	assert_int_equal(seats_of_destination(s, 63), 1);
	/* Refused elsewhere, it stays where it was; let in, it leaves that. */
	assert_false(seats_at_destination(s, y, 0, 1));
	assert_int_equal(seats_of_destination(s, 63), 1);
	assert_true(seats_at_destination(s, y, 0, 0));
	assert_int_equal(seats_of_destination(s, 63), 0);
	assert_int_equal(seats_of_destination(s, 0), 2);
	seats_leave_destination(s, y);
	seats_leave_destination(s, y);
	assert_int_equal(seats_of_destination(s, 0), 1);
	seats_release(s, x); /* leaves it too */
	assert_int_equal(seats_of_destination(s, 0), 0);
	/* The seat's next owner is nowhere yet. */
	x = take(s, &a, true);
	assert_int_equal(seats_of_destination(s, 0), 0);
	seats_leave_destination(s, x);
	assert_int_equal(seats_of_destination(s, 0), 0);
	drop(s, 10);
}

/* A place at a destination that outlives its session. */
static void test_parting(void **state)
{
	enum { PLACES = SEATS_PLACES(3) };
	struct seats *s = make(3);
	struct addr a = ip("192.0.2.1");
	uint32_t seat = take(s, &a, true), other, place, more = 99, places[PLACES];

	(void)state;
	assert_false(seats_part(s, seat, &place)); /* it is nowhere */
	assert_true(seats_at_destination(s, seat, 7, 1));
	assert_true(seats_part(s, seat, &place));
	assert_int_equal(seats_of_destination(s, 7), 1);
	assert_int_equal(seats_load(s, 7), 0);
	assert_int_equal(seats_of_address(s, &a), 1);
	assert_int_equal(seats_sessions(s), 1);
	/* The session goes on, somewhere else or nowhere; its place there is still taken. */
	assert_false(seats_at_destination(s, seat, 7, 1));
	assert_true(seats_at_destination(s, seat, 8, 1));
	seats_release(s, seat);
	assert_int_equal(seats_of_destination(s, 7), 1);
	assert_int_equal(seats_of_destination(s, 8), 0);
	other = take(s, &a, false);
	assert_false(seats_at_destination(s, other, 7, 1));
	seats_release(s, place);
	assert_int_equal(seats_of_destination(s, 7), 0);
	assert_true(seats_at_destination(s, other, 7, 1));
	/* It takes no room from sessions, nor they from it; without a free place it cannot be. */
	for (unsigned i = 0; i < PLACES; i++) {
		assert_int_equal(seats_places_are_few(s), i > PLACES / 2);
		assert_true(seats_place(s, 0, 9, PLACES, &places[i]));
	}
	assert_false(seats_place(s, 0, 9, PLACES, &more));
	assert_false(seats_place(s, 0, 10, 0, &more));
	assert_int_equal(seats_of_destination(s, 9), PLACES);
	assert_int_equal(seats_load(s, 9), 0);
	assert_false(seats_part(s, other, &more));
	assert_int_equal(more, 99);
	assert_int_equal(seats_of_destination(s, 7), 1);
	assert_int_equal(seats_load(s, 7), 1);
	take(s, &a, true);
	take(s, &a, true);
	assert_int_equal(seats_take(s, 0, &a, true, 0, &more), SEATS_FULL);
	seats_release(s, places[0]);
	assert_true(seats_part(s, other, &place));
	assert_int_equal(seats_release_worker(s, 0, 0), 3);
	assert_int_equal(seats_of_destination(s, 7), 0);
	assert_int_equal(seats_of_destination(s, 9), 0);
	drop(s, 3);
}

/* A place at a destination becomes a session's, and nobody gets in between. */
static void test_taking_over(void **state)
{
	struct seats *s = make(4);
	struct addr a = ip("192.0.2.1"), b = ip("192.0.2.2");
	uint32_t seat = take(s, &a, true), other = take(s, &b, true), place;

	(void)state;
	assert_true(seats_at_destination(s, seat, 7, 1));
	assert_true(seats_part(s, seat, &place));
	assert_true(seats_at_destination(s, other, 8, 1));
	assert_false(seats_at_destination(s, other, 7, 1));
	seats_take_over(s, other, place);
	assert_int_equal(seats_of_destination(s, 7), 1);
	assert_int_equal(seats_of_destination(s, 8), 0);
	assert_int_equal(seats_sessions(s), 2);
	assert_int_equal(seats_of_address(s, &a), 1);
	assert_false(seats_at_destination(s, seat, 7, 1));
	seats_release(s, other);
	assert_int_equal(seats_of_destination(s, 7), 0);
	assert_true(seats_at_destination(s, seat, 7, 1));
	drop(s, 4);
}

static void test_dead_worker(void **state)
{
	struct seats *s = make(30);
	struct addr a = ip("192.0.2.1"), b = ip("2001:db8::1");
	uint32_t seat;

	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		assert_int_equal(seats_take(s, i % 3, i % 2 ? &a : &b, i % 5, 0, &seat), SEATS_OK);
		assert_true(seats_at_destination(s, seat, i % 4, 0));
	}
	assert_int_equal(seats_release_worker(s, 1, 0), 10);
	assert_int_equal(seats_release_worker(s, 1, 0), 0);
	assert_int_equal(seats_release_worker(s, 7, 0), 0);
	assert_int_equal(seats_sessions(s), 20);
	unsigned of_a = 0, of_b = 0, at[4] = { 0 };

	for (unsigned i = 0; i < 30; i++) {
		if (i % 3 == 1)
			continue;
		at[i % 4]++;
		if (i % 5)
			(*(i % 2 ? &of_a : &of_b))++;
	}
	assert_int_equal(seats_of_address(s, &a), of_a);
	assert_int_equal(seats_of_address(s, &b), of_b);
	for (unsigned d = 0; d < 4; d++)
		assert_int_equal(seats_of_destination(s, d), at[d]);
	drop(s, 30);
}

static void sleep_ms(unsigned ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

/* Behind the part that is the same in every layout. */
static pthread_mutex_t *mutex_of(struct seats *s)
{
	return (void *)((char *)s + 56 + SEATS_DESTINATIONS * sizeof(uint32_t));
}

/* A process dies while it holds the mutex: what is derived is made anew. */
static void die_inside(struct seats *s)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(pthread_mutex_lock(mutex_of(s)) != 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

enum { LONG_MS = 3600000, SHORT_MS = 10, AT_ONCE_MS = 0 };

/* Two sessions and a place at destination 7, which has a limit of 3, and a session at 8, which has
 * none. */
static void fill(struct seats *s, unsigned worker, const struct addr *a)
{
	uint32_t seat;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(seats_take(s, worker, a, true, 0, &seat), SEATS_OK);
		assert_true(seats_at_destination(s, seat, i < 2 ? 7 : 8, i < 2 ? 3 : 0));
	}
	assert_true(seats_place(s, worker, 7, 3, &seat));
}

/* At a destination with a limit a dead worker's connections count until it must have seen their
 * end, and nowhere else do they. */
static void test_left_behind(void **state)
{
	struct seats *s = make(4);
	struct addr a = ip("192.0.2.1");
	uint32_t seat, place;

	(void)state;
	fill(s, 1, &a);
	seat = take(s, &a, true);
	assert_true(seats_stressed(s));
	assert_int_equal(seats_release_worker(s, 1, LONG_MS), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(seats_sessions(s), 1);
		assert_int_equal(seats_of_address(s, &a), 1);
		assert_int_equal(seats_of_destination(s, 7), 3);
		assert_int_equal(seats_load(s, 7), 0);
		assert_int_equal(seats_of_destination(s, 8), 0);
		assert_false(seats_stressed(s));
		assert_false(seats_at_destination(s, seat, 7, 3));
		assert_false(seats_place(s, 1, 7, 3, &place));
		if (i == 0) /* its successor, which has nothing there */
			assert_int_equal(seats_release_worker(s, 1, AT_ONCE_MS), 0);
		else
			die_inside(s);
	}
	/* They are in nobody's way. */
	for (unsigned i = 0; i < 3; i++)
		take(s, &a, true);
	assert_int_equal(seats_take(s, 0, &a, true, 0, &place), SEATS_FULL);
	for (unsigned i = 0; i < SEATS_PLACES(4); i++)
		assert_int_equal(seats_place(s, 1, 9, 0, &place), i < SEATS_PLACES(4) - 3);
	drop(s, 4);
}

/* Each is free when its own time is over. */
static void test_left_behind_for_a_while(void **state)
{
	struct seats *s = make(12);
	struct addr a = ip("192.0.2.1");
	uint32_t seat = take(s, &a, true);

	(void)state;
	fill(s, 1, &a);
	assert_int_equal(seats_release_worker(s, 1, SHORT_MS), 3);
	sleep_ms(SHORT_MS + 1);
	assert_int_equal(seats_of_destination(s, 7), 0);
	fill(s, 1, &a);
	assert_int_equal(seats_release_worker(s, 1, SHORT_MS), 3);
	die_inside(s);
	sleep_ms(SHORT_MS + 1);
	assert_true(seats_at_destination(s, seat, 7, 1));
	seats_leave_destination(s, seat);
	fill(s, 1, &a);
	assert_int_equal(seats_release_worker(s, 1, LONG_MS), 3);
	assert_true(seats_at_destination(s, seat, 7, 4));
	assert_int_equal(seats_release_worker(s, 0, SHORT_MS), 1);
	sleep_ms(SHORT_MS + 1);
	assert_int_equal(seats_of_destination(s, 7), 3);
	assert_int_equal(seats_sessions(s), 0);
	drop(s, 12);
}

/* They leave no room in the table: better one session too few than one too many there. */
static void test_left_behind_in_a_full_table(void **state)
{
	enum { PLACES = SEATS_PLACES(3) };
	struct addr a = ip("192.0.2.1");
	uint32_t seat;

	(void)state;
	for (unsigned later = 0; later < 2; later++) {
		struct seats *s = make(3);

		for (unsigned i = 0; i < PLACES; i++)
			assert_true(seats_place(s, 0, 7, 1000, &seat));
		for (unsigned i = 0; i < 3; i++)
			assert_true(seats_at_destination(s, take(s, &a, true), 7, 1000));
		assert_true(seats_places_are_few(s));
		assert_int_equal(seats_release_worker(s, 0, later ? SHORT_MS : LONG_MS), 3);
		assert_false(seats_places_are_few(s)); /* it has none for its own any more */
		sleep_ms(SHORT_MS + 1);
		seats_free_due(s);
		assert_int_equal(seats_sessions(s), 0);
		assert_int_equal(seats_of_destination(s, 7), later ? 0 : PLACES + 3);
		for (unsigned i = 0; i < PLACES; i++)
			assert_int_equal(seats_place(s, 0, 8, 0, &seat), later);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(seats_take(s, 0, &a, true, 0, &seat),
					 later && i < 3 ? SEATS_OK : SEATS_FULL);
		drop(s, 3);
	}
}

/* A misuse ends the process that does it, and nobody else. */
static void test_misuse_is_a_fault(void **state)
{
	struct seats *s = make(4);
	struct addr a = ip("192.0.2.1");
	uint32_t seat = take(s, &a, true);

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			fclose(stderr);
			signal(SIGABRT, SIG_DFL);
			if (i == 0)
				seats_release(s, seat + 1);
			else if (i == 1)
				seats_uncount(s, 4);
			else if (i == 2)
				seats_at_destination(s, seat, SEATS_DESTINATIONS, 0);
			else
				seats_leave_destination(s, UINT32_MAX);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		assert_int_equal(seats_sessions(s), 1);
	}
	seats_release(s, seat);
	assert_int_equal(seats_sessions(s), 0);
	drop(s, 4);
}

/* ---- workers that are killed ---- */

enum {
	WORKERS = 3,
	SEATS = 40,
	PER_ADDRESS = 6,
	ADDRESSES = 6,
	DESTINATIONS = 3,
	AT_DESTINATION = 9,
	MINE = 32,
};

/* What a worker believes, in memory that outlives it: begun before it asks, ended after it gave. */
struct believed {
	_Atomic unsigned seats, most_seats;
	_Atomic unsigned of_address[ADDRESSES], at_destination[DESTINATIONS];
	_Atomic unsigned exceeded;    /* by what the workers have, as they count it */
	_Atomic unsigned read_beyond; /* a count that was read was over its limit */
};

struct place {
	uint32_t seat;
	unsigned address;
	bool counted;
	bool no_session; /* a place */
	int dest;
};

static void nth_address(struct addr *a, unsigned i)
{
	*a = (struct addr){ .family = i % 2 ? 6 : 4, .ip = { 10, 0, (uint8_t)i, 1 } };
}

/* The counts that anybody can read are never over their limits, but for a worker that was killed
 * when one of its sessions left a place behind or came back to it: both count until they are freed.
 */
static void look(struct seats *s, struct believed *b, unsigned r)
{
	struct addr a;

	nth_address(&a, r % ADDRESSES);
	if (seats_sessions(s) > SEATS || seats_of_address(s, &a) > PER_ADDRESS ||
	    seats_of_destination(s, r % DESTINATIONS) > AT_DESTINATION + WORKERS)
		atomic_fetch_add(&b->read_beyond, 1);
}

/* Given something: all who have it, counted by themselves, must not be more than LIMIT. */
static void gained(struct believed *b, _Atomic unsigned *have, unsigned limit)
{
	if (atomic_fetch_add(have, 1) + 1 > limit)
		atomic_fetch_add(&b->exceeded, 1);
}

static void leave(struct believed *b, struct place *p)
{
	if (p->dest >= 0)
		atomic_fetch_sub(&b->at_destination[p->dest], 1);
	p->dest = -1;
}

static void uncount(struct believed *b, struct place *p)
{
	if (p->counted)
		atomic_fetch_sub(&b->of_address[p->address], 1);
	p->counted = false;
}

static void take_place(struct seats *s, struct believed *b, unsigned worker, struct place *p,
		       unsigned r)
{
	unsigned dest = r % DESTINATIONS;

	*p = (struct place){ .no_session = true, .dest = -1 };
	if (!seats_place(s, worker, dest, AT_DESTINATION, &p->seat)) {
		p->seat = UINT32_MAX;
		return;
	}
	p->dest = (int)dest;
	gained(b, &b->at_destination[dest], AT_DESTINATION);
}

/* The session leaves a place behind, and comes back to it, or it is released. */
static void part(struct seats *s, struct believed *b, struct place *p, bool comes_back)
{
	uint32_t place;

	if (p->dest < 0 || !seats_part(s, p->seat, &place))
		return;
	if (comes_back) {
		seats_take_over(s, p->seat, place);
	} else {
		leave(b, p);
		seats_release(s, place);
	}
}

static void sit_down(struct seats *s, struct believed *b, unsigned worker, struct place *p,
		     unsigned r)
{
	struct addr a;

	*p = (struct place){ .address = r % ADDRESSES, .counted = r / 8 % 4, .dest = -1 };
	nth_address(&a, p->address);
	if (seats_take(s, worker, &a, p->counted, PER_ADDRESS, &p->seat) != SEATS_OK) {
		p->seat = UINT32_MAX;
		return;
	}
	gained(b, &b->seats, SEATS);
	unsigned now = atomic_load(&b->seats), most = atomic_load(&b->most_seats);

	while (now > most && !atomic_compare_exchange_weak(&b->most_seats, &most, now))
		;
	if (p->counted)
		gained(b, &b->of_address[p->address], PER_ADDRESS);
}

static void go_to(struct seats *s, struct believed *b, struct place *p, unsigned r)
{
	int before = p->dest, dest = (int)(r % DESTINATIONS);

	/* To leave is believed before it is done, to have come after it is done: a worker's own
	 * count is never more than the truth. */
	if (before == dest)
		return;
	leave(b, p);
	if (seats_at_destination(s, p->seat, (unsigned)dest, AT_DESTINATION)) {
		p->dest = dest;
		gained(b, &b->at_destination[dest], AT_DESTINATION);
	} else {
		seats_leave_destination(s, p->seat);
	}
}

static void do_something(struct seats *s, struct believed *b, unsigned worker, struct place *p,
			 unsigned r)
{
	if (p->seat == UINT32_MAX) {
		if (r / 512 % 4)
			sit_down(s, b, worker, p, r);
		else
			take_place(s, b, worker, p, r);
		return;
	}
	unsigned what = r / 64 % 5;

	if (what && p->no_session)
		return;
	switch (what) {
	case 0:
		leave(b, p);
		uncount(b, p);
		if (!p->no_session)
			atomic_fetch_sub(&b->seats, 1);
		seats_release(s, p->seat);
		p->seat = UINT32_MAX;
		break;
	case 1:
		uncount(b, p);
		seats_uncount(s, p->seat);
		break;
	case 2:
		go_to(s, b, p, r);
		break;
	case 3:
		part(s, b, p, r / 512 % 2);
		break;
	default:
		look(s, b, r);
		break;
	}
}

/* A worker: until it is killed. */
static _Noreturn void work(struct seats *s, struct believed *b, unsigned worker, unsigned seed)
{
	struct place places[MINE];

	for (unsigned i = 0; i < MINE; i++)
		places[i].seat = UINT32_MAX;
	for (;;) {
		unsigned r = (unsigned)rand_r(&seed);

		do_something(s, b, worker, &places[r / 4096 % MINE], r);
	}
}

static pid_t start(struct seats *s, struct believed *b, unsigned worker)
{
	unsigned seed = (unsigned)random();
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
		work(s, b, worker, seed);
	}
	return pid;
}

static void wait_a_little(void)
{
	struct timespec ts = { .tv_nsec = random() % 4000000 };

	nanosleep(&ts, NULL);
}

static void kill_worker(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Nobody is in: all counts must say so, and all seats must be there to be taken. */
static void is_empty(struct seats *s)
{
	uint32_t seat[SEATS], more;
	struct addr a;

	assert_int_equal(seats_sessions(s), 0);
	for (unsigned d = 0; d < SEATS_DESTINATIONS; d++) {
		assert_int_equal(seats_of_destination(s, d), 0);
		assert_int_equal(seats_load(s, d), 0);
	}
	for (unsigned i = 0; i < SEATS_PLACES(SEATS); i++)
		assert_true(seats_place(s, 9, 0, 0, &more));
	assert_false(seats_place(s, 9, 0, 0, &more));
	for (unsigned i = 0; i < ADDRESSES; i++) {
		nth_address(&a, i);
		assert_int_equal(seats_of_address(s, &a), 0);
	}
	for (unsigned i = 0; i < SEATS; i++) {
		a.ip[3] = (uint8_t)i;
		assert_int_equal(seats_take(s, 9, &a, true, SEATS, &seat[i]), SEATS_OK);
	}
	assert_int_equal(seats_take(s, 9, &a, true, 0, &more), SEATS_FULL);
	assert_int_equal(seats_release_worker(s, 9, 0), SEATS);
}

/*
 * All workers are killed at random moments, and what is left is exact: after each round nothing,
 * since all owners are dead. What the workers had gained, by their own count, never exceeded a
 * limit.
 */
static void test_killed_workers(void **state)
{
	struct seats *s = make(SEATS);
	struct believed *b = shared(sizeof(*b));
	unsigned most = 0;

	(void)state;
	srandom(11);
	/* The limits have to be worth something: more rounds where workers hardly got to run. */
	for (unsigned round = 0; round < size_of(300, 60) || most <= SEATS / 2; round++) {
		pid_t pid[WORKERS];
		unsigned freed = 0, before;

		memset(b, 0, sizeof(*b));
		for (unsigned i = 0; i < WORKERS; i++)
			pid[i] = start(s, b, i);
		wait_a_little();
		for (unsigned i = 0; i < WORKERS; i++)
			kill_worker(pid[i]);
		before = seats_sessions(s);
		for (unsigned i = 0; i < WORKERS; i++)
			freed += seats_release_worker(s, i, 0);
		assert_int_equal(freed, before);
		assert_int_equal(b->exceeded, 0);
		assert_int_equal(b->read_beyond, 0);
		most = b->most_seats > most ? b->most_seats : most;
		is_empty(s);
	}
	drop(s, SEATS);
	munmap(b, sizeof(*b));
}

/* One worker after another is killed and replaced while the others work on. */
static void test_killed_among_others(void **state)
{
	struct seats *s = make(SEATS);
	struct believed *b = shared(sizeof(*b));
	struct addr a = ip("203.0.113.1");
	pid_t pid[WORKERS];
	uint32_t mine;

	(void)state;
	srandom(12);
	assert_int_equal(seats_take(s, 77, &a, true, 0, &mine), SEATS_OK);
	assert_true(seats_at_destination(s, mine, 63, 1));
	for (unsigned i = 0; i < WORKERS; i++)
		pid[i] = start(s, b, i);
	for (unsigned round = 0; round < size_of(300, 60); round++) {
		unsigned i = round % WORKERS;

		wait_a_little();
		kill_worker(pid[i]);
		seats_release_worker(s, i, 0);
		look(s, b, round);
		pid[i] = start(s, b, i);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		kill_worker(pid[i]);
	for (unsigned i = 0; i < WORKERS; i++)
		seats_release_worker(s, i, 0);
	/* What the dead believed to have is lost with them, so `exceeded` says nothing here. */
	assert_int_equal(b->read_beyond, 0);
	assert_int_equal(seats_sessions(s), 1);
	assert_int_equal(seats_of_address(s, &a), 1);
	assert_int_equal(seats_of_destination(s, 63), 1);
	seats_release(s, mine);
	is_empty(s);
	drop(s, SEATS);
	munmap(b, sizeof(*b));
}

/* Dies while it holds the mutex, with everything that is derived spoilt: the seats tell it all. */
static void test_derived_anew(void **state)
{
	enum { MAX = 64 };
	struct seats *s = make(MAX);
	struct addr a = ip("192.0.2.1"), b = ip("2001:db8::1");
	uint32_t seat[MAX];

	(void)state;
	for (unsigned i = 0; i < MAX - 1; i++) {
		assert_int_equal(seats_take(s, i % 2, i % 3 ? &a : &b, i % 4, 0, &seat[i]),
				 SEATS_OK);
		assert_true(seats_at_destination(s, seat[i], i % 5, 0));
	}
	unsigned of_a = seats_of_address(s, &a), of_b = seats_of_address(s, &b);
	unsigned at[5];

	for (unsigned d = 0; d < 5; d++)
		at[d] = seats_of_destination(s, d);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		/* At the end lie the chains of addresses, which are derived; an eighth is less. */
		size_t room = seats_room(MAX), n = room / 8;

		if (pthread_mutex_lock(mutex_of(s)) != 0)
			_exit(1);
		memset((uint8_t *)s + room - n, 0x5a, n);
		_exit(0);
	}
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(seats_sessions(s), MAX - 1);
	assert_int_equal(seats_of_address(s, &a), of_a);
	assert_int_equal(seats_of_address(s, &b), of_b);
	for (unsigned d = 0; d < 5; d++)
		assert_int_equal(seats_of_destination(s, d), at[d]);
	seat[MAX - 1] = take(s, &a, true);
	for (unsigned i = 0; i < MAX; i++)
		seats_release(s, seat[i]);
	assert_int_equal(seats_sessions(s), 0);
	assert_int_equal(seats_of_address(s, &a), 0);
	drop(s, MAX);
}

static void test_a_million(void **state)
{
	unsigned max = size_of(1000000, 100000);
	struct seats *s = make(max);
	uint32_t seat;

	(void)state;
	for (uint32_t i = 0; i < max; i++) {
		struct addr a = { .family = 4 };
		uint32_t x = i / 2;

		memcpy(a.ip, &x, 4);
		assert_int_equal(seats_take(s, i % 7, &a, true, 2, &seat), SEATS_OK);
		if (i % 2)
			assert_int_equal(seats_take(s, 0, &a, true, 2, &seat), SEATS_ADDRESS_FULL);
		if (i == max - 1)
			assert_int_equal(seats_take(s, 0, &a, true, 3, &seat), SEATS_FULL);
	}
	assert_int_equal(seats_sessions(s), max);
	for (unsigned w = 0; w < 7; w++)
		seats_release_worker(s, w, 0);
	assert_int_equal(seats_sessions(s), 0);
	drop(s, max);
}

/* Both tables count, the old one as long as anybody is in it. Runs in a child of its own: for a
 * process, another table is one for good. */
static int two_tables(struct seats *old, struct seats *new, unsigned linger_ms)
{
	struct addr a = ip("192.0.2.1"), b = ip("192.0.2.2");
	uint32_t in_old[2], seat;

	for (int i = 0; i < 2; i++) {
		in_old[i] = take(old, &a, true);
		if (!seats_at_destination(old, in_old[i], 5, 0))
			return 1;
	}
	if (!seats_count_with(old) || seats_sessions(new) != 2 || seats_of_address(new, &a) != 2 ||
	    seats_of_address(new, &b) != 0 || seats_of_destination(new, 5) != 2)
		return 2;
	if (seats_take(new, 0, &a, true, 2, &seat) != SEATS_ADDRESS_FULL ||
	    seats_take(new, 0, &b, true, 2, &seat) != SEATS_OK)
		return 3;
	if (seats_at_destination(new, seat, 5, 2) || !seats_at_destination(new, seat, 5, 3))
		return 4;
	if (seats_take(new, 0, &b, false, 0, &seat) != SEATS_OK || /* the fourth of four */
	    seats_take(new, 0, &b, false, 0, &seat) != SEATS_FULL)
		return 5;
	seats_uncount(old, in_old[0]);
	seats_leave_destination(old, in_old[0]);
	if (seats_of_address(new, &a) != 1 || seats_of_destination(new, 5) != 2)
		return 6;
	seats_release(old, in_old[0]);
	if (seats_take(new, 0, &b, false, 0, &seat) != SEATS_OK ||
	    seats_take(new, 0, &b, false, 0, &seat) != SEATS_FULL)
		return 7;
	/* A worker that died there has left a seat: nobody frees it, and nobody counts it, but for
	 * a while at its destination. */
	if (!seats_at_destination(old, in_old[1], 5, 0) || seats_of_destination(new, 5) != 2)
		return 8;
	seats_close(old, new, linger_ms);
	sleep_ms(SHORT_MS + 1);
	if (seats_sessions(new) != 3 || seats_of_address(new, &a) != 0 ||
	    seats_of_destination(new, 5) != (linger_ms == LONG_MS ? 2 : 1) ||
	    seats_load(new, 5) != 1 || seats_take(new, 0, &a, true, 1, &seat) != SEATS_OK)
		return 9;
	return 0;
}

static void test_two_tables(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct seats *old = make(10), *new = make(4);
		int status;
		pid_t pid = fork();

		if (pid == 0)
			_exit(two_tables(old, new, i ? LONG_MS : SHORT_MS));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
		drop(old, 10);
		drop(new, 4);
	}
}

static void test_fits(void **state)
{
	struct seats *s = make(10);
	char *zeroed = shared(seats_room(10));

	(void)state;
	assert_true(seats_fits(s, seats_room(10), 10));
	assert_false(seats_fits(s, seats_room(10), 9));
	assert_false(seats_fits(s, seats_room(10) - 1, 10));
	assert_false(seats_fits(zeroed, seats_room(10), 10));
	assert_false(seats_count_with((void *)zeroed));
	((char *)s)[strlen("caronte seats layout ")]++;
	assert_false(seats_fits(s, seats_room(10), 10));
	drop(s, 10);
	drop((void *)zeroed, 10);
}

/* It begins above three quarters, ends at five eighths, and each change is said once. */
static void test_stress(void **state)
{
	enum { MAX = 16 };
	struct seats *s = make(MAX);
	struct addr a = ip("192.0.2.1");
	uint32_t seat[MAX];
	unsigned said = 0;

	(void)state;
	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned n = 0; n < MAX; n++) {
			seat[n] = take(s, &a, n % 2);
			assert_int_equal(seats_stressed(s), n + 1 > MAX * 3 / 4);
			said += seats_stress_turned(s);
		}
		assert_int_equal(said, 2 * round - 1);
		for (unsigned n = MAX; n-- > 0;) {
			seats_release(s, seat[n]);
			assert_int_equal(seats_stressed(s), n > MAX * 5 / 8);
			said += seats_stress_turned(s);
			said += seats_stress_turned(s);
		}
		assert_int_equal(said, 2 * round);
	}
	/* A dead worker's sessions are over for it too. */
	for (unsigned n = 0; n < MAX; n++)
		seat[n] = take(s, &a, true);
	assert_true(seats_stressed(s));
	assert_int_equal(seats_release_worker(s, 0, 0), MAX);
	assert_false(seats_stressed(s));
	drop(s, MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_seats),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_dead_worker),
		cmocka_unit_test(test_left_behind),
		cmocka_unit_test(test_left_behind_for_a_while),
		cmocka_unit_test(test_left_behind_in_a_full_table),
		cmocka_unit_test(test_misuse_is_a_fault),
		cmocka_unit_test(test_killed_workers),
		cmocka_unit_test(test_killed_among_others),
		cmocka_unit_test(test_derived_anew),
		cmocka_unit_test(test_a_million),
		cmocka_unit_test(test_parting),
		cmocka_unit_test(test_stress),
		cmocka_unit_test(test_taking_over),
		cmocka_unit_test(test_two_tables),
		cmocka_unit_test(test_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
