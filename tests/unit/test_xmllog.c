/* SPDX-License-Identifier: ISC */
/*
 * The rings and the records: what a producer makes is seen whole or not at all, also when it is
 * killed; what does not fit is counted; what is scribbled over is skipped and reported; and
 * whatever the octets of a value, the line is XML that gives them back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ringcheck.h"

static uint64_t check_numbered(const struct record *r)
{
	uint64_t i = r->attr[0].num;

	assert_int_equal(r->element, XMLLOG_FAULT);
	assert_int_equal(r->attrs, 3);
	assert_int_equal(r->attr[0].attr, XMLLOG_A_COUNT);
	assert_int_equal(r->attr[1].text.n, i * 7 % 600);
	for (size_t k = 0; k < r->attr[1].text.n; k++)
		assert_int_equal(r->attr[1].text.p[k], 'a' + i % 26);
	assert_true(r->attr[2].num == ~i);
	return i;
}

/* Takes all at hand, which must be numbered from *NEXT on. */
static void take_all_numbered(struct take *t, uint64_t *next)
{
	struct record r;

	take_begin(t);
	while (take_next(t, &r)) {
		assert_true(check_numbered(&r) == *next);
		++*next;
	}
	assert_false(take_damage(t, &r));
	commit(t);
}

static void test_levels(void **state)
{
	static const int levels[XMLLOG_ELEMENTS] = { 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 2 };
	struct xmllog_ring *ring = ring_new(4096);
	struct xmllog l;

	(void)state;
	for (int level = 0; level <= 4; level++) {
		xmllog_open(&l, ring, -1, level);
		for (int e = 0; e < XMLLOG_ELEMENTS; e++) {
			assert_int_equal(xmllog_level_of((enum xmllog_element)e), levels[e]);
			assert_int_equal(xmllog_begin(&l, (enum xmllog_element)e, NULL),
					 level >= levels[e]);
		}
	}
	ring_free(ring);
}

static void test_wrap_around(void **state)
{
	struct xmllog_ring *ring = ring_new(4096);
	struct take t;
	struct xmllog l;
	uint64_t next = 0;

	(void)state;
	/* The counters wrap around as well. */
	atomic_store(&ring->head, UINT32_MAX - 10000);
	atomic_store(&ring->tail, UINT32_MAX - 10000);
	xmllog_open(&l, ring, -1, 4);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	for (uint64_t i = 0; i < 5000; i++) {
		make_numbered(&l, i);
		if (i % 3 == 2)
			take_all_numbered(&t, &next);
	}
	take_all_numbered(&t, &next);
	assert_int_equal(next, 5000);
	assert_int_equal(atomic_load(&ring->dropped), 0);
	take_close(&t);
	ring_free(ring);
}

static void test_full(void **state)
{
	struct xmllog_ring *ring = ring_new(4096);
	struct take t;
	struct xmllog l;
	struct record r;
	uint64_t kept = 0, n = 0, last = 0;

	(void)state;
	xmllog_open(&l, ring, -1, 4);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	for (uint64_t i = 0; i < 100; i++)
		make_numbered(&l, i);
	/* Whole records, in order, and the rest counted; a later one that is small may still fit.
	 */
	take_begin(&t);
	kept = 100 - atomic_load(&ring->dropped);
	assert_in_range(kept, 5, 50);
	assert_int_equal(take_dropped(&t), 100 - kept);
	while (take_next(&t, &r)) {
		uint64_t i = check_numbered(&r);

		assert_true(n == 0 || i > last);
		last = i;
		n++;
	}
	assert_int_equal(n, kept);
	/* Not committed, so all of it is still there. */
	take_begin(&t);
	assert_true(take_next(&t, &r));
	assert_int_equal(check_numbered(&r), 0);
	assert_int_equal(take_dropped(&t), 100 - kept);
	while (take_next(&t, &r))
		;
	commit(&t);
	take_begin(&t);
	assert_false(take_next(&t, &r));
	assert_int_equal(take_dropped(&t), 0);
	make_numbered(&l, 7);
	take_begin(&t);
	assert_true(take_next(&t, &r));
	take_close(&t);
	ring_free(ring);
}

static void test_record_of_ring_size(void **state)
{
	static uint8_t big[4096];
	struct xmllog_ring *ring = ring_new(4096);
	size_t fits = 4096 - sizeof(struct record_header) - sizeof(struct attr_header);
	struct take t;
	struct xmllog l;
	struct record r;

	(void)state;
	xmllog_open(&l, ring, -1, 4);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	for (size_t n = fits - 1; n <= fits + 1; n++) {
		bool there;

		assert_true(xmllog_begin(&l, XMLLOG_FAULT, NULL));
		xmllog_span(&l, XMLLOG_A_DETAIL, span_of(big, n));
		xmllog_end(&l);
		take_begin(&t);
		there = take_next(&t, &r);
		assert_int_equal(there, n <= fits);
		if (there)
			assert_int_equal(r.attr[0].text.n, n);
		commit(&t);
	}
	assert_int_equal(atomic_load(&ring->dropped), 1);
	take_close(&t);
	ring_free(ring);
}

static void test_long_values(void **state)
{
	static uint8_t big[XMLLOG_VALUE_MAX + 8];
	struct xmllog_ring *ring = ring_new(1u << 20);
	struct take t;
	struct xmllog l;
	struct record r;

	(void)state;
	xmllog_open(&l, ring, -1, 4);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	memset(big, 'x', sizeof(big));
	memcpy(big + XMLLOG_VALUE_MAX - 2, "\xe2\x82\xac", 3); /* cut behind its second octet */
	assert_true(xmllog_begin(&l, XMLLOG_FAULT, NULL));
	xmllog_span(&l, XMLLOG_A_DETAIL, span_of(big, sizeof(big)));
	xmllog_span(&l, XMLLOG_A_WHAT, span_of(big, XMLLOG_VALUE_MAX));
	xmllog_text(&l, XMLLOG_A_LINE, "");
	xmllog_end(&l);
	take_begin(&t);
	assert_true(take_next(&t, &r));
	assert_int_equal(r.attr[0].text.n, XMLLOG_VALUE_MAX - 2);
	assert_int_equal(r.attr[1].text.n, XMLLOG_VALUE_MAX);
	assert_int_equal(r.attr[2].text.n, 0);
	commit(&t);
	/* More than RECORD_MAX in all: dropped although the ring has room. */
	assert_true(xmllog_begin(&l, XMLLOG_FAULT, NULL));
	for (int i = 0; i < 8; i++)
		xmllog_span(&l, (enum xmllog_attr)i, span_of(big, XMLLOG_VALUE_MAX));
	xmllog_end(&l);
	take_begin(&t);
	assert_false(take_next(&t, &r));
	assert_int_equal(take_dropped(&t), 1);
	take_close(&t);
	ring_free(ring);
}

static void test_half_made(void **state)
{
	struct xmllog_ring *ring = ring_new(4096);
	struct take t;
	struct xmllog l;
	struct record r;
	uint64_t next = 0;

	(void)state;
	assert_int_equal(take_open(&t, &ring, 1), 0);
	for (uint64_t i = 0; i < 50; i++) {
		/* One producer goes in the middle of a record, the next makes a whole one. */
		xmllog_open(&l, ring, -1, 4);
		assert_true(xmllog_begin(&l, XMLLOG_SESSION, NULL));
		xmllog_text(&l, XMLLOG_A_HELO, "nobody will ever see this one");
		take_begin(&t);
		assert_false(take_next(&t, &r));
		xmllog_open(&l, ring, -1, 4);
		make_numbered(&l, i);
		take_all_numbered(&t, &next);
		assert_int_equal(next, i + 1);
	}
	take_close(&t);
	ring_free(ring);
}

/* Producers in processes of their own are killed at any instruction. */
static void test_killed_producers(void **state)
{
	struct xmllog_ring *ring = ring_new(64u << 10);
	struct take t;
	struct xmllog l;
	struct record r;
	uint64_t next = 0;

	(void)state;
	srandom(1);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	for (int round = 0; round < 150; round++) {
		pid_t pid = fork();

		if (pid == 0) {
			xmllog_open(&l, ring, -1, 4);
			for (uint64_t i = next;; i++) {
				/* Full: wait, so that the numbers have no gaps. */
				while (ring->size - (atomic_load(&ring->tail) -
						     atomic_load(&ring->head)) <
				       2048)
					;
				make_numbered(&l, i);
			}
		}
		assert_true(pid > 0);
		/* Not before it has made anything. */
		uint64_t from = next;
		for (long k = random() % 2000; k > 0 || next == from; k--)
			take_all_numbered(&t, &next);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		take_all_numbered(&t, &next);
		take_begin(&t);
		assert_false(take_next(&t, &r));
	}
	assert_true(next > 150);
	assert_int_equal(atomic_load(&ring->dropped), 0);
	take_close(&t);
	ring_free(ring);
}

static bool woken(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

static void test_wakes_only_a_sleeper(void **state)
{
	struct xmllog_ring *ring = ring_new(4096);
	int fd = eventfd(0, EFD_NONBLOCK);
	struct take t;
	struct xmllog l;
	uint64_t next = 1;

	(void)state;
	xmllog_open(&l, ring, fd, 4);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	make_numbered(&l, 1);
	assert_false(woken(fd));
	assert_true(take_wake_at(&t, TAKE_ASLEEP)); /* there is something: do not sleep */
	take_all_numbered(&t, &next);
	assert_false(take_wake_at(&t, TAKE_ASLEEP));
	make_numbered(&l, 2);
	assert_true(woken(fd));
	make_numbered(&l, 3);
	assert_false(woken(fd)); /* once is enough */
	take_all_numbered(&t, &next);
	take_wake_at(&t, TAKE_HALF_FULL);
	for (uint64_t i = 4; atomic_load(&ring->tail) - atomic_load(&ring->head) <= 2048; i++) {
		assert_false(woken(fd));
		make_numbered(&l, i);
	}
	assert_true(woken(fd));
	/* A drop is news, too. */
	take_begin(&t);
	for (struct record r; take_next(&t, &r);)
		;
	commit(&t);
	assert_false(take_wake_at(&t, TAKE_ASLEEP));
	assert_true(xmllog_begin(&l, XMLLOG_FAULT, NULL));
	l.overflow = true;
	xmllog_end(&l);
	assert_true(woken(fd));
	assert_true(take_wake_at(&t, TAKE_AWAKE));
	take_close(&t);
	close(fd);
	ring_free(ring);
}

#define STRESS 100000u

static void *stress_producer(void *arg)
{
	struct xmllog *l = arg;

	for (uint64_t i = 0; i < STRESS; i++) {
		while (l->ring->size - (atomic_load(&l->ring->tail) - atomic_load(&l->ring->head)) <
		       2048)
			sched_yield();
		make_numbered(l, i);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* The sleeper is woken for every record, however the two interleave. */
static void test_no_wake_up_is_lost(void **state)
{
	struct xmllog_ring *ring = ring_new(1u << 16);
	int fd = eventfd(0, EFD_NONBLOCK);
	struct take t;
	struct xmllog l;
	uint64_t next = 0;
	pthread_t thread;

	(void)state;
	xmllog_open(&l, ring, fd, 4);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, stress_producer, &l), 0);
	while (next < STRESS) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (!take_wake_at(&t, TAKE_ASLEEP)) {
			assert_int_equal(poll(&p, 1, 20000), 1);
			woken(fd);
		}
		take_wake_at(&t, TAKE_AWAKE);
		take_all_numbered(&t, &next);
	}
	pthread_join(thread, NULL);
	take_close(&t);
	close(fd);
	ring_free(ring);
}

static void test_merged_by_time(void **state)
{
	enum { RINGS = 5, RECORDS = 500 };
	struct xmllog_ring *rings[RINGS];
	struct xmllog l[RINGS];
	uint64_t next[RINGS] = { 0 }, last = 0, n = 0;
	struct take t;
	struct record r;

	(void)state;
	srandom(2);
	for (int i = 0; i < RINGS; i++) {
		rings[i] = ring_new(1u << 16);
		xmllog_open(&l[i], rings[i], -1, 4);
	}
	assert_int_equal(take_open(&t, rings, RINGS), 0);
	for (uint64_t i = 0; i < RECORDS; i++) {
		int k = (int)(random() % RINGS);

		assert_true(xmllog_begin(&l[k], XMLLOG_FAULT, NULL));
		xmllog_num(&l[k], XMLLOG_A_PID, (uint64_t)k);
		xmllog_num(&l[k], XMLLOG_A_COUNT, next[k]++);
		xmllog_end(&l[k]);
	}
	memset(next, 0, sizeof(next));
	take_begin(&t);
	while (take_next(&t, &r)) {
		assert_true(r.time_us >= last);
		last = r.time_us;
		assert_true(r.attr[1].num == next[r.attr[0].num]++);
		n++;
	}
	assert_int_equal(n, RECORDS);
	take_close(&t);
	for (int i = 0; i < RINGS; i++)
		ring_free(rings[i]);
}

/* A writer that was killed behind its last write and before it could say so in the rings. */
static void test_recover(void **state)
{
	struct xmllog_ring *ring = ring_new(4096);
	struct take t;
	struct xmllog l;
	struct record r;

	(void)state;
	xmllog_open(&l, ring, -1, 4);
	assert_int_equal(take_open(&t, &ring, 1), 0);
	atomic_store(&ring->dropped, 9);
	make_numbered(&l, 1);
	take_begin(&t);
	assert_int_equal(take_dropped(&t), 9);
	assert_true(take_next(&t, &r));
	take_prepare(&t, 10, 20, 4711);
	take_close(&t);
	make_numbered(&l, 2);

	assert_int_equal(take_open(&t, &ring, 1), 0);
	/* The batch did not get into the file. */
	assert_false(take_recover(&t, 10, 20, 4000));
	take_begin(&t);
	assert_int_equal(take_dropped(&t), 9);
	assert_true(take_next(&t, &r));
	assert_int_equal(check_numbered(&r), 1);
	take_prepare(&t, 10, 20, 4711);
	take_close(&t);

	assert_int_equal(take_open(&t, &ring, 1), 0);
	/* It did: that batch, and no more, is handed out for whoever else should have it. */
	assert_true(take_recover(&t, 10, 20, 4711));
	assert_true(take_next(&t, &r));
	assert_int_equal(check_numbered(&r), 1);
	assert_false(take_next(&t, &r));
	take_commit(&t);
	take_begin(&t);
	assert_int_equal(take_dropped(&t), 0);
	assert_true(take_next(&t, &r));
	assert_int_equal(check_numbered(&r), 2);
	assert_false(take_next(&t, &r));
	take_close(&t);
	ring_free(ring);
}

/* Where in the ring the record made last begins. */
static uint8_t *last_record(struct xmllog *l)
{
	return l->ring->data + (l->start & (l->ring->size - 1));
}

enum damage {
	LEN_0,
	LEN_LONG,
	MAGIC,
	ELEMENT,
	TIME,
	SESSION_FLAG,
	ATTR,
	KIND,
	ATTR_LEN,
	TWICE,
	TAIL
};

static void scribble(struct xmllog *l, enum damage d)
{
	uint8_t *raw = last_record(l);
	struct record_header h;
	struct attr_header a;

	memcpy(&h, raw, sizeof(h));
	memcpy(&a, raw + sizeof(h), sizeof(a));
	switch (d) {
	case LEN_0:
		h.len = 0;
		break;
	case LEN_LONG:
		h.len++;
		break;
	case MAGIC:
		h.magic = 0;
		break;
	case ELEMENT:
		h.element = XMLLOG_ELEMENTS;
		break;
	case TIME:
		h.time_us = UINT64_MAX;
		break;
	case SESSION_FLAG:
		h.has_session = 2;
		break;
	case ATTR:
		a.attr = XMLLOG_ATTRS;
		break;
	case KIND:
		a.kind = KINDS;
		break;
	case ATTR_LEN:
		a.len = UINT16_MAX;
		break;
	case TWICE: /* the third attribute (12 octets from the end) becomes the first once more */
		raw[h.len - 12] = a.attr;
		break;
	case TAIL:
		atomic_store(&l->ring->tail, l->at + 100000);
		break;
	}
	memcpy(raw, &h, sizeof(h));
	memcpy(raw + sizeof(h), &a, sizeof(a));
}

static void test_damage_is_skipped_and_reported(void **state)
{
	(void)state;
	for (enum damage d = LEN_0; d <= TAIL; d++) {
		struct xmllog_ring *ring = ring_new(16384);
		struct take t;
		struct xmllog l;
		struct record r;
		uint64_t next = 4;

		xmllog_open(&l, ring, -1, 4);
		assert_int_equal(take_open(&t, &ring, 1), 0);
		make_numbered(&l, 1);
		make_numbered(&l, 2);
		scribble(&l, d);
		take_begin(&t);
		if (d != TAIL) {
			assert_true(take_next(&t, &r));
			assert_int_equal(check_numbered(&r), 1);
		}
		assert_false(take_next(&t, &r));
		assert_true(take_damage(&t, &r));
		assert_int_equal(r.element, XMLLOG_FAULT);
		assert_true(span_eq(r.attr[0].text, SPAN("log-damaged")));
		assert_false(take_damage(&t, &r));
		commit(&t);
		/* A new producer goes on behind it. */
		xmllog_open(&l, ring, -1, 4);
		make_numbered(&l, 4);
		take_all_numbered(&t, &next);
		assert_int_equal(next, 5);
		take_close(&t);
		ring_free(ring);
	}
}

static void test_lost_ring_is_left_alone(void **state)
{
	struct xmllog_ring *rings[] = { ring_new(4096), ring_new(4096) };
	struct take t;
	struct xmllog l;
	struct record r;

	(void)state;
	assert_int_equal(take_open(&t, rings, 2), 0);
	xmllog_open(&l, rings[1], -1, 4);
	rings[0]->size = 1u << 31;
	for (int i = 0; i < 3; i++) {
		make_numbered(&l, 5);
		take_begin(&t);
		assert_true(take_next(&t, &r));
		assert_int_equal(check_numbered(&r), 5);
		assert_false(take_next(&t, &r));
		assert_int_equal(take_damage(&t, &r), i == 0); /* said once */
		commit(&t);
	}
	take_close(&t);
	rings[0]->size = 4096;
	ring_free(rings[0]);
	ring_free(rings[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_wrap_around),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_record_of_ring_size),
		cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_half_made),
		cmocka_unit_test(test_killed_producers),
		cmocka_unit_test(test_wakes_only_a_sleeper),
		cmocka_unit_test(test_no_wake_up_is_lost),
		cmocka_unit_test(test_merged_by_time),
		cmocka_unit_test(test_recover),
		cmocka_unit_test(test_damage_is_skipped_and_reported),
		cmocka_unit_test(test_lost_ring_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
