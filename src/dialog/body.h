/* SPDX-License-Identifier: ISC */
/* body: the octets of a message that comes by DATA. */
#ifndef DIALOG_BODY_H
#define DIALOG_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

#define DIALOG_BDAT_MAX	 32  /* the command of a chunk of our own, with its CR LF */
#define DIALOG_TRACE_MAX 900 /* a Received line, with a NUL: two names, an address and some words */

struct dialog;

/* What is to be sent to the destination of a body's octets. */
struct dialog_forward {
	size_t consumed;    /* octets of the input that need not be given again */
	bool cr_first;	    /* a CR that was held back goes first */
	struct span octets; /* in the input itself, or in the repair buffer */
	bool gate;	    /* what follows waits at the gate: dialog_gate_open() */
	/* Of a counted body: the command before it, and whether the octets are others than came. */
	uint8_t command_len;
	char command[DIALOG_BDAT_MAX];
	bool changed;
	/* Goes between the command and the rest: the message's trace (ADD_RECEIVED). */
	uint16_t trace_len;
	char trace[DIALOG_TRACE_MAX];
};

/*
 * Scans the N octets at P of a body (invariant 1: the very memory that is then sent). REPAIRED is
 * room for repaired octets (used with BARE_NEWLINE_NORMALIZE, at least SMTP_REPAIR_ROOM + 2 free).
 * Afterwards dialog_in_body() says whether more is to come; when not, what followed in P are
 * commands. In a body that is discarded nothing is forwarded. SPLICED says how the caller moves the
 * octets. Of a body that is counted, octets at P are moved (smtp_eod_unstuff()).
 */
void dialog_body(struct dialog *d, uint8_t *p, size_t n, struct buf *repaired, bool spliced,
		 struct dialog_forward *forward);
/*
 * The line that waits at the gate (smtp/gate.h) may be given to dialog_body(): all before it is
 * acknowledged, and the destination has been silent. One that has said anything is answered as
 * always: after dialog_from_destination() the body is discarded, and nothing waits any more.
 */
void dialog_gate_open(struct dialog *d);
/* A chunk of our own, which was not the last, has reached the destination. */
void dialog_chunk_reached(struct dialog *d);
/* One has reached it and is not answered: until then no other may go. */
bool dialog_chunk_unanswered(const struct dialog *d);

#endif
