/* SPDX-License-Identifier: ISC */
/*
 * slots: the numbers by which sessions and figures of a destination are counted (seats.h, stats.h).
 * A destination keeps its number over every change of the configuration, so that a session that
 * began with an older one counts against the `max=` of the same destination. A number is given to
 * another name only when nothing uses a version any more that had it. Plain data, no I/O; owned by
 * the master.
 */
#ifndef SHARED_SLOTS_H
#define SHARED_SLOTS_H

#include <stdint.h>

#include "base/bounds.h"
#include "shared/seats.h"

struct slots {
	struct {
		char name[DESTINATION_NAME_MAX]; /* "": never used */
		uint64_t last;			 /* the newest version that has it */
	} slot[SEATS_DESTINATIONS];
};

/* The names of a version's destinations, in its order. */
struct slots_names {
	const char *name[DESTINATIONS_MAX];
	unsigned count;
};

/*
 * Finds numbers for all destinations of version VERSION; OLDEST is the oldest one still in use. 0,
 * or -ENOSPC with nothing changed: too many names of older versions are in use.
 */
int slots_assign(struct slots *s, const struct slots_names *names, uint64_t version,
		 uint64_t oldest, uint8_t out[DESTINATIONS_MAX])
	__attribute__((warn_unused_result));

#endif
