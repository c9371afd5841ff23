/* SPDX-License-Identifier: ISC */
/*
 * header: how far a message's header goes: up to its first empty line (RFC 5322 2.1). A message
 * without one is all header. Nothing else is looked at.
 */
#ifndef SMTP_HEADER_H
#define SMTP_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

/* Zero is the start of a message. */
struct smtp_header {
	uint32_t line; /* octets of the line that has begun */
	bool over;
};

/* Takes the next octets of a message whose lines end in CR LF, up to 4 GiB before its first empty
 * line. How many of them belong to the header, its empty line included. */
size_t smtp_header_take(struct smtp_header *h, struct span in);

#endif
