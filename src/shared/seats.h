/* SPDX-License-Identifier: ISC */
/*
 * seats: what all workers count together, in memory that they share: sessions in all, sessions of
 * one client address (IPv6 by /64, /56 and /48), sessions at one destination. One seat a session,
 * which names its worker, is the truth; the counters are derived from the seats. A place is the
 * seat of a connection to a destination that no session has: it counts there and nowhere else, and
 * takes no room from sessions. A robust mutex guards both: when a worker dies inside, whoever comes
 * next derives the counters anew; when it dies outside, the master frees its seats. But a
 * destination with a limit has yet to see that its connections have ended: there each counts for a
 * while as a place that is nobody's. So no limit is ever exceeded, and at worst one session is
 * refused too many.
 */
#ifndef SHARED_SEATS_H
#define SHARED_SEATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* Twice as many as one configuration may have: another one may name nothing but others, while
 * sessions of the one before go on. */
#define SEATS_DESTINATIONS 128

struct seats; /* opaque, pointer-free */

enum seats_verdict { SEATS_OK, SEATS_FULL, SEATS_ADDRESS_FULL };

/* Places that there are beside so many sessions: enough for checks and idle connections where there
 * are few sessions, and for connections that are ending where there are many. */
#define SEATS_PLACES(max_sessions) (64 + (max_sessions) / 4)

size_t seats_room(unsigned max_sessions);
/* MEM is zeroed shared memory of seats_room() octets. 0 or -errno. */
int seats_init(struct seats *s, unsigned max_sessions) __attribute__((warn_unused_result));

/*
 * Takes a seat for worker WORKER. PER_ADDRESS is the limit for ADDR's sessions that are counted, 0:
 * no limit; IPv6 addresses are counted by their /64, four times as many by their /56, sixteen times
 * by their /48. COUNTED false (relay networks): the session is not counted against its address.
 * *SEAT is its number.
 */
enum seats_verdict seats_take(struct seats *s, unsigned worker, const struct addr *addr,
			      bool counted, unsigned per_address, uint32_t *seat);
/* A login takes the session out of its address's count; and it is no stranger any more. */
void seats_uncount(struct seats *s, uint32_t seat);
/*
 * Puts the session at destination DEST; false when it has MAX (0: no limit) sessions already, and
 * then nothing changed. A seat that is at another destination leaves it first.
 */
bool seats_at_destination(struct seats *s, uint32_t seat, unsigned dest, unsigned max);
void seats_leave_destination(struct seats *s, uint32_t seat);
/*
 * The session leaves its destination, whose connection is not over: *PLACE stands for that until it
 * is released. False when no place is free, and then nothing changed.
 */
bool seats_part(struct seats *s, uint32_t seat, uint32_t *place);
/* Takes a place at DEST for worker WORKER; false when that has MAX (0: no limit) sessions already,
 * or no place is free, and then nothing changed. */
bool seats_place(struct seats *s, unsigned worker, unsigned dest, unsigned max, uint32_t *place);
/* The session goes to where PLACE is, which is released: there is one there as before. */
void seats_take_over(struct seats *s, uint32_t seat, uint32_t place);
/* Whether more than half of all places are taken: the rest is for connections that are ending,
 * whose destinations would else see more than their max=. */
bool seats_places_are_few(const struct seats *s);
void seats_release(struct seats *s, uint32_t seat);
/*
 * Frees all seats of a dead worker; the number of sessions that had one. Those at a destination
 * where anybody has ever asked for one with a limit count there, and nowhere else, for LINGER_MS
 * more, and then are free without a word. Where they leave no seat of the table, SEATS_FULL is the
 * answer, or that there is no place.
 */
unsigned seats_release_worker(struct seats *s, unsigned worker, unsigned linger_ms);
/* Frees those whose time is over, as every call does that takes the mutex: for a table that others
 * count from outside. */
void seats_free_due(struct seats *s);

/*
 * Another table, of a program of another layout, whose workers end their last sessions: limits then
 * count what is taken there too. For this process and all that it forks; S itself must live on.
 * False: there are too many, or it is no table.
 */
bool seats_count_with(struct seats *s) __attribute__((warn_unused_result));
/* The last worker of that table has ended: it counts no more, in any process. What is left there at
 * destinations counts in HEIR for LINGER_MS more, as far as that has room. */
void seats_close(struct seats *s, struct seats *heir, unsigned linger_ms);
/* True when MEM of SIZE octets is a table of this very layout for so many sessions. */
bool seats_fits(const void *mem, size_t size, unsigned max_sessions);

/*
 * Stress: more than three quarters of all sessions are there; over at five eighths. Strangers are
 * then waited for less long (deadline.c). The second says to one caller alone that it has begun or
 * ended since it said so last.
 */
bool seats_stressed(const struct seats *s);
bool seats_stress_turned(struct seats *s);

/*
 * Whose seat a newcomer takes past three quarters: the stranger's (whose session is counted) that
 * has gone longest without being of use, IDLE_MS at least, and does not wait for others than its
 * client. The seat may be of any worker, which has to look for what it was asked: seats_asked()
 * changes with each. Until the session has left, the newcomer needs a seat that is free.
 */
#define SEATS_IDLE_MS 30000
/* True: one was asked for, on behalf of a newcomer that has its seat, or finds none. */
bool seats_ask(struct seats *s, unsigned idle_ms);
/* The same where DEST has its MAX sessions, on behalf of one that waits for a place there: one of
 * those was asked for, whether there is stress or not. */
bool seats_ask_at(struct seats *s, unsigned dest, unsigned max, unsigned idle_ms);
uint32_t seats_asked(const struct seats *s);
bool seats_is_asked(const struct seats *s, uint32_t seat);
/* Its worker ends the session; false: it has become of use meanwhile, and stays. */
bool seats_gives_up(struct seats *s, uint32_t seat, unsigned idle_ms);
/* The session has been of use just now: a new one, a recipient or a message that was taken, a good
 * piece of a message that has come. */
void seats_useful(struct seats *s, uint32_t seat);
/* The session waits for others than its client, or does not any more. */
void seats_spare(struct seats *s, uint32_t seat, bool spared);

unsigned seats_sessions(struct seats *s);
unsigned seats_of_address(struct seats *s, const struct addr *addr);
/* What counts against its max=. */
unsigned seats_of_destination(struct seats *s, unsigned dest);
/* The same without the places, which give it nothing to do. */
unsigned seats_load(struct seats *s, unsigned dest);

#endif
