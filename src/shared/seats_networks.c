/* SPDX-License-Identifier: ISC */
/*
 * seats_networks: how many counted sessions one address has (seats_inner.h): an IPv4 address, an
 * IPv6 /64, which is what one client has to itself, and since many clients have more than one, its
 * /56, which may have four times as many, and its /48, sixteen times. A network's record knows the
 * next wider one, so that only what has no record yet is looked up.
 *
 * Networks are found by a keyed hash, the key being random, so that clients cannot choose addresses
 * that share a bucket.
 */
#include <string.h>

#include "base/diag.h"
#include "shared/seats_inner.h"

/* Octets of an IPv6 address, and how many times MAX_SESSIONS_PER_ADDRESS. */
static const struct {
	uint8_t octets, times;
} widths[SEATS_WIDTHS] = { { 8, 1 }, { 7, 4 }, { 6, 16 } };

static uint32_t bucket_count(unsigned max)
{
	uint32_t n = 16;

	while (n < max && n < UINT32_C(1) << 31)
		n *= 2;
	return n;
}

static struct network *networks(struct seats *s)
{
	return (void *)&s->seat[s->head.max];
}

static uint32_t *buckets(struct seats *s)
{
	return (void *)&networks(s)[(size_t)SEATS_WIDTHS * s->max_sessions];
}

size_t seats_networks_room(unsigned max_sessions)
{
	return (size_t)SEATS_WIDTHS * max_sessions * sizeof(struct network) +
	       bucket_count(max_sessions) * sizeof(uint32_t);
}

void seats_networks_init(struct seats *s)
{
	s->bucket_mask = bucket_count(s->max_sessions) - 1;
}

void seats_networks_clear(struct seats *s)
{
	s->free_network = NONE;
	s->fresh_networks = 0;
	memset(buckets(s), 0xff, ((size_t)s->bucket_mask + 1) * sizeof(uint32_t));
}

void seats_make_key(uint8_t key[KEY_SIZE], const struct addr *a)
{
	memset(key, 0, KEY_SIZE);
	key[0] = a->family;
	memcpy(key + 1, a->ip, a->family == 4 ? 4 : widths[0].octets);
}

/* The network of that width around KEY, an IPv6 one. Its last octet, of no address there, tells
 * networks of different widths apart. */
static void widen(uint8_t out[KEY_SIZE], const uint8_t key[KEY_SIZE], unsigned width)
{
	memset(out, 0, KEY_SIZE);
	memcpy(out, key, 1u + widths[width].octets);
	out[KEY_SIZE - 1] = (uint8_t)width;
}

static unsigned widths_of(const uint8_t key[KEY_SIZE])
{
	return key[0] == 6 ? SEATS_WIDTHS : 1;
}

static uint32_t *bucket_of(struct seats *s, const uint8_t key[KEY_SIZE])
{
	return &buckets(s)[siphash(s->hash_key, key, KEY_SIZE) & s->bucket_mask];
}

static uint32_t find(struct seats *s, const uint8_t key[KEY_SIZE])
{
	uint32_t i = *bucket_of(s, key);

	while (i != NONE && memcmp(networks(s)[i].key, key, KEY_SIZE) != 0)
		i = networks(s)[i].next;
	return i;
}

static uint32_t make(struct seats *s, const uint8_t key[KEY_SIZE])
{
	uint32_t *bucket = bucket_of(s, key), i = s->free_network;
	struct network *n;

	if (i == NONE) {
		i = s->fresh_networks++;
		CHECK(i < (uint64_t)SEATS_WIDTHS * s->max_sessions); /* each session's own */
		n = &networks(s)[i];
	} else {
		n = &networks(s)[i];
		s->free_network = n->next;
	}
	memcpy(n->key, key, KEY_SIZE);
	n->sessions = 0;
	n->wider = NONE;
	n->next = *bucket;
	*bucket = i;
	return i;
}

static void forget(struct seats *s, uint32_t i)
{
	struct network *n = &networks(s)[i];
	uint32_t *link = bucket_of(s, n->key);

	while (*link != i)
		link = &networks(s)[*link].next;
	*link = n->next;
	n->next = s->free_network;
	s->free_network = i;
}

void seats_count_in(struct seats *s, struct seat *seat)
{
	uint32_t *link = &seat->link;

	for (unsigned width = 0; width < widths_of(seat->is.key); width++) {
		uint8_t key[KEY_SIZE];

		memcpy(key, seat->is.key, KEY_SIZE);
		if (width)
			widen(key, seat->is.key, width);
		/* Where a record was there already, it knows the next one. */
		if (width == 0 || *link == NONE) {
			*link = find(s, key);
			if (*link == NONE)
				*link = make(s, key);
		}
		networks(s)[*link].sessions++;
		link = &networks(s)[*link].wider;
	}
}

void seats_count_out(struct seats *s, const struct seat *seat)
{
	uint32_t i = seat->link;

	while (i != NONE) {
		struct network *n = &networks(s)[i];
		uint32_t wider = n->wider;

		CHECK(n->sessions > 0);
		if (--n->sessions == 0)
			forget(s, i);
		i = wider;
	}
}

bool seats_networks_full(struct seats *s, const uint8_t key[KEY_SIZE], unsigned per_address)
{
	uint32_t elsewhere[SEATS_WIDTHS] = { 0 }, i = NONE;

	others_of_networks(key, elsewhere);
	for (unsigned width = 0; width < widths_of(key); width++) {
		uint64_t limit = (uint64_t)per_address * widths[width].times;
		uint8_t wide[KEY_SIZE];

		if (i != NONE) {
			i = networks(s)[i].wider;
		} else if (width == 0) {
			i = find(s, key);
		} else {
			widen(wide, key, width);
			i = find(s, wide);
		}
		if ((i == NONE ? 0 : networks(s)[i].sessions) + (uint64_t)elsewhere[width] >= limit)
			return true;
	}
	return false;
}

uint32_t seats_counted(struct seats *s, const uint8_t key[KEY_SIZE])
{
	uint32_t i = find(s, key);

	return i == NONE ? 0 : networks(s)[i].sessions;
}
