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
			size_t took = smtp_header_take(&h, span_of(text.p, cut), NULL);

			took += smtp_header_take(&h, span_from(text, cut), NULL);
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
			took += smtp_header_take(&h, span_of(p, 1), NULL);
		assert_int_equal(took, rows[i].header);
		assert_int_equal(h.over, rows[i].over);
	}
}

#define LONG_60	 "123456789012345678901234567890123456789012345678901234567890"
#define LONG_240 LONG_60 LONG_60 LONG_60 LONG_60

static const struct {
	const char *text, *id;
} ids[] = {
	{ "Message-ID: <a@b>\r\n\r\n", "<a@b>" },
	{ "message-id:<a@b>\r\n\r\n", "<a@b>" },
	{ "MESSAGE-ID:\t <a@b> \r\nTo: c\r\n\r\n", "<a@b>" },
	{ "Message-ID : <a@b>\r\n\r\n", "<a@b>" },
	{ "From: m\r\nMessage-Id: <a@b>\r\n\r\n", "<a@b>" },
	{ "Message-ID:\r\n <a@b>\r\n\r\n", "<a@b>" },
	{ "Message-ID:\r\n \r\n\t<a@b>\r\n\r\n", "<a@b>" },
	{ "Message-ID: <a\r\n  @b>\r\n\r\n", "<a @b>" },
	{ "Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n\r\n", "<a@b>" },
	{ "Message-ID: <a@b>", "<a@b>" },
	{ "Message-ID:\r\n\r\n<a@b>", "" },
	{ "Message-ID:\r\nTo: <a@b>\r\n\r\n", "" },
	{ "X: y\r\n Message-ID: <a@b>\r\n\r\n", "" },
	{ "Message-IDs: <a@b>\r\n\r\n", "" },
	{ "Message-I: <a@b>\r\n\r\n", "" },
	{ "Message-ID x: <a@b>\r\n\r\n", "" },
	{ "Message\r\n-ID: <a@b>\r\n\r\n", "" },
	{ "Subject: x\r\n\r\nMessage-ID: <a@b>\r\n", "" },
	{ "", "" },
	{ "Message-ID: " LONG_240 LONG_60 "\r\n\r\n", LONG_240 "123456789012345" },
	{ "Message-ID: " LONG_240 "12345678901234 x\r\n\r\n", LONG_240 "12345678901234 " },
};

static void test_message_id(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		size_t n = strlen(ids[i].text);

		for (size_t cut = 0; cut <= n; cut++) {
			struct span text = feed_guard(span_of(ids[i].text, n));
			struct smtp_header h = { 0 };
			struct smtp_message_id id = { 0 };

			smtp_header_take(&h, span_of(text.p, cut), &id);
			smtp_header_take(&h, span_from(text, cut), &id);
			if (strcmp(id.text, ids[i].id) != 0 || id.n != strlen(ids[i].id))
				fail_msg("row %zu, cut at %zu: \"%s\"", i, cut, id.text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_octet_by_octet),
		cmocka_unit_test(test_message_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
