/* SPDX-License-Identifier: ISC */
/*
 * seats: see seats.h. Taking and leaving: sessions, destinations, places, and what dead workers
 * leave. What other tables hold (seats_other.h) counts too.
 */
#include "shared/seats.h"

#include <string.h>

#include "base/diag.h"
#include "shared/seats_inner.h"

static const uint8_t nobody[KEY_SIZE];

/* ---- taking and leaving ---- */

static enum seats_verdict may_take(struct seats *s, const uint8_t key[KEY_SIZE], bool counted,
				   unsigned per_address)
{
	/* First, since a newcomer that is one too many of its address takes nobody's seat. */
	if (counted && per_address && seats_networks_full(s, key, per_address))
		return SEATS_ADDRESS_FULL;
	if (s->head.sessions + others_sessions() >= s->max_sessions || s->free_seat == NONE)
		return SEATS_FULL;
	return SEATS_OK;
}

/* The next free seat, of which there is one, ready to be taken. The mutex is held. */
static struct seat *prepare_seat(struct seats *s, unsigned worker, const uint8_t key[KEY_SIZE])
{
	CHECK(s->free_seat != NONE);
	struct seat *new = &s->seat[s->free_seat];

	s->free_seat = new->link;
	memcpy(new->is.key, key, KEY_SIZE);
	new->worker = worker;
	new->until_ms = 0;
	new->useful_ms = seats_now_ms();
	new->spared = new->asked = 0;
	new->is.counted = 0;
	new->is.destination = NO_DESTINATION;
	return new;
}

enum seats_verdict seats_take(struct seats *s, unsigned worker, const struct addr *addr,
			      bool counted, unsigned per_address, uint32_t *seat)
{
	uint8_t key[KEY_SIZE];

	seats_make_key(key, addr);
	CHECK(key[0]);
	seats_lock(s);
	enum seats_verdict verdict = may_take(s, key, counted, per_address);

	if (verdict == SEATS_OK) {
		struct seat *new = prepare_seat(s, worker, key);

		new->is.counted = counted;
		new->is.taken = 1;
		s->head.sessions++;
		if (counted)
			seats_count_in(s, new);
		seats_judge_stress(s);
		*seat = (uint32_t)(new - s->seat);
	}
	seats_unlock(s);
	return verdict;
}

void seats_uncount(struct seats *s, uint32_t seat)
{
	seats_lock(s);
	struct seat *own = seats_taken(s, seat);

	if (own->is.counted) {
		own->is.counted = 0;
		seats_count_out(s, own);
	}
	seats_unask(s, own);
	seats_unlock(s);
}

/* The mutex is held. NO_DESTINATION: leaves. */
static void move_to(struct seats *s, struct seat *own, uint8_t dest)
{
	uint8_t before = own->is.destination;

	own->is.destination = dest;
	if (before != NO_DESTINATION)
		s->head.at_destination[before]--;
	if (dest != NO_DESTINATION)
		s->head.at_destination[dest]++;
}

static bool has_room(struct seats *s, unsigned dest, unsigned max)
{
	if (max)
		s->limited[dest] = 1;
	return max == 0 || s->head.at_destination[dest] + others_at(dest) < max;
}

bool seats_at_destination(struct seats *s, uint32_t seat, unsigned dest, unsigned max)
{
	CHECK(dest < SEATS_DESTINATIONS);
	seats_lock(s);
	struct seat *own = seats_taken(s, seat);
	bool there = own->is.destination == dest;
	bool room = there || has_room(s, dest, max);

	if (room && !there)
		move_to(s, own, (uint8_t)dest);
	seats_unlock(s);
	return room;
}

void seats_leave_destination(struct seats *s, uint32_t seat)
{
	seats_lock(s);
	move_to(s, seats_taken(s, seat), NO_DESTINATION);
	seats_unlock(s);
}

/* The mutex is held. NULL: there is none. DEST has it in its count already. */
static struct seat *take_place(struct seats *s, unsigned worker, uint8_t dest)
{
	struct seat *new;

	if (s->places == SEATS_PLACES(s->max_sessions) || s->free_seat == NONE)
		return NULL;
	new = prepare_seat(s, worker, nobody);
	new->is.destination = dest;
	new->is.taken = 1;
	s->places++;
	s->places_at[dest]++;
	return new;
}

bool seats_part(struct seats *s, uint32_t seat, uint32_t *place)
{
	struct seat *own, *new = NULL;

	seats_lock(s);
	own = seats_taken(s, seat);
	if (own->is.destination != NO_DESTINATION)
		new = take_place(s, own->worker, own->is.destination);
	if (new) {
		/* Killed before this, the worker has one too many there until its seats are freed:
		 * one too few would let in another before its connection is closed. */
		own->is.destination = NO_DESTINATION;
		*place = (uint32_t)(new - s->seat);
	}
	seats_unlock(s);
	return new;
}

bool seats_place(struct seats *s, unsigned worker, unsigned dest, unsigned max, uint32_t *place)
{
	struct seat *new = NULL;

	CHECK(dest < SEATS_DESTINATIONS);
	seats_lock(s);
	if (has_room(s, dest, max))
		new = take_place(s, worker, (uint8_t)dest);
	if (new) {
		s->head.at_destination[dest]++;
		*place = (uint32_t)(new - s->seat);
	}
	seats_unlock(s);
	return new;
}

void seats_take_over(struct seats *s, uint32_t seat, uint32_t place)
{
	uint8_t dest;

	seats_lock(s);
	dest = seats_taken(s, place)->is.destination;
	move_to(s, seats_taken(s, seat), dest); /* before, as in seats_part() */
	seats_free(s, place);
	seats_unlock(s);
}

void seats_release(struct seats *s, uint32_t seat)
{
	seats_lock(s);
	seats_free(s, seat);
	seats_unlock(s);
}

/* ---- what dead workers leave ---- */

/* The mutex is held. The seat counts at its destination as before, and nowhere else. It stays where
 * it is: there may be no other. */
static void leave_behind(struct seats *s, struct seat *own, uint64_t until_ms)
{
	if (seats_is_place(own)) {
		s->places--;
	} else {
		s->head.sessions--;
		s->places_at[own->is.destination]++;
	}
	if (own->is.counted) {
		own->is.counted = 0;
		seats_count_out(s, own);
	}
	seats_unask(s, own);
	own->until_ms = until_ms;
	seats_due_at(s, until_ms);
	seats_judge_stress(s);
}

unsigned seats_release_worker(struct seats *s, unsigned worker, unsigned linger_ms)
{
	uint64_t until_ms = seats_now_ms() + linger_ms;
	unsigned freed = 0;

	seats_lock(s);
	for (uint32_t i = 0; i < s->head.max; i++) {
		struct seat *seat = &s->seat[i];

		if (!seat->is.taken || seat->worker != worker || seat->until_ms)
			continue;
		freed += !seats_is_place(seat);
		if (seat->is.destination != NO_DESTINATION && s->limited[seat->is.destination])
			leave_behind(s, seat, until_ms);
		else
			seats_free(s, i);
	}
	seats_unlock(s);
	return freed;
}

void seats_free_due(struct seats *s)
{
	if (s->due_ms == NEVER)
		return;
	seats_lock(s);
	seats_unlock(s);
}

/* The mutex is held, and a seat is free. For one at DEST in another table. */
static void inherit(struct seats *s, unsigned dest, uint64_t until_ms)
{
	struct seat *new = prepare_seat(s, 0, nobody);

	new->is.destination = (uint8_t)dest;
	new->until_ms = until_ms;
	new->is.taken = 1;
	s->head.at_destination[dest]++;
	s->places_at[dest]++;
	seats_due_at(s, until_ms);
}

void seats_close(struct seats *s, struct seats *heir, unsigned linger_ms)
{
	uint64_t until_ms = seats_now_ms() + linger_ms;

	seats_lock(heir);
	for (unsigned dest = 0; dest < SEATS_DESTINATIONS; dest++)
		for (uint32_t n = s->head.at_destination[dest]; n > 0; n--)
			if (heir->free_seat != NONE)
				inherit(heir, dest, until_ms);
	s->head.closed = 1;
	seats_unlock(heir);
}

unsigned seats_sessions(struct seats *s)
{
	seats_lock(s);
	unsigned n = s->head.sessions + others_sessions();

	seats_unlock(s);
	return n;
}

unsigned seats_of_address(struct seats *s, const struct addr *addr)
{
	uint32_t elsewhere[SEATS_WIDTHS] = { 0 };
	uint8_t key[KEY_SIZE];

	seats_make_key(key, addr);
	seats_lock(s);
	others_of_networks(key, elsewhere);
	unsigned n = seats_counted(s, key) + elsewhere[0];

	seats_unlock(s);
	return n;
}

unsigned seats_of_destination(struct seats *s, unsigned dest)
{
	CHECK(dest < SEATS_DESTINATIONS);
	seats_lock(s);
	unsigned n = s->head.at_destination[dest] + others_at(dest);

	seats_unlock(s);
	return n;
}

unsigned seats_load(struct seats *s, unsigned dest)
{
	CHECK(dest < SEATS_DESTINATIONS);
	seats_lock(s);
	unsigned n = s->head.at_destination[dest] - s->places_at[dest] + others_at(dest);

	seats_unlock(s);
	return n;
}

bool seats_places_are_few(const struct seats *s)
{
	return s->places > SEATS_PLACES(s->max_sessions) / 2;
}
