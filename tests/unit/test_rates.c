/* SPDX-License-Identifier: ISC */
/* rates: counts by address and minute, in a table that is too small for all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/rates.h"

static struct rates table;

static struct addr address(const char *ip)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, ip), 0);
	return a;
}

static int setup(void **state)
{
	(void)state;
	memset(&table, 0, sizeof(table));
	rates_init(&table, 4711);
	return 0;
}

static void counts_of_a_minute(void **state)
{
	struct addr a = address("192.0.2.1"), b = address("192.0.2.2");

	(void)state;
	assert_int_equal(rates_count(&table, &a, 0), 0);
	for (unsigned i = 1; i <= 100; i++) {
		rates_add(&table, &a, 59000);
		assert_int_equal(rates_count(&table, &a, 59999), i);
	}
	assert_int_equal(rates_count(&table, &b, 59999), 0);
	assert_int_equal(rates_count(&table, &a, 60000), 0);
	rates_add(&table, &a, 60000);
	assert_int_equal(rates_count(&table, &a, 60000), 1);
}

/* A client has a whole /64. */
static void networks(void **state)
{
	struct addr a = address("2001:db8::1"), same = address("2001:db8::ffff:1");
	struct addr other = address("2001:db8:0:1::1");

	(void)state;
	rates_add(&table, &a, 0);
	assert_int_equal(rates_count(&table, &same, 0), 1);
	assert_int_equal(rates_count(&table, &other, 0), 0);
}

static void never_more_than_it_can_count(void **state)
{
	struct addr a = address("192.0.2.1"), b = address("192.0.2.2");

	(void)state;
	for (unsigned i = 0; i < 70000; i++)
		rates_add(&table, &a, 0);
	assert_int_equal(rates_count(&table, &a, 0), UINT16_MAX);
	assert_int_equal(rates_count(&table, &b, 0), 0);
}

/* A crowd makes the oldest be forgotten, and nobody be counted for another. */
static void a_crowd(void **state)
{
	struct addr a = address("10.0.0.0");
	unsigned wrong = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		a.ip[1] = (uint8_t)(i >> 16);
		a.ip[2] = (uint8_t)(i >> 8);
		a.ip[3] = (uint8_t)i;
		wrong += rates_count(&table, &a, 0) != 0;
		rates_add(&table, &a, 0);
		assert_true(rates_count(&table, &a, 0) >= 1);
	}
	assert_true(wrong < 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(counts_of_a_minute, setup),
		cmocka_unit_test_setup(networks, setup),
		cmocka_unit_test_setup(never_more_than_it_can_count, setup),
		cmocka_unit_test_setup(a_crowd, setup),
	};

	return cmocka_run_group_tests_name("rates", tests, NULL, NULL);
}
