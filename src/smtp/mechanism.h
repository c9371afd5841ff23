/* SPDX-License-Identifier: ISC */
/*
 * mechanism: SASL mechanisms by name (RFC 4422 3.1), and a small set of those that a destination
 * offered: a bit for each name that is known here, and a hash for a few that are not. What is
 * beyond that room is not in the set, so it is neither offered nor passed on.
 *
 * ANONYMOUS (RFC 4505) and EXTERNAL (RFC 4422 A) are in no set. A destination that takes one of
 * them from our trusted address says 235 to a stranger who has no secret. Nor are those that bind
 * to a channel (RFC 5802 6, "-PLUS"): the client's channel ends here.
 */
#ifndef SMTP_MECHANISM_H
#define SMTP_MECHANISM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define SMTP_MECHANISM_MAX  20 /* octets of a name */
#define SMTP_MECHANISMS_NEW 4  /* of names that are not known here */

struct smtp_mechanisms {
	uint64_t known;
	uint32_t other[SMTP_MECHANISMS_NEW]; /* 0: free */
};

/* NAME, into OUT in upper case. False: it is none by its grammar. */
bool smtp_mechanism_name(struct span name, char out[SMTP_MECHANISM_MAX]);
/* True for the name of a SASL mechanism that there is, whatever its case. */
bool smtp_mechanism_known(struct span name);
/* Never offered to a client and never passed on. */
bool smtp_mechanism_forbidden(struct span name);
/* False: it is none, it is forbidden, or there is no room. */
bool smtp_mechanisms_add(struct smtp_mechanisms *m, struct span name);
bool smtp_mechanisms_have(const struct smtp_mechanisms *m, struct span name);
bool smtp_mechanisms_empty(const struct smtp_mechanisms *m);

#endif
