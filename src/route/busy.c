/* SPDX-License-Identifier: ISC */
/*
 * busy: destinations that take a connection and then greet with a refusal, with something that is
 * no reply, or not at all. Such a one is done with a session sooner than any other, so that a
 * balance by open sessions would give it nearly all of them.
 *
 * One word, changed by compare and swap: busy, how long the pause is and when it ends; or not busy,
 * and since when. A pause that is over is taken by one process, which begins the next one as long
 * as it and looks (route_busy_due()); what that look finds makes the pause twice as long, or ends
 * it. Greetings of sessions that were on their way to it at the same time count once: an attempt
 * that began before the pause says nothing about it.
 *
 * The words are one copy under a sum: a writer that is killed, or two at once, leave none.
 */
#include "route/busy.h"

#include <string.h>

#include "base/diag.h"
#include "base/siphash.h"
#include "route/inner.h"

#define BUSY	   (UINT64_C(1) << 63)
#define LOOKED_AT  (UINT64_C(1) << 62) /* this pause has a look under way */
#define STEP_SHIFT 56
#define STEP_MASK  0x3f
#define TIME_MASK  ((UINT64_C(1) << STEP_SHIFT) - 1)

static const uint32_t pauses_ms[] = { 2000, 4000, 8000, 16000, 32000, 60000 };

#define LAST_STEP (sizeof(pauses_ms) / sizeof(pauses_ms[0]) - 1)

static size_t step_of(uint64_t busy)
{
	return busy >> STEP_SHIFT & STEP_MASK;
}

static uint64_t time_of(uint64_t busy)
{
	return busy & TIME_MASK;
}

static uint64_t began_at(uint64_t busy)
{
	return time_of(busy) - pauses_ms[step_of(busy)];
}

static uint64_t busy_for(size_t step, uint64_t now_ms)
{
	return BUSY | (uint64_t)step << STEP_SHIFT | ((now_ms + pauses_ms[step]) & TIME_MASK);
}

static uint64_t longer(uint64_t busy, uint64_t now_ms)
{
	size_t step = step_of(busy);

	return busy_for(step < LAST_STEP ? step + 1 : LAST_STEP, now_ms);
}

/* ---- words ---- */

static uint64_t sum_of(const uint64_t word[ROUTE_WORDS_MAX / 8], size_t n)
{
	static const struct siphash_key key = { { 0, 0 } };

	return siphash(key, word, ROUTE_WORDS_MAX) + n;
}

static void write_words(struct route_words *to, const char *text, size_t n)
{
	uint64_t word[ROUTE_WORDS_MAX / 8] = { 0 };

	CHECK(n < ROUTE_WORDS_MAX);
	memcpy(word, text, n);
	for (unsigned i = 0; i < ROUTE_WORDS_MAX / 8; i++)
		atomic_store_explicit(&to->word[i], word[i], memory_order_relaxed);
	atomic_store_explicit(&to->n, (uint32_t)n, memory_order_relaxed);
	atomic_store_explicit(&to->sum, sum_of(word, n), memory_order_release);
}

size_t route_busy_words(struct route_shared *s, unsigned dest, char out[ROUTE_WORDS_MAX])
{
	struct route_words *from = &s->state[dest].words;
	uint64_t word[ROUTE_WORDS_MAX / 8];

	CHECK(dest < DESTINATIONS_MAX);
	uint64_t sum = atomic_load_explicit(&from->sum, memory_order_acquire);
	size_t n = atomic_load_explicit(&from->n, memory_order_relaxed);

	for (unsigned i = 0; i < ROUTE_WORDS_MAX / 8; i++)
		word[i] = atomic_load_explicit(&from->word[i], memory_order_relaxed);
	if (n >= ROUTE_WORDS_MAX || sum != sum_of(word, n))
		n = 0;
	memcpy(out, word, n);
	out[n] = '\0';
	return n;
}

/* ---- busy or not ---- */

bool route_turned_away(struct route_shared *s, unsigned dest, uint64_t began_ms, uint64_t now_ms,
		       const char *words)
{
	CHECK(dest < DESTINATIONS_MAX);
	struct route_state *state = &s->state[dest];
	uint64_t old = atomic_load(&state->busy), new;

	if (!route_up(s, dest))
		return false;
	do {
		if (!(old & BUSY) && began_ms >= time_of(old))
			new = busy_for(0, now_ms);
		else if (old & BUSY && began_ms >= began_at(old) &&
			 (old & LOOKED_AT || now_ms >= time_of(old)))
			new = longer(old, now_ms);
		else
			return false;
	} while (!atomic_compare_exchange_weak(&state->busy, &old, new));
	write_words(&state->words, words, strnlen(words, ROUTE_WORDS_MAX - 1));
	if (old & BUSY)
		return false;
	atomic_store(&state->busy_ms, now_ms);
	return true;
}

bool route_welcomed(struct route_shared *s, unsigned dest, uint64_t began_ms, uint64_t now_ms)
{
	CHECK(dest < DESTINATIONS_MAX);
	_Atomic uint64_t *busy = &s->state[dest].busy;
	uint64_t old = atomic_load(busy);

	do {
		/* Where it greets now this way and now that way, as one at its limit of sessions
		 * does, each of its words would be a change: the first pause holds. */
		if (!(old & BUSY) || began_ms < began_at(old) ||
		    (!(old & LOOKED_AT) && now_ms < began_at(old) + pauses_ms[0]))
			return false;
	} while (!atomic_compare_exchange_weak(busy, &old, now_ms & TIME_MASK));
	return true;
}

void route_busy_forget(struct route_shared *s, unsigned dest, uint64_t now_ms)
{
	CHECK(dest < DESTINATIONS_MAX);
	atomic_store(&s->state[dest].busy, now_ms & TIME_MASK);
}

bool route_busy(struct route_shared *s, unsigned dest)
{
	CHECK(dest < DESTINATIONS_MAX);
	return atomic_load(&s->state[dest].busy) & BUSY;
}

bool route_busy_rests(struct route_shared *s, unsigned dest, uint64_t now_ms)
{
	CHECK(dest < DESTINATIONS_MAX);
	uint64_t busy = atomic_load(&s->state[dest].busy);

	return busy & BUSY && now_ms < time_of(busy);
}

uint64_t route_busy_since(struct route_shared *s, unsigned dest)
{
	return route_busy(s, dest) ? atomic_load(&s->state[dest].busy_ms) : 0;
}

uint64_t route_busy_due(struct route_shared *s, const struct route *r, uint64_t now_ms)
{
	uint64_t due = 0;

	for (unsigned i = 0; r->cooperation == ROUTE_CLUSTER && i < r->count; i++) {
		_Atomic uint64_t *busy = &s->state[i].busy;
		uint64_t old = atomic_load(busy);

		if (old & BUSY && now_ms >= time_of(old) && route_up(s, i) &&
		    atomic_compare_exchange_strong(busy, &old,
						   busy_for(step_of(old), now_ms) | LOOKED_AT))
			due |= route_bit(i);
	}
	return due;
}

void route_busy_carry(struct route_shared *s, unsigned to, struct route_shared *old, unsigned from)
{
	char words[ROUTE_WORDS_MAX];
	size_t n = route_busy_words(old, from, words);

	write_words(&s->state[to].words, words, n);
	atomic_store(&s->state[to].busy_ms, atomic_load(&old->state[from].busy_ms));
	atomic_store(&s->state[to].busy, atomic_load(&old->state[from].busy));
}
