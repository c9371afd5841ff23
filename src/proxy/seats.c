/* SPDX-License-Identifier: ISC */
/*
 * seats: see seats.h. In the shared memory lie, in this order: the header with the robust mutex,
 * the seats (the truth), and what is derived from them: records of addresses that have counted
 * sessions, and the buckets through which they are found.
 *
 * A worker may be killed at any instruction. A seat is therefore written so that it can be read at
 * each of them: its fields while it is free, its state last when taken and first when freed, its
 * destination and its being counted by one store each. Whoever finds that the mutex's owner died
 * makes all that is derived anew from the seats (rebuild), before anything is read from it.
 *
 * Addresses are found by a keyed hash, the key being random, so that clients cannot choose
 * addresses that share a bucket. A misuse by our own code (a seat released twice) is a CHECK: the
 * process ends, and the others go on as after any other death.
 *
 * What other tables hold (seats_other.h) counts too.
 *
 * What a dead worker leaves at a destination is released by whoever takes the mutex when it is due:
 * no process has a timer that could be lost with it.
 */
#include "proxy/seats.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/diag.h"
#include "base/siphash.h"
#include "proxy/seats_other.h"

#define NONE	       UINT32_MAX
#define NO_DESTINATION 0xff
#define SESSIONS_MAX   (UINT32_C(1) << 30)
#define NEVER	       UINT64_MAX

struct seat {
	/* The truth. */
	struct seat_head is; /* its key all zero: a place */
	uint32_t worker;
	/* 0, or its worker is dead, and it is a place until then, of nobody. */
	_Atomic uint64_t until_ms;
	/* Derived: the next free seat, or the record of the address where the seat is counted. */
	uint32_t link;
};

/* Derived: an address with counted sessions. */
struct address {
	uint8_t key[KEY_SIZE];
	uint32_t sessions;
	uint32_t next; /* in its bucket, or of the free ones */
};

/* To be changed with anything below or in struct seat. Programs with another one do not share a
 * table. */
static const char layout[SEATS_LAYOUT_SIZE] = SEATS_MARK "layout 3";

struct seats {
	struct seats_head head;
	pthread_mutex_t lock;
	uint32_t max_sessions;
	uint32_t bucket_mask;
	struct siphash_key hash_key;
	_Atomic uint32_t stress_said;
	/* Somebody has asked with a limit: what a dead worker leaves there counts for a while. */
	_Atomic uint8_t limited[SEATS_DESTINATIONS];
	/* Derived, as are the head's counts. */
	_Atomic uint32_t stressed;
	_Atomic uint32_t places; /* of workers that live */
	uint32_t places_at[SEATS_DESTINATIONS];
	_Atomic uint64_t due_ms; /* the earliest of all until_ms, NEVER: none */
	uint32_t free_seat;
	uint32_t free_address;
	struct seat seat[];
};

static const uint8_t nobody[KEY_SIZE];

static void free_seat(struct seats *s, uint32_t seat);

/* The same clock in all processes. */
static uint64_t now_ms(void)
{
	struct timespec ts;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint32_t bucket_count(unsigned max)
{
	uint32_t n = 16;

	while (n < max && n < UINT32_C(1) << 31)
		n *= 2;
	return n;
}

static struct address *addresses(struct seats *s)
{
	return (void *)&s->seat[s->head.max];
}

static uint32_t *buckets(struct seats *s)
{
	return (void *)&addresses(s)[s->max_sessions];
}

static uint32_t seat_count(unsigned max_sessions)
{
	return max_sessions + SEATS_PLACES(max_sessions);
}

size_t seats_room(unsigned max_sessions)
{
	return sizeof(struct seats) + seat_count(max_sessions) * sizeof(struct seat) +
	       max_sessions * sizeof(struct address) +
	       bucket_count(max_sessions) * sizeof(uint32_t);
}

static bool is_place(const struct seat *seat)
{
	return seat->is.key[0] == 0 || seat->until_ms; /* of no family, or nobody's */
}

static void due_at(struct seats *s, uint64_t until_ms)
{
	if (until_ms < s->due_ms)
		s->due_ms = until_ms;
}

static void make_key(uint8_t key[KEY_SIZE], const struct addr *a)
{
	memset(key, 0, KEY_SIZE);
	key[0] = a->family;
	memcpy(key + 1, a->ip, a->family == 4 ? 4 : 8);
}

static uint32_t *bucket_of(struct seats *s, const uint8_t key[KEY_SIZE])
{
	return &buckets(s)[siphash(s->hash_key, key, KEY_SIZE) & s->bucket_mask];
}

static uint32_t find_address(struct seats *s, const uint8_t key[KEY_SIZE])
{
	uint32_t i = *bucket_of(s, key);

	while (i != NONE && memcmp(addresses(s)[i].key, key, KEY_SIZE) != 0)
		i = addresses(s)[i].next;
	return i;
}

/* Adds the counted seat to its address, which gets a record when it has none. */
static void count_in(struct seats *s, struct seat *seat)
{
	uint32_t i = find_address(s, seat->is.key);

	if (i == NONE) {
		uint32_t *bucket = bucket_of(s, seat->is.key);

		i = s->free_address;
		CHECK(i != NONE); /* there are as many as sessions */
		struct address *a = &addresses(s)[i];

		s->free_address = a->next;
		memcpy(a->key, seat->is.key, KEY_SIZE);
		a->sessions = 0;
		a->next = *bucket;
		*bucket = i;
	}
	addresses(s)[i].sessions++;
	seat->link = i;
}

static void count_out(struct seats *s, const struct seat *seat)
{
	struct address *a = &addresses(s)[seat->link];

	CHECK(a->sessions > 0);
	if (--a->sessions > 0)
		return;
	uint32_t *link = bucket_of(s, a->key);

	while (*link != seat->link)
		link = &addresses(s)[*link].next;
	*link = a->next;
	a->next = s->free_address;
	s->free_address = seat->link;
}

/* Makes everything that is derived from the seats. */
static void rebuild(struct seats *s)
{
	s->head.sessions = 0;
	s->places = 0;
	s->due_ms = NEVER;
	s->free_seat = NONE;
	s->free_address = NONE;
	for (unsigned i = 0; i < SEATS_DESTINATIONS; i++)
		s->head.at_destination[i] = s->places_at[i] = 0;
	memset(buckets(s), 0xff, ((size_t)s->bucket_mask + 1) * sizeof(uint32_t));
	for (uint32_t i = s->max_sessions; i-- > 0;) {
		addresses(s)[i].next = s->free_address;
		s->free_address = i;
	}
	for (uint32_t i = s->head.max; i-- > 0;) {
		struct seat *seat = &s->seat[i];

		if (!seat->is.taken) {
			seat->link = s->free_seat;
			s->free_seat = i;
			continue;
		}
		if (is_place(seat))
			s->places_at[seat->is.destination]++;
		else
			s->head.sessions++;
		if (seat->until_ms)
			due_at(s, seat->until_ms);
		else if (is_place(seat))
			s->places++;
		if (seat->is.counted)
			count_in(s, seat);
		if (seat->is.destination != NO_DESTINATION)
			s->head.at_destination[seat->is.destination]++;
	}
}

/* Frees what is nobody's and whose time is over. The mutex is held. */
static void free_due(struct seats *s)
{
	uint64_t now = s->due_ms == NEVER ? 0 : now_ms();

	if (now < s->due_ms)
		return;
	s->due_ms = NEVER;
	for (uint32_t i = 0; i < s->head.max; i++) {
		const struct seat *seat = &s->seat[i];

		if (!seat->is.taken || !seat->until_ms)
			continue;
		if (seat->until_ms <= now)
			free_seat(s, i);
		else
			due_at(s, seat->until_ms);
	}
}

static void lock(struct seats *s)
{
	int err = pthread_mutex_lock(&s->lock);

	CHECK(err == 0 || err == EOWNERDEAD);
	if (err == EOWNERDEAD) {
		rebuild(s);
		CHECK(pthread_mutex_consistent(&s->lock) == 0);
	}
	free_due(s);
}

static void unlock(struct seats *s)
{
	CHECK(pthread_mutex_unlock(&s->lock) == 0);
}

int seats_init(struct seats *s, unsigned max_sessions)
{
	pthread_mutexattr_t attr;
	int err;

	if (max_sessions == 0 || max_sessions > SESSIONS_MAX)
		return -EINVAL;
	if (getrandom(&s->hash_key, sizeof(s->hash_key), 0) != sizeof(s->hash_key))
		return -EIO;
	err = pthread_mutexattr_init(&attr);
	if (err)
		return -err;
	err = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (!err)
		err = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (!err)
		err = pthread_mutex_init(&s->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	if (err)
		return -err;
	memcpy(s->head.layout, layout, sizeof(layout));
	s->head.max = seat_count(max_sessions);
	s->max_sessions = max_sessions;
	s->head.seats_at = offsetof(struct seats, seat);
	s->head.seat_size = sizeof(struct seat);
	s->bucket_mask = bucket_count(max_sessions) - 1;
	rebuild(s);
	return 0;
}

bool seats_count_with(struct seats *s)
{
	return others_add(&s->head);
}

bool seats_fits(const void *mem, size_t size, unsigned max_sessions)
{
	const struct seats *s = mem;

	return size >= seats_room(max_sessions) &&
	       memcmp(s->head.layout, layout, sizeof(layout)) == 0 &&
	       s->max_sessions == max_sessions;
}

/* ---- stress ---- */

/* Called wherever the number of sessions has changed. It ends lower than it began, or it would come
 * and go with every session. */
static void judge_stress(struct seats *s)
{
	uint64_t sessions = s->head.sessions + others_sessions();

	if (4 * sessions > 3 * (uint64_t)s->max_sessions)
		s->stressed = 1;
	else if (8 * sessions <= 5 * (uint64_t)s->max_sessions)
		s->stressed = 0;
}

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

/* ---- taking and leaving ---- */

/* A taken seat; asking for another one is a fault of ours. The mutex is held. */
static struct seat *taken_seat(struct seats *s, uint32_t seat)
{
	CHECK(seat < s->head.max && s->seat[seat].is.taken);
	return &s->seat[seat];
}

static enum seats_verdict may_take(struct seats *s, const uint8_t key[KEY_SIZE], bool counted,
				   unsigned per_address)
{
	if (s->head.sessions + others_sessions() >= s->max_sessions || s->free_seat == NONE)
		return SEATS_FULL;
	if (!counted || per_address == 0)
		return SEATS_OK;
	uint32_t i = find_address(s, key);
	uint32_t own = i == NONE ? 0 : addresses(s)[i].sessions;

	return own + others_of_address(key) >= per_address ? SEATS_ADDRESS_FULL : SEATS_OK;
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
	new->is.counted = 0;
	new->is.destination = NO_DESTINATION;
	return new;
}

enum seats_verdict seats_take(struct seats *s, unsigned worker, const struct addr *addr,
			      bool counted, unsigned per_address, uint32_t *seat)
{
	uint8_t key[KEY_SIZE];

	make_key(key, addr);
	CHECK(key[0]);
	lock(s);
	enum seats_verdict verdict = may_take(s, key, counted, per_address);

	if (verdict == SEATS_OK) {
		struct seat *new = prepare_seat(s, worker, key);

		new->is.counted = counted;
		new->is.taken = 1;
		s->head.sessions++;
		if (counted)
			count_in(s, new);
		judge_stress(s);
		*seat = (uint32_t)(new - s->seat);
	}
	unlock(s);
	return verdict;
}

void seats_uncount(struct seats *s, uint32_t seat)
{
	lock(s);
	struct seat *own = taken_seat(s, seat);

	if (own->is.counted) {
		own->is.counted = 0;
		count_out(s, own);
	}
	unlock(s);
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
	lock(s);
	struct seat *own = taken_seat(s, seat);
	bool there = own->is.destination == dest;
	bool room = there || has_room(s, dest, max);

	if (room && !there)
		move_to(s, own, (uint8_t)dest);
	unlock(s);
	return room;
}

void seats_leave_destination(struct seats *s, uint32_t seat)
{
	lock(s);
	move_to(s, taken_seat(s, seat), NO_DESTINATION);
	unlock(s);
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

	lock(s);
	own = taken_seat(s, seat);
	if (own->is.destination != NO_DESTINATION)
		new = take_place(s, own->worker, own->is.destination);
	if (new) {
		/* Killed before this, the worker has one too many there until its seats are freed:
		 * one too few would let in another before its connection is closed. */
		own->is.destination = NO_DESTINATION;
		*place = (uint32_t)(new - s->seat);
	}
	unlock(s);
	return new;
}

bool seats_place(struct seats *s, unsigned worker, unsigned dest, unsigned max, uint32_t *place)
{
	struct seat *new = NULL;

	CHECK(dest < SEATS_DESTINATIONS);
	lock(s);
	if (has_room(s, dest, max))
		new = take_place(s, worker, (uint8_t)dest);
	if (new) {
		s->head.at_destination[dest]++;
		*place = (uint32_t)(new - s->seat);
	}
	unlock(s);
	return new;
}

/* The mutex is held. The seat is free first, and what is derived follows. */
static void free_seat(struct seats *s, uint32_t seat)
{
	struct seat *own = taken_seat(s, seat);

	own->is.taken = 0;
	if (own->is.destination != NO_DESTINATION)
		s->head.at_destination[own->is.destination]--;
	if (own->is.counted)
		count_out(s, own);
	if (is_place(own)) {
		s->places -= !own->until_ms;
		s->places_at[own->is.destination]--;
	} else {
		s->head.sessions--;
	}
	judge_stress(s);
	own->link = s->free_seat;
	s->free_seat = seat;
}

void seats_take_over(struct seats *s, uint32_t seat, uint32_t place)
{
	uint8_t dest;

	lock(s);
	dest = taken_seat(s, place)->is.destination;
	move_to(s, taken_seat(s, seat), dest); /* before, as in seats_part() */
	free_seat(s, place);
	unlock(s);
}

void seats_release(struct seats *s, uint32_t seat)
{
	lock(s);
	free_seat(s, seat);
	unlock(s);
}

/* ---- what dead workers leave ---- */

/* The mutex is held. The seat counts at its destination as before, and nowhere else. It stays where
 * it is: there may be no other. */
static void leave_behind(struct seats *s, struct seat *own, uint64_t until_ms)
{
	if (is_place(own)) {
		s->places--;
	} else {
		s->head.sessions--;
		s->places_at[own->is.destination]++;
	}
	if (own->is.counted) {
		own->is.counted = 0;
		count_out(s, own);
	}
	own->until_ms = until_ms;
	due_at(s, until_ms);
	judge_stress(s);
}

unsigned seats_release_worker(struct seats *s, unsigned worker, unsigned linger_ms)
{
	uint64_t until_ms = now_ms() + linger_ms;
	unsigned freed = 0;

	lock(s);
	for (uint32_t i = 0; i < s->head.max; i++) {
		struct seat *seat = &s->seat[i];

		if (!seat->is.taken || seat->worker != worker || seat->until_ms)
			continue;
		freed += !is_place(seat);
		if (seat->is.destination != NO_DESTINATION && s->limited[seat->is.destination])
			leave_behind(s, seat, until_ms);
		else
			free_seat(s, i);
	}
	unlock(s);
	return freed;
}

void seats_free_due(struct seats *s)
{
	if (s->due_ms == NEVER)
		return;
	lock(s);
	unlock(s);
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
	due_at(s, until_ms);
}

void seats_close(struct seats *s, struct seats *heir, unsigned linger_ms)
{
	uint64_t until_ms = now_ms() + linger_ms;

	lock(heir);
	for (unsigned dest = 0; dest < SEATS_DESTINATIONS; dest++)
		for (uint32_t n = s->head.at_destination[dest]; n > 0; n--)
			if (heir->free_seat != NONE)
				inherit(heir, dest, until_ms);
	s->head.closed = 1;
	unlock(heir);
}

unsigned seats_sessions(struct seats *s)
{
	lock(s);
	unsigned n = s->head.sessions + others_sessions();

	unlock(s);
	return n;
}

unsigned seats_of_address(struct seats *s, const struct addr *addr)
{
	uint8_t key[KEY_SIZE];

	make_key(key, addr);
	lock(s);
	uint32_t i = find_address(s, key);
	unsigned n = (i == NONE ? 0 : addresses(s)[i].sessions) + others_of_address(key);

	unlock(s);
	return n;
}

unsigned seats_of_destination(struct seats *s, unsigned dest)
{
	CHECK(dest < SEATS_DESTINATIONS);
	lock(s);
	unsigned n = s->head.at_destination[dest] + others_at(dest);

	unlock(s);
	return n;
}

unsigned seats_load(struct seats *s, unsigned dest)
{
	CHECK(dest < SEATS_DESTINATIONS);
	lock(s);
	unsigned n = s->head.at_destination[dest] - s->places_at[dest] + others_at(dest);

	unlock(s);
	return n;
}

bool seats_places_are_few(const struct seats *s)
{
	return s->places > SEATS_PLACES(s->max_sessions) / 2;
}
