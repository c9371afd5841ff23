/* SPDX-License-Identifier: ISC */
/* rates: see rates.h. An entry is a word: who (24 bits), in which minute (24), how often (16). */
#include "shared/rates.h"

#include <stddef.h>

#define MINUTE_MS 60000
#define MINUTES	  (1u << 24)
#define MOST	  UINT64_C(0xffff)

void rates_init(struct rates *mem, uint64_t seed)
{
	mem->seed = seed;
}

/* FNV-1a over the address, or the network that one IPv6 client has, begun with the seed. */
static uint64_t hash_of(const struct rates *r, const struct addr *a)
{
	size_t n = a->family == 4 ? 4 : 8;
	uint64_t hash = r->seed ^ UINT64_C(14695981039346656037);

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ a->ip[i]) * UINT64_C(1099511628211);
	hash = (hash ^ a->family) * UINT64_C(1099511628211);
	return hash ^ hash >> 29;
}

struct place {
	size_t set;
	uint64_t who, minute;
};

static struct place place_of(const struct rates *r, const struct addr *a, uint64_t now_ms)
{
	uint64_t hash = hash_of(r, a);

	/* From 1 on: 0 is an entry that was never used. */
	return (struct place){ hash % RATES_SETS, hash >> 40 & (MINUTES - 1),
			       (now_ms / MINUTE_MS + 1) % MINUTES };
}

static uint64_t key_of(struct place p)
{
	return p.who << 40 | p.minute << 16;
}

static bool is_of(uint64_t entry, struct place p)
{
	return (entry & ~MOST) == key_of(p);
}

unsigned rates_count(const struct rates *r, const struct addr *client, uint64_t now_ms)
{
	struct place p = place_of(r, client, now_ms);

	for (unsigned i = 0; i < RATES_WAYS; i++) {
		uint64_t entry = atomic_load_explicit(&r->entry[p.set][i], memory_order_relaxed);

		if (is_of(entry, p))
			return (unsigned)(entry & MOST);
	}
	return 0;
}

/* Theirs, or that of who was seen longest ago. */
static _Atomic uint64_t *entry_for(struct rates *r, struct place p)
{
	_Atomic uint64_t *oldest = &r->entry[p.set][0];
	uint64_t oldest_minute = UINT64_MAX;

	for (unsigned i = 0; i < RATES_WAYS; i++) {
		_Atomic uint64_t *at = &r->entry[p.set][i];
		uint64_t entry = atomic_load_explicit(at, memory_order_relaxed);
		uint64_t minute = entry >> 16 & (MINUTES - 1);

		if (is_of(entry, p))
			return at;
		if (minute < oldest_minute) {
			oldest = at;
			oldest_minute = minute;
		}
	}
	return oldest;
}

void rates_add(struct rates *r, const struct addr *client, uint64_t now_ms)
{
	struct place p = place_of(r, client, now_ms);
	_Atomic uint64_t *at = entry_for(r, p);
	uint64_t before = atomic_load_explicit(at, memory_order_relaxed), after;

	do {
		after = is_of(before, p) ? before + ((before & MOST) < MOST) : key_of(p) | 1;
	} while (!atomic_compare_exchange_weak_explicit(at, &before, after, memory_order_relaxed,
							memory_order_relaxed));
}
