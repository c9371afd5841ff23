/* SPDX-License-Identifier: ISC */
/* histogram: counts of times, in buckets whose width grows with the time. */
#include "inner.h"

#include <math.h>

/* Values below 128 have a bucket each; above, the six bits behind the leading one choose it. */
static unsigned bucket_of(uint64_t us)
{
	unsigned log, at;

	if (us < 128)
		return (unsigned)us;
	log = 63u - (unsigned)__builtin_clzll(us);
	at = (log - 5) * 64 + (unsigned)(us >> (log - 6)) - 64;
	return at < LOAD_BUCKETS ? at : LOAD_BUCKETS - 1;
}

/* The greatest value of a bucket. */
static uint64_t bucket_end(unsigned at)
{
	unsigned shift;

	if (at < 128)
		return at;
	shift = at / 64 - 1;
	return ((uint64_t)(at % 64 + 64 + 1) << shift) - 1;
}

void load_histogram_add(struct load_histogram *h, uint64_t us)
{
	h->bucket[bucket_of(us)]++;
	h->count++;
	h->sum_us += us;
	if (us > h->max_us)
		h->max_us = us;
}

uint64_t load_histogram_at(const struct load_histogram *h, double share)
{
	uint64_t wanted = (uint64_t)ceil((double)h->count * share), seen = 0;

	if (wanted == 0)
		return 0;
	for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= wanted)
			return bucket_end(i) < h->max_us ? bucket_end(i) : h->max_us;
	}
	return h->max_us;
}
