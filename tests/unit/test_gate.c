/* SPDX-License-Identifier: ISC */
/*
 * The gate: which lines of a body begin like a MAIL command, or could for a server that has no room
 * for all of one, against the definition (a search in each line), in both versions of the scanner
 * that it rides on and in the repair, however the body is cut. It stops at each such place once,
 * before the line or the word, or at the latest before its colon, and nothing but that changes.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "eod_oracle.h"
#include "feed.h"
#include "size.h"
#include "smtp/repair.h"

#define BODY_MAX 4096

typedef enum smtp_eod_result scan_fn(struct smtp_eod *eod, struct span in, size_t *scanned,
				     size_t *safe, bool *cr_first);

static scan_fn *const versions[] = { smtp_eod_scan_plain, smtp_eod_scan };

static bool is_in(const char *set, uint8_t c)
{
	return c && strchr(set, c);
}

/* The octets of LINE up to its colon, where it begins like a MAIL command behind any of LEAD; 0: it
 * does not. */
static size_t oracle_colon(struct span line, const char *lead)
{
	size_t i = 0;

	while (i < line.n && is_in(lead, line.p[i]))
		i++;
	if (line.n - i < 4 || strncasecmp((const char *)line.p + i, "MAIL", 4) != 0)
		return 0;
	for (i += 4; i < line.n && is_in(" \t\v\f", line.p[i]);)
		i++;
	if (line.n - i < 4 || strncasecmp((const char *)line.p + i, "FROM", 4) != 0)
		return 0;
	for (i += 4; i < line.n && is_in(" \t\v\f", line.p[i]);)
		i++;
	return i < line.n && line.p[i] == ':' ? i : 0;
}

struct stop {
	size_t line, colon;
};

/* All that LINE, at AT, has. */
static size_t oracle_line(struct span line, size_t at, struct stop *stops)
{
	size_t count = 0, near = oracle_colon(line, " \t\v\f.");

	if (near)
		stops[count++] = (struct stop){ at, at + near };
	for (size_t i = SMTP_GATE_FAR - 1; i < line.n; i++) {
		size_t colon = oracle_colon(span_from(line, i), "");

		if (colon && i + colon != near)
			stops[count++] = (struct stop){ at + i, at + i + colon };
	}
	return count;
}

/* All such places in BODY. */
static size_t oracle_stops(struct span body, struct stop *stops)
{
	size_t count = 0;

	for (size_t at = 0; at < body.n;) {
		const uint8_t *lf = memchr(body.p + at, '\n', body.n - at);
		size_t next = lf ? (size_t)(lf - body.p) + 1 : body.n;

		count += oracle_line(span_of(body.p + at, next - at), at, stops + count);
		at = next;
	}
	return count;
}

static struct {
	scan_fn *scan;
	struct smtp_eod eod;
	struct span body;
	enum smtp_eod_result want, got;
	size_t at, sent, forward, stops, count;
	struct stop stop[BODY_MAX];
} run;

static void wrong(const char *what)
{
	fprintf(stderr, "%s at %zu:", what, run.at);
	for (size_t i = 0; i < run.body.n; i++)
		fprintf(stderr, run.body.p[i] > ' ' ? " %c" : " %02x", run.body.p[i]);
	fprintf(stderr, "\n");
	fail();
}

static void start(void *ctx)
{
	(void)ctx;
	run.eod = (struct smtp_eod){ 0 };
	run.got = SMTP_EOD_MORE;
	run.at = run.sent = run.stops = 0;
}

/* It stopped at RUN.AT, in a piece that began at FROM. */
static void check_stop(size_t from)
{
	const struct stop *s = &run.stop[run.stops++];

	if (run.stops > run.count)
		wrong("stopped at a line that is none");
	if (run.at != (s->line > from ? s->line : from) || run.at > s->colon)
		wrong("stopped elsewhere");
}

static bool piece(void *ctx, struct span in)
{
	size_t from = run.at, scanned, safe;
	bool cr_first, again = false;

	(void)ctx;
	do {
		struct span rest = span_from(in, run.at - from);

		run.got = run.scan(&run.eod, rest, &scanned, &safe, &cr_first);
		run.sent += safe + cr_first;
		run.at += scanned;
		if (run.got != SMTP_EOD_GATE)
			break;
		if (safe != scanned || (again && scanned))
			wrong("counts do not fit");
		if (again)
			smtp_gate_open(&run.eod.gate);
		else
			check_stop(from);
		again = !again; /* it is shut until it is opened */
		from = run.at;
		in = rest = span_from(rest, scanned);
	} while (true);
	return run.got == SMTP_EOD_MORE;
}

static void end(void *ctx, size_t cut)
{
	(void)ctx;
	(void)cut;
	if (run.stops != run.count)
		wrong("did not stop at a line");
	if (run.got != run.want || run.sent != run.forward)
		wrong("not as without the gate");
}

static const struct feed every_way = { false, start, piece, end, NULL };

static void prepare(struct span body)
{
	run.body = body;
	run.want = oracle_scan(body, &run.forward);
	run.count = oracle_stops(span_of(body.p, run.forward), run.stop);
}

static void check(struct span body)
{
	prepare(body);
	for (size_t v = 0; v < 2; v++) {
		run.scan = versions[v];
		feed_every_way(&every_way, body);
	}
}

static void test_lines(void **state)
{
	static const struct {
		const char *body;
		size_t stops;
	} rows[] = {
		{ "MAIL FROM:<a@b>\r\n", 1 },
		{ "mail from:", 1 },
		{ "x\r\nMaIl \t FrOm\v\f :", 1 },
		{ "MAILFROM:", 1 },
		{ ".MAIL FROM:", 1 },
		{ " . \t..MAIL FROM:", 1 },
		{ "a\r\nMAIL FROM:\r\nMAIL FROM:\r\nb\r\n mail from:\r\n", 3 },
		{ "MAIL FROM:MAIL FROM:\r\n", 1 },
		{ "MAIL FROM\r\n:\r\n", 0 },
		{ "MAIL\r\nFROM:\r\n", 0 },
		{ "xMAIL FROM:", 0 },
		{ "EMAIL FROM:", 0 },
		{ "MAIL.FROM:", 0 },
		{ "MAIL FROM.:", 0 },
		{ "MAIL FRO:", 0 },
		{ "MMAIL FROM:", 0 },
		{ "MAIL MAIL FROM:", 0 },
		{ "MAIL FROM <a@b>:", 0 },
		{ "RCPT TO:<a@b>\r\nDATA\r\n", 0 },
		{ "x\r\n.\r\nMAIL FROM:", 0 },
		{ "x\n.\nMAIL FROM:", 0 },
		{ "\x4d\x61\x69\x6c\xa0\x66rom:", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		prepare(span_str(rows[i].body));
		assert_int_equal(run.count, rows[i].stops);
		check(span_str(rows[i].body));
	}
}

/* The line at each place of the fast version's blocks, and as long as several of them. */
static void test_places(void **state)
{
	static uint8_t body[BODY_MAX];
	static const char *const heads[] = { "MAIL FROM:", " .mail  from :", "mail\tfrom\r\n" };

	(void)state;
	for (size_t h = 0; h < sizeof(heads) / sizeof(heads[0]); h++)
		for (size_t before = 0; before < 140; before++) {
			size_t n = 0;

			memset(body, 'a', sizeof(body));
			n += before;
			memcpy(body + n, "\r\n", 2);
			n += 2;
			memcpy(body + n, heads[h], strlen(heads[h]));
			n += strlen(heads[h]);
			check(span_of(body, n + 70));
		}
	for (size_t blanks = 0; blanks < 200; blanks += 13)
		for (size_t before = 40; before < 70; before++) {
			int n = snprintf((char *)body, sizeof(body),
					 "%*s\r\n%*sMAIL%*sFROM%*s:<a@b>\r\n", (int)before, "x",
					 (int)blanks, "", (int)blanks, "", (int)blanks, "");

			check(span_of(body, (size_t)n));
		}
}

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)seed * n >> 32);
}

/* A body of words that are near to it. */
static size_t random_body(uint8_t *out, size_t max)
{
	static const char *const tokens[] = { "MAIL",
					      "mail",
					      "FROM",
					      "from",
					      ":",
					      ":",
					      " ",
					      "\t",
					      "\v",
					      "\f",
					      "\r\n",
					      "\r\n",
					      ".",
					      "M",
					      "MAI",
					      "FRO",
					      "a",
					      "\r\n.",
					      "\r\nMAIL FROM:",
					      "\r\n ",
					      "         ",
					      "some text, not short" };
	static const char *const ends[] = { "\r\n.\r\n", "\n", "\r", "\r\n.\n" };
	size_t n = 0, end = random_below(60);

	for (size_t i = 0; n + 24 < max && i < 60; i++) {
		const char *t = i == end ? ends[random_below(4)] : tokens[random_below(22)];

		memcpy(out + n, t, strlen(t));
		n += strlen(t);
	}
	return n;
}

static void test_random(void **state)
{
	static uint8_t body[BODY_MAX];

	(void)state;
	for (unsigned round = 0; round < size_of(3000, 300); round++)
		check(span_of(body, random_body(body, 100 + random_below(600))));
}

/* Far behind the start of a line each octet may be the first. */
static void test_far(void **state)
{
	static const struct {
		const char *text;
		size_t stops;
	} rows[] = {
		{ "MAIL FROM:<a@b>", 1 },	  { "xMAIL FROM:MAIL FROM:", 2 },
		{ "mailfromail from:", 1 },	  { "MAMAIL FROM:", 1 },
		{ "mmmail \t from :", 1 },	  { "mail fromm: mailfrom:", 1 },
		{ "MAILFROMAILFROMAILFROM:", 1 }, { "mail from mail from:", 1 },
		{ "MAIL\r\nFROM:", 0 },		  { "mail fro m:mail.from:", 0 },
	};
	static uint8_t body[BODY_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t far = SMTP_GATE_FAR - 80; far < SMTP_GATE_FAR + 80; far += 1 + i) {
			size_t n =
				(size_t)snprintf((char *)body, sizeof(body), "a\r\n%*s%s%s\r\n",
						 (int)far, "x", rows[i].text,
						 far % 2 ? ""
							 : " and some more of it, enough for "
							   "a block of sixty-four octets or two");

			prepare(span_of(body, n));
			if (far >= SMTP_GATE_FAR - 1)
				assert_int_equal(run.count, rows[i].stops);
			check(span_of(body, n));
		}
}

static void test_random_far(void **state)
{
	static uint8_t body[BODY_MAX];

	(void)state;
	for (unsigned round = 0; round < size_of(300, 30); round++) {
		size_t n = SMTP_GATE_FAR - 100 + random_below(200), more;

		memset(body, round % 3 ? 'x' : ' ', n);
		more = random_body(body + n, 100 + random_below(300));
		for (size_t i = n; round % 2 && i < n + more; i++)
			if (body[i] == '\r' || body[i] == '\n')
				body[i] = 'm';
		check(span_of(body, n + more));
	}
}

/* ---- the repair ---- */

/* BODY through the repair in steps of STEP octets with ROOM for the output; how often it stopped.
 */
static size_t stops_of_repair(struct span body, size_t step, size_t room, uint8_t *sent,
			      size_t *sent_n)
{
	struct smtp_repair r = { 0 };
	uint8_t mem[BODY_MAX * 3];
	enum smtp_eod_result result = SMTP_EOD_MORE;
	size_t at = 0, stops = 0, scanned;
	struct buf out;

	*sent_n = 0;
	while (at < body.n && result != SMTP_EOD_END) {
		size_t n = body.n - at < step ? body.n - at : step;

		buf_init(&out, mem, room);
		result = smtp_repair(&r, span_of(body.p + at, n), &scanned, &out);
		memcpy(sent + *sent_n, mem, buf_len(&out));
		*sent_n += buf_len(&out);
		at += scanned;
		if (result != SMTP_EOD_GATE)
			continue;
		stops++;
		/* No whole beginning of a command has gone out: it is shut until it is opened. */
		assert_true(oracle_stops(span_of(sent, *sent_n), run.stop) < stops);
		buf_clear(&out);
		assert_int_equal(smtp_repair(&r, span_of(body.p + at, n - scanned), &scanned, &out),
				 SMTP_EOD_GATE);
		assert_true(scanned == 0 && buf_len(&out) == 0);
		smtp_gate_open(&r.gate);
	}
	return stops;
}

static void check_repair(struct span body)
{
	static uint8_t want[3 * BODY_MAX + 8], sent[3 * BODY_MAX + 8], whole[BODY_MAX + 8];
	static const size_t steps[] = { BODY_MAX * 2, 1, 2, 3, 7, 64, 65 };
	size_t n, used, sent_n, stops;

	memcpy(whole, body.p, body.n);
	memcpy(whole + body.n, "\r\n.\r\n", 5);
	body = span_of(whole, body.n + 5);
	n = oracle_repair(body, want, &used);
	stops = oracle_stops(span_of(want, n), run.stop);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		for (size_t room = 2 * SMTP_REPAIR_ROOM; room < 3 * BODY_MAX; room *= 5) {
			assert_int_equal(stops_of_repair(body, steps[i], room, sent, &sent_n),
					 stops);
			assert_int_equal(sent_n, n);
			assert_memory_equal(sent, want, n);
		}
}

static void test_repair(void **state)
{
	static const struct span bodies[] = {
		{ (const uint8_t *)"a\nMAIL FROM:", 12 },
		{ (const uint8_t *)"MA\0IL FROM:", 11 },
		{ (const uint8_t *)"a\rmail\0 from\0:", 14 },
		{ (const uint8_t *)"a\n.MAIL FROM:", 13 },
		{ (const uint8_t *)"MAIL\rFROM:", 10 },
		{ (const uint8_t *)"\0.\0MAIL FROM:", 13 },
		{ (const uint8_t *)"MAIL FROM\n:", 11 },
	};
	static uint8_t body[BODY_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		check_repair(bodies[i]);
	for (unsigned round = 0; round < size_of(3000, 300); round++) {
		size_t n = random_body(body, 100 + random_below(300));

		for (unsigned k = random_below(6); n && k; k--)
			body[random_below((uint32_t)n)] = (uint8_t) "\0\r\n"[random_below(3)];
		check_repair(span_of(body, n));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	   cmocka_unit_test(test_places),
		cmocka_unit_test(test_random),	   cmocka_unit_test(test_far),
		cmocka_unit_test(test_random_far), cmocka_unit_test(test_repair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
