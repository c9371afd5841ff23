/* SPDX-License-Identifier: ISC */
/*
 * scan: the sink's own end-of-data scanner and un-stuffer (RFC 5321 4.5.2). It is not the proxy's:
 * a destination is there to show what the proxy let through, so it takes any octet, and in lax mode
 * it errs on purpose as Postfix 3.7 does for clients that it trusts: a line ends at LF, CRs before
 * it belong to the end, and a line of one dot is the end of data.
 */
#ifndef SINK_SCAN_H
#define SINK_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct sink_scan {
	enum {
		SINK_SCAN_LINE_START, /* zero-initialised is the start of a body */
		SINK_SCAN_TEXT,
		SINK_SCAN_DOT,	  /* behind a dot that began a line, and was taken out */
		SINK_SCAN_DOT_CR, /* behind that and `held` CRs, not yet given out */
	} state;
	bool lax;
	bool last_cr; /* TEXT: the octet before was a CR */
	uint32_t held;
};

/*
 * Takes the next piece off IN (not empty): *CONTENT is what it adds to the message (in IN, or held
 * back before; maybe nothing), *END that this was the end of data. The octets used up; 0 only with
 * content that had been held back.
 */
size_t sink_scan_next(struct sink_scan *sc, struct span in, struct span *content, bool *end);

#endif
