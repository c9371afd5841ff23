/* SPDX-License-Identifier: ISC */
/* seats_other: see seats_other.h. */
#include "shared/seats_other.h"

#include <string.h>

#define OTHERS_MAX 16

static struct seats_head *others[OTHERS_MAX];

static const struct seat_head *other_seat(const struct seats_head *h, uint32_t i)
{
	return (const void *)((const char *)h + h->seats_at + (size_t)i * h->seat_size);
}

bool others_add(struct seats_head *h)
{
	unsigned i = 0;

	while (i < OTHERS_MAX && others[i] && !others[i]->closed)
		i++;
	if (i == OTHERS_MAX || memcmp(h->layout, SEATS_MARK, strlen(SEATS_MARK)) != 0)
		return false;
	others[i] = h;
	return true;
}

uint32_t others_sessions(void)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < OTHERS_MAX && others[i]; i++)
		if (!others[i]->closed)
			n += others[i]->sessions;
	return n;
}

uint32_t others_at(unsigned dest)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < OTHERS_MAX && others[i]; i++)
		if (!others[i]->closed)
			n += others[i]->at_destination[dest];
	return n;
}

/* How many of the widths have both addresses in one network; IPv4 has the first alone. */
static unsigned shared_widths(const uint8_t a[KEY_SIZE], const uint8_t b[KEY_SIZE])
{
	if (a[0] != 6)
		return memcmp(a, b, KEY_SIZE) == 0;
	for (unsigned width = 0; width < SEATS_WIDTHS; width++)
		if (memcmp(a, b, 9 - width) == 0) /* the family, and 8, 7 or 6 octets */
			return SEATS_WIDTHS - width;
	return 0;
}

void others_of_networks(const uint8_t key[KEY_SIZE], uint32_t n[SEATS_WIDTHS])
{
	for (unsigned o = 0; o < OTHERS_MAX && others[o]; o++) {
		if (others[o]->closed || !others[o]->sessions)
			continue;
		for (uint32_t i = 0; i < others[o]->max; i++) {
			const struct seat_head *seat = other_seat(others[o], i);
			unsigned same = 0;

			if (seat->taken && seat->counted)
				same = shared_widths(key, seat->key);
			/* Who is in the narrowest is in all of them. */
			for (unsigned width = 0; width < same; width++)
				n[key[0] == 6 ? SEATS_WIDTHS - 1 - width : 0]++;
		}
	}
}
