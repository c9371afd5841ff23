/* SPDX-License-Identifier: ISC */
/*
 * seats_table: the table of seats (seats_inner.h): how large it is, how it begins, and its mutex.
 * Where a process died with the mutex, the next one to take it makes anew all that is derived
 * (seats_derived.c). What a dead worker leaves at a destination is freed by whoever takes the mutex
 * when it is due: no process has a timer that could be lost with it.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/diag.h"
#include "shared/seats_inner.h"

#define SESSIONS_MAX (UINT32_C(1) << 30)

/* To be changed with anything in struct seats, struct seat or struct network. Programs with another
 * one do not share a table. */
static const char layout[SEATS_LAYOUT_SIZE] = SEATS_MARK "layout 4";

uint64_t seats_now_ms(void)
{
	struct timespec ts;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint32_t seat_count(unsigned max_sessions)
{
	return max_sessions + SEATS_PLACES(max_sessions);
}

size_t seats_room(unsigned max_sessions)
{
	return sizeof(struct seats) + seat_count(max_sessions) * sizeof(struct seat) +
	       seats_networks_room(max_sessions);
}

/* Frees what is nobody's and whose time is over. The mutex is held. */
static void free_due(struct seats *s)
{
	uint64_t now = s->due_ms == NEVER ? 0 : seats_now_ms();

	if (now < s->due_ms)
		return;
	s->due_ms = NEVER;
	for (uint32_t i = 0; i < s->head.max; i++) {
		const struct seat *seat = &s->seat[i];

		if (!seat->is.taken || !seat->until_ms)
			continue;
		if (seat->until_ms <= now)
			seats_free(s, i);
		else
			seats_due_at(s, seat->until_ms);
	}
}

void seats_lock(struct seats *s)
{
	int err = pthread_mutex_lock(&s->lock);

	CHECK(err == 0 || err == EOWNERDEAD);
	if (err == EOWNERDEAD) {
		seats_derive(s);
		CHECK(pthread_mutex_consistent(&s->lock) == 0);
	}
	free_due(s);
}

void seats_unlock(struct seats *s)
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
	seats_networks_init(s);
	seats_derive(s);
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
