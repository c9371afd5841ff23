/* SPDX-License-Identifier: ISC */
/*
 * seats_derived: what is derived from the seats (seats_inner.h), how all of it is made anew from
 * them, and what a seat that is freed changes: numbers of sessions and places, the free seats, when
 * one is due, stress, who is useless. Networks are in seats_networks.c. All of this file is called
 * with the mutex held, and nothing here takes it (seats_table.c does).
 */
#include "base/diag.h"
#include "shared/seats_inner.h"

/* It ends lower than it began, or it would come and go with every session. */
void seats_judge_stress(struct seats *s)
{
	uint64_t sessions = s->head.sessions + others_sessions();

	if (4 * sessions > 3 * (uint64_t)s->max_sessions)
		s->stressed = 1;
	else if (8 * sessions <= 5 * (uint64_t)s->max_sessions)
		s->stressed = 0;
}

void seats_forget_useless(struct seats *s)
{
	s->useless_next = s->useless_count = 0;
	s->look_again_ms = 0;
}

void seats_due_at(struct seats *s, uint64_t until_ms)
{
	if (until_ms < s->due_ms)
		s->due_ms = until_ms;
}

void seats_derive(struct seats *s)
{
	s->head.sessions = 0;
	s->places = 0;
	s->due_ms = NEVER;
	s->free_seat = NONE;
	s->asked = 0;
	for (unsigned i = 0; i < SEATS_DESTINATIONS; i++)
		s->head.at_destination[i] = s->places_at[i] = 0;
	seats_networks_clear(s);
	seats_forget_useless(s);
	for (uint32_t i = s->head.max; i-- > 0;) {
		struct seat *seat = &s->seat[i];

		if (!seat->is.taken) {
			seat->link = s->free_seat;
			s->free_seat = i;
			continue;
		}
		if (seats_is_place(seat))
			s->places_at[seat->is.destination]++;
		else
			s->head.sessions++;
		if (seat->until_ms)
			seats_due_at(s, seat->until_ms);
		else if (seats_is_place(seat))
			s->places++;
		if (seat->is.counted)
			seats_count_in(s, seat);
		s->asked += seat->asked;
		if (seat->is.destination != NO_DESTINATION)
			s->head.at_destination[seat->is.destination]++;
	}
}

struct seat *seats_taken(struct seats *s, uint32_t seat)
{
	CHECK(seat < s->head.max && s->seat[seat].is.taken);
	return &s->seat[seat];
}

void seats_unask(struct seats *s, struct seat *seat)
{
	if (!seat->asked)
		return;
	CHECK(s->asked > 0);
	seat->asked = 0;
	s->asked--;
}

void seats_free(struct seats *s, uint32_t seat)
{
	struct seat *own = seats_taken(s, seat);

	own->is.taken = 0;
	seats_unask(s, own);
	if (own->is.destination != NO_DESTINATION)
		s->head.at_destination[own->is.destination]--;
	if (own->is.counted)
		seats_count_out(s, own);
	if (seats_is_place(own)) {
		s->places -= !own->until_ms;
		s->places_at[own->is.destination]--;
	} else {
		s->head.sessions--;
	}
	seats_judge_stress(s);
	own->link = s->free_seat;
	s->free_seat = seat;
}
