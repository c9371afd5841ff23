/* SPDX-License-Identifier: ISC */
/*
 * repair: BARE_NEWLINE_NORMALIZE, a DATA body made canonical on its way (RFC 5321 2.3.8, 4.5.2).
 * CRs directly before CR LF go, as many as there are: a client that writes CR LF for each LF of a
 * text that has CR LF already sends CR CR LF at the end of each line, and two newlines for it would
 * end the header after its first line. Then each CR or LF on its own becomes CR LF.
 *
 * "Directly" and "on its own" are said of the client's octets as they came: CR NUL LF is a CR and
 * an LF on their own, two newlines, and only CR LF dot CR LF without anything between is an end of
 * data. A dot at the start of a line is the client's own (its stuffing, or its end) only right
 * after the client's CR LF; any other one is text that repair has put there, and is stuffed. A line
 * that loses NULs or CRs or gets its newline by repair, and would be a lone dot, gets a second dot.
 *
 * So the output before the end has no NUL, no newline but CR LF, and no line that is a lone dot. It
 * does not depend on how the input was cut. It cannot fail, it only stops where OUT is full. CRs at
 * the end of the input are counted in the state until the next octet decides what they were.
 */
#include "smtp/repair.h"

/* The first five are those of enum smtp_eod_state, in which the canonical scanner can go on. */
enum {
	LINE_START = SMTP_EOD_LINE_START,
	TEXT = SMTP_EOD_TEXT,
	AFTER_CR = SMTP_EOD_CR,
	DOT = SMTP_EOD_DOT,
	DOT_CR = SMTP_EOD_DOT_CR,
	MADE_START, /* at the start of a line, but not right behind the client's own CR LF */
	DOT_NUL,    /* behind the client's own dot at the start of a line and then NULs alone */
	MANY_CR,    /* after `crs` of them, two at least, which are held back */
	OWES,	    /* they were on their own: so many newlines must go out before the next octet */
};

static void copy(struct buf *out, struct span s)
{
	int rc = buf_put(out, s);

	CHECK(rc == 0); /* both callers have looked for room */
}

/* The same for octets that the gate has not seen: their line is shut before its colon comes. */
static void put(struct smtp_repair *r, struct span s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++)
		CHECK(!smtp_gate_step(&r->gate, s.p[i]));
	copy(out, s);
}

/* One octet in a state that holds no CR back. */
static uint8_t step_plain(struct smtp_repair *r, uint8_t c, struct buf *out)
{
	uint8_t state = r->state;
	bool lone_dot = state == DOT || state == DOT_NUL;

	switch (c) {
	case '\0':
		if (lone_dot)
			return DOT_NUL;
		return state == LINE_START ? MADE_START : state;
	case '\n':
		put(r, lone_dot ? SPAN(".\r\n") : SPAN("\r\n"), out);
		return MADE_START;
	case '\r':
		(void)smtp_gate_step(&r->gate, c); /* no longer at the start of a line */
		if (state == DOT)
			return DOT_CR;
		if (state == DOT_NUL)
			put(r, SPAN("."), out);
		return AFTER_CR;
	case '.':
		put(r, state == MADE_START ? SPAN("..") : SPAN("."), out);
		return state == LINE_START ? DOT : TEXT;
	default:
		put(r, span_of(&c, 1), out);
		return TEXT;
	}
}

/* An octet behind one CR or more, which ends the line or begins a newline of its own. */
static void step_cr(struct smtp_repair *r, uint8_t c, struct buf *out)
{
	if (c == '\n') {
		put(r, SPAN("\r\n"), out);
		r->state = LINE_START;
	} else if (c == '\r') {
		r->crs = r->state == MANY_CR ? r->crs + 1 : 2;
		r->state = MANY_CR;
	} else {
		put(r, SPAN("\r\n"), out);
		r->state = MADE_START;
		r->state = step_plain(r, c, out);
	}
}

/* One octet in any state but OWES; at most SMTP_REPAIR_ROOM octets of output. True: the end of
 * data. */
static bool step(struct smtp_repair *r, uint8_t c, struct buf *out)
{
	bool end = r->state == DOT_CR && c == '\n';

	if (r->state == DOT_CR && !end)
		put(r, SPAN("."), out);
	if (r->state == AFTER_CR || r->state == DOT_CR || r->state == MANY_CR)
		step_cr(r, c, out);
	else
		r->state = step_plain(r, c, out);
	return end;
}

/* Puts the newlines that are owed, as many as there is room for. */
static void pay(struct smtp_repair *r, struct buf *out)
{
	for (; r->crs > 0 && buf_space(out) >= SMTP_REPAIR_ROOM; r->crs--)
		put(r, SPAN("\r\n"), out);
	if (r->crs == 0)
		r->state = MADE_START;
}

/* Copies what is canonical at the start of IN; *USED octets of it are done with. */
static enum smtp_eod_result copy_canonical(struct smtp_repair *r, struct span in, size_t *used,
					   struct buf *out)
{
	struct smtp_eod eod = { .state = (enum smtp_eod_state)r->state, .gate = r->gate };
	enum smtp_eod_result result;
	size_t safe;
	bool cr_first;

	if (in.n >= buf_space(out))
		in.n = buf_space(out) - 1; /* and one for the CR held back */
	result = smtp_eod_scan(&eod, in, used, &safe, &cr_first);
	if (cr_first)
		copy(out, SPAN("\r"));
	copy(out, span_of(in.p, safe));
	r->state = (uint8_t)eod.state;
	r->gate = eod.gate;
	return result;
}

/* True: C is a colon before which the gate is shut. */
static bool is_shut(const struct smtp_repair *r, uint8_t c)
{
	struct smtp_gate gate = r->gate;

	return smtp_gate_step(&gate, c);
}

enum smtp_eod_result smtp_repair(struct smtp_repair *r, struct span in, size_t *scanned,
				 struct buf *out)
{
	size_t at = 0, used;

	while (at < in.n && buf_space(out) >= SMTP_REPAIR_ROOM) {
		enum smtp_eod_result result = SMTP_EOD_BARE;

		if (r->state == MANY_CR && in.p[at] != '\r' && in.p[at] != '\n')
			r->state = OWES;
		if (r->state == OWES) {
			pay(r, out);
			continue;
		}
		if (r->state <= DOT_CR) {
			result = copy_canonical(r, span_from(in, at), &used, out);
			at += used;
		}
		/* The scanner stopped at an octet that needs repair, or cannot take this state. */
		if (result == SMTP_EOD_BARE && is_shut(r, in.p[at]))
			result = SMTP_EOD_GATE;
		else if (result == SMTP_EOD_BARE && buf_space(out) >= SMTP_REPAIR_ROOM)
			result = step(r, in.p[at++], out) ? SMTP_EOD_END : SMTP_EOD_MORE;
		if (result == SMTP_EOD_END || result == SMTP_EOD_GATE) {
			*scanned = at;
			return result;
		}
	}
	*scanned = at;
	return SMTP_EOD_MORE;
}
