/* SPDX-License-Identifier: ISC */
#include "proxy/seats_other.h"

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

uint32_t others_of_address(const uint8_t key[KEY_SIZE])
{
	uint32_t n = 0;

	for (unsigned o = 0; o < OTHERS_MAX && others[o]; o++) {
		if (others[o]->closed || !others[o]->sessions)
			continue;
		for (uint32_t i = 0; i < others[o]->max; i++) {
			const struct seat_head *seat = other_seat(others[o], i);

			n += seat->taken && seat->counted && memcmp(seat->key, key, KEY_SIZE) == 0;
		}
	}
	return n;
}
