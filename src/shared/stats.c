/* SPDX-License-Identifier: ISC */
/* stats: see stats.h. */
#include "shared/stats.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics in shared memory need no lock");

size_t stats_room(unsigned workers)
{
	return sizeof(struct stats) + workers * sizeof(struct stats_worker);
}

/* To be changed with what a figure means; what they are shows in their size. */
#define LAYOUT 3

static void make_layout(char out[32])
{
	memset(out, 0, 32);
	snprintf(out, 32, "stats %d %zu %zu", LAYOUT, sizeof(struct stats),
		 sizeof(struct stats_worker));
}

bool stats_fits(const struct stats *mem, unsigned workers)
{
	char layout[32];

	make_layout(layout);
	return memcmp(mem->layout, layout, sizeof(layout)) == 0 && mem->workers == workers;
}

void stats_init(struct stats *s, unsigned workers, uint64_t now_us)
{
	make_layout(s->layout);
	s->started_us = now_us;
	s->workers = workers;
}

struct stats_worker *stats_begin(struct stats *s, unsigned worker, pid_t pid, uint64_t now_us)
{
	CHECK(worker < s->workers);
	struct stats_worker *w = &s->worker[worker];

	stats_set(&w->open, 0);
	stats_set(&w->started_us, now_us);
	stats_set(&w->pid, (uint64_t)pid);
	stats_add(&w->starts, 1);
	return w;
}

void stats_ended(struct stats *s, unsigned worker, unsigned lost)
{
	CHECK(worker < s->workers);
	stats_add(&s->worker[worker].ends[STATS_END_WORKER_DIED], lost);
	stats_set(&s->worker[worker].pid, 0);
	stats_set(&s->worker[worker].open, 0);
}

void stats_renewed(struct stats *s, bool good)
{
	stats_set(&s->renewal_refused, !good);
}

void stats_reloaded(struct stats *s, bool good, uint64_t now_us)
{
	if (good)
		stats_renewed(s, true);
	stats_set(&s->refused, !good);
	stats_set(&s->reloaded_us, now_us);
}

void stats_forget(struct stats *s, unsigned dest)
{
	CHECK(dest < SEATS_DESTINATIONS);
	for (unsigned i = 0; i < s->workers; i++) {
		/* (A block that was never used takes no memory: it stays so.) */
		if (s->worker[i].starts)
			memset(&s->worker[i].destination[dest], 0,
			       sizeof(struct stats_destination));
	}
}

/* ---- histograms ---- */

static unsigned bucket_of(uint64_t us)
{
	if (us < STATS_FIRST_US)
		return 0;
	if (us >> STATS_LAST_LOG)
		return STATS_BUCKETS - 1;
	unsigned log = 63 - (unsigned)__builtin_clzll(us);

	return 1 + 4 * (log - STATS_FIRST_LOG) + (unsigned)(us >> (log - 2) & 3);
}

uint64_t stats_bucket_end(unsigned bucket)
{
	CHECK(bucket < STATS_BUCKETS);
	if (bucket == STATS_BUCKETS - 1)
		return UINT64_MAX;
	/* The next one's begin: four equal steps from one power of two to the next. */
	return (uint64_t)(4 + bucket % 4) << (STATS_FIRST_LOG - 2 + bucket / 4);
}

void stats_time(struct stats_destination *d, enum stats_time what, uint64_t us)
{
	if (!d)
		return;
	stats_add(&d->time[what].bucket[bucket_of(us)], 1);
	stats_add(&d->time[what].sum_us, us);
}

void stats_reply(struct stats_worker *w, struct span reply)
{
	CHECK(reply.n > 0 && reply.p[0] >= '2' && reply.p[0] <= '5');
	stats_count(w, replies[reply.p[0] - '2'], 1);
}

void stats_message(struct stats_worker *w, struct stats_destination *at, struct span reply)
{
	uint8_t kind = reply.n ? reply.p[0] : '4';
	enum stats_result result = kind == '2'	 ? STATS_ACCEPTED
				   : kind == '5' ? STATS_REFUSED
						 : STATS_DEFERRED;

	stats_count(w, messages[result], 1);
	if (result == STATS_ACCEPTED)
		stats_count(at, messages, 1);
}

/* ---- reading ---- */

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Adds N counters that lie one behind the other. */
static void add_all(uint64_t *to, const _Atomic uint64_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] += get(&from[i]);
}

static void add_destination(struct stats_destination_sum *to, const struct stats_destination *d)
{
	to->sessions += get(&d->sessions);
	to->failures += get(&d->failures);
	to->refused_greetings += get(&d->refused_greetings);
	to->messages += get(&d->messages);
	to->octets += get(&d->octets);
	for (unsigned i = 0; i < STATS_TIMES; i++) {
		add_all(to->time[i].bucket, d->time[i].bucket, STATS_BUCKETS);
		to->time[i].sum_us += get(&d->time[i].sum_us);
	}
}

size_t stats_sum_room(unsigned destinations)
{
	return sizeof(struct stats_sum) + destinations * sizeof(struct stats_destination_sum);
}

void stats_sum(const struct stats *s, struct stats_sum *sum, unsigned destinations)
{
	uint8_t slot[DESTINATIONS_MAX];

	for (unsigned i = 0; i < DESTINATIONS_MAX; i++)
		slot[i] = (uint8_t)i;
	stats_sum_slots(s, sum, slot, destinations);
}

void stats_sum_slots(const struct stats *s, struct stats_sum *sum, const uint8_t *slot,
		     unsigned destinations)
{
	CHECK(destinations <= DESTINATIONS_MAX);
	memset(sum, 0, stats_sum_room(destinations));
	for (unsigned i = 0; i < s->workers; i++) {
		const struct stats_worker *w = &s->worker[i];

		if (!get(&w->starts))
			continue;
		sum->sessions += get(&w->sessions);
		add_all(sum->turned_away, w->turned_away, STATS_LIMITS);
		add_all(sum->ends, w->ends, STATS_ENDS);
		add_all(sum->messages, w->messages, STATS_RESULTS);
		sum->octets += get(&w->octets);
		add_all(sum->recipients, w->recipients, STATS_RULES);
		add_all(sum->replies, w->replies, STATS_CLASSES);
		add_all(sum->logins, w->logins, 2);
		add_all(sum->handshakes, w->handshakes, STATS_HANDSHAKES);
		for (unsigned d = 0; d < destinations; d++)
			add_destination(&sum->destination[d], &w->destination[slot[d]]);
	}
}

void stats_count_ends(const struct stats *s, uint64_t ends[2])
{
	ends[0] = ends[1] = 0;
	for (unsigned i = 0; i < s->workers; i++) {
		const struct stats_worker *w = &s->worker[i];

		if (!get(&w->starts))
			continue;
		for (unsigned end = 0; end < STATS_ENDS; end++)
			ends[0] += get(&w->ends[end]);
		ends[1] += get(&w->ends[STATS_END_STOP]) + get(&w->ends[STATS_END_WORKER_DIED]);
	}
}

uint64_t stats_times_count(const struct stats_times *t)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		n += t->bucket[i];
	return n;
}

void stats_times_since(struct stats_times *now, const struct stats_times *before)
{
	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		now->bucket[i] -= before->bucket[i];
	now->sum_us -= before->sum_us;
}

void stats_times_add(struct stats_times *to, const struct stats_times *t)
{
	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		to->bucket[i] += t->bucket[i];
	to->sum_us += t->sum_us;
}

uint64_t stats_times_quantile(const struct stats_times *t, unsigned percent)
{
	uint64_t all = stats_times_count(t), seen = 0;
	/* How many must lie at or below it, rounded up; ALL is far from 2^57. */
	uint64_t rank = (all * percent + 99) / 100;

	if (all == 0)
		return 0;
	for (unsigned i = 0; i < STATS_BUCKETS - 1; i++) {
		seen += t->bucket[i];
		if (seen >= rank && seen > 0)
			return stats_bucket_end(i);
	}
	return (uint64_t)1 << STATS_LAST_LOG;
}
