/* SPDX-License-Identifier: ISC */
/* resumption: see resumption.h. */
#include "shared/resumption.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/diag.h"
#include "base/siphash.h"
#include "shared/memory.h"
#include "shared/seats_inner.h"

#define WORDS	(RESUMPTION_MAX / 8)
#define DEAD_MS 1000 /* a writer that takes longer has died in the middle, or is stopped */

/* What is kept, in words, so that it can be read while it is written. */
struct kept {
	uint64_t version, n, hash;
	uint64_t word[WORDS];
};

#define KEPT_WORDS (sizeof(struct kept) / 8)

/* TURN is odd while somebody writes, since SINCE_MS. */
struct place {
	_Atomic uint64_t turn, since_ms;
	_Atomic uint64_t word[KEPT_WORDS];
};

struct resumption {
	struct place place[SEATS_DESTINATIONS];
};

struct resumption *resumption_make(void)
{
	struct resumption *r = shared_map(sizeof(*r));

	if (r)
		madvise(r, sizeof(*r), MADV_DONTDUMP);
	return r;
}

/* A writer that was taken for dead may come back: what two have written has no good hash. */
static uint64_t hash_of(const struct kept *k)
{
	const struct siphash_key key = { { k->version, k->n } };

	return siphash(key, k->word, k->n);
}

/* True: it is the caller's to write, from the odd *TURN on. */
static bool enter(struct place *p, uint64_t *turn)
{
	uint64_t now = seats_now_ms(), was = atomic_load_explicit(&p->turn, memory_order_acquire);
	bool free = was % 2 == 0;

	if (!free && now - atomic_load(&p->since_ms) < DEAD_MS)
		return false;
	*turn = was + (free ? 1 : 2);
	if (!atomic_compare_exchange_strong(&p->turn, &was, *turn))
		return false;
	atomic_store(&p->since_ms, now);
	atomic_thread_fence(memory_order_release);
	return true;
}

void resumption_keep(struct resumption *r, unsigned at, uint64_t version, struct span session)
{
	struct kept kept = { .version = version, .n = session.n };
	uint64_t words[KEPT_WORDS], turn;
	struct place *p = &r->place[at];

	CHECK(at < SEATS_DESTINATIONS);
	if (session.n == 0 || session.n > RESUMPTION_MAX)
		return;
	memcpy(kept.word, session.p, session.n);
	kept.hash = hash_of(&kept);
	memcpy(words, &kept, sizeof(words));
	if (!enter(p, &turn))
		return;
	for (size_t i = 0; i < KEPT_WORDS; i++)
		atomic_store_explicit(&p->word[i], words[i], memory_order_relaxed);
	(void)atomic_compare_exchange_strong(&p->turn, &turn, turn + 1);
}

size_t resumption_get(const struct resumption *r, unsigned at, uint64_t version,
		      uint8_t out[RESUMPTION_MAX])
{
	const struct place *p = &r->place[at];
	uint64_t words[KEPT_WORDS], turn;
	struct kept kept;

	CHECK(at < SEATS_DESTINATIONS);
	turn = atomic_load_explicit(&p->turn, memory_order_acquire);
	if (turn == 0 || turn % 2)
		return 0;
	for (size_t i = 0; i < KEPT_WORDS; i++)
		words[i] = atomic_load_explicit(&p->word[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&p->turn, memory_order_relaxed) != turn)
		return 0;
	memcpy(&kept, words, sizeof(kept));
	if (kept.version != version || kept.n == 0 || kept.n > RESUMPTION_MAX ||
	    kept.hash != hash_of(&kept))
		return 0;
	memcpy(out, kept.word, kept.n);
	return kept.n;
}
