/* SPDX-License-Identifier: ISC */
/*
 * The sink's scanner, in every cut, against a plain model of lines; and its script's grammar. The
 * sink is no part of the library: its files are compiled in here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka.h wants the four above first */
#include <cmocka.h>

#include "feed.h"

#include "sink/scan.c"
#include "sink/script.c"

struct scanned {
	struct sink_scan scan;
	bool lax, end;
	uint8_t out[256];
	size_t n, used;
	const uint8_t *want;
	size_t want_n, want_used;
	bool want_end;
};

static void scan_start(void *ctx)
{
	struct scanned *s = ctx;

	s->scan = (struct sink_scan){ .lax = s->lax };
	s->end = false;
	s->n = s->used = 0;
}

static bool scan_piece(void *ctx, struct span piece)
{
	struct scanned *s = ctx;
	struct span content;
	size_t n;

	while (piece.n && !s->end) {
		n = sink_scan_next(&s->scan, piece, &content, &s->end);
		assert_true(n > 0 || content.n > 0);
		assert_true(s->n + content.n <= sizeof(s->out));
		memcpy(s->out + s->n, content.p, content.n);
		s->n += content.n;
		s->used += n;
		piece = span_from(piece, n);
	}
	return !s->end;
}

static void scan_end(void *ctx, size_t cut)
{
	struct scanned *s = ctx;

	(void)cut;
	assert_int_equal(s->end, s->want_end);
	assert_int_equal(s->used, s->want_used);
	if (!s->end)
		return; /* what it holds back is nobody's business */
	assert_int_equal(s->n, s->want_n);
	assert_memory_equal(s->out, s->want, s->n);
}

/* The model: a line is all up to its end; a lone dot ends; a first dot goes. */
static void model(struct scanned *s, struct span in, uint8_t *out)
{
	size_t at = 0;

	s->want = out;
	s->want_n = 0;
	s->want_end = false;
	while (at < in.n && !s->want_end) {
		size_t end = at, text;
		bool whole = false;

		while (end < in.n && !whole) {
			whole = in.p[end] == '\n' &&
				(s->lax || (end > at && in.p[end - 1] == '\r'));
			end++;
		}
		text = end - (whole ? 1 : 0);
		if (whole && !s->lax)
			text--;
		while (whole && s->lax && text > at && in.p[text - 1] == '\r')
			text--;
		s->want_end = whole && text == at + 1 && in.p[at] == '.';
		if (in.p[at] == '.')
			at++;
		if (!s->want_end) {
			memcpy(out + s->want_n, in.p + at, end - at);
			s->want_n += end - at;
		}
		at = end;
	}
	s->want_used = at;
}

static void check_scan(struct span in, bool lax)
{
	struct scanned s = { .lax = lax };
	struct feed f = { .start = scan_start, .piece = scan_piece, .end = scan_end, .ctx = &s };
	uint8_t out[256];

	model(&s, in, out);
	feed_every_way(&f, in);
}

/* All strings of up to eight of the octets that matter, then the end of data. */
static void test_scan_all_short(void **state)
{
	static const uint8_t alphabet[] = { '\r', '\n', '.', 'x' };
	uint8_t in[16];

	(void)state;
	for (unsigned len = 0; len <= 8; len++) {
		for (unsigned n = 0; n < 1u << (2 * len); n++) {
			for (unsigned i = 0; i < len; i++)
				in[i] = alphabet[n >> (2 * i) & 3];
			memcpy(in + len, "\r\n.\r\n", 5);
			if (len < 6 || n % 13 == 0) {
				check_scan(span_of(in, len + 5), false);
				check_scan(span_of(in, len + 5), true);
			}
		}
	}
}

static void test_scan_rows(void **state)
{
	static const struct {
		const char *in;
		bool lax;
		size_t used;
		const char *out; /* NULL: no end */
	} rows[] = {
		{ ".\r\n", false, 3, "" },
		{ "\r\n.\r\nQUIT\r\n", false, 5, "\r\n" },
		{ "a\r\n..\r\n.b\r\n.\r\n", false, 14, "a\r\n.\r\nb\r\n" },
		{ "a\n.\nb\n.\r\nc\r\n.\nd\r\n.\r\r\n\r\n.\r\n", false, 26,
		  "a\n.\nb\n.\r\nc\r\n\nd\r\n\r\r\n\r\n" },
		{ "a\n.\nb", true, 4, "a\n" },
		{ "a\n.\r\nb", true, 5, "a\n" },
		{ "a\r\n.\nb", true, 5, "a\r\n" },
		{ "a\r\n.\r\r\nb", true, 7, "a\r\n" },
		{ "a\r.\rb\r\n.\r\r\rc\n.\n", true, 15, "a\r.\rb\r\n\r\r\rc\n" },
		{ "a\r\n.\r", false, 5, NULL },
		{ "a\n.\n", false, 4, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct scanned s = {
			.lax = rows[i].lax,
			.want = (const uint8_t *)rows[i].out,
			.want_n = rows[i].out ? strlen(rows[i].out) : 0,
			.want_used = rows[i].used,
			.want_end = rows[i].out != NULL,
		};
		struct feed f = {
			.start = scan_start, .piece = scan_piece, .end = scan_end, .ctx = &s
		};

		feed_every_way(&f, span_str(rows[i].in));
	}
}

/* More CRs behind a dot than the lax scanner holds back come out unharmed. */
static void test_scan_many_crs(void **state)
{
	uint8_t in[120], out[120];
	struct scanned s = { .lax = true, .want = out, .want_n = 103, .want_end = true };
	struct feed f = { .start = scan_start, .piece = scan_piece, .end = scan_end, .ctx = &s };

	(void)state;
	memset(out, '\r', 102);
	memcpy(out + 101, "x\n", 2);
	in[0] = '.';
	memcpy(in + 1, out, 103);
	memcpy(in + 104, ".\n", 2);
	s.want_used = 106;
	feed_every_way(&f, span_of(in, 106));
}

static void test_script_faults(void **state)
{
	static const struct {
		enum sink_deed deed;
		const char *arg;
	} rows[] = {
		{ SINK_REPLY, "" },
		{ SINK_REPLY, "=x" },
		{ SINK_REPLY, "MAIL" },
		{ SINK_REPLY, "MAILX=1" },
		{ SINK_REPLY, "0/MAIL=1" },
		{ SINK_REPLY, "x/MAIL=1" },
		{ SINK_REPLY, "99999999999999999999999/MAIL=1" },
		{ SINK_REPLY, "MAIL#=1" },
		{ SINK_REPLY, "MAIL#0=1" },
		{ SINK_REPLY, "MAIL#4294967296=1" },
		{ SINK_REPLY, "MAIL#1x=1" },
		{ SINK_REPLY, "MAIL@1=1" },
		{ SINK_REPLY, "BODY@1=1" },
		{ SINK_REPLY, "CONNECT=1" },
		{ SINK_REPLY, "MAIL=\\" },
		{ SINK_REPLY, "MAIL=\\x4" },
		{ SINK_REPLY, "MAIL=\\p" },
		{ SINK_REPLY, "MAIL=\\p5" },
		{ SINK_REPLY, "MAIL=\\p4294967296;" },
		{ SINK_REPLY, "MAIL=\\!x" },
		{ SINK_REPLY, "MAIL=\\^x" },
		{ SINK_SAY, "BODY@=x" },
		{ SINK_SAY, "BODY@1" },
		{ SINK_SAY, "MAIL=x" },
		{ SINK_DELAY, "MAIL" },
		{ SINK_DELAY, "MAIL=1s" },
		{ SINK_DELAY, "MAIL=-1" },
		{ SINK_DELAY, "MAIL=4294967296" },
		{ SINK_DROP, "MAIL=" },
		{ SINK_DROP, "MAIL=RST" },
		{ SINK_STALL, "MAIL=" },
	};
	static struct sink_script script;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!sink_script_add(&script, rows[i].deed, rows[i].arg))
			fail_msg("taken: %s", rows[i].arg);
	assert_int_equal(script.count, 0);
	assert_int_equal(script.events, 0);
	for (unsigned i = 0; i < SINK_RULES_MAX; i++)
		assert_null(sink_script_add(&script, SINK_DROP, "MAIL"));
	assert_non_null(sink_script_add(&script, SINK_DROP, "MAIL"));
}

static void check_step(const struct sink_step *step, const char *octets, size_t n, uint32_t pause,
		       enum sink_ending ending)
{
	assert_int_equal(step->octets.n, n);
	assert_memory_equal(step->octets.p, octets, n);
	assert_int_equal(step->pause_ms, pause);
	assert_int_equal(step->ending, ending);
}

static void test_script_texts(void **state)
{
	static struct sink_script script;
	const struct sink_rule *r = script.rules;

	(void)state;
	assert_null(sink_script_add(&script, SINK_REPLY, "mail=250 ok"));
	assert_null(sink_script_add(&script, SINK_REPLY, "MAIL=250-a\\r\\n250 b\\x0a\\0\\t\\\\"));
	assert_null(sink_script_add(&script, SINK_REPLY, "MAIL=2\\p10;50 ok\\p0;\\!"));
	assert_null(sink_script_add(&script, SINK_REPLY, "MAIL=x\\c\\^"));
	assert_null(sink_script_add(&script, SINK_REPLY, "MAIL="));
	assert_null(sink_script_add(&script, SINK_REPLY, "MAIL=a=b\\n"));
	check_step(&r[0].steps[0], "250 ok\r\n", 8, 0, SINK_GO_ON);
	check_step(&r[1].steps[0], "250-a\r\n250 b\n\0\t\\", 16, 0, SINK_GO_ON);
	assert_int_equal(r[2].step_count, 3);
	check_step(&r[2].steps[0], "2", 1, 10, SINK_GO_ON);
	check_step(&r[2].steps[1], "50 ok", 5, 0, SINK_GO_ON);
	check_step(&r[2].steps[2], "\r\n", 2, 0, SINK_POLITE);
	check_step(&r[3].steps[0], "x", 1, 0, SINK_RESET);
	check_step(&r[4].steps[0], "", 0, 0, SINK_GO_ON);
	check_step(&r[5].steps[0], "a=b\n", 4, 0, SINK_GO_ON);
}

static void test_script_finding(void **state)
{
	static struct sink_script script;
	struct sink_moment m = { SINK_EV_RCPT, 2, 3, 7, SPAN("RCPT TO:<a=b@\\x>") };
	static const struct {
		const char *when;
		bool fits;
	} rows[] = {
		{ "RCPT", true },	   { "MAIL", false },	  { "ANY", true },
		{ "2/RCPT", true },	   { "1/RCPT", false },	  { "RCPT#3", true },
		{ "RCPT#2", false },	   { "RCPT#2+", true },	  { "RCPT#4+", false },
		{ "ANY#7", true },	   { "ANY#3", false },	  { "RCPT:a\\=b", true },
		{ "RCPT:@\\\\x", true },   { "RCPT:zz", false },  { "2/RCPT#3:RCPT", true },
		{ "2/RCPT#3+:zz", false }, { "rcpt:TO:<", true }, { "EOD", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		script.count = script.events = 0;
		assert_null(sink_script_add(&script, SINK_DROP, rows[i].when));
		assert_null(sink_script_find(&script, SINK_STALL, &m));
		if (!!sink_script_find(&script, SINK_DROP, &m) != rows[i].fits)
			fail_msg("%s", rows[i].when);
		forget(&script.rules[0]);
	}
	m.event = SINK_EV_EOD;
	m.any = 0;
	script.count = script.events = 0;
	assert_null(sink_script_add(&script, SINK_DROP, "ANY"));
	assert_null(sink_script_find(&script, SINK_DROP, &m));
}

static void test_script_body_order(void **state)
{
	static struct sink_script script;
	struct sink_moment m = { .event = SINK_EV_BODY, .connection = 1, .nth = 2 };
	const struct sink_rule *r = NULL;
	static const unsigned order[] = { 3, 1, 4, 0 };

	(void)state;
	assert_null(sink_script_body(&script, NULL, &m));
	assert_null(sink_script_add(&script, SINK_SAY, "BODY@9=a"));
	assert_null(sink_script_add(&script, SINK_DELAY, "BODY@5=1"));
	assert_null(sink_script_add(&script, SINK_DROP, "BODY#1@6"));
	assert_null(sink_script_add(&script, SINK_STALL, "BODY#2@0"));
	assert_null(sink_script_add(&script, SINK_DROP, "1/BODY@5"));
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		r = sink_script_body(&script, r, &m);
		assert_ptr_equal(r, &script.rules[order[i]]);
	}
	assert_null(sink_script_body(&script, r, &m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_rows),	  cmocka_unit_test(test_scan_all_short),
		cmocka_unit_test(test_scan_many_crs),	  cmocka_unit_test(test_script_faults),
		cmocka_unit_test(test_script_texts),	  cmocka_unit_test(test_script_finding),
		cmocka_unit_test(test_script_body_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
