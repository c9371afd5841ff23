/* SPDX-License-Identifier: ISC */
/*
 * header: how far a message's header goes: up to its first empty line (RFC 5322 2.1). A message
 * without one is all header. On the way, its Message-ID (3.6.4). Nothing else is looked at, and
 * nothing hangs on what was found.
 */
#ifndef SMTP_HEADER_H
#define SMTP_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define SMTP_MESSAGE_ID_MAX 255 /* octets that are kept of one */

enum smtp_message_id_state {
	SMTP_MESSAGE_ID_NAME, /* so far the line is the field's name */
	SMTP_MESSAGE_ID_COLON,
	SMTP_MESSAGE_ID_TEXT,
	SMTP_MESSAGE_ID_SKIP, /* another field */
	SMTP_MESSAGE_ID_DONE,
};

/* Zero is the start of a message. */
struct smtp_message_id {
	uint8_t state;	 /* enum smtp_message_id_state */
	uint8_t matched; /* octets of the name */
	bool gap;	 /* a blank is wanted before the next octet of the text */
	uint8_t n;
	char text[SMTP_MESSAGE_ID_MAX + 1]; /* unfolded, as it came else; "": none */
};

/* Zero is the start of a message. */
struct smtp_header {
	uint32_t line; /* octets of the line that has begun */
	bool over;
};

/* Newlines of octets that nobody has made canonical. Zero is the start of a message. */
struct smtp_newlines {
	bool cr;       /* a CR was the last octet */
	uint64_t bare; /* CRs and LFs on their own, and NULs */
};

/* Takes the next octets of a message whose lines end in CR LF, up to 4 GiB before its first empty
 * line. How many of them belong to the header, its empty line included. ID may be NULL. The first
 * Message-ID is the one that counts. */
size_t smtp_header_take(struct smtp_header *h, struct span in, struct smtp_message_id *id);
/* Counts those of the next octets. A CR at their end counts when it is known what follows. */
void smtp_newlines_count(struct smtp_newlines *n, struct span in);

#endif
