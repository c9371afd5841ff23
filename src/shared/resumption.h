/* SPDX-License-Identifier: ISC */
/*
 * resumption: the newest TLS session with each destination, as octets that mean something to their
 * writer alone, so that any worker can resume what another one has begun. A session belongs to one
 * version of the configuration: another one may ask something else of the same destination.
 *
 * Nobody waits here: who cannot read or write at once does without.
 */
#ifndef SHARED_RESUMPTION_H
#define SHARED_RESUMPTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define RESUMPTION_MAX 4096 /* octets of a session, with the peer's certificate */

struct resumption;

/* Shared memory for all destinations, or NULL. A dump of a process has nothing of it. */
struct resumption *resumption_make(void);
/* What is too long is not kept. AT: below SEATS_DESTINATIONS. */
void resumption_keep(struct resumption *r, unsigned at, uint64_t version, struct span session);
/* Its length; 0: there is none of that version. */
size_t resumption_get(const struct resumption *r, unsigned at, uint64_t version,
		      uint8_t out[RESUMPTION_MAX]);

#endif
