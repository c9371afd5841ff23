/* SPDX-License-Identifier: ISC */
/* greeting: the words for a destination that greets badly, and LMTP ports told from SMTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtp/greeting.h"

static struct smtp_reply parsed(const char *text)
{
	struct smtp_reply reply;
	size_t consumed;

	assert_int_equal(smtp_reply_parse(span_str(text), &reply, &consumed), SMTP_REPLY_OK);
	return reply;
}

static void test_lmtp(void **state)
{
	static const struct {
		const char *reply;
		bool lmtp;
	} rows[] = {
		{ "220 mail.example.org LMTP\r\n", true },
		{ "220 mail.example.org Cyrus LMTP v2.5 server ready\r\n", true },
		{ "220-mail.example.org\r\n220 lmtp ready\r\n", false }, /* a name again */
		{ "220-mail.example.org welcome\r\n220 the LMTP service\r\n", true },
		{ "220 lmtp.example.org ESMTP\r\n", false },
		{ "220 lmtp ESMTP\r\n", false },
		{ "220 mail.example.org ESMTP noLMTPhere\r\n", false },
		{ "220\r\n", false },
		{ "500 5.5.1 Use LHLO instead\r\n", true },
		{ "502 5.5.1 lmtp: no EHLO here\r\n", true },
		{ "500 (LMTP)\r\n", true },
		{ "502 5.5.1 EHLO is not known\r\n", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtp_reply reply = parsed(rows[i].reply);

		if (smtp_greeting_is_lmtp(&reply) != rows[i].lmtp)
			fail_msg("%s", rows[i].reply);
	}
}

static void test_words(void **state)
{
	struct smtp_reply reply = parsed("421-4.3.2 too\r\n421 4.3.2 many\r\n");
	char words[64];

	(void)state;
	smtp_greeting_refusal(words, sizeof(words), &reply, false);
	assert_string_equal(words, "421-4.3.2 too\n421 4.3.2 many");
	smtp_greeting_refusal(words, 8, &reply, false);
	assert_string_equal(words, "421-4.3");
	reply = parsed("500 LHLO\r\n");
	smtp_greeting_refusal(words, sizeof(words), &reply, true);
	assert_string_equal(words, "this is an LMTP port, SMTP is needed: 500 LHLO");
	smtp_greeting_malformed(words, sizeof(words), span_of("SSH-2.0\r\nmore", 13));
	assert_string_equal(words, "malformed greeting: SSH-2.0");
	smtp_greeting_malformed(words, sizeof(words), span_of("a\0b", 3));
	assert_string_equal(words, "malformed greeting: a?b");
	smtp_greeting_malformed(words, 23, span_of("abcdef", 6));
	assert_string_equal(words, "malformed greeting: ab");
	smtp_greeting_malformed(words, sizeof(words), span_of("", 0));
	assert_string_equal(words, "malformed greeting: ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lmtp),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
