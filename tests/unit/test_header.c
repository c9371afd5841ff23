/* SPDX-License-Identifier: ISC */
/* header: the end of a header, however its octets are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "feed.h"
#include "smtp/header.h"

static const struct {
	const char *text;
	size_t header;
	bool over;
} rows[] = {
	{ "", 0, false },
	{ "\r\n", 2, true },
	{ "\r\n\r\n", 2, true },
	{ "a: b\r\n\r\n", 8, true },
	{ "a: b\r\n\r\nc\r\n\r\n", 8, true },
	{ "a: b\r\n \r\nc\r\n", 12, false },
	{ "a: b\r\nx", 7, false },
	{ "a\r\nb\r\n\r\n.", 8, true },
	{ "a\r", 2, false },
	{ ".\r\n", 3, false },
	{ "a: b\r\n..\r\n\r\nx", 12, true },
};

static void test_cut_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = strlen(rows[i].text);

		for (size_t cut = 0; cut <= n; cut++) {
			struct span text = feed_guard(span_of(rows[i].text, n));
			struct smtp_header h = { 0 };
			size_t took = smtp_header_take(&h, span_of(text.p, cut));

			took += smtp_header_take(&h, span_from(text, cut));
			if (took != rows[i].header || h.over != rows[i].over)
				fail_msg("row %zu, cut at %zu: %zu octets", i, cut, took);
		}
	}
}

static void test_octet_by_octet(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtp_header h = { 0 };
		size_t took = 0;

		for (const char *p = rows[i].text; *p; p++)
			took += smtp_header_take(&h, span_of(p, 1));
		assert_int_equal(took, rows[i].header);
		assert_int_equal(h.over, rows[i].over);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_octet_by_octet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
