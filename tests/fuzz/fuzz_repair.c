/* SPDX-License-Identifier: ISC */
/*
 * The repair of a body, against its definition: whatever comes in, only canonical lines and one end
 * of data go out; cuts and little room change nothing; a second pass changes nothing.
 */
#include "fuzz.h"
#include "../unit/eod_oracle.h"
#include "smtp/repair.h"

static const struct span follow = { (const uint8_t *)"\r\n.\r\n", 5 };

/* BODY through the repair, in pieces when SEED is not 0; the output, to be freed. */
static struct span repair(struct span body, uint32_t seed, size_t *used)
{
	struct smtp_repair r = { 0 };
	enum smtp_eod_result got = SMTP_EOD_MORE;
	size_t cap = 3 * body.n + 2 * SMTP_REPAIR_ROOM, at = 0, n = 0;
	uint8_t *all = malloc(cap);

	CHECK(all);
	while (got != SMTP_EOD_END) {
		size_t left = body.n - at, scanned;
		size_t len = seed ? fuzz_min(fuzz_step(&seed), left) : left;
		size_t room = seed ? SMTP_REPAIR_ROOM + fuzz_step(&seed) : cap;
		uint8_t *piece = fuzz_copy(span_of(body.p + at, len)), *mem = malloc(room);
		struct buf out;

		CHECK(mem && left > 0); /* the body has its end in it */
		buf_init(&out, mem, room);
		got = smtp_repair(&r, span_of(piece, len), &scanned, &out);
		CHECK(scanned <= len &&
		      (scanned > 0 || len == 0 || buf_len(&out) > 0 || got == SMTP_EOD_GATE));
		if (got == SMTP_EOD_GATE)
			smtp_gate_open(&r.gate);
		CHECK(n + buf_len(&out) <= cap);
		memcpy(all + n, mem, buf_len(&out));
		n += buf_len(&out);
		at += scanned;
		free(mem);
		free(piece);
	}
	*used = at;
	return span_of(all, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), body, out, cut, again;
	uint32_t seed = 1u + fuzz_choice(&in);
	uint8_t *whole = malloc(in.n + follow.n), *want = malloc(3 * (in.n + follow.n) + 8);
	size_t n, used, want_used;

	CHECK(whole && want);
	if (in.n)
		memcpy(whole, in.p, in.n);
	memcpy(whole + in.n, follow.p, follow.n);
	body = span_of(whole, in.n + follow.n);

	n = oracle_repair(body, want, &want_used);
	out = repair(body, 0, &used);
	CHECK(span_eq(out, span_of(want, n)) && used == want_used);
	cut = repair(body, seed, &used);
	CHECK(span_eq(cut, out) && used == want_used);

	CHECK(oracle_bare(out) == out.n && oracle_end(out) == out.n);
	again = repair(out, seed, &used);
	CHECK(span_eq(again, out) && used == out.n);
	if (oracle_bare(body) >= want_used)
		CHECK(span_eq(out, span_of(body.p, want_used)));

	free((void *)(uintptr_t)again.p);
	free((void *)(uintptr_t)cut.p);
	free((void *)(uintptr_t)out.p);
	free(want);
	free(whole);
	return 0;
}
