/* SPDX-License-Identifier: ISC */
/*
 * route: several processes: addresses that change while other processes read them, a writer that is
 * killed, one caller for each pause; notes, and who may write one.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/diag.h"
#include "routeworld.h"
#include "route/note.h"
#include "route/busy.h"

/* A set of addresses that cannot be mistaken for parts of two: all octets are alike. */
static unsigned make_set(struct addr out[ROUTE_ADDRESSES], unsigned seed)
{
	unsigned n = 1 + seed % ROUTE_ADDRESSES;

	for (unsigned i = 0; i < n; i++) {
		out[i] = (struct addr){ .family = 6, .port = (uint16_t)(1 + seed % 60000) };
		memset(out[i].ip, (int)(seed % 251), sizeof(out[i].ip));
		out[i].ip[0] = (uint8_t)i; /* told apart by this alone */
	}
	return n;
}

static _Noreturn void write_forever(struct route_shared *s, unsigned seed)
{
	struct addr set[ROUTE_ADDRESSES];

	for (;; seed++)
		route_set_addresses(s, 0, set, make_set(set, seed));
}

/* Reads once: a whole set, never parts of two. */
static void read_set(struct route_shared *s)
{
	struct addr got[ROUTE_ADDRESSES];
	unsigned n = route_get_addresses(s, 0, got);

	assert_in_range(n, 1, ROUTE_ADDRESSES);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(got[i].port, got[0].port);
		assert_int_equal(got[i].family, 6);
		for (unsigned k = 1; k < sizeof(got[i].ip); k++)
			assert_int_equal(got[i].ip[k], got[0].ip[1]);
		assert_true(got[i].ip[0] < n);
	}
	assert_int_equal(n, 1 + (got[0].port - 1u) % ROUTE_ADDRESSES);
}

static void test_writer_is_killed(void **state)
{
	struct addr set[ROUTE_ADDRESSES];
	struct world w;

	(void)state;
	srandom(5);
	world_init(&w, "name.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	route_set_addresses(w.shared, 0, set, make_set(set, 1));
	for (unsigned round = 0; round < 100; round++) {
		unsigned reads = (unsigned)random() % 3000;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG,
			      SIGKILL); /* a test that fails leaves nobody behind */
			write_forever(w.shared, round * 1000);
		}
		while (reads--)
			read_set(w.shared);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		/* Wherever it died: readers go on, and so does the next writer. */
		read_set(w.shared);
		struct route_search search = { 0 };

		assert_int_equal(pick(&w, &search), 0);
	}
	assert_true(route_set_addresses(w.shared, 0, set, make_set(set, 59000)));
	read_set(w.shared);
	world_end(&w);
}

static void test_one_caller_per_pause(void **state)
{
	enum { CHILDREN = 4, PAUSES = 200 };
	pid_t pid[CHILDREN];
	unsigned handed = 0;
	struct world w;

	(void)state;
	world_init(&w, "10.0.0.1:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	break_destination(&w, 0);
	for (unsigned i = 0; i < CHILDREN; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0) {
			unsigned mine = 0;

			/* All count the same time: each pause is over once. */
			for (uint64_t t = 0; t < PAUSES; t++)
				mine += route_due(w.shared, &w.route, w.now + 5000 * (t + 1)) != 0;
			_exit((int)mine);
		}
	}
	for (unsigned i = 0; i < CHILDREN; i++) {
		int status;

		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_true(WIFEXITED(status));
		handed += (unsigned)WEXITSTATUS(status);
	}
	/* Whoever is behind finds the pause of a later time, and gets nothing for its own. */
	assert_in_range(handed, 1, PAUSES);
	world_end(&w);
}

static void test_round_robin_of_many(void **state)
{
	enum { CHILDREN = 4, PICKS = 20000 };
	unsigned *got = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[CHILDREN];
	struct world w;

	(void)state;
	assert_true(got != MAP_FAILED);
	world_init(&w, "10.0.0.1:25,weight=3 10.0.0.2:25,weight=2 10.0.0.3:25", ROUTE_CLUSTER,
		   ROUTE_ROUND_ROBIN);
	for (unsigned i = 0; i < CHILDREN; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0) {
			for (unsigned k = 0; k < PICKS; k++)
				__atomic_fetch_add(&got[pick_leave(&w)], 1, __ATOMIC_RELAXED);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < CHILDREN; i++)
		assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
	for (unsigned d = 0; d < 3; d++) {
		unsigned fair = CHILDREN * PICKS * w.route.destination[d].weight / 6;

		assert_in_range(got[d], fair - fair / 50, fair + fair / 50);
	}
	world_end(&w);
	munmap(got, 4096);
}

/* ---- notes ---- */

/* A Unix socket is never resolved, and goes down and comes back as an address does. */
static void test_unix_socket(void **state)
{
	struct route_search search = { 0 };
	struct world w, next;
	struct addr a, list[ROUTE_ADDRESSES];
	unsigned dest;

	(void)state;
	world_init(&w, "unix:/run/smtp,max=1 mx.example:25", ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	assert_int_equal(route_to_resolve(w.shared, &w.route), 2); /* the name alone */
	assert_int_equal(route_get_addresses(w.shared, 0, list), 1);
	assert_int_equal(
		route_pick(&w.route, w.shared, &search, &w.counts, &w.client, w.now, &dest, &a),
		ROUTE_PICKED);
	assert_int_equal(dest, 0);
	assert_int_equal(a.family, ADDR_UNIX);
	assert_true(route_failed(w.shared, &search, 0, w.now));
	assert_false(route_up(w.shared, 0));
	assert_false(route_to_resolve(w.shared, &w.route) & 1);
	assert_int_equal(
		route_pick(&w.route, w.shared, &search, &w.counts, &w.client, w.now, &dest, &a),
		ROUTE_NONE);
	assert_int_equal(route_due(w.shared, &w.route, w.now + 500), 1);
	assert_true(route_try(w.shared, 0, &a));
	assert_int_equal(a.family, ADDR_UNIX);
	assert_true(route_came_back(w.shared, 0, &a, w.now + 501));
	assert_true(route_up(w.shared, 0));
	route_drain(w.shared, 0, true);
	world_init(&next, "a.example:25 unix:/run/smtp", ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	route_carry_over(next.shared, &next.route, w.shared, &w.route);
	assert_true(route_drained(next.shared, 1));
	assert_int_equal(route_get_addresses(next.shared, 1, list), 1);
	assert_int_equal(list[0].family, ADDR_UNIX);
	world_end(&next);
	world_end(&w);
}

static void test_note(void **state)
{
	static const char list[] = "a.example:25 b.example:25";
	uint8_t out[ROUTE_NOTE_MAX], longest[ROUTE_NOTE_MAX];
	struct route_shared *s;
	struct world w;

	(void)state;
	world_init(&w, list, ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	s = w.shared;
	assert_int_equal(route_note_number(s, 0), 0);
	assert_int_equal(route_note_read(s, 0, out), 0);
	route_note_write(s, 0, SPAN("one"));
	assert_int_equal(route_note_number(s, 0), 1);
	assert_int_equal(route_note_read(s, 0, out), 3);
	assert_memory_equal(out, "one", 3);
	memset(longest, 'x', sizeof(longest));
	for (size_t n = sizeof(longest); n > 0; n--) {
		route_note_write(s, 0, span_of(longest, n));
		assert_int_equal(route_note_read(s, 0, out), n);
		assert_memory_equal(out, longest, n);
	}
	assert_int_equal(route_note_number(s, 1), 0);
	assert_int_equal(route_note_read(s, 1, out), 0);
	world_end(&w);
}

static void test_note_is_carried_over(void **state)
{
	static const char before[] = "a.example:25 b.example:25",
			  after[] = "c.example:25 b.example:25";
	uint8_t out[ROUTE_NOTE_MAX];
	struct world was, is;
	struct route_shared *old, *s;

	(void)state;
	world_init(&was, before, ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	world_init(&is, after, ROUTE_BACKUP, ROUTE_LEAST_SESSIONS);
	old = was.shared;
	s = is.shared;
	route_note_write(old, 0, SPAN("a"));
	route_note_write(old, 1, SPAN("b"));
	route_note_next(old, 1, 500);
	assert_true(route_note_claim(old, 1, 0, 1, 1000) > 0);
	route_carry_over(s, &is.route, old, &was.route);
	assert_int_equal(route_note_read(s, 0, out), 0);
	assert_true(route_note_due(s, 0, 0));
	assert_int_equal(route_note_read(s, 1, out), 1);
	assert_int_equal(out[0], 'b');
	assert_false(route_note_due(s, 1, 499));
	assert_true(route_note_due(s, 1, 500));
	/* The claim's holder writes into the state of before. */
	assert_false(route_note_awaited(s, 1, 2));
	world_end(&was);
	world_end(&is);
}

/* What a destination has said in clear counts for nothing where it is spoken to by TLS. */
static void test_note_of_another_way(void **state)
{
	uint8_t out[ROUTE_NOTE_MAX];
	struct world was, is;

	(void)state;
	world_init(&was, "a.example:25 b.example:25,tls=require", ROUTE_BACKUP,
		   ROUTE_LEAST_SESSIONS);
	world_init(&is, "a.example:25,tls=may b.example:25,tls=require", ROUTE_BACKUP,
		   ROUTE_LEAST_SESSIONS);
	route_note_write(was.shared, 0, SPAN("a"));
	route_note_write(was.shared, 1, SPAN("b"));
	route_carry_over(is.shared, &is.route, was.shared, &was.route);
	assert_int_equal(route_note_read(is.shared, 0, out), 0);
	assert_true(route_note_due(is.shared, 0, 0));
	assert_int_equal(route_note_read(is.shared, 1, out), 1);
	world_end(&was);
	world_end(&is);
}

static void test_note_has_one_writer(void **state)
{
	uint64_t claim, other;
	struct route_shared *s;
	struct world w;

	(void)state;
	world_init(&w, "a.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	s = w.shared;
	assert_true(route_note_due(s, 0, 0));
	claim = route_note_claim(s, 0, 7, 100, 50);
	assert_true(claim > 0);
	assert_true(route_note_awaited(s, 0, 149));
	assert_int_equal(route_note_claim(s, 0, 7, 149, 50), 0);
	route_note_hold(s, 0, &claim, 140, 50);
	assert_int_equal(route_note_claim(s, 0, 8, 189, 50), 0);
	/* Its holder does not go on. */
	assert_false(route_note_awaited(s, 0, 190));
	other = route_note_claim(s, 0, 8, 190, 50);
	assert_true(other > 0);
	/* … or only held up: the claim is another's now. */
	route_note_leave(s, 0, claim);
	route_note_hold(s, 0, &claim, 200, 500);
	assert_true(route_note_awaited(s, 0, 239));
	assert_false(route_note_awaited(s, 0, 240));
	route_note_leave(s, 0, other);
	assert_false(route_note_awaited(s, 0, 201));
	assert_int_equal(route_note_since(s, 0), 0);
	route_note_begun(s, 0, 201);
	assert_int_equal(route_note_since(s, 0), 201);
	world_end(&w);
}

static void test_note_claim_ends_with_its_holder(void **state)
{
	const uint64_t long_ms = 1000000;
	struct route_shared *s;
	struct world w;

	(void)state;
	world_init(&w, "a.example:25 b.example:25", ROUTE_CLUSTER, ROUTE_LEAST_SESSIONS);
	s = w.shared;
	assert_true(route_note_claim(s, 0, ROUTE_HOLDERS - 1, 100, long_ms) > 0);
	assert_true(route_note_claim(s, 1, 0, 100, long_ms) > 0);
	route_note_release(s, 1);
	assert_true(route_note_awaited(s, 0, 101));
	assert_true(route_note_awaited(s, 1, 101));
	route_note_release(s, 0);
	assert_true(route_note_awaited(s, 0, 101));
	assert_false(route_note_awaited(s, 1, 101));
	route_note_release(s, ROUTE_HOLDERS - 1);
	assert_true(route_note_claim(s, 0, 1, 101, 50) > 0);
	/* That of before is nobody's, and ends nothing. */
	route_note_release(s, ROUTE_HOLDERS - 1);
	assert_true(route_note_awaited(s, 0, 102));
	world_end(&w);
}

/* Two that write at the same time, each as fast as it can, and a reader: it reads a whole note of
 * one of them, or none. When both are gone, killed anywhere, the next note is read. */
static void test_note_of_two_writers(void **state)
{
	uint8_t out[ROUTE_NOTE_MAX];
	struct route_shared *s;
	struct world w;
	pid_t child[2];

	(void)state;
	world_init(&w, "a.example:25", ROUTE_SINGLE, ROUTE_LEAST_SESSIONS);
	s = w.shared;
	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		assert_true(child[i] >= 0);
		if (child[i] == 0) {
			uint8_t note[ROUTE_NOTE_MAX];

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (unsigned n = 0;; n++) {
				memset(note, 'a' + i + 2 * (int)(n % 10), sizeof(note));
				route_note_write(s, 0, span_of(note, 200 + n % 800));
			}
		}
	}
	for (int i = 0; i < 20000; i++) {
		size_t n = route_note_read(s, 0, out);

		for (size_t k = 1; k < n; k++)
			assert_int_equal(out[k], out[0]);
	}
	for (int i = 0; i < 2; i++) {
		kill(child[i], SIGKILL);
		assert_int_equal(waitpid(child[i], NULL, 0), child[i]);
	}
	route_note_write(s, 0, SPAN("one"));
	assert_int_equal(route_note_read(s, 0, out), 3);
	assert_memory_equal(out, "one", 3);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writer_is_killed),
		cmocka_unit_test(test_one_caller_per_pause),
		cmocka_unit_test(test_round_robin_of_many),
		cmocka_unit_test(test_unix_socket),
		cmocka_unit_test(test_note),
		cmocka_unit_test(test_note_is_carried_over),
		cmocka_unit_test(test_note_of_another_way),
		cmocka_unit_test(test_note_has_one_writer),
		cmocka_unit_test(test_note_claim_ends_with_its_holder),
		cmocka_unit_test(test_note_of_two_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
