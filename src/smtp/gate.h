/* SPDX-License-Identifier: ISC */
/*
 * gate: lines of a DATA body that begin like a MAIL command, or may for a server.
 *
 * A server that can write no more (Exim with a full spool) gives up the message where it stands,
 * swallows on from there as if a line began, and ends with the next line that looks like a lone dot
 * to it. What follows are commands for it, and text here. It answers before it reads the first of
 * them. So a line that could begin a transaction there is not sent before the server has had the
 * time to say so: this file finds such lines, its caller waits.
 *
 * Which octets can be such a command:
 * - Nothing is relayed without MAIL, so that no other verb needs a gate: not what comes before it
 *   (EHLO, RSET), nor what comes after it.
 * - The command begins right after an LF. What the server takes for the last line of the message
 *   ends in one, and one alone never reaches it (eod.h). Where that line began, in the middle of
 *   one of ours or not, makes no difference.
 * - Or it begins far behind it: a command line of which a server can read no more is one for it,
 *   and what comes next is another. Exim has room for 16384 octets, and nobody for less than the
 *   512 of RFC 5321 4.5.3.1.4. So behind those each octet can be a line's first.
 * - Servers skip blanks before the verb, take several or none between the words and before the
 *   colon, and any case: sendmail takes "MAIL FROM :", Postfix skips what isspace(3) knows. So
 *   SP, TAB, VT and FF are blanks in all of these places.
 * - A dot that stuffs the line is a blank too: a server may have taken it off.
 *
 * Without its colon the line is no command. So the gate stands before the colon at the latest, and
 * octets before it need not be held back while a line arrives piece by piece; where the whole line
 * is at hand it stands before the line or, far behind its start, before the word MAIL.
 */
#ifndef SMTP_GATE_H
#define SMTP_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SMTP_GATE_START = 0, /* at the start of a line, or after blanks and dots there */
	SMTP_GATE_MAIL = 4,  /* after MAIL and perhaps blanks; 1 to 3: after a part of it */
	SMTP_GATE_FROM = 8,  /* after FROM: a colon makes it a command */
	SMTP_GATE_BLANKS,    /* … and blanks: so it does here */
	SMTP_GATE_TEXT,	     /* the line is none, as far as it has come */
};

/* Octets of a line behind which each one can be the first of another: a few less than any server
 * has room for. */
#define SMTP_GATE_FAR 500

struct smtp_gate {
	uint8_t at;	 /* zero-initialised is the start of a body */
	bool open;	 /* the line that comes may pass: it was waited for */
	uint16_t column; /* octets of the line so far, SMTP_GATE_FAR at most */
};

static inline bool smtp_gate_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\v' || c == '\f';
}

/* What comes is looked for among the first octets of a line: what was found must not be lost. */
static inline bool smtp_gate_busy(const struct smtp_gate *g)
{
	return g->open || (g->at != SMTP_GATE_START && g->at != SMTP_GATE_TEXT);
}

/* C, which is no LF, changes nothing but the column. */
static inline bool smtp_gate_ignores(const struct smtp_gate *g, uint8_t c)
{
	return g->at == SMTP_GATE_TEXT &&
	       (g->column < SMTP_GATE_FAR - 1 || (g->column == SMTP_GATE_FAR && (c | 0x20) != 'm'));
}

static inline void smtp_gate_count(struct smtp_gate *g)
{
	g->column = (uint16_t)(g->column + (g->column < SMTP_GATE_FAR));
}

/* The octets at P, N of them, begin like a MAIL command, up to its colon. */
bool smtp_gate_is_mail(const uint8_t *p, size_t n);
/* Goes on by the octet C. True: C is the colon, the gate is shut, and nothing has changed. */
bool smtp_gate_step(struct smtp_gate *g, uint8_t c);
/* Goes on by the octets at P, N at most, until it is busy no more, or before a colon at which the
 * gate is shut (*SHUT); how many. */
size_t smtp_gate_run(struct smtp_gate *g, const uint8_t *p, size_t n, bool *shut);
/* Goes on by all of the N octets at P, at which the gate is never shut. */
void smtp_gate_skip(struct smtp_gate *g, const uint8_t *p, size_t n);
/* The line at which it stopped may pass. */
void smtp_gate_open(struct smtp_gate *g);

#endif
