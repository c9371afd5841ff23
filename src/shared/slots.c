/* SPDX-License-Identifier: ISC */
/* slots: see slots.h. */
#include "shared/slots.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NONE SEATS_DESTINATIONS

_Static_assert(DESTINATIONS_MAX <= SEATS_DESTINATIONS, "a version alone always fits");

static unsigned find(const struct slots *s, const char *name)
{
	unsigned i = 0;

	while (i < SEATS_DESTINATIONS && strcmp(s->slot[i].name, name) != 0)
		i++;
	return i;
}

/* A number for a new name: one that nobody had yet, else the one out of use for longest. */
static unsigned find_free(const struct slots *s, uint64_t oldest)
{
	unsigned best = NONE;

	for (unsigned i = 0; i < SEATS_DESTINATIONS; i++) {
		if (!*s->slot[i].name)
			return i;
		if (s->slot[i].last < oldest &&
		    (best == NONE || s->slot[i].last < s->slot[best].last))
			best = i;
	}
	return best;
}

int slots_assign(struct slots *s, const struct slots_names *names, uint64_t version,
		 uint64_t oldest, uint8_t out[DESTINATIONS_MAX])
{
	struct slots new = *s;

	/* Those that have one first, or a new name could take it. */
	for (unsigned i = 0; i < names->count; i++) {
		unsigned at = find(&new, names->name[i]);

		out[i] = (uint8_t)at;
		if (at != NONE)
			new.slot[at].last = version;
	}
	for (unsigned i = 0; i < names->count; i++) {
		if (out[i] != NONE)
			continue;
		unsigned at = find_free(&new, oldest);

		if (at == NONE)
			return -ENOSPC;
		snprintf(new.slot[at].name, DESTINATION_NAME_MAX, "%s", names->name[i]);
		new.slot[at].last = version;
		out[i] = (uint8_t)at;
	}
	*s = new;
	return 0;
}
