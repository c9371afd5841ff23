/* SPDX-License-Identifier: ISC */
/*
 * The repair of a body: known cases to the letter, and over all short strings and many long ones
 * against the definition (eod_oracle.h). Whatever comes in, what goes out before the end has only
 * canonical lines, none of them a lone dot; how it was cut, and how little room there was at a
 * time, changes nothing; canonical input goes through as it is.
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
#include "smtp/repair.h"

#define BODY_MAX 2048
#define OUT_MAX	 (3 * BODY_MAX + 16)

/* As in test_eod.c. */
#define WORD_MAX       9
#define WORD_CUT_ONCE  8
#define WORD_CUT_TWICE 6

struct result {
	uint8_t data[OUT_MAX];
	size_t n, used;
	enum smtp_eod_result result;
};

static void fail_body(const char *what, struct span body)
{
	fprintf(stderr, "%s, %zu octets:", what, body.n);
	for (size_t i = 0; i < body.n; i++)
		fprintf(stderr, " %02x", body.p[i]);
	fprintf(stderr, "\n");
	fail();
}

/* What must be true of any output, by itself. */
static void check_canonical(struct span body, const struct result *r)
{
	struct span out = span_of(r->data, r->n);
	size_t end = oracle_end(out);

	if (oracle_bare(out) != (out.n && out.p[out.n - 1] == '\r' ? out.n - 1 : out.n))
		fail_body("output is not canonical", body);
	if (r->result == SMTP_EOD_END ? end != out.n : end != 0)
		fail_body("output has another end", body);
}

/* Gives one piece to the repair with ROOM octets of output at a time; what came out is added. */
static void feed(struct smtp_repair *repair, struct span piece, size_t room, struct result *r)
{
	uint8_t mem[OUT_MAX];
	struct buf out;
	size_t at = 0, scanned;

	do {
		buf_init(&out, mem, room);
		r->result = smtp_repair(repair, span_from(piece, at), &scanned, &out);
		at += scanned;
		if (at > piece.n || (at < piece.n && scanned == 0 && buf_len(&out) == 0))
			fail_body("impossible count", piece);
		if (r->result == SMTP_EOD_MORE && at < piece.n &&
		    buf_space(&out) >= SMTP_REPAIR_ROOM)
			fail_body("stopped with room left", piece);
		memcpy(r->data + r->n, mem, buf_len(&out));
		r->n += buf_len(&out);
	} while (r->result == SMTP_EOD_MORE && at < piece.n);
	r->used += at;
}

static void run_cut(struct span body, const size_t *cuts, size_t n, size_t room, struct result *r)
{
	struct smtp_repair repair = { 0 };
	size_t from = 0;

	r->n = r->used = 0;
	r->result = SMTP_EOD_MORE;
	for (size_t i = 0; i <= n && r->result == SMTP_EOD_MORE; i++) {
		size_t to = i < n ? cuts[i] : body.n;

		if (to > from)
			feed(&repair, span_of(body.p + from, to - from), room, r);
		from = to;
	}
}

/* BODY up to N, then FOLLOW, which brings the end of data at the latest: against the definition. */
static void check_whole(struct span body, struct span follow, struct result *got)
{
	static uint8_t whole[BODY_MAX + 16], want[OUT_MAX];
	size_t used, n;

	if (body.n)
		memcpy(whole, body.p, body.n);
	memcpy(whole + body.n, follow.p, follow.n);
	n = oracle_repair(span_of(whole, body.n + follow.n), want, &used);
	run_cut(span_of(whole, body.n + follow.n), &body.n, 1, OUT_MAX, got);
	if (got->result != SMTP_EOD_END || got->used != used ||
	    !span_eq(span_of(got->data, got->n), span_of(want, n)))
		fail_body("not as defined", span_of(whole, body.n + follow.n));
	check_canonical(body, got);
}

static void check_definition(struct span body)
{
	static struct result open, whole;

	run_cut(body, NULL, 0, OUT_MAX, &open);
	check_canonical(body, &open);
	/* Two ways on, so that the state behind BODY is told by what follows it. */
	check_whole(body, SPAN("\r\n.\r\n"), &whole);
	if (whole.n < open.n || memcmp(whole.data, open.data, open.n) != 0)
		fail_body("took back what it had given", body);
	check_whole(body, SPAN(".\r\n\r\n.\r\n"), &whole);
	check_whole(body, SPAN("\n.\r\n.\r\n"), &whole);
}

static void check_cut(struct span body, const size_t *cuts, size_t n, size_t room,
		      const struct result *want)
{
	static struct result got;

	run_cut(body, cuts, n, room, &got);
	if (got.result != want->result || got.used != want->used ||
	    !span_eq(span_of(got.data, got.n), span_of(want->data, want->n)))
		fail_body("the cut or the room made a difference", body);
}

static void check_all_cuts(struct span body, bool two)
{
	static struct result want;

	run_cut(body, NULL, 0, OUT_MAX, &want);
	check_cut(body, NULL, 0, SMTP_REPAIR_ROOM, &want);
	for (size_t a = 1; a < body.n; a++) {
		check_cut(body, &a, 1, OUT_MAX, &want);
		for (size_t b = a + 1; two && b < body.n; b++)
			check_cut(body, (size_t[]){ a, b }, 2, OUT_MAX, &want);
	}
}

static void test_known_bodies(void **state)
{
	static const struct {
		struct span in, out;
		enum smtp_eod_result result;
	} rows[] = {
#define ROW(in, out, result)                                                                       \
	{ { (const uint8_t *)(in), sizeof(in) - 1 },                                               \
	  { (const uint8_t *)(out), sizeof(out) - 1 },                                             \
	  result }
		ROW("", "", SMTP_EOD_MORE),
		ROW(".\r\n", ".\r\n", SMTP_EOD_END),
		ROW("a\r\n.b\r\n..\r\n.\r\n", "a\r\n.b\r\n..\r\n.\r\n", SMTP_EOD_END),
		/* newlines on their own */
		ROW("a\nb\rc\r\n", "a\r\nb\r\nc\r\n", SMTP_EOD_MORE),
		ROW("\n\n\r\r\n", "\r\n\r\n\r\n", SMTP_EOD_MORE),
		/* CRs directly before CR LF go: a header stays one */
		ROW("A: b\r\r\nC: d\r\r\n\r\r\nx\r\r\n", "A: b\r\nC: d\r\n\r\nx\r\n",
		    SMTP_EOD_MORE),
		ROW("a\r\r\r\r\nb", "a\r\nb", SMTP_EOD_MORE),
		ROW("a\r\r", "a", SMTP_EOD_MORE),
		ROW("a\r\rb", "a\r\n\r\nb", SMTP_EOD_MORE),
		ROW("a\r\r\r.", "a\r\n\r\n\r\n..", SMTP_EOD_MORE),
		ROW("a\r\0\r\nb", "a\r\n\r\nb", SMTP_EOD_MORE),
		ROW("a\r\r\0\nb", "a\r\n\r\n\r\nb", SMTP_EOD_MORE),
		ROW("a\r\r\0\r\n.b", "a\r\n\r\n\r\n.b", SMTP_EOD_MORE),
		ROW("a\r\r\n\nb", "a\r\n\r\nb", SMTP_EOD_MORE),
		ROW("\r\r\n.\r\n", "\r\n.\r\n", SMTP_EOD_END),
		ROW(".\r\r\n", "..\r\n", SMTP_EOD_MORE),
		ROW(".\r\r\n.\r\n", "..\r\n.\r\n", SMTP_EOD_END),
		ROW("a\r\r\n..b\r\r\n", "a\r\n..b\r\n", SMTP_EOD_MORE),
		ROW("a\r", "a", SMTP_EOD_MORE),
		ROW("a\0b\0", "ab", SMTP_EOD_MORE),
		/* every ending that some server takes for one, and that is none */
		ROW("a\n.\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\n.\r\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\n.\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r.\r\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\n.\rb", "a\r\n..\r\nb", SMTP_EOD_MORE),
		ROW("a\r\n.\r\r\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\r\n.\r\r\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\n.\r\r\r.", "a\r\n..\r\n\r\n\r\n..", SMTP_EOD_MORE),
		ROW("a\r\n.\0\r\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\n\0.\r\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\0\n.\r\n", "a\r\n\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\n.\r\0\n", "a\r\n..\r\n\r\n", SMTP_EOD_MORE),
		/* at the very beginning too */
		ROW("\0.\r\n", "..\r\n", SMTP_EOD_MORE),
		ROW(".\0\r\n", "..\r\n", SMTP_EOD_MORE),
		ROW(".\n", "..\r\n", SMTP_EOD_MORE),
		ROW("\n.\r\n", "\r\n..\r\n", SMTP_EOD_MORE),
		/* the client's own CR LF dot CR LF, whatever is before it */
		ROW("a\r\r\n.\r\nQUIT\r\n", "a\r\n.\r\n", SMTP_EOD_END),
		ROW("a\n\r\n.\r\n", "a\r\n\r\n.\r\n", SMTP_EOD_END),
		ROW("a\r\n\0\r\n.\r\n", "a\r\n\r\n.\r\n", SMTP_EOD_END),
		ROW("a\r\n.\r\r\n.\r\n", "a\r\n..\r\n.\r\n", SMTP_EOD_END),
		/* dots of repaired lines, and the client's own */
		ROW("a\n.b", "a\r\n..b", SMTP_EOD_MORE),
		ROW("a\n..\r\n", "a\r\n...\r\n", SMTP_EOD_MORE),
		ROW("a\r\n..\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\n.\0b\n", "a\r\n.b\r\n", SMTP_EOD_MORE),
		ROW("a\r\n.\0.\r\n", "a\r\n..\r\n", SMTP_EOD_MORE),
		ROW("a\r\n\0.b\r\n", "a\r\n..b\r\n", SMTP_EOD_MORE),
		ROW("a\n\0.b\r\n", "a\r\n..b\r\n", SMTP_EOD_MORE),
		ROW("a\r\n.\r.\n.", "a\r\n..\r\n..\r\n..", SMTP_EOD_MORE),
#undef ROW
	};
	static struct result got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_cut(rows[i].in, NULL, 0, OUT_MAX, &got);
		if (got.result != rows[i].result || !span_eq(span_of(got.data, got.n), rows[i].out))
			fail_body("not as in the row", rows[i].in);
		check_all_cuts(rows[i].in, true);
		check_definition(rows[i].in);
	}
}

/* More lines are owed than there is room for at a time. */
static void test_many_crs(void **state)
{
	static uint8_t body[700];
	static struct result want;
	size_t cuts[] = { 1, 2, 350, 699 };

	(void)state;
	memset(body, '\r', sizeof(body));
	for (unsigned last = 0; last < 3; last++) {
		body[sizeof(body) - 1] = (uint8_t) "x.\n"[last];
		check_definition(span_of(body, sizeof(body)));
		run_cut(span_of(body, sizeof(body)), NULL, 0, OUT_MAX, &want);
		assert_int_equal(want.n, last == 2 ? 2 : 2 * (sizeof(body) - 1) + 1 + last);
		check_cut(span_of(body, sizeof(body)), cuts, 4, SMTP_REPAIR_ROOM, &want);
		check_cut(span_of(body, sizeof(body)), cuts, 4, 100, &want);
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
			check_definition(span_of(body, n));
			if (n <= WORD_CUT_ONCE - less)
				check_all_cuts(span_of(body, n), n <= WORD_CUT_TWICE - less);
		}
}

static uint32_t seed = 7;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)seed * n >> 32);
}

/* Lines of text with dots at their starts; every HARM-th octet or so is one that matters. */
static void lines(uint8_t *out, size_t n, uint32_t harm)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t kind = random_below(40);

		if (harm && random_below(harm) == 0)
			out[i] = (uint8_t)alphabet[random_below(sizeof(alphabet))];
		else if (kind == 0 && i + 3 < n) {
			memcpy(out + i, "\r\n.b", 4);
			i += 3;
		} else if (kind == 1 && i + 1 < n) {
			memcpy(out + i, "\r\n", 2);
			i += 1;
		} else
			out[i] = (uint8_t)(' ' + 15 + random_below(200));
	}
}

static void test_random_bodies(void **state)
{
	static const uint32_t harms[] = { 2, 5, 40, 200 };
	static uint8_t body[BODY_MAX];
	static struct result want;
	size_t cuts[12];

	(void)state;
	for (unsigned round = 0; round < size_of(6000, 1200); round++) {
		size_t n = random_below(round % 8 ? 300 : BODY_MAX), count = random_below(12);
		size_t at = 0;

		lines(body, n, harms[round % 4]);
		check_definition(span_of(body, n));
		run_cut(span_of(body, n), NULL, 0, OUT_MAX, &want);
		for (size_t i = 0; i < count; i++)
			cuts[i] = at += random_below((uint32_t)(n - at) + 1);
		check_cut(span_of(body, n), cuts, count, OUT_MAX, &want);
		check_cut(span_of(body, n), cuts, count, SMTP_REPAIR_ROOM + random_below(200),
			  &want);
	}
}

/* Canonical bodies go through to the octet; what repair made is canonical, so a second pass over it
 * changes nothing. */
static void test_idempotent(void **state)
{
	static uint8_t body[BODY_MAX + 8];
	static struct result once, twice;

	(void)state;
	for (unsigned round = 0; round < size_of(3000, 600); round++) {
		size_t n = random_below(BODY_MAX);

		lines(body, n, round % 2 ? 10 : 0);
		memcpy(body + n, "\r\n.\r\n", 5);
		run_cut(span_of(body, n + 5), NULL, 0, OUT_MAX, &once);
		assert_int_equal(once.result, SMTP_EOD_END);
		if (round % 2 == 0)
			assert_true(span_eq(span_of(once.data, once.n), span_of(body, n + 5)));
		if (once.n > BODY_MAX)
			continue;
		run_cut(span_of(once.data, once.n), NULL, 0, OUT_MAX, &twice);
		assert_int_equal(twice.result, SMTP_EOD_END);
		assert_true(span_eq(span_of(once.data, once.n), span_of(twice.data, twice.n)));
	}
}

/* OUT that holds something already, has room only in front, or has too little. */
static void test_room(void **state)
{
	uint8_t mem[32];
	struct buf out;
	struct smtp_repair r = { 0 };
	size_t scanned = 99;

	(void)state;
	buf_init(&out, mem, SMTP_REPAIR_ROOM - 1);
	assert_int_equal(smtp_repair(&r, SPAN("a\n"), &scanned, &out), SMTP_EOD_MORE);
	assert_int_equal(scanned, 0);
	assert_int_equal(buf_len(&out), 0);

	buf_init(&out, mem, sizeof(mem));
	assert_int_equal(buf_put(&out, SPAN("0123456789012345678901234567")), 0);
	buf_consume(&out, 26); /* two octets are live, at the far end */
	assert_int_equal(smtp_repair(&r, SPAN("a\n.b\nc"), &scanned, &out), SMTP_EOD_MORE);
	assert_int_equal(scanned, 6);
	assert_true(span_eq(buf_span(&out), SPAN("67a\r\n..b\r\nc")));
}

static void test_reads_nothing_outside(void **state)
{
	static struct result want, got;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *mem = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t copy[300];

	(void)state;
	assert_ptr_not_equal(mem, MAP_FAILED);
	assert_int_equal(mprotect(mem + page, page, PROT_READ | PROT_WRITE), 0);
	for (unsigned round = 0; round < 4000; round++) {
		size_t n = random_below(sizeof(copy));
		uint8_t *at = round % 2 ? mem + 2 * page - n : mem + page;

		lines(copy, n, round % 3 ? 60 : 3);
		memcpy(at, copy, n);
		run_cut(span_of(copy, n), NULL, 0, OUT_MAX, &want);
		run_cut(span_of(at, n), NULL, 0, OUT_MAX, &got);
		assert_int_equal(got.result, want.result);
		assert_true(span_eq(span_of(got.data, got.n), span_of(want.data, want.n)));
	}
	assert_int_equal(munmap(mem, 3 * page), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_bodies),
		cmocka_unit_test(test_many_crs),
		cmocka_unit_test(test_all_short_bodies),
		cmocka_unit_test(test_random_bodies),
		cmocka_unit_test(test_idempotent),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_reads_nothing_outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
