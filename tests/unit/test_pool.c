/* SPDX-License-Identifier: ISC */
/* Objects, and the memory behind them as the kernel counts it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/pool.h"

#define SIZE  50000 /* no whole number of pages, but each has its own */
#define COUNT 600

static struct pool pool;
static void *obj[COUNT];

/* Pages of an object, and those of all of them that are in memory. */
static size_t pages(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (SIZE + page - 1) / page;
}

static size_t pages_in_memory(void)
{
	static unsigned char there[SIZE / 4096 * (COUNT + 100)];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (pool.size * pool.count + page - 1) / page;
	size_t found = 0;

	assert_true(n <= sizeof(there));
	assert_int_equal(mincore(pool.mem, pool.size * pool.count, there), 0);
	for (size_t i = 0; i < n; i++)
		found += there[i] & 1;
	return found;
}

static int make(void **state)
{
	(void)state;
	return pool_init(&pool, SIZE, COUNT);
}

static int unmake(void **state)
{
	(void)state;
	pool_destroy(&pool);
	return 0;
}

static void take(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		obj[i] = pool_get(&pool);
		assert_non_null(obj[i]);
		memset(obj[i], (int)(i % 251) + 1, SIZE);
	}
}

/* What was written is there: no two objects are one, and none that is in use was given back. */
static void compare(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *octets = obj[i];

		for (size_t k = 0; k < SIZE; k++)
			if (octets[k] != i % 251 + 1)
				fail_msg("object %u, octet %zu: %u", i, k, octets[k]);
	}
}

static void give(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		pool_put(&pool, obj[i]);
}

static void test_bounds(void **state)
{
	(void)state;
	take(COUNT);
	assert_null(pool_get(&pool));
	compare(COUNT);
	pool_put(&pool, obj[7]);
	assert_ptr_equal(pool_get(&pool), obj[7]);
	pool_put(&pool, NULL);
	assert_int_equal(pool.in_use, COUNT);
	give(0, COUNT);
	assert_int_equal(pool.in_use, 0);
}

static void test_nothing_to_trim(void **state)
{
	(void)state;
	assert_false(pool_trim(&pool));
	take(3);
	assert_false(pool_trim(&pool));
	assert_false(pool_trim(&pool));
	compare(3);
	give(0, 3);
}

static void test_trim(void **state)
{
	(void)state;
	take(70);
	size_t before = pages_in_memory();

	assert_int_equal(before, 70 * pages());
	give(10, 70);
	assert_true(pool_trim(&pool)); /* they were needed until now */
	assert_int_equal(pages_in_memory(), before);
	assert_false(pool_trim(&pool));
	assert_int_equal(before - pages_in_memory(), 60 * pages());
	compare(10);
	assert_false(pool_trim(&pool));
	assert_int_equal(pool.in_use, 10);
	for (unsigned i = 10; i < 70; i++)
		obj[i] = pool_get(&pool);
	for (unsigned i = 10; i < 70; i++)
		memset(obj[i], (int)(i % 251) + 1, SIZE);
	compare(70);
	give(0, 70);
}

/* Those that are needed again and again stay, however often they come back. */
static void test_what_is_needed_stays(void **state)
{
	(void)state;
	take(100);
	give(0, 100);
	for (unsigned i = 0; i < 5; i++) {
		take(20);
		give(0, 20);
		(void)pool_trim(&pool);
	}
	size_t left = pages_in_memory();

	assert_int_equal(left, 20 * pages());
	take(20);
	assert_int_equal(pages_in_memory(), left);
	give(0, 20);
}

/* No call takes long, and in the end all of them are given back. */
static void test_some_at_a_time(void **state)
{
	unsigned calls = 1;
	size_t before;

	(void)state;
	take(COUNT);
	give(0, COUNT);
	before = pages_in_memory();
	assert_true(pool_trim(&pool));
	for (bool more = true; more; calls++) {
		size_t earlier = pages_in_memory();

		more = pool_trim(&pool);
		assert_in_range(earlier - pages_in_memory(), pages(), COUNT / 3 * pages());
	}
	assert_in_range(calls, 4, 20);
	assert_int_equal(before - pages_in_memory(), COUNT * pages());
	take(COUNT);
	compare(COUNT);
	give(0, COUNT);
}

/* The rest of what one look has found goes without another one, but for what is needed by then. */
static void test_more_of_them(void **state)
{
	size_t before;

	(void)state;
	take(COUNT);
	give(0, COUNT);
	assert_true(pool_trim(&pool));
	assert_false(pool_trim_more(&pool)); /* they were needed until now */
	before = pages_in_memory();
	(void)pool_trim(&pool);
	take(10);
	while (pool_trim_more(&pool)) {
	}
	assert_int_equal(before - pages_in_memory(), (COUNT - 10) * pages());
	compare(10);
	give(0, 10);
	before = pages_in_memory();
	assert_false(pool_trim_more(&pool));
	assert_int_equal(pages_in_memory(), before);
}

/* Any order of all three; what is handed out is nobody else's and keeps its octets. */
static void test_any_order(void **state)
{
	unsigned held = 0;

	(void)state;
	srand(1);
	for (unsigned step = 0; step < 20000; step++) {
		int what = rand() % 20;

		if (what == 0) {
			(void)pool_trim(&pool);
		} else if (what == 1) {
			(void)pool_trim_more(&pool);
		} else if (what < 10 && held < COUNT) {
			uint32_t *o = obj[held] = pool_get(&pool);

			assert_non_null(o);
			o[0] = o[SIZE / 8] = o[SIZE / 4 - 1] = step;
			held++;
		} else if (held) {
			unsigned i = (unsigned)rand() % held;
			uint32_t *o = obj[i];

			assert_int_equal(o[0], o[SIZE / 8]);
			assert_int_equal(o[0], o[SIZE / 4 - 1]);
			pool_put(&pool, o);
			obj[i] = obj[--held];
		}
		assert_int_equal(pool.in_use, held);
	}
	give(0, held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bounds, make, unmake),
		cmocka_unit_test_setup_teardown(test_nothing_to_trim, make, unmake),
		cmocka_unit_test_setup_teardown(test_trim, make, unmake),
		cmocka_unit_test_setup_teardown(test_what_is_needed_stays, make, unmake),
		cmocka_unit_test_setup_teardown(test_some_at_a_time, make, unmake),
		cmocka_unit_test_setup_teardown(test_more_of_them, make, unmake),
		cmocka_unit_test_setup_teardown(test_any_order, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
