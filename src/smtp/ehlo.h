/* SPDX-License-Identifier: ISC */
/*
 * ehlo: the lines of an answer to EHLO (RFC 5321 4.1.1.1): one as it is read, and all of them as a
 * client sees them.
 */
#ifndef SMTP_EHLO_H
#define SMTP_EHLO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "smtp/offer.h"

struct smtp_ehlo_line {
	uint32_t ext; /* enum smtp_ext */
	bool old_auth;
	struct span args; /* behind the keyword */
	uint64_t size;
};

/* Reads TEXT, what stands behind the code. False: it is nothing that we know, or not well-formed.
 */
bool smtp_ehlo_line(struct span text, struct smtp_ehlo_line *line);
/* The keyword of one extension; never NULL. */
const char *smtp_ehlo_keyword(uint32_t ext);

/*
 * The destination's answer to EHLO as its client sees it (RFC 5321 4.1.1.1): the first line to the
 * letter, then only the lines of extensions in MASK that O has, which was read from REPLY, in the
 * destination's order, each once, keywords in upper case, with parameters only where they are
 * understood: SIZE with O's number, AUTH with O's mechanisms, in the forms that the destination has
 * ("AUTH=LOGIN" of old servers is one). A reply other than 250 goes through to the letter. What is
 * appended is longer than the reply by SMTP_EHLO_GROWS octets at most. 0, or -ENOBUFS with OUT as
 * it was.
 */
int smtp_ehlo_filter(const struct smtp_reply *reply, const struct smtp_offer *o, uint32_t mask,
		     struct buf *out) __attribute__((warn_unused_result));
#define SMTP_EHLO_GROWS (2 * SMTP_MECHANISMS_MAX + 32)

#endif
