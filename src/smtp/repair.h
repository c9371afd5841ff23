/* SPDX-License-Identifier: ISC */
/* repair: BARE_NEWLINE_NORMALIZE, the repair of a DATA body on its way. */
#ifndef SMTP_REPAIR_H
#define SMTP_REPAIR_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "smtp/eod.h"

/*
 * BARE_NEWLINE_NORMALIZE: repairs IN into OUT. CRs directly before CR LF go, then each CR or LF on
 * its own becomes CR LF, a NUL is dropped; a line that repair has made a lone dot, or has made
 * begin with a dot, is stuffed; only the client's own CR LF dot CR LF ends the body. *SCANNED
 * octets of IN were consumed; it stops early when OUT has less than SMTP_REPAIR_ROOM octets left,
 * and may then have consumed none: many CRs that were held back become as many lines. MORE, END, or
 * GATE as in eod.h, of the lines that go out.
 */
#define SMTP_REPAIR_ROOM 8

struct smtp_repair {
	uint8_t state; /* of repair.c; zero-initialised is the start of a body */
	uint64_t crs;  /* held back, in two of its states */
	struct smtp_gate gate;
};

enum smtp_eod_result smtp_repair(struct smtp_repair *r, struct span in, size_t *scanned,
				 struct buf *out);

#endif
