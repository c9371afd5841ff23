/* SPDX-License-Identifier: ISC */
/* Command lines: one end of a line, bounded, the same however they arrive (smtp/line.c); base64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "feed.h"
#include "smtp/base64.h"
#include "smtp/command.h"
#include "smtp/line.h"

#define S(lit)                                                                                     \
	{                                                                                          \
		(const uint8_t *)(lit), sizeof(lit) - 1                                            \
	}

struct row {
	struct span in;
	size_t max;
	enum smtp_line_result result;
	size_t line; /* its length; consumed is two more */
};

static const struct row rows[] = {
	{ S(""), 10, SMTP_LINE_MORE, 0 },
	{ S("\r"), 10, SMTP_LINE_MORE, 0 },
	{ S("\r\n"), 10, SMTP_LINE_OK, 0 },
	{ S("QUIT\r\n"), 10, SMTP_LINE_OK, 4 },
	{ S("QUIT\r\nNOOP\r\n"), 10, SMTP_LINE_OK, 4 },
	{ S("QUIT\r\n\n\n\0\r"), 10, SMTP_LINE_OK, 4 },
	{ S("QUIT"), 10, SMTP_LINE_MORE, 0 },
	{ S("QUIT\r"), 10, SMTP_LINE_MORE, 0 },
	{ S("\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("QUIT\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("\nQUIT\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("QU\nIT\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("QU\rIT\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("QUIT\r\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("\r\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("\rQUIT\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("QUIT\r "), 10, SMTP_LINE_BAD, 0 },
	{ S("QUIT\0\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("\0QUIT\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("QUIT\r\0\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("QUIT\0"), 10, SMTP_LINE_BAD, 0 },
	/* At the limit, which counts the CR LF. */
	{ S("12345678\r\n"), 10, SMTP_LINE_OK, 8 },
	{ S("12345678\r"), 10, SMTP_LINE_MORE, 0 },
	{ S("12345678"), 10, SMTP_LINE_MORE, 0 },
	{ S("123456789\r\n"), 10, SMTP_LINE_BAD, 0 },
	{ S("123456789"), 10, SMTP_LINE_BAD, 0 },
	{ S("1234567890"), 10, SMTP_LINE_BAD, 0 },
	{ S("12345678\r\r"), 10, SMTP_LINE_BAD, 0 },
	{ S("12345678901234567890\r\n"), 10, SMTP_LINE_BAD, 0 },
	/* Other octets are none of this layer's business. */
	{ S("\x01\t\x7f\x80\xff \r\n"), 10, SMTP_LINE_OK, 6 },
	{ S("..\r\n"), 4, SMTP_LINE_OK, 2 },
	{ S("\r\n"), 2, SMTP_LINE_OK, 0 },
	{ S("a"), 2, SMTP_LINE_BAD, 0 },
};

struct result {
	const struct row *row;
	enum smtp_line_result result;
	size_t line, consumed;
};

static bool cut_piece(void *ctx, struct span in)
{
	struct result *r = ctx;
	struct span line;

	r->result = smtp_line_cut(in, r->row->max, &line, &r->consumed);
	r->line = line.n;
	assert_ptr_equal(line.p, in.p);
	return r->result == SMTP_LINE_MORE;
}

static void cut_end(void *ctx, size_t cut)
{
	struct result *r = ctx;
	const struct row *row = r->row;
	size_t consumed = row->result == SMTP_LINE_OK ? row->line + 2 : 0;

	if (r->result != row->result || r->line != row->line || r->consumed != consumed)
		fail_msg("row %zu cut %zd: result %d line %zu consumed %zu", (size_t)(row - rows),
			 (ssize_t)cut, r->result, r->line, r->consumed);
}

static void line_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct result r = { .row = &rows[i] };
		struct feed f = { .growing = true, .piece = cut_piece, .end = cut_end, .ctx = &r };

		feed_every_way(&f, rows[i].in);
	}
}

/* Every string of up to six of the octets that matter, against a definition in words: the first
 * line is good when its first LF stands behind its only CR, and there is no NUL before it. */
static void line_all_short(void **state)
{
	static const uint8_t octets[] = { 'a', '\r', '\n', '\0' };
	uint8_t text[6];
	size_t good = 0;

	(void)state;
	for (unsigned code = 0; code < 4096; code++) {
		struct span line;
		size_t lf = 0, odd = 0, consumed;

		for (size_t i = 0; i < 6; i++)
			text[i] = octets[code >> (2 * i) & 3];
		while (lf < 6 && text[lf] != '\n')
			lf++;
		for (size_t i = 0; i < lf; i++)
			odd += text[i] == '\0' || (text[i] == '\r' && i + 1 != lf);
		bool ok = lf < 6 && lf > 0 && text[lf - 1] == '\r' && odd == 0;
		bool more = lf == 6 && odd == 0; /* a last CR may still be good */

		enum smtp_line_result r =
			smtp_line_cut(feed_guard(span_of(text, 6)), 100, &line, &consumed);
		assert_int_equal(r, ok ? SMTP_LINE_OK : more ? SMTP_LINE_MORE : SMTP_LINE_BAD);
		assert_int_equal(consumed, ok ? lf + 1 : 0);
		good += ok;
	}
	assert_true(good > 100);
}

/* No octet of a stranger's line beyond the limit is ever looked for, and none before is missed. */
static void line_real_limits(void **state)
{
	static uint8_t text[SMTP_AUTH_LINE_MAX + 16];
	static const size_t limits[] = { SMTP_LINE_MAX, SMTP_AUTH_LINE_MAX };
	struct span line;
	size_t consumed;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		size_t max = limits[i];

		memset(text, 'A', sizeof(text));
		memcpy(text + max - 2, "\r\n", 2);
		assert_int_equal(
			smtp_line_cut(feed_guard(span_of(text, max)), max, &line, &consumed),
			SMTP_LINE_OK);
		assert_int_equal(consumed, max);
		assert_int_equal(
			smtp_line_cut(feed_guard(span_of(text, max)), max - 1, &line, &consumed),
			SMTP_LINE_BAD);
		assert_int_equal(
			smtp_line_cut(feed_guard(span_of(text, max - 2)), max, &line, &consumed),
			SMTP_LINE_MORE);
		assert_int_equal(smtp_line_cut(feed_guard(span_of(text, max - 2)), max - 1, &line,
					       &consumed),
				 SMTP_LINE_BAD);
	}
}

static void limit_of_verbs(void **state)
{
	static const struct {
		struct span in;
		size_t limit;
	} cases[] = {
		{ S(""), SMTP_AUTH_LINE_MAX },
		{ S("A"), SMTP_AUTH_LINE_MAX },
		{ S("aU"), SMTP_AUTH_LINE_MAX },
		{ S("AUt"), SMTP_AUTH_LINE_MAX },
		{ S("AUTH"), SMTP_AUTH_LINE_MAX },
		{ S("auth plain"), SMTP_AUTH_LINE_MAX },
		{ S("AUTH\r\n"), SMTP_AUTH_LINE_MAX },
		{ S("AUTHX"), SMTP_LINE_MAX },
		{ S("AUTH\tPLAIN"), SMTP_LINE_MAX },
		{ S(" AUTH PLAIN"), SMTP_LINE_MAX },
		{ S("M"), SMTP_LINE_MAX },
		{ S("ATRN"), SMTP_LINE_MAX },
		{ S("AU\0H"), SMTP_LINE_MAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(smtp_line_limit(feed_guard(cases[i].in)), cases[i].limit);
}

static void base64_rows(void **state)
{
	static const struct {
		struct span in;
		bool valid;
		struct span out;
	} cases[] = {
		{ S(""), true, S("") },
		{ S("="), true, S("") },
		{ S("*"), true, S("") },
		{ S("Zg=="), true, S("f") },
		{ S("Zm8="), true, S("fo") },
		{ S("Zm9v"), true, S("foo") },
		{ S("Zm9vYg=="), true, S("foob") },
		{ S("Zm9vYmFy"), true, S("foobar") },
		{ S("AGEAYg=="), true, S("\0a\0b") },
		{ S("+/+/"), true, S("\xfb\xff\xbf") },
		{ S("AAAA"), true, S("\0\0\0") },
		{ S("////"), true, S("\xff\xff\xff") },
		{ S("Zh=="), false, S("") }, /* bits under the padding */
		{ S("Zm9="), false, S("") },
		{ S("Zm9"), false, S("") },
		{ S("Zg="), false, S("") },
		{ S("Zg"), false, S("") },
		{ S("Z"), false, S("") },
		{ S("Z==="), false, S("") },
		{ S("===="), false, S("") },
		{ S("=="), false, S("") },
		{ S("=AAA"), false, S("") },
		{ S("Zg==Zg=="), false, S("") },
		{ S("Zg== "), false, S("") },
		{ S("Zm9v "), false, S("") },
		{ S("Zm 9"), false, S("") },
		{ S("Zm9\0"), false, S("") },
		{ S("Zm9-"), false, S("") },
		{ S("Zm_v"), false, S("") },
		{ S("Zm9*"), false, S("") },
		{ S("**"), false, S("") },
		{ S("\x80mmm"), false, S("") },
		{ S("Zm9v\r\nZm"), false, S("") },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct span in = feed_guard(cases[i].in);
		uint8_t out[16];

		if (smtp_base64_valid(in) != cases[i].valid)
			fail_msg("row %zu", i);
		if (!cases[i].valid)
			continue;
		assert_int_equal(smtp_base64_decode(in, out, sizeof(out)), cases[i].out.n);
		assert_memory_equal(out, cases[i].out.p, cases[i].out.n);
		if (cases[i].out.n < 2)
			continue;
		memset(out, 'x', sizeof(out));
		assert_int_equal(smtp_base64_decode(in, out, cases[i].out.n - 1),
				 cases[i].out.n - 1);
		assert_int_equal(out[cases[i].out.n - 1], 'x');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_rows),	    cmocka_unit_test(line_all_short),
		cmocka_unit_test(line_real_limits), cmocka_unit_test(limit_of_verbs),
		cmocka_unit_test(base64_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
