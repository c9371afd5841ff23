/* SPDX-License-Identifier: ISC */
/*
 * The end-of-data scanner, both versions, against its definition: what is forwarded, and where the
 * end is, however the body is cut. The input is put at any place of a block of the fast version.
 */
#include "fuzz.h"
#include "../unit/eod_oracle.h"

typedef enum smtp_eod_result scan_fn(struct smtp_eod *eod, struct span in, size_t *scanned,
				     size_t *safe, bool *cr_first);

static void check(scan_fn *scan, struct span body, uint32_t seed)
{
	struct smtp_eod eod = { 0 };
	enum smtp_eod_result want, got = SMTP_EOD_MORE;
	uint8_t *sent = malloc(body.n + 1);
	size_t sent_n = 0, at = 0, forward;
	bool whole = seed == 0;

	CHECK(sent);
	want = oracle_scan(body, &forward);
	while ((got == SMTP_EOD_MORE || got == SMTP_EOD_GATE) && at < body.n) {
		size_t left = body.n - at, n = whole ? left : fuzz_min(fuzz_step(&seed), left);
		uint8_t *piece = fuzz_copy(span_of(body.p + at, n));
		size_t scanned, safe;
		bool cr_first;

		got = scan(&eod, span_of(piece, n), &scanned, &safe, &cr_first);
		CHECK(scanned <= n && safe <= scanned && sent_n + safe + cr_first <= body.n);
		CHECK(got != SMTP_EOD_MORE || scanned == n);
		if (got == SMTP_EOD_GATE)
			smtp_gate_open(&eod.gate);
		if (cr_first)
			sent[sent_n++] = '\r';
		memcpy(sent + sent_n, piece, safe);
		sent_n += safe;
		at += scanned;
		free(piece);
	}
	CHECK(got == want);
	CHECK(span_eq(span_of(sent, sent_n), span_of(body.p, forward)));
	CHECK(got != SMTP_EOD_END || at == forward);
	free(sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	size_t before = fuzz_choice(&in) % 64, behind = fuzz_choice(&in) % 128;
	uint32_t seed = 1u + fuzz_choice(&in);
	size_t n = before + in.n + behind;
	uint8_t *body = malloc(n + 1);

	CHECK(body);
	memset(body, 'a', n);
	if (in.n)
		memcpy(body + before, in.p, in.n);
	check(smtp_eod_scan_plain, span_of(body, n), 0);
	check(smtp_eod_scan_plain, span_of(body, n), seed);
	check(smtp_eod_scan, span_of(body, n), 0);
	check(smtp_eod_scan, span_of(body, n), seed);
	free(body);
	return 0;
}
