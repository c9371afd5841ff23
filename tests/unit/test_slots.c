/* SPDX-License-Identifier: ISC */
/* slots: numbers of destinations over changes of the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proxy/slots.h"

static struct slots slots;
static struct route route;
static uint8_t out[ROUTE_MAX];

static int setup(void **state)
{
	(void)state;
	memset(&slots, 0, sizeof(slots));
	return 0;
}

/* N destinations, the first of which is number FROM. */
static int assign(unsigned from, unsigned n, uint64_t version, uint64_t oldest)
{
	memset(&route, 0, sizeof(route));
	route.count = n;
	for (unsigned i = 0; i < n; i++)
		snprintf(route.destination[i].name, ROUTE_NAME_MAX, "d%u.test:25", from + i);
	memset(out, 0xee, sizeof(out));
	return slots_assign(&slots, &route, version, oldest, out);
}

static void all_different(unsigned n)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < n; i++) {
		assert_in_range(out[i], 0, SEATS_DESTINATIONS - 1);
		assert_false(seen >> out[i] & 1);
		seen |= UINT64_C(1) << out[i];
	}
}

static void a_name_keeps_its_number(void **state)
{
	uint8_t of_two;

	(void)state;
	assert_int_equal(assign(1, 3, 1, 1), 0);
	all_different(3);
	of_two = out[1];
	assert_int_equal(assign(2, 3, 2, 1), 0);
	all_different(3);
	assert_int_equal(out[0], of_two);
	/* Gone and back, long after nobody has used it. */
	assert_int_equal(assign(10, 1, 3, 3), 0);
	assert_int_equal(assign(2, 1, 4, 4), 0);
	assert_int_equal(out[0], of_two);
}

static void as_many_as_there_are(void **state)
{
	(void)state;
	assert_int_equal(assign(0, ROUTE_MAX, 1, 1), 0);
	all_different(ROUTE_MAX);
	assert_int_equal(assign(0, ROUTE_MAX, 2, 1), 0);
	all_different(ROUTE_MAX);
}

static void one_in_use_is_never_given_away(void **state)
{
	struct slots before;

	(void)state;
	assert_int_equal(assign(0, 40, 1, 1), 0);
	assert_int_equal(assign(40, 24, 2, 1), 0);
	all_different(24);
	for (unsigned i = 0; i < 24; i++)
		assert_in_range(out[i], 40, 63);
	before = slots;
	assert_int_equal(assign(70, 1, 3, 1), -ENOSPC);
	assert_memory_equal(&slots, &before, sizeof(slots));
	/* Version 1 is gone, 2 is not. */
	assert_int_equal(assign(70, 40, 3, 2), 0);
	all_different(40);
	for (unsigned i = 0; i < 40; i++)
		assert_in_range(out[i], 0, 39);
	assert_int_equal(assign(200, 1, 4, 2), -ENOSPC);
	assert_int_equal(assign(200, 1, 4, 3), 0);
	assert_in_range(out[0], 40, 63);
}

static void the_one_out_of_use_for_longest_goes_first(void **state)
{
	uint8_t first;

	(void)state;
	assert_int_equal(assign(0, 1, 1, 1), 0);
	first = out[0];
	assert_int_equal(assign(1, 63, 2, 2), 0);
	assert_int_equal(assign(100, 1, 9, 9), 0);
	assert_int_equal(out[0], first);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_name_keeps_its_number),
		TEST(as_many_as_there_are),
		TEST(one_in_use_is_never_given_away),
		TEST(the_one_out_of_use_for_longest_goes_first),
	};

	return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
