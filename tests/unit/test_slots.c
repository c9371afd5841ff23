/* SPDX-License-Identifier: ISC */
/* slots: numbers of destinations over changes of the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "shared/slots.h"

static struct slots slots;
static char text[DESTINATIONS_MAX][DESTINATION_NAME_MAX];
static uint8_t out[DESTINATIONS_MAX];

static int setup(void **state)
{
	(void)state;
	memset(&slots, 0, sizeof(slots));
	return 0;
}

/* N destinations, the first of which is number FROM. */
static int assign(unsigned from, unsigned n, uint64_t version, uint64_t oldest)
{
	struct slots_names names = { .count = n };

	for (unsigned i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "d%u.test:25", from + i);
		names.name[i] = text[i];
	}
	memset(out, 0xee, sizeof(out));
	return slots_assign(&slots, &names, version, oldest, out);
}

static void all_different(unsigned n)
{
	bool seen[SEATS_DESTINATIONS] = { false };

	for (unsigned i = 0; i < n; i++) {
		assert_in_range(out[i], 0, SEATS_DESTINATIONS - 1);
		assert_false(seen[out[i]]);
		seen[out[i]] = true;
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
	assert_int_equal(assign(0, DESTINATIONS_MAX, 1, 1), 0);
	all_different(DESTINATIONS_MAX);
	assert_int_equal(assign(0, DESTINATIONS_MAX, 2, 1), 0);
	all_different(DESTINATIONS_MAX);
}

/* Another configuration may name none of those before, as many as there may be. */
static void all_others(void **state)
{
	(void)state;
	for (unsigned version = 1; version < 10; version++) {
		assert_int_equal(
			assign(version * DESTINATIONS_MAX, DESTINATIONS_MAX, version, version - 1),
			0);
		all_different(DESTINATIONS_MAX);
	}
}

static void one_in_use_is_never_given_away(void **state)
{
	const unsigned first = 60, second = 60, last = SEATS_DESTINATIONS - first - second;
	struct slots before;

	(void)state;
	assert_int_equal(assign(0, first, 1, 1), 0);
	assert_int_equal(assign(first, second, 2, 1), 0);
	assert_int_equal(assign(first + second, last, 3, 1), 0);
	all_different(last);
	for (unsigned i = 0; i < last; i++)
		assert_in_range(out[i], first + second, SEATS_DESTINATIONS - 1);
	before = slots;
	assert_int_equal(assign(500, 1, 4, 1), -ENOSPC);
	assert_memory_equal(&slots, &before, sizeof(slots));
	/* Version 1 is gone, 2 is not. */
	assert_int_equal(assign(500, first, 4, 2), 0);
	all_different(first);
	for (unsigned i = 0; i < first; i++)
		assert_in_range(out[i], 0, first - 1);
	assert_int_equal(assign(600, 1, 5, 2), -ENOSPC);
	assert_int_equal(assign(600, 1, 5, 3), 0);
	assert_in_range(out[0], first, first + second - 1);
}

static void the_one_out_of_use_for_longest_goes_first(void **state)
{
	uint8_t first;

	(void)state;
	assert_int_equal(assign(0, 1, 1, 1), 0);
	first = out[0];
	for (unsigned i = 1; i < SEATS_DESTINATIONS; i++)
		assert_int_equal(assign(i, 1, 1 + i, 1 + i), 0);
	assert_int_equal(assign(1000, 1, 999, 999), 0);
	assert_int_equal(out[0], first);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_name_keeps_its_number),
		TEST(as_many_as_there_are),
		TEST(all_others),
		TEST(one_in_use_is_never_given_away),
		TEST(the_one_out_of_use_for_longest_goes_first),
	};

	return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
