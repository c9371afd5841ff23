/* SPDX-License-Identifier: ISC */
/*
 * feed: gives one input to a parser in every way in which the network may: whole, octet by octet,
 * and cut in two at each position. Every piece ends at a page that may not be read and is copied
 * afresh, so that a parser that looks one octet too far, or back at a piece that is gone, dies
 * here. Include after cmocka.h. One piece is live at a time.
 */
#ifndef TESTS_FEED_H
#define TESTS_FEED_H

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/span.h"

#define FEED_MAX (1u << 20)

/* A copy of S that ends at a PROT_NONE page; valid until the next call. S may be such a copy. */
static inline struct span feed_guard(struct span s)
{
	static uint8_t *end;

	if (!end) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		uint8_t *mem = mmap(NULL, FEED_MAX + 2 * page, PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(mem != MAP_FAILED);
		CHECK(mprotect(mem + page, FEED_MAX, PROT_READ | PROT_WRITE) == 0);
		end = mem + page + FEED_MAX;
	}
	CHECK(s.n <= FEED_MAX);
	if (s.n)
		memmove(end - s.n, s.p, s.n);
	return span_of(end - s.n, s.n);
}

struct feed {
	/* True: each piece is all that has come so far (a parser without state, like a line
	 * cutter). False: each piece is what is new (a parser that keeps its state). */
	bool growing;
	void (*start)(void *ctx);		     /* before the first piece; may be NULL */
	bool (*piece)(void *ctx, struct span piece); /* false: decided, no more pieces */
	void (*end)(void *ctx, size_t cut);	     /* all given: look at the result */
	void *ctx;
};

/* The two "cuts" that are none, as told to end(). */
#define FEED_WHOLE     ((size_t)-1)
#define FEED_BY_OCTETS ((size_t)-2)

static inline void feed_cut(const struct feed *f, struct span input, size_t cut)
{
	size_t step = cut == FEED_BY_OCTETS ? 1 : cut == FEED_WHOLE ? input.n : cut;
	size_t at = 0;
	bool more = true;

	if (f->start)
		f->start(f->ctx);
	do {
		size_t to = at + step < input.n ? at + step : input.n;

		if (cut != FEED_BY_OCTETS && at > 0)
			to = input.n;
		more = f->piece(f->ctx, feed_guard(f->growing ? span_of(input.p, to)
							      : span_of(input.p + at, to - at)));
		at = to;
	} while (more && at < input.n);
	f->end(f->ctx, cut);
}

/* INPUT in every way. */
static inline void feed_every_way(const struct feed *f, struct span input)
{
	feed_cut(f, input, FEED_WHOLE);
	feed_cut(f, input, FEED_BY_OCTETS);
	for (size_t cut = 1; cut < input.n; cut++)
		feed_cut(f, input, cut);
}

#endif
