/* SPDX-License-Identifier: ISC */
/*
 * eod_inner: the automaton of the end-of-data scanner, in two versions that are proven equal by
 * tests/unit/test_eod.c. For eod.c only; everybody else includes smtp/eod.h.
 */
#ifndef SMTP_EOD_INNER_H
#define SMTP_EOD_INNER_H

#include "smtp/eod.h"

/* Dots that begin a line, by their place in the octets. */
#define SMTP_DOTS_MAX 256
struct smtp_dots {
	unsigned n;
	uint32_t at[SMTP_DOTS_MAX];
};

/* The state before a MAIL that begins far behind the start of its line. */
extern const struct smtp_eod smtp_eod_far;

/*
 * Runs over the N octets at P from *EOD and returns how many were passed; *EOD is the state there.
 * MORE: all of them. END: up to and with the last LF. BARE: up to before the octet that proves it,
 * which is a NUL, an LF without its CR, or (the state is CR or DOT_CR) the octet behind a CR that
 * should have been its LF. GATE: up to before the line, or the word MAIL far behind its start; or
 * none if that did not begin here.
 *
 * With DOTS the body is counted (smtp_eod_unstuff()): no line waits at the gate, and the dots that
 * begin one are noted, behind those that are there. MORE may then come early, when there is no room
 * for more of them.
 */
size_t smtp_eod_run_plain(const uint8_t *p, size_t n, struct smtp_eod *eod, struct smtp_dots *dots,
			  enum smtp_eod_result *result);
/* Only where smtp_eod_fast(). */
size_t smtp_eod_run_avx2(const uint8_t *p, size_t n, struct smtp_eod *eod, struct smtp_dots *dots,
			 enum smtp_eod_result *result);

#endif
