/* SPDX-License-Identifier: ISC */
/*
 * eod_avx2: the automaton of eod.c over 64 octets at a time, without a branch for each line. Each
 * kind of octet gives a mask of 64 bits; "the octet before was a CR" is that mask shifted by one,
 * with the bit that falls out carried into the next block. A state of the automaton is exactly one
 * set of carried bits, so that there are no special cases at the edges of a block, and no input is
 * slow. Up to the first event the masks say what the automaton says; later bits mean nothing.
 *
 * Reads only whole blocks inside the span; what is left over goes through the plain version.
 */
#include "smtp/eod_run.h"

#ifdef __x86_64__
#include <immintrin.h>

#define BLOCK 64

/* What the octet before the block was; `dot_cr` implies `cr`. None set: text. */
struct carry {
	uint64_t cr, start, dot, dot_cr;
};

static struct carry carry_of(enum smtp_eod_state state)
{
	return (struct carry){
		.cr = state == SMTP_EOD_CR || state == SMTP_EOD_DOT_CR,
		.start = state == SMTP_EOD_LINE_START,
		.dot = state == SMTP_EOD_DOT,
		.dot_cr = state == SMTP_EOD_DOT_CR,
	};
}

/* The state that bit AT of the masks in C stands for. */
static enum smtp_eod_state state_of(const struct carry *c, unsigned at)
{
	if (c->dot_cr >> at & 1)
		return SMTP_EOD_DOT_CR;
	if (c->cr >> at & 1)
		return SMTP_EOD_CR;
	if (c->dot >> at & 1)
		return SMTP_EOD_DOT;
	return c->start >> at & 1 ? SMTP_EOD_LINE_START : SMTP_EOD_TEXT;
}

__attribute__((target("avx2"))) static inline uint64_t mask_of(__m256i lo, __m256i hi, char c)
{
	__m256i want = _mm256_set1_epi8(c);
	uint32_t l = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(lo, want));
	uint32_t h = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(hi, want));

	return (uint64_t)h << 32 | l;
}

__attribute__((target("avx2"))) size_t smtp_eod_run_avx2(const uint8_t *p, size_t n,
							 enum smtp_eod_state *state,
							 enum smtp_eod_result *result)
{
	struct carry in = carry_of(*state);
	size_t i = 0;

	for (; n - i >= BLOCK; i += BLOCK) {
		__m256i lo = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
		__m256i hi = _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32));
		uint64_t cr = mask_of(lo, hi, '\r'), lf = mask_of(lo, hi, '\n');
		/* What stands before each octet; then, what each octet is in that place. */
		struct carry before = { .cr = cr << 1 | in.cr, .start = lf << 1 | in.start };
		uint64_t dot = mask_of(lo, hi, '.') & before.start, dot_cr, bad, end;

		before.dot = dot << 1 | in.dot;
		dot_cr = cr & before.dot;
		before.dot_cr = dot_cr << 1 | in.dot_cr;
		bad = mask_of(lo, hi, '\0') | (lf ^ before.cr);
		end = lf & before.dot_cr;
		if (__builtin_expect((bad | end) != 0, 0)) {
			unsigned at = (unsigned)__builtin_ctzll(bad | end);
			bool is_end = end >> at & 1;

			*result = is_end ? SMTP_EOD_END : SMTP_EOD_BARE;
			*state = is_end ? SMTP_EOD_LINE_START : state_of(&before, at);
			return i + at + is_end;
		}
		in = (struct carry){ cr >> 63, lf >> 63, dot >> 63, dot_cr >> 63 };
	}
	*state = state_of(&in, 0);
	*result = SMTP_EOD_MORE;
	if (i < n)
		i += smtp_eod_run_plain(p + i, n - i, state, result);
	return i;
}

#else /* another processor: smtp_eod_fast() is false, and this is only there to link */

size_t smtp_eod_run_avx2(const uint8_t *p, size_t n, enum smtp_eod_state *state,
			 enum smtp_eod_result *result)
{
	return smtp_eod_run_plain(p, n, state, result);
}

#endif
