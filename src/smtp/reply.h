/* SPDX-License-Identifier: ISC */
/*
 * reply: a destination's replies (RFC 5321 4.2), strictly: each line is three digits, then blank,
 * hyphen or nothing, text, CR LF; all lines of a reply say the same code (4.2.1); first digit 2 to
 * 5. Anything else is malformed, and a malformed reply means that the two sides disagree. Text is
 * printable ASCII, tabs, and any octet above 0x7f (servers do write names of people and places);
 * other control characters are malformed. No I/O, no memory of its own: spans point into the input.
 */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* Limits: octets of one line with CR LF (RFC 5321 4.5.3.1.5 asks for 512), of a whole reply. */
#define SMTP_REPLY_LINE_MAX 2048
#define SMTP_REPLY_MAX	    8192

enum smtp_reply_result { SMTP_REPLY_MORE, SMTP_REPLY_OK, SMTP_REPLY_BAD };

struct smtp_reply {
	uint16_t code; /* 200 to 599 */
	uint16_t lines;
	struct span text; /* the whole reply to the letter, each CR LF included */
};

/* Takes the first reply off IN, all its lines. BAD as soon as it is certain. The result does not
 * depend on how the octets arrived. REPLY and *CONSUMED count only with OK. */
enum smtp_reply_result smtp_reply_parse(struct span in, struct smtp_reply *reply, size_t *consumed);
/* Walks the lines of a parsed reply: *LINE is the text behind "250-" without CR LF. False at the
 * end. Start with *AT = 0. */
bool smtp_reply_line(const struct smtp_reply *reply, size_t *at, struct span *line);
/* The reply for the log: lines with their codes, joined by LF, no CR, into OUT; the length. Cut off
 * at CAP octets; no NUL. */
size_t smtp_reply_log_text(const struct smtp_reply *reply, char *out, size_t cap);

#endif
