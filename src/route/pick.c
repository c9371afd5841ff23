/* SPDX-License-Identifier: ISC */
/*
 * pick: chooses the destination of a session. The candidates of a pick are the destinations that
 * did not fail this session, have an address, are not drained and are up, in a cluster not busy
 * either; where none of them is that, the busy ones; where none of them is up, all of them but the
 * drained. One destination, and one with backups, take the first candidate and wait for it when it
 * is full: a backup is there for one that is gone, not for one that is busy. A cluster goes on to
 * the next candidate by its balance, and is full when all candidates are.
 *
 * Balance:
 * - least sessions: the fewest open sessions for the weight; equal ones in turn;
 * - round robin: worst-case fair weighted fair queueing (Bennett and Zhang, WF2Q+) with sessions
 *   for packets: each destination has a virtual time at which its next turn begins and one at which
 *   it ends, 1/weight later; of the turns that have begun, the one that ends first is taken.
 *   Weights 5, 1, 1 give a b a a c a a. It needs no lock: two processes that pick at the same
 *   instant may take the same destination, and both are charged to it;
 * - source: weighted rendezvous hashing (Thaler and Ravishankar; Schindelhauer and Schomaker): each
 *   destination draws a number from its name and the client's address, the best for its weight
 *   wins. So a destination that goes moves its own clients only, whatever its place in the list.
 *
 * Refuses nothing by itself: ROUTE_FULL and ROUTE_NONE are for the caller to put into words.
 */
#include "route/pick.h"

#include <string.h>

#include "base/diag.h"
#include "base/siphash.h"
#include "route/inner.h"

/* One turn of a destination of weight 1, in virtual time; 2^40 of them fit. */
#define TURN (UINT64_C(1) << 24)

static unsigned lowest(uint64_t bits)
{
	return (unsigned)__builtin_ctzll(bits);
}

/* ---- least sessions ---- */

static unsigned least_sessions(const struct route *r, struct route_shared *s, uint64_t among,
			       struct route_counts *counts)
{
	uint64_t best_sessions = 0, best_weight = 0, ties = 0;

	for (uint64_t left = among; left; left &= left - 1) {
		unsigned i = lowest(left);
		uint64_t sessions = counts->sessions(counts, i);
		uint64_t mine = sessions * best_weight;
		uint64_t best = best_sessions * r->destination[i].weight;

		if (ties && mine > best)
			continue;
		if (!ties || mine < best) {
			ties = 0;
			best_sessions = sessions;
			best_weight = r->destination[i].weight;
		}
		ties |= route_bit(i);
	}
	unsigned n = (unsigned)__builtin_popcountll(ties);

	if (n > 1)
		for (uint64_t skip = atomic_fetch_add(&s->turn, 1) % n; skip; skip--)
			ties &= ties - 1;
	return lowest(ties);
}

/* ---- round robin ---- */

/* When DEST's next turn begins. Turns that it let pass while it was no candidate are lost. */
static uint64_t turn_begins(const struct route *r, struct route_shared *s, unsigned dest,
			    uint64_t now)
{
	uint64_t turn = TURN / r->destination[dest].weight;
	uint64_t begins = atomic_load(&s->state[dest].round_robin);
	uint64_t earliest = now > turn ? now - turn : 0;

	return begins > earliest ? begins : earliest;
}

/* The virtual time of a pick among AMONG: at least one turn has begun. */
static uint64_t pick_time(const struct route *r, struct route_shared *s, uint64_t among)
{
	uint64_t now = atomic_load(&s->virtual_time), first = UINT64_MAX;

	for (uint64_t left = among; left; left &= left - 1) {
		uint64_t begins = turn_begins(r, s, lowest(left), now);

		first = begins < first ? begins : first;
	}
	return first > now ? first : now;
}

static unsigned in_turn(const struct route *r, struct route_shared *s, uint64_t among)
{
	uint64_t now = pick_time(r, s, among), best_end = UINT64_MAX;
	unsigned best = lowest(among);

	for (uint64_t left = among; left; left &= left - 1) {
		unsigned i = lowest(left);
		uint64_t begins = turn_begins(r, s, i, now);
		uint64_t ends = begins + TURN / r->destination[i].weight;

		if (begins <= now && ends < best_end) {
			best = i;
			best_end = ends;
		}
	}
	return best;
}

/* DEST has had its turn among AMONG. */
static void charge_turn(const struct route *r, struct route_shared *s, uint64_t among,
			unsigned dest)
{
	_Atomic uint64_t *mine = &s->state[dest].round_robin;
	uint64_t now = pick_time(r, s, among), weights = 0;
	uint64_t old = atomic_load(mine), new;

	for (uint64_t left = among; left; left &= left - 1)
		weights += r->destination[lowest(left)].weight;
	do {
		new = turn_begins(r, s, dest, now) + TURN / r->destination[dest].weight;
	} while (!atomic_compare_exchange_weak(mine, &old, new));
	old = atomic_load(&s->virtual_time);
	do {
		new = (old > now ? old : now) + TURN / weights;
	} while (!atomic_compare_exchange_weak(&s->virtual_time, &old, new));
}

/* ---- source ---- */

/* 64 - log2(H), with 32 bits of fraction; never 0. */
static uint64_t minus_log2(uint64_t h)
{
	h |= 1;
	unsigned whole = 63 - (unsigned)__builtin_clzll(h);
	uint64_t m = h << (63 - whole), fraction = 0; /* M: 1 to 2, with 63 bits of fraction */

	for (unsigned i = 0; i < 32; i++) {
		unsigned __int128 square = (unsigned __int128)m * m;
		bool bit = square >> 127 != 0;

		fraction = fraction << 1 | bit;
		m = (uint64_t)(square >> (bit ? 64 : 63));
	}
	return (UINT64_C(64) << 32) - ((uint64_t)whole << 32 | fraction);
}

static unsigned by_source(const struct route *r, uint64_t among, const struct addr *client)
{
	uint8_t key[9] = { client->family };
	uint64_t best_draw = 0;
	unsigned best = DESTINATIONS_MAX;

	memcpy(key + 1, client->ip, client->family == 4 ? 4 : 8); /* IPv6 by /64 */
	for (uint64_t left = among; left; left &= left - 1) {
		const struct route_destination *d = &r->destination[lowest(left)];
		struct siphash_key named = {
			{ siphash((struct siphash_key){ { 0, 0 } }, d->name, strlen(d->name)), 0 }
		};
		uint64_t draw = minus_log2(siphash(named, key, sizeof(key)));

		/* The least draw/weight: an exponential deviate with the weight as its rate. */
		if (best == DESTINATIONS_MAX ||
		    draw * r->destination[best].weight < best_draw * d->weight) {
			best = lowest(left);
			best_draw = draw;
		}
	}
	return best;
}

/* ---- picking ---- */

static unsigned choose(const struct route *r, struct route_shared *s, uint64_t among,
		       struct route_counts *counts, const struct addr *client)
{
	if (r->cooperation == ROUTE_CLUSTER) {
		switch (r->balance) {
		case ROUTE_LEAST_SESSIONS:
			return least_sessions(r, s, among, counts);
		case ROUTE_ROUND_ROBIN:
			return in_turn(r, s, among);
		case ROUTE_SOURCE:
			return by_source(r, among, client);
		}
	}
	return lowest(among);
}

/* The destinations to choose among; a name without addresses is asked for again. */
static uint64_t candidates(const struct route *r, struct route_shared *s,
			   const struct route_search *search)
{
	uint64_t all = 0, up = 0, ready = 0;

	for (unsigned i = 0; i < r->count; i++) {
		if (search->tried & route_bit(i) || route_drained(s, i))
			continue;
		if (!route_has_addresses(s, i)) {
			route_want_resolved(s, i);
			continue;
		}
		all |= route_bit(i);
		if (!route_up(s, i))
			continue;
		up |= route_bit(i);
		if (r->cooperation != ROUTE_CLUSTER || !route_busy(s, i))
			ready |= route_bit(i);
	}
	return ready ? ready : up ? up : all;
}

enum route_answer route_pick(const struct route *r, struct route_shared *s,
			     struct route_search *search, struct route_counts *counts,
			     const struct addr *client, uint64_t now_ms, unsigned *dest,
			     struct addr *address)
{
	if (!search->since_ms)
		search->since_ms = now_ms;
	/* A destination whose first address failed is gone on with before any other. */
	if (search->tried_any && !route_drained(s, search->dest) &&
	    route_next_address(s, search, address)) {
		*dest = search->dest;
		if (counts->take(counts, *dest, r->destination[*dest].max))
			return ROUTE_PICKED;
		if (r->cooperation != ROUTE_CLUSTER)
			return ROUTE_FULL;
	}
	search->tried_any = 0;
	uint64_t among = candidates(r, s, search);
	bool full = false;

	while (among) {
		struct route_search found = *search;
		unsigned i = choose(r, s, among, counts, client);

		if (route_begin(s, &found, i, now_ms, address)) {
			if (counts->take(counts, i, r->destination[i].max)) {
				if (r->cooperation == ROUTE_CLUSTER &&
				    r->balance == ROUTE_ROUND_ROBIN)
					charge_turn(r, s, among, i);
				route_claim(s, i, now_ms);
				*search = found;
				*dest = i;
				return ROUTE_PICKED;
			}
			full = true;
			if (r->cooperation != ROUTE_CLUSTER)
				break;
		}
		among &= ~route_bit(i);
	}
	return full ? ROUTE_FULL : ROUTE_NONE;
}
