/* SPDX-License-Identifier: ISC */
/* text: the longest line of a message, however its octets are cut, against a count of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "feed.h"
#include "smtp/text.h"

/* Octets since the last LF, or MAX + 1 where there were ever more than MAX. */
static uint64_t count(struct span in, uint64_t max)
{
	uint64_t line = 0;

	for (size_t i = 0; i < in.n && line <= max; i++)
		line = in.p[i] == '\n' ? 0 : line + 1;
	return line;
}

/* Whether IN fits, given in pieces of up to STEP octets; 0: in one. */
static void assert_counted(struct span in, uint64_t max, size_t step)
{
	struct smtp_text t = { 0 };
	bool fits = true;

	if (!step)
		step = in.n;
	for (size_t at = 0; fits && at < in.n; at += step) {
		struct span rest = span_from(in, at);
		size_t n = step < rest.n ? step : rest.n;

		fits = smtp_text_fits(&t, feed_guard(span_of(rest.p, n)), max);
	}
	assert_int_equal(fits, count(in, max) <= max);
	if (fits)
		assert_int_equal(t.line, count(in, max));
}

static void test_rows(void **state)
{
	static const struct {
		const char *text;
		bool fits; /* lines of up to 3 octets */
	} rows[] = {
		{ "", true },
		{ "\n", true },
		{ "abc", true },
		{ "abcd", false },
		{ "abc\n", true },
		{ "ab\r\n", true },
		{ "abc\r\n", false },
		{ "\n\n\nabc\nabc", true },
		{ "abc\nabcd", false },
		{ "abcd\nabc", false },
		{ "a\nb\nc\nabcd\n", false },
		{ "..\n...\n\r\n", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtp_text t = { 0 };

		assert_int_equal(smtp_text_fits(&t, span_str(rows[i].text), 3), rows[i].fits);
		for (size_t step = 0; step < 8; step++)
			assert_counted(span_str(rows[i].text), 3, step);
	}
}

static void test_random(void **state)
{
	uint8_t text[400];

	(void)state;
	srandom(7);
	for (unsigned round = 0; round < 20000; round++) {
		size_t n = (size_t)random() % sizeof(text);
		unsigned often = 2 + (unsigned)random() % 60;

		for (size_t i = 0; i < n; i++)
			text[i] = random() % often ? 'x' : '\n';
		assert_counted(span_of(text, n), (uint64_t)random() % 50, (size_t)random() % 60);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
