/* SPDX-License-Identifier: ISC */
/*
 * rates: how often each client address (IPv6 /64) has done something within the minute, in memory
 * that all processes share. A table of fixed size without a lock, and with no pointer: where it is
 * full, whoever was seen longest ago is forgotten, so a crowd of addresses costs others nothing but
 * what was counted of them. Two addresses may be taken for one, once in 16 million.
 *
 * A count is one event late at most, where two processes count the same address at the same time.
 */
#ifndef SHARED_RATES_H
#define SHARED_RATES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define RATES_WAYS 4
#define RATES_SETS 1024

struct rates {
	uint64_t seed;
	_Atomic uint64_t entry[RATES_SETS][RATES_WAYS];
};

/* MEM is zeroed shared memory. SEED is nobody's to guess. */
void rates_init(struct rates *mem, uint64_t seed);
/* How many in the minute of NOW_MS. */
unsigned rates_count(const struct rates *r, const struct addr *client, uint64_t now_ms);
/* One more. */
void rates_add(struct rates *r, const struct addr *client, uint64_t now_ms);

#endif
