/* SPDX-License-Identifier: ISC */
/*
 * eod: the end-of-data scanner of a DATA body (RFC 5321 4.1.1.4, 4.5.2; invariant 3). The one end
 * of data is CR LF dot CR LF, where the first CR LF may be that of the DATA command itself. A CR or
 * LF on its own, or a NUL, anywhere before it is a bare newline. Exact however the input is cut.
 *
 * It refuses to hold or copy octets, and changes none but in smtp_eod_unstuff(): it says how many
 * may go to the destination.
 */
#ifndef SMTP_EOD_H
#define SMTP_EOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "smtp/gate.h"

enum smtp_eod_state {
	SMTP_EOD_LINE_START, /* behind CR LF, or at the very beginning */
	SMTP_EOD_TEXT,
	SMTP_EOD_CR,	 /* behind a CR, which is held back */
	SMTP_EOD_DOT,	 /* behind a dot at the start of a line */
	SMTP_EOD_DOT_CR, /* behind that and a CR, which is held back */
};

enum smtp_eod_result {
	SMTP_EOD_MORE, /* all was scanned, the end is not in sight */
	SMTP_EOD_END,  /* the end of data; `scanned` stands behind its last LF */
	SMTP_EOD_BARE, /* a bare CR, bare LF or NUL; `safe` stands before it */
	SMTP_EOD_GATE, /* what may be a MAIL command (gate.h); `safe` stands before it */
};

struct smtp_eod {
	enum smtp_eod_state state; /* zero-initialised is the start of a body */
	struct smtp_gate gate;
};

/*
 * Scans IN on from the state. *SAFE is how many octets of IN may be forwarded: all that are known
 * to be canonical, a final CR held back. A CR that an earlier call held back is forwarded first, by
 * the caller, when *CR_FIRST is set (its LF has now come). *SCANNED is how many octets of IN were
 * consumed: all with MORE (the held-back CR counts as consumed), up to and with the final LF with
 * END (and *SAFE equals it), up to before the offending octet with BARE. With GATE it is up to
 * before the line, or before the word, as far as that began in IN, and *SAFE equals it: scanning on
 * from there gives GATE again until smtp_gate_open() was called.
 */
enum smtp_eod_result smtp_eod_scan(struct smtp_eod *eod, struct span in, size_t *scanned,
				   size_t *safe, bool *cr_first);
/*
 * Scans the N octets at P of a body whose octets go on counted (RFC 3030), so that no line of it
 * can be taken for anything else and none waits at the gate; and takes off, in place, the dots that
 * stuff its lines (RFC 5321 4.5.2), and the end of data.
 */
struct smtp_unstuffed {
	size_t scanned; /* as above */
	size_t octets;	/* how many of those at P may be forwarded, behind the CR of `cr_first` */
	bool cr_first;
	bool changed; /* they are not those that were there: a dot was taken off before the last */
};
/* MORE, END or BARE. */
enum smtp_eod_result smtp_eod_unstuff(struct smtp_eod *eod, uint8_t *p, size_t n,
				      struct smtp_unstuffed *out);
/* The same in plain C, one octet at a time: the reference that the fast one is proven against. */
enum smtp_eod_result smtp_eod_scan_plain(struct smtp_eod *eod, struct span in, size_t *scanned,
					 size_t *safe, bool *cr_first);
enum smtp_eod_result smtp_eod_unstuff_plain(struct smtp_eod *eod, uint8_t *p, size_t n,
					    struct smtp_unstuffed *out);
/* True when smtp_eod_scan() uses AVX2 on this processor. */
bool smtp_eod_fast(void);

#endif
