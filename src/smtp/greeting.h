/* SPDX-License-Identifier: ISC */
/*
 * greeting: what a destination that greets badly has said, in words for a record: one text for a
 * refusal, for what is no reply, and for an LMTP port (RFC 2033), which is not spoken to with EHLO.
 */
#ifndef SMTP_GREETING_H
#define SMTP_GREETING_H

#include <stdbool.h>

#include "smtp/reply.h"

/* The words for one that said nothing. */
extern const char smtp_greeting_none[], smtp_greeting_closed[];

/* True when a greeting, or the refusal of EHLO or HELO, says that the port is one of LMTP: the word
 * LMTP or LHLO stands in it, and not as the server's name. */
bool smtp_greeting_is_lmtp(const struct smtp_reply *reply);
/* What a refusal says, its lines joined by LF, into OUT, CAP octets with the NUL. LMTP: it begins
 * with what kind of port this is. */
void smtp_greeting_refusal(char *out, size_t cap, const struct smtp_reply *reply, bool lmtp);
/* The first line of IN, which is enough to see who speaks there, into OUT, CAP octets with the NUL.
 */
void smtp_first_line(char *out, size_t cap, struct span in);
/* What came in place of a reply, of which the first line is told. */
void smtp_greeting_malformed(char *out, size_t cap, struct span in);

#endif
