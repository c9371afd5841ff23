/* SPDX-License-Identifier: ISC */
/* When the end of a certificate is told of, and in which words. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "check/expiry.h"

#define DAY 86400

static void steps(void **state)
{
	static const struct {
		int64_t left_s;
		enum expiry want;
	} rows[] = {
		{ 90 * DAY, EXPIRY_FAR },
		{ 21 * DAY + 1, EXPIRY_FAR },
		{ 21 * DAY, EXPIRY_21_DAYS },
		{ 7 * DAY + 1, EXPIRY_21_DAYS },
		{ 7 * DAY, EXPIRY_7_DAYS },
		{ DAY + 1, EXPIRY_7_DAYS },
		{ DAY, EXPIRY_1_DAY },
		{ 1, EXPIRY_1_DAY },
		{ 0, EXPIRY_OVER },
		{ -1, EXPIRY_OVER },
		{ INT64_MIN / 2, EXPIRY_OVER },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(expiry_of(rows[i].left_s), rows[i].want);
	/* Where the next one begins, it is that. */
	for (enum expiry e = EXPIRY_FAR; e < EXPIRY_OVER; e++) {
		assert_int_equal(expiry_of(expiry_next_s(e)), e + 1);
		assert_int_equal(expiry_of(expiry_next_s(e) + 1), e);
	}
}

static void words(void **state)
{
	static const struct {
		const char *names;
		int64_t left_s;
		const char *want;
	} rows[] = {
		{ "mx.test", 6 * DAY + DAY / 2 - 1,
		  "mx.test, /a.pem: ends in 6 days, 2026-11-29T12:00:00Z; renew it" },
		{ "mx.test a.test", 47 * 3600,
		  "mx.test (and 1 name more), /a.pem: ends in 47 hours, 2026-11-29T12:00:00Z; renew it" },
		{ "mx.test a.test *.b.test", 60,
		  "mx.test (and 2 names more), /a.pem: ends in 60 seconds, 2026-11-29T12:00:00Z; renew it" },
		{ "mx.test", -3 * DAY,
		  "mx.test, /a.pem: has ended 3 days ago, 2026-11-29T12:00:00Z; renew it" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct keyring_about about = { .until_s = 1795953600,
					       .file = SPAN("/a.pem"),
					       .names = span_str(rows[i].names) };
		char out[EXPIRY_WORDS];

		expiry_words(&about, about.until_s - rows[i].left_s, out);
		assert_string_equal(out, rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps),
		cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
