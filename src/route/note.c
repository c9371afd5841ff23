/* SPDX-License-Identifier: ISC */
/*
 * note: what has been found out about a destination, for all processes.
 *
 * Two copies; the writer writes the one that is not read, and makes it current by counting up. So a
 * writer that is killed leaves the note of before. One process at a time is to write, for it holds
 * the claim; where two do after all, because the first was held up for longer than its lease, the
 * copy does not fit its sum and is no note until the next one is written.
 */
#include "route/note.h"

#include <stdatomic.h>
#include <string.h>

#include "base/diag.h"
#include "base/siphash.h"
#include "route/inner.h"

#define READ_TRIES 1000

/* Words up to and with the last octet. */
static unsigned words_of(size_t n)
{
	return (unsigned)((n + 7) / 8);
}

static uint64_t sum_of(const uint64_t *word, size_t n)
{
	static const struct siphash_key key = { { 0, 0 } };

	return siphash(key, word, words_of(n) * sizeof(*word)) + n;
}

void route_note_write(struct route_shared *s, unsigned dest, struct span note)
{
	struct route_state *state = &s->state[dest];
	uint32_t number = atomic_load(&state->note_number);
	struct route_note *c = &state->note[~number & 1];
	uint64_t word[ROUTE_NOTE_MAX / 8] = { 0 };

	CHECK(dest < DESTINATIONS_MAX && note.n > 0 && note.n <= ROUTE_NOTE_MAX);
	memcpy(word, note.p, note.n);
	for (unsigned i = 0; i < words_of(note.n); i++)
		atomic_store_explicit(&c->word[i], word[i], memory_order_relaxed);
	atomic_store_explicit(&c->n, (uint32_t)note.n, memory_order_relaxed);
	atomic_store_explicit(&c->sum, sum_of(word, note.n), memory_order_relaxed);
	atomic_store_explicit(&state->note_number, number + 1, memory_order_release);
}

/* False: it was written meanwhile, or by two. */
static bool read_note(struct route_note *c, uint64_t word[ROUTE_NOTE_MAX / 8], size_t *n)
{
	uint64_t sum = atomic_load_explicit(&c->sum, memory_order_relaxed);

	*n = atomic_load_explicit(&c->n, memory_order_relaxed);
	if (*n == 0 || *n > ROUTE_NOTE_MAX)
		return false;
	for (unsigned i = 0; i < words_of(*n); i++)
		word[i] = atomic_load_explicit(&c->word[i], memory_order_relaxed);
	return sum == sum_of(word, *n);
}

size_t route_note_read(struct route_shared *s, unsigned dest, uint8_t out[ROUTE_NOTE_MAX])
{
	struct route_state *state = &s->state[dest];
	uint64_t word[ROUTE_NOTE_MAX / 8];
	size_t n;

	for (unsigned i = 0; i < READ_TRIES; i++) {
		uint32_t number = route_note_number(s, dest);

		if (number == 0)
			return 0;
		if (!read_note(&state->note[number & 1], word, &n))
			continue;
		memcpy(out, word, n);
		return n;
	}
	return 0;
}

uint32_t route_note_number(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	return atomic_load_explicit(&s->state[dest].note_number, memory_order_acquire);
}

/* ---- whose it is to write ---- */

bool route_note_due(struct route_shared *s, unsigned dest, uint64_t now_ms)
{
	CHECK(dest < DESTINATIONS_MAX);
	return now_ms >= atomic_load(&s->state[dest].note_due_ms);
}

/* A claim: until when, in milliseconds, and whose it is. */
static uint64_t claim_of(uint64_t until_ms, unsigned holder)
{
	return until_ms * ROUTE_HOLDERS + holder;
}

static uint64_t claimed_until(uint64_t claim)
{
	return claim / ROUTE_HOLDERS;
}

static unsigned claim_holder(uint64_t claim)
{
	return claim % ROUTE_HOLDERS;
}

bool route_note_awaited(struct route_shared *s, unsigned dest, uint64_t now_ms)
{
	CHECK(dest < DESTINATIONS_MAX);
	return now_ms < claimed_until(atomic_load(&s->state[dest].note_claim));
}

uint64_t route_note_claim(struct route_shared *s, unsigned dest, unsigned holder, uint64_t now_ms,
			  uint64_t lease_ms)
{
	uint64_t claim = claim_of(now_ms + lease_ms, holder);
	uint64_t before = atomic_load(&s->state[dest].note_claim);

	CHECK(dest < DESTINATIONS_MAX && holder < ROUTE_HOLDERS && lease_ms > 0);
	if (now_ms < claimed_until(before) ||
	    !atomic_compare_exchange_strong(&s->state[dest].note_claim, &before, claim))
		return 0;
	return claim;
}

void route_note_hold(struct route_shared *s, unsigned dest, uint64_t *claim, uint64_t now_ms,
		     uint64_t lease_ms)
{
	uint64_t longer = claim_of(now_ms + lease_ms, claim_holder(*claim)), held = *claim;

	if (atomic_compare_exchange_strong(&s->state[dest].note_claim, &held, longer))
		*claim = longer;
}

void route_note_leave(struct route_shared *s, unsigned dest, uint64_t claim)
{
	(void)!atomic_compare_exchange_strong(&s->state[dest].note_claim, &claim, 0);
}

void route_note_release(struct route_shared *s, unsigned holder)
{
	for (unsigned i = 0; i < DESTINATIONS_MAX; i++) {
		uint64_t claim = atomic_load(&s->state[i].note_claim);

		if (claim && claim_holder(claim) == holder)
			route_note_leave(s, i, claim);
	}
}

void route_note_next(struct route_shared *s, unsigned dest, uint64_t due_ms)
{
	CHECK(dest < DESTINATIONS_MAX);
	atomic_store(&s->state[dest].note_due_ms, due_ms);
}

void route_note_begun(struct route_shared *s, unsigned dest, uint64_t now_ms)
{
	CHECK(dest < DESTINATIONS_MAX);
	atomic_store(&s->state[dest].note_begun_ms, now_ms);
}

uint64_t route_note_since(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	return atomic_load(&s->state[dest].note_begun_ms);
}
