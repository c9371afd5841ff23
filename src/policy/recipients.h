/* SPDX-License-Identifier: ISC */
/* recipients: a table of `user@domain` and `@domain`, compared in ASCII without case. */
#ifndef POLICY_RECIPIENTS_H
#define POLICY_RECIPIENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "policy/image.h"

struct policy_recipients; /* opaque image */

/* Room and image as for networks: zeroed, 64-aligned at best; the octets used, 0: faults. */
size_t policy_recipients_room(struct span text);
size_t policy_recipients_build(void *mem, size_t room, struct span text,
			       struct policy_faults *faults);

/* An address to look up; spans as in smtp/path.h, the domain without its final dot. */
struct policy_address {
	struct span local, domain;
	bool postmaster; /* <postmaster> without a domain */
	bool routed;	 /* the local part carries routing, or is quoted and holds such */
	bool quoted;
	bool bounce; /* the sender of its message is the null one */
};

/*
 * True when the address is a valid local recipient: it stands in the table itself; or, unless
 * `routed`, an `@domain` line does; or it is <postmaster>, or postmaster@D for a domain D of any
 * line. A quoted local part equals only one that is quoted in the table too. T may be NULL (no
 * table).
 *
 * DELIMITERS (RECIPIENT_DELIMITER): the local part, neither quoted nor `routed`, is also looked up
 * without what follows the first of these characters, and of a bounce also without a "prvs=TAG="
 * before it; "": neither.
 *
 * *WHICH, when not NULL: a word for explain: "address", "domain", "postmaster", "extension",
 * "bounce".
 */
bool policy_recipients_match(const struct policy_recipients *t, const struct policy_address *a,
			     const char *delimiters, const char **which);
/* True when any line is of the address's domain. */
bool policy_recipients_domain(const struct policy_recipients *t, const struct policy_address *a);
/* Checks RECIPIENT_DELIMITER; NULL or what is wrong. */
#define POLICY_DELIMITERS_MAX 16
const char *policy_delimiter_check(const char *delimiters);
size_t policy_recipients_count(const struct policy_recipients *t);

#endif
