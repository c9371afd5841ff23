/* SPDX-License-Identifier: ISC */
/* Replies: one reading or malformed, bounded, the same however they arrive (smtp/reply.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "feed.h"
#include "smtp/reply.h"

#define S(lit)                                                                                     \
	{                                                                                          \
		(const uint8_t *)(lit), sizeof(lit) - 1                                            \
	}
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define MORE SMTP_REPLY_MORE
#define OK   SMTP_REPLY_OK
#define BAD  SMTP_REPLY_BAD

struct row {
	struct span in;
	enum smtp_reply_result result;
	unsigned code, lines;
	size_t consumed;
	size_t decided; /* BAD with that many octets and not with fewer; 0: with the last */
};

static const struct row rows[] = {
	{ S(""), MORE, 0, 0, 0, 0 },
	{ S("2"), MORE, 0, 0, 0, 0 },
	{ S("25"), MORE, 0, 0, 0, 0 },
	{ S("250"), MORE, 0, 0, 0, 0 },
	{ S("250 "), MORE, 0, 0, 0, 0 },
	{ S("250\r"), MORE, 0, 0, 0, 0 },
	{ S("250 ok\r"), MORE, 0, 0, 0, 0 },
	{ S("250-a\r\n"), MORE, 0, 0, 0, 0 },
	{ S("250-a\r\n250-b\r\n25"), MORE, 0, 0, 0, 0 },
	{ S("250\r\n"), OK, 250, 1, 5, 0 },
	{ S("250 \r\n"), OK, 250, 1, 6, 0 },
	{ S("250 ok\r\n"), OK, 250, 1, 8, 0 },
	{ S("200 ok\r\n"), OK, 200, 1, 8, 0 },
	{ S("354 go\r\n"), OK, 354, 1, 8, 0 },
	{ S("421 bye\r\n"), OK, 421, 1, 9, 0 },
	{ S("599 x\r\n"), OK, 599, 1, 7, 0 },
	{ S("555 x\r\n"), OK, 555, 1, 7, 0 },
	{ S("250 a\tb\r\n"), OK, 250, 1, 9, 0 },
	{ S("250 b\xfc"
	    "cher\xc3\xbc\r\n"),
	  OK, 250, 1, 14, 0 },
	{ S("250-a\r\n250 b\r\n"), OK, 250, 2, 14, 0 },
	{ S("250-\r\n250\r\n"), OK, 250, 2, 11, 0 },
	{ S("250-a\r\n250-\r\n250-c\r\n250 d\r\n"), OK, 250, 4, 27, 0 },
	{ S("250--a\r\n250 -b\r\n"), OK, 250, 2, 16, 0 },
	{ S("250 ok\r\n250 again\r\n"), OK, 250, 1, 8, 0 },
	{ S("250 ok\r\nrubbish\n\0"), OK, 250, 1, 8, 0 },
	/* The code. */
	{ S("150 x\r\n"), BAD, 0, 0, 0, 1 },
	{ S("050 x\r\n"), BAD, 0, 0, 0, 1 },
	{ S("650 x\r\n"), BAD, 0, 0, 0, 1 },
	{ S(" 250 x\r\n"), BAD, 0, 0, 0, 1 },
	{ S("-250 x\r\n"), BAD, 0, 0, 0, 1 },
	{ S("ok\r\n"), BAD, 0, 0, 0, 1 },
	{ S("\r\n"), BAD, 0, 0, 0, 1 },
	{ S("\n"), BAD, 0, 0, 0, 1 },
	{ S("2\r\n"), BAD, 0, 0, 0, 2 },
	{ S("2x0 y\r\n"), BAD, 0, 0, 0, 2 },
	{ S("25 x\r\n"), BAD, 0, 0, 0, 3 },
	{ S("25\xb2 x\r\n"), BAD, 0, 0, 0, 3 },
	{ S("2500 x\r\n"), BAD, 0, 0, 0, 4 },
	{ S("250ok\r\n"), BAD, 0, 0, 0, 4 },
	{ S("250\tok\r\n"), BAD, 0, 0, 0, 4 },
	{ S("250_ok\r\n"), BAD, 0, 0, 0, 4 },
	{ S("250\n"), BAD, 0, 0, 0, 4 },
	/* All lines say the same. */
	{ S("250-a\r\n550 b\r\n"), BAD, 0, 0, 0, 8 },
	{ S("250-a\r\n260 b\r\n"), BAD, 0, 0, 0, 9 },
	{ S("250-a\r\n251 b\r\n"), BAD, 0, 0, 0, 10 },
	{ S("235-a\r\n535 b\r\n"), BAD, 0, 0, 0, 8 },
	{ S("250-a\r\n250-b\r\n25 \r\n"), BAD, 0, 0, 0, 17 },
	{ S("250-a\r\nb\r\n"), BAD, 0, 0, 0, 8 },
	{ S("250-a\r\n\r\n"), BAD, 0, 0, 0, 8 },
	/* Line ends and controls. */
	{ S("250 ok\n"), BAD, 0, 0, 0, 7 },
	{ S("250 o\nk\r\n"), BAD, 0, 0, 0, 6 },
	{ S("250 o\rk\r\n"), BAD, 0, 0, 0, 7 },
	{ S("250 ok\r\r\n"), BAD, 0, 0, 0, 8 },
	{ S("250\r \r\n"), BAD, 0, 0, 0, 5 },
	{ S("250-a\n250 b\r\n"), BAD, 0, 0, 0, 6 },
	{ S("250 o\0k\r\n"), BAD, 0, 0, 0, 6 },
	{ S("250\0ok\r\n"), BAD, 0, 0, 0, 4 },
	{ S("250 \x1b[2J\r\n"), BAD, 0, 0, 0, 5 },
	{ S("250 a\x7f\r\n"), BAD, 0, 0, 0, 6 },
	{ S("250 a\x01\r\n"), BAD, 0, 0, 0, 6 },
};

struct result {
	const struct row *row;
	enum smtp_reply_result result;
	struct smtp_reply reply;
	size_t consumed, given;
	const uint8_t *in;
};

static bool reply_piece(void *ctx, struct span in)
{
	struct result *r = ctx;

	r->in = in.p;
	r->given = in.n;
	r->result = smtp_reply_parse(in, &r->reply, &r->consumed);
	return r->result == MORE;
}

static void reply_end(void *ctx, size_t cut)
{
	struct result *r = ctx;
	const struct row *row = r->row;

	if (r->result != row->result || r->consumed != row->consumed)
		fail_msg("row %zu cut %zd: result %d, %zu octets", (size_t)(row - rows),
			 (ssize_t)cut, r->result, r->consumed);
	if (cut == FEED_BY_OCTETS && row->decided && r->given != row->decided)
		fail_msg("row %zu: decided with %zu octets", (size_t)(row - rows), r->given);
	if (row->result != OK)
		return;
	assert_int_equal(r->reply.code, row->code);
	assert_int_equal(r->reply.lines, row->lines);
	assert_int_equal(r->reply.text.n, row->consumed);
	assert_ptr_equal(r->reply.text.p, r->in);
}

static void reply_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct result r = { .row = &rows[i] };
		struct feed f = {
			.growing = true, .piece = reply_piece, .end = reply_end, .ctx = &r
		};

		feed_every_way(&f, rows[i].in);
	}
}

static enum smtp_reply_result parse(const void *text, size_t n)
{
	struct smtp_reply reply;
	size_t consumed;

	return smtp_reply_parse(feed_guard(span_of(text, n)), &reply, &consumed);
}

/* Octets with which a long TEXT is found to be BAD: the result never goes back from that. */
static size_t bad_from(const char *text, size_t n)
{
	size_t low = 0, high = n;

	assert_int_equal(parse(text, n), BAD);
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (parse(text, mid) == BAD)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static void reply_line_limit(void **state)
{
	static char text[SMTP_REPLY_LINE_MAX + 64];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "250 ", 4);
	memcpy(text + SMTP_REPLY_LINE_MAX - 2, "\r\n", 2);
	assert_int_equal(parse(text, SMTP_REPLY_LINE_MAX), OK);
	assert_int_equal(parse(text, SMTP_REPLY_LINE_MAX - 2), MORE);
	memcpy(text + SMTP_REPLY_LINE_MAX - 2, "x\r\n", 3);
	assert_int_equal(bad_from(text, SMTP_REPLY_LINE_MAX + 1), SMTP_REPLY_LINE_MAX - 1);
	memcpy(text + SMTP_REPLY_LINE_MAX - 2, "xxxx", 4);
	assert_int_equal(bad_from(text, sizeof(text)), SMTP_REPLY_LINE_MAX - 1);
	/* One octet of the last line is too many too. */
	memset(text, 'x', sizeof(text));
	memcpy(text, "250-a\r\n250 ", 11);
	assert_int_equal(bad_from(text, sizeof(text)), 7 + SMTP_REPLY_LINE_MAX - 1);
}

/* Lines of 8 octets, the last one of LAST; the whole is N octets. */
static size_t fill(char *text, size_t n, size_t last)
{
	size_t at = 0;

	assert_int_equal((n - last) % 8, 0);
	for (; at + last < n; at += 8)
		memcpy(text + at, "250-ab\r\n", 8);
	memset(text + at, 'x', last);
	memcpy(text + at, "250 ", 4);
	memcpy(text + at + last - 2, "\r\n", 2);
	return at + last;
}

static void reply_whole_limit(void **state)
{
	static char text[SMTP_REPLY_MAX + 64];
	size_t n;

	(void)state;
	n = fill(text, SMTP_REPLY_MAX, 8);
	assert_int_equal(parse(text, n), OK);
	n = fill(text, SMTP_REPLY_MAX + 1, 9);
	assert_int_equal(bad_from(text, n), SMTP_REPLY_MAX - 1);
	n = fill(text, SMTP_REPLY_MAX + 8, 8);
	/* With the hyphen of the line that fills the reply up, since one more must follow. */
	assert_int_equal(bad_from(text, n), SMTP_REPLY_MAX - 8 + 4);
}

static void reply_lines(void **state)
{
	static const struct {
		struct span in;
		const char *lines[4];
		const char *log;
	} cases[] = {
		{ S("250\r\n"), { "" }, "250" },
		{ S("250 \r\n"), { "" }, "250 " },
		{ S("250 ok\r\n"), { "ok" }, "250 ok" },
		{ S("250-a\r\n250-\r\n250 c d\r\n"), { "a", "", "c d" }, "250-a\n250-\n250 c d" },
		{ S("235-x\r\n235\r\n"), { "x", "" }, "235-x\n235" },
		{ S("421 bye\r\n550 x\r\n"), { "bye" }, "421 bye" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct smtp_reply reply;
		struct span line;
		size_t consumed, at = 0, n = 0, want = strlen(cases[i].log);
		char log[64];

		assert_int_equal(smtp_reply_parse(feed_guard(cases[i].in), &reply, &consumed), OK);
		for (; smtp_reply_line(&reply, &at, &line); n++)
			assert_true(cases[i].lines[n] &&
				    span_eq(line, span_str(cases[i].lines[n])));
		assert_int_equal(n, reply.lines);
		assert_false(smtp_reply_line(&reply, &at, &line));
		for (size_t cap = 0; cap < sizeof(log); cap++) {
			size_t len = cap < want ? cap : want;

			memset(log, '#', sizeof(log));
			assert_int_equal(smtp_reply_log_text(&reply, log, cap), len);
			assert_memory_equal(log, cases[i].log, len);
			assert_int_equal(log[len], '#');
		}
	}
}

/* Random replies of the octets that matter: what a prefix was found to be, it stays. */
static void reply_random(void **state)
{
	static const char *const bits[] = { "250", "-",	  " ", "\r\n", "\r",   "\n",   "2",
					    "5",   "550", "a", "250-", "250 ", "\xfc", "\t" };
	unsigned ok = 0, bad = 0;

	(void)state;
	srandom(4);
	for (unsigned round = 0; round < 100000; round++) {
		char text[64];
		size_t n = 0, decided = 0;
		enum smtp_reply_result before = MORE;
		size_t consumed_before = 0;

		for (size_t count = (size_t)random() % 8 + 1; count > 0; count--) {
			const char *bit = bits[(size_t)random() % COUNT(bits)];

			memcpy(text + n, bit, strlen(bit));
			n += strlen(bit);
		}
		for (size_t len = 0; len <= n; len++) {
			struct smtp_reply reply;
			size_t consumed;
			enum smtp_reply_result now =
				smtp_reply_parse(feed_guard(span_of(text, len)), &reply, &consumed);

			if (before != MORE)
				assert_true(now == before && consumed == consumed_before);
			else if (now != MORE)
				decided = len;
			before = now;
			consumed_before = consumed;
		}
		assert_true(before != OK || consumed_before == decided);
		ok += before == OK;
		bad += before == BAD;
	}
	assert_true(ok > 100 && bad > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reply_rows),	     cmocka_unit_test(reply_line_limit),
		cmocka_unit_test(reply_whole_limit), cmocka_unit_test(reply_lines),
		cmocka_unit_test(reply_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
