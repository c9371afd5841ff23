/* SPDX-License-Identifier: ISC */
/*
 * watch: when files are looked at that may change, when they have been quiet for long enough to be
 * read, and what of their faults is told, and when. Knows no file and no clock: how they look is a
 * number (check/follow.h), and times come from the caller.
 */
#ifndef MASTER_WATCH_H
#define MASTER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "check/follow.h"

#define WATCH_QUIET_MS	  2000	 /* who writes files is through by then */
#define WATCH_PATIENCE_MS 600000 /* what may be half of a change is a fault by then */

/* All zero: nothing is known. */
struct watch {
	uint64_t in_use;   /* how the files looked whose contents are in use */
	uint64_t seen;	   /* how they looked last */
	uint64_t seen_ms;  /* the first time that they looked so */
	uint64_t other_ms; /* since when it is not IN_USE; 0: it is */
	uint64_t due_ms;   /* the next look */
	unsigned told;	   /* kinds of faults that were told, 1 << enum follow_found each */
};

/* Other contents are in use, from files that looked so: everything begins anew. */
void watch_begin(struct watch *w, uint64_t in_use, uint64_t now_ms, uint64_t every_ms);
/* How they must look at a look that begins now to be read; 0: they are not to be. */
uint64_t watch_quiet(const struct watch *w, uint64_t now_ms);
/* Whether no fault of this kind was told yet; it counts as told from then on. */
bool watch_tells(struct watch *w, enum follow_found kind);
/* Whether a fault of this kind was told already. */
bool watch_told(const struct watch *w, enum follow_found kind);
/* A look has ended with this. True: its fault is to be told. */
bool watch_saw(struct watch *w, enum follow_found found, uint64_t looks, uint64_t now_ms,
	       uint64_t every_ms);

#endif
