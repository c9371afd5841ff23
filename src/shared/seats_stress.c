/* SPDX-License-Identifier: ISC */
/*
 * seats_stress: when there are too many sessions, and which of them are of the least use (seats.h).
 *
 * Who has gone longest without use is found by a look at all seats, which is too much for each
 * newcomer: a look keeps the USELESS_MAX best finds, in order. They stay the best until they are
 * used up, since the others' times only grow; each is looked at once more before it is asked. When
 * a look has found fewer, there is none for a moment.
 */
#include <string.h>

#include "base/diag.h"
#include "shared/seats_inner.h"

/* The least time between two looks of which the first did not find as many as it can keep. */
#define LOOK_AGAIN_MS 50

bool seats_stressed(const struct seats *s)
{
	return s->stressed;
}

bool seats_stress_turned(struct seats *s)
{
	uint32_t said = s->stress_said;
	uint32_t now = s->stressed;

	return said != now && atomic_compare_exchange_strong(&s->stress_said, &said, now);
}

/* ---- who is of use: by the seat's own worker, without the mutex ---- */

void seats_useful(struct seats *s, uint32_t seat)
{
	CHECK(seat < s->head.max);
	s->seat[seat].useful_ms = seats_now_ms();
}

void seats_spare(struct seats *s, uint32_t seat, bool spared)
{
	CHECK(seat < s->head.max);
	if (s->seat[seat].spared != spared)
		s->seat[seat].spared = spared;
}

/* ---- who is not ---- */

static bool is_useless(const struct seat *seat, uint64_t now, unsigned idle_ms)
{
	return seat->is.taken && seat->is.counted && !seat->spared &&
	       seat->useful_ms + idle_ms <= now;
}

/* Keeps the seat where it belongs, if it does. */
static void keep(struct seats *s, uint32_t seat, uint64_t useful_ms)
{
	struct useless *u = s->useless;
	uint32_t n = s->useless_count;

	if (n == USELESS_MAX && useful_ms >= u[n - 1].useful_ms)
		return;
	n = n == USELESS_MAX ? n - 1 : n;
	s->useless_count = n + 1;
	for (; n > 0 && u[n - 1].useful_ms > useful_ms; n--)
		u[n] = u[n - 1];
	u[n] = (struct useless){ useful_ms, seat };
}

static void look(struct seats *s, uint64_t now, unsigned idle_ms)
{
	seats_forget_useless(s);
	for (uint32_t i = 0; i < s->head.max; i++)
		if (is_useless(&s->seat[i], now, idle_ms) && !s->seat[i].asked)
			keep(s, i, s->seat[i].useful_ms);
	if (s->useless_count < USELESS_MAX)
		s->look_again_ms = now + LOOK_AGAIN_MS;
}

/* The most useless one, NULL: there is none. */
static struct seat *next_useless(struct seats *s, uint64_t now, unsigned idle_ms)
{
	for (;;) {
		if (s->useless_next == s->useless_count) {
			if (now < s->look_again_ms)
				return NULL;
			look(s, now, idle_ms);
			if (s->useless_count == 0)
				return NULL;
		}
		const struct useless *u = &s->useless[s->useless_next++];
		struct seat *seat = &s->seat[u->seat];

		if (is_useless(seat, now, idle_ms) && !seat->asked &&
		    seat->useful_ms == u->useful_ms)
			return seat;
	}
}

static void ask_for(struct seats *s, struct seat *seat)
{
	seat->asked = 1;
	s->asked++;
	s->asked_serial++;
}

bool seats_ask(struct seats *s, unsigned idle_ms)
{
	struct seat *seat = NULL;

	seats_lock(s);
	uint64_t sessions = s->head.sessions + others_sessions() - s->asked;

	if (4 * sessions > 3 * (uint64_t)s->max_sessions)
		seat = next_useless(s, seats_now_ms(), idle_ms);
	if (seat)
		ask_for(s, seat);
	seats_unlock(s);
	return seat;
}

/* All that wait ask again and again: in vain, in this process, only so often. */
bool seats_ask_at(struct seats *s, unsigned dest, unsigned max, unsigned idle_ms)
{
	static uint64_t look_again_ms[SEATS_DESTINATIONS];
	uint64_t now = seats_now_ms();
	struct seat *worst = NULL;
	uint32_t leaving = 0;

	CHECK(dest < SEATS_DESTINATIONS);
	if (now < look_again_ms[dest])
		return false;
	seats_lock(s);
	for (uint32_t i = 0; i < s->head.max; i++) {
		struct seat *seat = &s->seat[i];

		if (!seat->is.taken || seat->is.destination != dest)
			continue;
		/* A place is a connection's that has lost its session, or one of the pool. */
		leaving += seat->asked || seats_is_place(seat);
		if (!seat->asked && is_useless(seat, now, idle_ms) &&
		    (!worst || seat->useful_ms < worst->useful_ms))
			worst = seat;
	}
	if (s->head.at_destination[dest] + others_at(dest) < max + leaving)
		worst = NULL; /* one is about to leave */
	if (worst)
		ask_for(s, worst);
	else
		look_again_ms[dest] = now + LOOK_AGAIN_MS;
	seats_unlock(s);
	return worst;
}

uint32_t seats_asked(const struct seats *s)
{
	return s->asked_serial;
}

bool seats_is_asked(const struct seats *s, uint32_t seat)
{
	CHECK(seat < s->head.max);
	return s->seat[seat].asked;
}

bool seats_gives_up(struct seats *s, uint32_t seat, unsigned idle_ms)
{
	bool gives_up;

	seats_lock(s);
	struct seat *own = seats_taken(s, seat);

	gives_up = own->asked && is_useless(own, seats_now_ms(), idle_ms);
	if (!gives_up)
		seats_unask(s, own);
	seats_unlock(s);
	return gives_up;
}
