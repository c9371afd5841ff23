/* SPDX-License-Identifier: ISC */
/*
 * seats_other: tables of seats that a program with another layout made. After an upgrade its
 * workers end on theirs, and the new ones count both. What is read of such a table is its head and
 * the head of each of its seats: these stay as they are for ever, whatever else a layout changes.
 * They are read without the other table's lock; since nobody takes a seat there any more, what is
 * read can only be too much.
 */
#ifndef SHARED_SEATS_OTHER_H
#define SHARED_SEATS_OTHER_H

#include "shared/seats.h"

#define SEATS_MARK	  "caronte seats "
#define SEATS_LAYOUT_SIZE 32
#define KEY_SIZE	  17 /* family, address; an IPv6 address is cut to its /64 */
#define SEATS_WIDTHS	  3  /* IPv6 networks that are counted: /64, /56, /48 */

struct seats_head {
	char layout[SEATS_LAYOUT_SIZE]; /* begins with SEATS_MARK */
	_Atomic uint32_t closed;	/* nobody is left: it does not count */
	uint32_t max;			/* seats, of sessions and places */
	uint32_t seats_at, seat_size;	/* octets: where the seats begin, from one to the next */
	_Atomic uint32_t sessions;
	_Atomic uint32_t at_destination[SEATS_DESTINATIONS];
};

struct seat_head {
	_Atomic uint8_t taken; /* last when a seat is taken, first when it is freed */
	_Atomic uint8_t counted;
	_Atomic uint8_t destination;
	uint8_t key[KEY_SIZE];
};

/* H counts from now on, until it is closed. False: it is no table, or there are too many. */
bool others_add(struct seats_head *h);
/* Sessions in all, and at destination DEST. */
uint32_t others_sessions(void);
uint32_t others_at(unsigned dest);
/* Adds to N the counted sessions of an IPv4 address, or of the three networks around an IPv6 one.
 */
void others_of_networks(const uint8_t key[KEY_SIZE], uint32_t n[SEATS_WIDTHS]);

#endif
