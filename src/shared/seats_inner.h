/* SPDX-License-Identifier: ISC */
/*
 * seats_inner: the table of seats itself, which the files seats*.c share and nobody else sees.
 *
 * In the shared memory lie, in this order: the header with the robust mutex, the seats (the truth),
 * and what is derived from them: records of networks that have counted sessions, and the buckets
 * through which they are found.
 *
 * A worker may be killed at any instruction. A seat is therefore written so that it can be read at
 * each of them: its fields while it is free, its state last when taken and first when freed, all
 * else by one store each. Whoever finds that the mutex's owner died makes all that is derived anew
 * from the seats, before anything is read from it.
 *
 * A misuse by our own code (a seat released twice) is a CHECK: the process ends, and the others go
 * on as after any other death.
 */
#ifndef SHARED_SEATS_INNER_H
#define SHARED_SEATS_INNER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/siphash.h"
#include "shared/seats.h"
#include "shared/seats_other.h"

#define NONE	       UINT32_MAX
#define NO_DESTINATION 0xff
#define NEVER	       UINT64_MAX

/* Strangers that one look has found to be of the least use. */
#define USELESS_MAX 64

struct seat {
	/* The truth. */
	struct seat_head is; /* its key all zero: a place */
	uint32_t worker;
	/* 0, or its worker is dead, and it is a place until then, of nobody. */
	_Atomic uint64_t until_ms;
	_Atomic uint64_t useful_ms; /* when its session has last been of use */
	_Atomic uint8_t spared;	    /* its session waits for others than its client */
	_Atomic uint8_t asked;	    /* its worker is to end the session */
	/* Derived: the next free seat, or the record of the network where the seat is counted. */
	uint32_t link;
};

/* Derived: a network, or an address, with counted sessions. */
struct network {
	uint8_t key[KEY_SIZE];
	uint32_t sessions;
	uint32_t wider; /* the next wider network that is counted too, NONE: there is none */
	uint32_t next;	/* in its bucket, or of the free ones */
};

struct useless {
	uint64_t useful_ms;
	uint32_t seat;
};

struct seats {
	struct seats_head head;
	pthread_mutex_t lock;
	uint32_t max_sessions;
	uint32_t bucket_mask;
	struct siphash_key hash_key;
	_Atomic uint32_t stress_said;
	_Atomic uint32_t asked_serial; /* counted up with each seat that is asked for */
	/* Somebody has asked with a limit: what a dead worker leaves there counts for a while. */
	_Atomic uint8_t limited[SEATS_DESTINATIONS];
	/* Derived, as are the head's counts. */
	_Atomic uint32_t stressed;
	_Atomic uint32_t places; /* of workers that live */
	uint32_t places_at[SEATS_DESTINATIONS];
	_Atomic uint64_t due_ms; /* the earliest of all until_ms, NEVER: none */
	uint32_t asked;		 /* seats that were asked for and are not free yet */
	uint32_t free_seat;
	uint32_t free_network;	 /* of those that were used before */
	uint32_t fresh_networks; /* from this one on none was ever used */
	/* The most useless first, as they were when all seats were looked at; see seats_stress.c.
	 */
	struct useless useless[USELESS_MAX];
	uint32_t useless_next, useless_count;
	uint64_t look_again_ms;
	struct seat seat[];
};

/* CLOCK_MONOTONIC, the same clock in all processes. */
uint64_t seats_now_ms(void);
void seats_lock(struct seats *s);
void seats_unlock(struct seats *s);

/* ---- the mutex is held for all that follows ---- */

/* Of no family, or nobody's. */
static inline bool seats_is_place(const struct seat *seat)
{
	return seat->is.key[0] == 0 || seat->until_ms;
}

/* ---- seats_networks.c ---- */

size_t seats_networks_room(unsigned max_sessions);
/* The memory behind the seats, and what is in it, begins anew. */
void seats_networks_init(struct seats *s);
void seats_networks_clear(struct seats *s);
void seats_make_key(uint8_t key[KEY_SIZE], const struct addr *a);
/* Adds the counted seat to its networks, and takes it out. */
void seats_count_in(struct seats *s, struct seat *seat);
void seats_count_out(struct seats *s, const struct seat *seat);
/* Whether one more is too many, where PER_ADDRESS may come from one address. */
bool seats_networks_full(struct seats *s, const uint8_t key[KEY_SIZE], unsigned per_address);
/* Counted ones of an address (IPv6: of its /64) in this table. */
uint32_t seats_counted(struct seats *s, const uint8_t key[KEY_SIZE]);

/* ---- seats_derived.c ---- */

/* Makes everything that is derived from the seats. */
void seats_derive(struct seats *s);
/* A taken seat; asking for another one is a fault of ours. */
struct seat *seats_taken(struct seats *s, uint32_t seat);
/* The seat is free first, and what is derived follows. */
void seats_free(struct seats *s, uint32_t seat);
/* A seat is a place until UNTIL_MS, of nobody. */
void seats_due_at(struct seats *s, uint64_t until_ms);
/* Called wherever the number of sessions has changed. */
void seats_judge_stress(struct seats *s);
/* Nothing is known of who is useless. */
void seats_forget_useless(struct seats *s);
/* The seat is not asked for any more. */
void seats_unask(struct seats *s, struct seat *seat);

#endif
