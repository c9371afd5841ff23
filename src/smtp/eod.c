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

#include <string.h>

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

/* The octets of a counted body, which has no gate. */
static size_t run_counted(const uint8_t *p, size_t n, struct smtp_eod *eod, struct smtp_dots *dots,
			  enum smtp_eod_result *result)
{
	enum smtp_eod_state s = eod->state;
	size_t i;

	*result = SMTP_EOD_MORE;
	for (i = 0; i < n && *result == SMTP_EOD_MORE; i++) {
		if (s == SMTP_EOD_LINE_START && p[i] == '.') {
			if (dots->n == SMTP_DOTS_MAX)
				break;
			dots->at[dots->n++] = (uint32_t)i;
		}
		*result = step(&s, p[i]);
	}
	eod->state = s;
	return *result == SMTP_EOD_BARE ? i - 1 : i;
}

const struct smtp_eod smtp_eod_far = {
	.state = SMTP_EOD_TEXT,
	.gate = { .at = SMTP_GATE_TEXT, .column = SMTP_GATE_FAR },
};

/* The octet at I, or the one before it, is the first of a MAIL far behind the start of its line:
 * where, if it is here. BEFORE is what was found before it. */
static bool begins_far(const struct smtp_gate *g, uint8_t before, size_t i, size_t *at)
{
	if (g->at == 1 && before != SMTP_GATE_START) {
		*at = i;
		return true;
	}
	if (g->at == 2 && before == SMTP_GATE_FROM && i > 0) {
		*at = i - 1;
		return true;
	}
	return false;
}

size_t smtp_eod_run_plain(const uint8_t *p, size_t n, struct smtp_eod *eod, struct smtp_dots *dots,
			  enum smtp_eod_result *result)
{
	if (dots)
		return run_counted(p, n, eod, dots, result);

	struct smtp_eod line = *eod; /* the state where the line began, or these octets do */
	enum smtp_eod_state s = eod->state;
	size_t line_at = 0;

	*result = SMTP_EOD_MORE;
	for (size_t i = 0; i < n; i++) {
		/* Most octets are text in text: nothing above CR is special there. */
		if (s == SMTP_EOD_TEXT && p[i] > '\r' && smtp_gate_ignores(&eod->gate, p[i])) {
			smtp_gate_count(&eod->gate);
			continue;
		}
		uint8_t before = eod->gate.at;

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
		} else if (begins_far(&eod->gate, before, i, &line_at)) {
			line = smtp_eod_far;
		}
	}
	eod->state = s;
	return n;
}

static bool holds_cr(enum smtp_eod_state state)
{
	return state == SMTP_EOD_CR || state == SMTP_EOD_DOT_CR;
}

typedef size_t run_fn(const uint8_t *p, size_t n, struct smtp_eod *eod, struct smtp_dots *dots,
		      enum smtp_eod_result *result);

static inline enum smtp_eod_result scan(run_fn *run, struct smtp_eod *eod, struct span in,
					struct smtp_dots *dots, size_t *scanned, size_t *safe,
					bool *cr_first)
{
	enum smtp_eod_state entry = eod->state;
	enum smtp_eod_result result;
	size_t passed = run(in.p, in.n, eod, dots, &result);

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
	case SMTP_EOD_GATE: /* neither a line's start nor a word is behind a CR */
		break;
	}
	return result;
}

enum smtp_eod_result smtp_eod_scan_plain(struct smtp_eod *eod, struct span in, size_t *scanned,
					 size_t *safe, bool *cr_first)
{
	return scan(smtp_eod_run_plain, eod, in, NULL, scanned, safe, cr_first);
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
		return scan(smtp_eod_run_avx2, eod, in, NULL, scanned, safe, cr_first);
	return scan(smtp_eod_run_plain, eod, in, NULL, scanned, safe, cr_first);
}

/* ---- counted bodies ---- */

/* Moves the octets from FROM to END down to TO; where the next ones belong. */
static size_t close_up(uint8_t *p, size_t to, size_t from, size_t end)
{
	if (to != from)
		memmove(p + to, p + from, end - from);
	return to + (end - from);
}

/* Of the octets from FROM to END, those that are none of DOTS go to TO on. */
static size_t drop_dots(uint8_t *p, size_t to, size_t from, size_t end,
			const struct smtp_dots *dots)
{
	size_t base = from;

	for (unsigned i = 0; i < dots->n; i++) {
		to = close_up(p, to, from, base + dots->at[i]);
		from = base + dots->at[i] + 1;
	}
	return close_up(p, to, from, end);
}

static inline enum smtp_eod_result unstuff(run_fn *run, struct smtp_eod *eod, uint8_t *p, size_t n,
					   struct smtp_unstuffed *out)
{
	enum smtp_eod_result result;
	struct smtp_dots dots;
	size_t at = 0, to = 0;
	bool dotted = false;

	*out = (struct smtp_unstuffed){ 0 };
	do {
		size_t scanned, safe;
		bool cr_first;

		dotted = dotted || at > 0;
		dots.n = 0;
		result = scan(run, eod, span_of(p + at, n - at), &dots, &scanned, &safe, &cr_first);
		if (at == 0)
			out->cr_first = cr_first;
		else if (cr_first)
			p[to++] = '\r'; /* the octet before these: it was held back there */
		to = drop_dots(p, to, at, at + safe, &dots);
		at += scanned;
	} while (result == SMTP_EOD_MORE && at < n);
	out->scanned = at;
	out->changed = dotted || dots.n > 0;
	if (result == SMTP_EOD_END) {
		/* Its dot is gone already; its CR may be the one that was held back. */
		out->changed = dotted || dots.n > (at >= 3 ? 1 : 0);
		out->cr_first = out->cr_first && to > 1;
		to -= to > 1 ? 2 : 1;
	}
	out->octets = to;
	return result;
}

enum smtp_eod_result smtp_eod_unstuff_plain(struct smtp_eod *eod, uint8_t *p, size_t n,
					    struct smtp_unstuffed *out)
{
	return unstuff(smtp_eod_run_plain, eod, p, n, out);
}

enum smtp_eod_result smtp_eod_unstuff(struct smtp_eod *eod, uint8_t *p, size_t n,
				      struct smtp_unstuffed *out)
{
	if (smtp_eod_fast())
		return unstuff(smtp_eod_run_avx2, eod, p, n, out);
	return unstuff(smtp_eod_run_plain, eod, p, n, out);
}
