/* SPDX-License-Identifier: ISC */
/*
 * text: how long the lines of a message are (RFC 5321 4.5.3.1.6). A server that takes an endless
 * line in pieces may take what begins a piece for what begins a line.
 */
#ifndef SMTP_TEXT_H
#define SMTP_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

/* Zero is the start of a message. */
struct smtp_text {
	uint64_t line; /* octets since the last LF */
};

/* Takes the next octets of a message. False: somewhere more than MAX stand without an LF; nothing
 * is to be given after that. */
bool smtp_text_fits(struct smtp_text *t, struct span in, uint64_t max);

#endif
