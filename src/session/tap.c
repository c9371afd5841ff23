/* SPDX-License-Identifier: ISC */
/* tap: see tap.h. */
#include "session/tap.h"

#include "session/copy.h"

static const struct tap *const taps[] = { &copy_tap };

#define TAPS (sizeof(taps) / sizeof(taps[0]))

void tap_begin(struct session *s)
{
	for (unsigned i = 0; i < TAPS; i++)
		taps[i]->begin(s);
}

void tap_add(struct session *s, struct span octets)
{
	for (unsigned i = 0; i < TAPS; i++)
		taps[i]->add(s, octets);
}

void tap_end(struct session *s)
{
	for (unsigned i = 0; i < TAPS; i++)
		taps[i]->end(s);
}

bool tap_reads(const struct session *s)
{
	for (unsigned i = 0; i < TAPS; i++)
		if (taps[i]->reads(s))
			return true;
	return false;
}
