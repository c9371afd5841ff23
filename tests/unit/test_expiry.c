/* SPDX-License-Identifier: ISC */
/* When the end of a certificate is told of, and in which words. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
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

	const struct keyring_about quarter = { .until_s = 90 * DAY };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(expiry_of(&quarter, 90 * DAY - rows[i].left_s), rows[i].want);
}

/* By how long they live: those of which the first ones are passed over. */
static void short_lives(void **state)
{
	static const struct {
		int64_t days;
		enum expiry first;
	} rows[] = {
		{ 398, EXPIRY_21_DAYS }, { 63, EXPIRY_21_DAYS }, { 62, EXPIRY_7_DAYS },
		{ 45, EXPIRY_7_DAYS },	 { 21, EXPIRY_7_DAYS },	 { 20, EXPIRY_1_DAY },
		{ 6, EXPIRY_1_DAY },	 { 3, EXPIRY_1_DAY },	 { 2, EXPIRY_OVER },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct keyring_about about = { .from_s = 1000000,
						     .until_s = 1000000 + rows[i].days * DAY };
		enum expiry e = EXPIRY_FAR;

		/* Where the next one begins, it is that, and not a second before. */
		for (bool first = true; e < EXPIRY_OVER; first = false) {
			int64_t at_s = about.until_s - expiry_next_s(&about, e);

			assert_int_equal(expiry_of(&about, at_s - 1), e);
			e = expiry_of(&about, at_s);
			if (first)
				assert_int_equal(e, rows[i].first);
		}
		assert_int_equal(expiry_of(&about, about.from_s), EXPIRY_FAR);
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
		cmocka_unit_test(short_lives),
		cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
