/* SPDX-License-Identifier: ISC */
/*
 * eod: finds the end of data (RFC 5321 4.1.1.4) and everything that a careless destination could
 * take for it: this file has the automaton in plain C, and what both versions of it share, which is
 * the answer to "how many octets may go on". It refuses to change or keep octets, and it reads none
 * outside the span. The caller owns the octets, the state and the one CR that is held back. The
 * gate's automaton (gate.h) rides on it: it has something to do at the beginning of lines only.
 *
 * It cannot fail. After END the state is that of a new body. After BARE it stands before the
 * offending octet, so that a caller who scans on from there gets BARE for ever.
 */
#include "smtp/eod_inner.h"

/* The state behind octet C, where C is allowed behind *STATE; END and BARE by the return value. */
static inline enum smtp_eod_result step(enum smtp_eod_state *state, uint8_t c)
{
	switch (*state) {
	case SMTP_EOD_CR:
		if (c != '\n')
			return SMTP_EOD_BARE;
		*state = SMTP_EOD_LINE_START;
		return SMTP_EOD_MORE;
	case SMTP_EOD_DOT_CR:
		if (c != '\n')
			return SMTP_EOD_BARE;
		*state = SMTP_EOD_LINE_START;
		return SMTP_EOD_END;
	case SMTP_EOD_LINE_START:
	case SMTP_EOD_DOT:
	case SMTP_EOD_TEXT:
		break;
	}
	if (c == '\n' || c == '\0')
		return SMTP_EOD_BARE;
	if (c == '\r')
		*state = *state == SMTP_EOD_DOT ? SMTP_EOD_DOT_CR : SMTP_EOD_CR;
	else if (c == '.' && *state == SMTP_EOD_LINE_START)
		*state = SMTP_EOD_DOT;
	else
		*state = SMTP_EOD_TEXT;
	return SMTP_EOD_MORE;
}

size_t smtp_eod_run_plain(const uint8_t *p, size_t n, struct smtp_eod *eod,
			  enum smtp_eod_result *result)
{
	struct smtp_eod line = *eod; /* the state where the line began, or these octets do */
	enum smtp_eod_state s = eod->state;
	size_t line_at = 0;

	*result = SMTP_EOD_MORE;
	for (size_t i = 0; i < n; i++) {
		/* Most octets are text in text: nothing above CR is special there. */
		if (s == SMTP_EOD_TEXT && p[i] > '\r' && eod->gate.at == SMTP_GATE_TEXT)
			continue;
		*result = step(&s, p[i]);
		if (*result != SMTP_EOD_MORE) {
			eod->state = s;
			return *result == SMTP_EOD_END ? i + 1 : i;
		}
		if (smtp_gate_step(&eod->gate, p[i])) {
			*result = SMTP_EOD_GATE;
			*eod = line;
			return line_at;
		}
		if (p[i] == '\n') {
			line = (struct smtp_eod){ .state = s };
			line_at = i + 1;
		}
	}
	eod->state = s;
	return n;
}

static bool holds_cr(enum smtp_eod_state state)
{
	return state == SMTP_EOD_CR || state == SMTP_EOD_DOT_CR;
}

typedef size_t run_fn(const uint8_t *p, size_t n, struct smtp_eod *eod,
		      enum smtp_eod_result *result);

static inline enum smtp_eod_result scan(run_fn *run, struct smtp_eod *eod, struct span in,
					size_t *scanned, size_t *safe, bool *cr_first)
{
	enum smtp_eod_state entry = eod->state;
	enum smtp_eod_result result;
	size_t passed = run(in.p, in.n, eod, &result);

	*cr_first = holds_cr(entry) && passed > 0;
	*scanned = passed;
	*safe = passed;
	switch (result) {
	case SMTP_EOD_MORE:
		if (passed > 0 && holds_cr(eod->state))
			*safe = passed - 1;
		break;
	case SMTP_EOD_BARE:
		/* A CR of this very span is the offender itself; one held from an earlier span has
		 * been counted there, and stays unforwarded. */
		if (passed > 0 && holds_cr(eod->state)) {
			*scanned = *safe = passed - 1;
			/* Before the CR again; a line's start and its text take a CR alike. */
			eod->state = eod->state == SMTP_EOD_DOT_CR ? SMTP_EOD_DOT : SMTP_EOD_TEXT;
		}
		break;
	case SMTP_EOD_END:
		eod->gate = (struct smtp_gate){ 0 };
		break;
	case SMTP_EOD_GATE: /* no line's start, and none of its words, is behind a CR */
		break;
	}
	return result;
}

enum smtp_eod_result smtp_eod_scan_plain(struct smtp_eod *eod, struct span in, size_t *scanned,
					 size_t *safe, bool *cr_first)
{
	return scan(smtp_eod_run_plain, eod, in, scanned, safe, cr_first);
}

bool smtp_eod_fast(void)
{
#ifdef __x86_64__
	return __builtin_cpu_supports("avx2");
#else
	return false;
#endif
}

enum smtp_eod_result smtp_eod_scan(struct smtp_eod *eod, struct span in, size_t *scanned,
				   size_t *safe, bool *cr_first)
{
	if (smtp_eod_fast())
		return scan(smtp_eod_run_avx2, eod, in, scanned, safe, cr_first);
	return scan(smtp_eod_run_plain, eod, in, scanned, safe, cr_first);
}
