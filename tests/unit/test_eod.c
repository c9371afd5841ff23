/* SPDX-License-Identifier: ISC */
/*
 * The end-of-data scanner: both versions against the definition (eod_oracle.h), over all short
 * strings of the octets that matter, over long ones with an event at every alignment, however they
 * are cut, and at the edges of readable memory.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "eod_oracle.h"
#include "size.h"

#define BODY_MAX 4096

/* Lengths up to which all strings are tried, cut at each place, and at each two places. One more
 * octet takes five times as long and has found nothing more. */
#define WORD_MAX       9
#define WORD_CUT_ONCE  8
#define WORD_CUT_TWICE 7

typedef enum smtp_eod_result scan_fn(struct smtp_eod *eod, struct span in, size_t *scanned,
				     size_t *safe, bool *cr_first);

static scan_fn *const versions[] = { smtp_eod_scan_plain, smtp_eod_scan };

/* What a caller that follows eod.h has sent to the destination. */
struct sent {
	uint8_t data[BODY_MAX];
	size_t n;
};

/* A test that failed says which body it was. */
static void fail_body(const char *what, struct span body)
{
	fprintf(stderr, "%s, %zu octets:", what, body.n);
	for (size_t i = 0; i < body.n; i++)
		fprintf(stderr, " %02x", body.p[i]);
	fprintf(stderr, "\n");
	fail();
}

/* Gives one piece to SCAN and checks what must hold of every call by itself. */
static enum smtp_eod_result feed(scan_fn *scan, struct smtp_eod *eod, struct span piece,
				 struct sent *sent, size_t *scanned)
{
	bool held = eod->state == SMTP_EOD_CR || eod->state == SMTP_EOD_DOT_CR, cr_first = !held;
	size_t safe = SIZE_MAX;
	enum smtp_eod_result result;

	*scanned = SIZE_MAX;
	result = scan(eod, piece, scanned, &safe, &cr_first);
	if (*scanned > piece.n || safe > *scanned || *scanned - safe > 1 || (cr_first && !held))
		fail_body("impossible counts", piece);
	if ((result == SMTP_EOD_MORE && *scanned != piece.n) ||
	    (result != SMTP_EOD_MORE && safe != *scanned) ||
	    (result == SMTP_EOD_BARE && *scanned == piece.n))
		fail_body("counts do not fit the result", piece);
	if (cr_first)
		sent->data[sent->n++] = '\r';
	if (safe)
		memcpy(sent->data + sent->n, piece.p, safe);
	sent->n += safe;
	return result;
}

/* The N octets at P that may go on of a body, without the dots that stuff its lines and (ENDS) the
 * end of data, into OUT; how many. */
static size_t unstuffed(const uint8_t *p, size_t n, bool ends, uint8_t *out)
{
	size_t to = 0;

	for (size_t i = 0; i < n; i++)
		if (p[i] != '.' || (i > 0 && p[i - 1] != '\n'))
			out[to++] = p[i];
	return ends ? to - 2 : to;
}

/* The same of a counted body: BODY in pieces, each in memory of its very size. */
static void check_unstuffed(scan_fn *scan, struct span body, const size_t *cuts, size_t n,
			    enum smtp_eod_result want, size_t forward)
{
	static uint8_t expected[BODY_MAX], sent[BODY_MAX];
	struct smtp_eod eod = { 0 };
	enum smtp_eod_result got = SMTP_EOD_MORE;
	size_t from = 0, to = 0;

	for (size_t i = 0; i <= n && got == SMTP_EOD_MORE; i++) {
		size_t size = (i < n ? cuts[i] : body.n) - from;
		uint8_t *piece = malloc(size + 1);
		struct smtp_unstuffed out;

		assert_non_null(piece);
		if (size)
			memcpy(piece + 1, body.p + from, size);
		got = scan == smtp_eod_scan ? smtp_eod_unstuff(&eod, piece + 1, size, &out)
					    : smtp_eod_unstuff_plain(&eod, piece + 1, size, &out);
		if (out.scanned > size || out.octets > out.scanned ||
		    (got == SMTP_EOD_MORE && out.scanned != size))
			fail_body("impossible counts of a counted body", body);
		if (got != SMTP_EOD_BARE && !out.changed && out.octets &&
		    memcmp(piece + 1, body.p + from, out.octets) != 0)
			fail_body("changed without a word", body);
		if (out.cr_first)
			sent[to++] = '\r';
		if (out.octets)
			memcpy(sent + to, piece + 1, out.octets);
		to += out.octets;
		from += out.scanned;
		free(piece);
	}
	if (got != want)
		fail_body("another end of a counted body", body);
	if (got == SMTP_EOD_BARE)
		return;
	if (!span_eq(span_of(sent, to),
		     span_of(expected, unstuffed(body.p, forward, got == SMTP_EOD_END, expected))))
		fail_body("another counted body", body);
	if (got == SMTP_EOD_END && from != forward)
		fail_body("end of a counted body at a wrong place", body);
}

/* BODY in pieces that end at CUTS (N of them, rising), against the definition. */
static void check_cut(scan_fn *scan, struct span body, const size_t *cuts, size_t n)
{
	static struct sent sent;
	struct smtp_eod eod = { 0 };
	enum smtp_eod_result want, got = SMTP_EOD_MORE;
	size_t forward, from = 0, scanned = 0;

	sent.n = 0;
	want = oracle_scan(body, &forward);
	for (size_t i = 0; i <= n && got == SMTP_EOD_MORE; i++) {
		size_t to = i < n ? cuts[i] : body.n;

		got = feed(scan, &eod, span_of(body.p + from, to - from), &sent, &scanned);
		from += scanned;
	}
	if (got != want || !span_eq(span_of(sent.data, sent.n), span_of(body.p, forward)))
		fail_body("not as defined", body);
	if (got == SMTP_EOD_END && from != forward)
		fail_body("end at a wrong place", body);
	/* Scanning on behind a bare newline must never find anything else. */
	if (got == SMTP_EOD_BARE && (feed(scan, &eod, span_of(body.p + from, body.n - from), &sent,
					  &scanned) != SMTP_EOD_BARE ||
				     scanned != 0 || sent.n != forward))
		fail_body("went on behind a bare newline", body);
	check_unstuffed(scan, body, cuts, n, want, forward);
}

static void check_all_cuts(struct span body, bool two)
{
	for (size_t v = 0; v < 2; v++) {
		check_cut(versions[v], body, NULL, 0);
		for (size_t a = 0; a <= body.n; a++) {
			check_cut(versions[v], body, &a, 1);
			for (size_t b = a; two && b <= body.n; b++)
				check_cut(versions[v], body, (size_t[]){ a, b }, 2);
		}
	}
}

static void test_known_endings(void **state)
{
	static const struct {
		const char *body;
		size_t n;
		enum smtp_eod_result result;
		size_t forward;
	} rows[] = {
#define ROW(text, result, forward) { text, sizeof(text) - 1, result, forward }
		ROW("", SMTP_EOD_MORE, 0),
		ROW(".\r\n", SMTP_EOD_END, 3),
		ROW("a\r\n.\r\n", SMTP_EOD_END, 6),
		ROW("a\r\n.\r\nQUIT\r\n", SMTP_EOD_END, 6),
		ROW("a\r\n.\r\n\n", SMTP_EOD_END, 6),
		ROW("a.\r\n", SMTP_EOD_MORE, 4),
		ROW("..\r\n", SMTP_EOD_MORE, 4),
		ROW("\r\n..\r\n.a\r\n", SMTP_EOD_MORE, 10),
		ROW("a\r\n.\r", SMTP_EOD_MORE, 4),
		ROW("a\r", SMTP_EOD_MORE, 1),
		ROW("a\n.\n", SMTP_EOD_BARE, 1),
		ROW("a\n.\r\n", SMTP_EOD_BARE, 1),
		ROW("a\r\n.\n", SMTP_EOD_BARE, 4),
		ROW("a\r.\r", SMTP_EOD_BARE, 1),
		ROW("a\r\n.\r\r\n", SMTP_EOD_BARE, 4),
		ROW("a\r\n.\0\r\n", SMTP_EOD_BARE, 4),
		ROW("a\r\n\0.\r\n", SMTP_EOD_BARE, 3),
		ROW("a\r\0\n.\r\n", SMTP_EOD_BARE, 1),
		ROW("a\r\r\n.\r\n", SMTP_EOD_BARE, 1),
		ROW("\n", SMTP_EOD_BARE, 0),
		ROW("\r.\r\n", SMTP_EOD_BARE, 0),
		ROW("\xff\x8d\x8a\xae\x80\r\n", SMTP_EOD_MORE, 7),
#undef ROW
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span body = span_of(rows[i].body, rows[i].n);
		size_t forward;

		assert_int_equal(oracle_scan(body, &forward), rows[i].result);
		assert_int_equal(forward, rows[i].forward);
		check_all_cuts(body, true);
	}
}

static void test_all_short_bodies(void **state)
{
	uint8_t body[WORD_MAX];
	size_t less = size_of(0, 2);

	(void)state;
	for (size_t n = 0; n <= WORD_MAX - less; n++)
		for (unsigned i = 0, count = words(n); i < count; i++) {
			word(body, n, i);
			if (n <= WORD_CUT_ONCE - less)
				check_all_cuts(span_of(body, n), n <= WORD_CUT_TWICE - less);
			else
				for (size_t v = 0; v < 2; v++)
					check_cut(versions[v], span_of(body, n), NULL, 0);
		}
}

/* All words of 6 octets at every place around the edge of a block, text or lines before them. */
static void test_words_at_block_edges(void **state)
{
	uint8_t body[192];

	(void)state;
	for (unsigned lines = 0; lines < 2; lines++)
		for (size_t at = 64 - 7; at <= 64 + 1; at++)
			for (unsigned i = 0, count = words(6); i < count; i++) {
				memset(body, 'a', sizeof(body));
				if (lines) /* the word is at the start of a line */
					memcpy(body + at - 2, "\r\n", 2);
				word(body + at, 6, i);
				check_cut(smtp_eod_scan, span_of(body, sizeof(body)), NULL, 0);
				check_cut(smtp_eod_scan, span_of(body, sizeof(body)), &at, 1);
			}
}

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)seed * n >> 32);
}

/* Canonical text of N octets, dots at line starts too, no end of data. */
static void canonical(uint8_t *out, size_t n)
{
	size_t line = 0;

	for (size_t i = 0; i < n; i++) {
		if (line > 1 && i + 2 < n && random_below(8) == 0) {
			out[i++] = '\r';
			out[i] = '\n';
			line = 0;
			continue;
		}
		out[i] = (uint8_t)(random_below(6) == 0 ? '.' : ' ' + 1 + random_below(200));
		line++;
	}
}

static size_t random_cuts(size_t *cuts, size_t max, size_t n)
{
	size_t count = random_below((uint32_t)max + 1), at = 0;

	for (size_t i = 0; i < count; i++)
		cuts[i] = at += random_below((uint32_t)(n - at) + 1);
	return count;
}

static void test_events_at_each_alignment(void **state)
{
	static const struct span events[] = {
		{ (const uint8_t *)"\r\n.\r\n", 5 },   { (const uint8_t *)"\n", 1 },
		{ (const uint8_t *)"\ra", 2 },	       { (const uint8_t *)"\0", 1 },
		{ (const uint8_t *)"\r\n.\n", 4 },     { (const uint8_t *)"\r\n.\r\r\n", 6 },
		{ (const uint8_t *)"\r\n..\r\n", 6 },  { (const uint8_t *)"\r\n.\ra", 5 },
		{ (const uint8_t *)"\r\n.\0\r\n", 6 }, { (const uint8_t *)"\r\n\r\n.\r\n", 7 },
		{ (const uint8_t *)"\r\0\n", 3 },      { (const uint8_t *)"\r\r\n.\r\n", 6 },
	};
	static uint8_t body[700];
	size_t cuts[8];

	(void)state;
	for (size_t e = 0; e < sizeof(events) / sizeof(events[0]); e++)
		for (size_t at = 0; at < 300; at++)
			for (unsigned round = 0; round < 6; round++) {
				size_t n = at + events[e].n + random_below(300);

				canonical(body, n);
				memcpy(body + at, events[e].p, events[e].n);
				for (size_t v = 0; v < 2; v++)
					check_cut(versions[v], span_of(body, n), cuts,
						  random_cuts(cuts, round ? 8 : 0, n));
			}
}

static void test_random_bodies(void **state)
{
	static uint8_t body[BODY_MAX];
	size_t cuts[24];

	(void)state;
	for (unsigned round = 0; round < size_of(20000, 4000); round++) {
		size_t n = random_below(round % 16 ? 400 : BODY_MAX);

		canonical(body, n);
		for (unsigned k = random_below(3); n && k; k--)
			body[random_below((uint32_t)n)] =
				(uint8_t)alphabet[random_below(sizeof(alphabet))];
		for (size_t v = 0; v < 2; v++)
			check_cut(versions[v], span_of(body, n), cuts, random_cuts(cuts, 24, n));
	}
}

/* More dots at the starts of lines than there is room to note at a time. */
static void test_many_dots(void **state)
{
	static uint8_t body[BODY_MAX];
	size_t cuts[24];

	(void)state;
	for (unsigned round = 0; round < size_of(2000, 400); round++) {
		size_t n = 0, most = random_below(BODY_MAX - 16);

		while (n < most) {
			body[n++] = '.';
			for (unsigned k = random_below(3); k; k--)
				body[n++] = random_below(2) ? '.' : 'x';
			if (body[n - 1] == '.' && (n == 1 || body[n - 2] == '\n'))
				body[n++] = '.';
			body[n++] = '\r';
			body[n++] = '\n';
		}
		memcpy(body + n, ".\r\n", 3);
		n += 3;
		for (size_t v = 0; v < 2; v++)
			check_cut(versions[v], span_of(body, n), cuts,
				  random_cuts(cuts, round ? 24 : 0, n));
	}
}

/* One readable page between two that are not: the input ends, and begins, at its edges. */
static void test_reads_nothing_outside(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *mem = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(mem, MAP_FAILED);
	assert_int_equal(mprotect(mem + page, page, PROT_READ | PROT_WRITE), 0);
	for (size_t n = 0; n <= 260; n++)
		for (unsigned last = 0; last < sizeof(alphabet); last++)
			for (unsigned end = 0; end < 2; end++) {
				uint8_t *at = end ? mem + 2 * page - n : mem + page;

				canonical(at, n);
				if (n)
					at[end ? n - 1 : 0] = (uint8_t)alphabet[last];
				for (size_t v = 0; v < 2; v++)
					check_cut(versions[v], span_of(at, n), NULL, 0);
			}
	assert_int_equal(munmap(mem, 3 * page), 0);
}

static void test_no_octets(void **state)
{
	(void)state;
	for (size_t v = 0; v < 2; v++)
		for (int s = SMTP_EOD_LINE_START; s <= SMTP_EOD_DOT_CR; s++) {
			struct smtp_eod eod = { .state = (enum smtp_eod_state)s };
			struct sent sent = { .n = 0 };
			size_t scanned;

			assert_int_equal(feed(versions[v], &eod, span_of(NULL, 0), &sent, &scanned),
					 SMTP_EOD_MORE);
			assert_int_equal(eod.state, s);
			assert_int_equal(sent.n, 0);
		}
}

/* A second message on the same state: the end of the first one leaves the start of a body. */
static void test_end_is_a_new_start(void **state)
{
	(void)state;
	for (size_t v = 0; v < 2; v++) {
		struct smtp_eod eod = { 0 };
		struct sent sent = { .n = 0 };
		size_t scanned;

		assert_int_equal(feed(versions[v], &eod, SPAN("a\r\n.\r\n"), &sent, &scanned),
				 SMTP_EOD_END);
		assert_int_equal(eod.state, SMTP_EOD_LINE_START);
		assert_int_equal(feed(versions[v], &eod, SPAN(".\r\n"), &sent, &scanned),
				 SMTP_EOD_END);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_endings),
		cmocka_unit_test(test_all_short_bodies),
		cmocka_unit_test(test_words_at_block_edges),
		cmocka_unit_test(test_events_at_each_alignment),
		cmocka_unit_test(test_random_bodies),
		cmocka_unit_test(test_many_dots),
		cmocka_unit_test(test_reads_nothing_outside),
		cmocka_unit_test(test_no_octets),
		cmocka_unit_test(test_end_is_a_new_start),
	};

	if (!smtp_eod_fast())
		print_message("no AVX2 here: the plain version is tested twice\n");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
