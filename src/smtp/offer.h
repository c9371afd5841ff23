/* SPDX-License-Identifier: ISC */
/*
 * offer: what a destination's answer to EHLO says that it can do (RFC 5321 4.1.1.1), what several
 * of them can do together, and the answer to EHLO that says it to a client. Extensions that Caronte
 * does not know are left out. No I/O, no memory of its own.
 */
#ifndef SMTP_OFFER_H
#define SMTP_OFFER_H

#include <stdbool.h>

#include "smtp/command.h"
#include "smtp/mechanism.h"
#include "smtp/reply.h"

#define SMTP_MECHANISMS_MAX 256

struct smtp_offer {
	/* enum smtp_ext; AUTH only with a mechanism, CHUNKING with SIZE, BINARYMIME with both */
	uint32_t ext;
	uint64_t size_max; /* SIZE's number, 0: none was given, or 0, which says no more */
	bool old_auth;	   /* a line "AUTH=…" too, for clients that know only that */
	struct smtp_mechanisms login;
	/* The same as text: upper case, a blank between, with a NUL. */
	char mechanisms[SMTP_MECHANISMS_MAX];
};

/* Reads an answer to EHLO; any but a 250 offers nothing. Mechanisms beyond the room are left out.
 */
void smtp_offer_read(struct smtp_offer *o, const struct smtp_reply *reply);
/* What a destination takes without having said so: OURS at most, 0: any size. RFC 1870 4 lets a
 * server leave SIZE or its number out, and write 0, and then it may still have a limit. */
static inline uint64_t smtp_size_bound(uint64_t said, uint64_t ours)
{
	return said ? said : ours;
}
/* Takes out of O whatever WITH does not offer too: of AUTH the mechanisms that only one of them
 * has; SIZE becomes the smaller one. */
void smtp_offer_meet(struct smtp_offer *o, const struct smtp_offer *with);
/* Appends the whole answer to EHLO, of the extensions in MASK. 0, or -ENOBUFS with OUT as it was.
 */
int smtp_offer_write(const struct smtp_offer *o, uint32_t mask, const char *name, struct buf *out)
	__attribute__((warn_unused_result));
/* Whether a destination with EXT and SIZE_MAX can take what uses NEED and SIZE (0: not said). */
static inline bool smtp_offer_covers(uint32_t ext, uint64_t size_max, uint32_t need, uint64_t size)
{
	return (need & ~ext) == 0 && (size_max == 0 || size <= size_max);
}

#endif
