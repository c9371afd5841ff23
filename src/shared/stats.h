/* SPDX-License-Identifier: ISC */
/*
 * stats: the figures of a running daemon. Each worker counts into a block of its own in shared
 * memory and is the only one that writes there, so counting is a load and a store without a lock;
 * anybody may read at any time. Counters only grow, and outlive the worker: a block belongs to the
 * worker's number, not to its process. What is read while it is written is at most one event old.
 *
 * The master alone writes into the block of a worker that has died (stats_ended()), and where
 * nobody counts any more (stats_forget()). Counts never decide anything: limits are kept by
 * seats.h.
 */
#ifndef SHARED_STATS_H
#define SHARED_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bounds.h"
#include "base/span.h"
#include "shared/seats.h"

/*
 * A histogram of durations: one bucket below 64 microseconds, then four to each doubling, the last
 * for all from 2^32 microseconds (72 minutes) on. So a quantile is known to a quarter.
 */
#define STATS_FIRST_LOG 6  /* of the second bucket's begin in microseconds, log2 */
#define STATS_LAST_LOG	32 /* of the last one's */
#define STATS_FIRST_US	(1u << STATS_FIRST_LOG)
#define STATS_BUCKETS	(4 * (STATS_LAST_LOG - STATS_FIRST_LOG) + 2)

struct stats_latency {
	_Atomic uint64_t bucket[STATS_BUCKETS];
	_Atomic uint64_t sum_us;
};

enum stats_time {
	STATS_CONNECT, /* to the destination's TCP connection */
	STATS_REPLY,   /* from the end of data to its answer */
	STATS_MESSAGE, /* from MAIL to the answer to the end of data */
	STATS_TIMES
};

enum stats_result { STATS_ACCEPTED, STATS_DEFERRED, STATS_REFUSED, STATS_RESULTS };

/* By the first digit of the reply. */
enum stats_class { STATS_2XX, STATS_3XX, STATS_4XX, STATS_5XX, STATS_CLASSES };

/* Of clients. */
enum stats_handshake { STATS_FULL, STATS_RESUMED, STATS_FAILED, STATS_HANDSHAKES };

enum stats_turned_away { STATS_MAX_SESSIONS, STATS_MAX_PER_ADDRESS, STATS_LIMITS };

/* The rules of the policy (enum policy_rule), and after them the destination's own refusal. */
#define STATS_RULES	       7
#define STATS_RULE_DESTINATION (STATS_RULES - 1)
/* How sessions end (enum session_end; by a stop last), and after that those of a worker that died,
 * which have no record. */
#define STATS_ENDS	      11
#define STATS_END_WORKER_DIED (STATS_ENDS - 1)
#define STATS_END_STOP	      (STATS_ENDS - 2)

struct stats_destination {
	_Atomic uint64_t sessions;	    /* that got a connection to it */
	_Atomic uint64_t failures;	    /* connections that failed */
	_Atomic uint64_t refused_greetings; /* … that were greeted badly */
	_Atomic uint64_t messages;	    /* accepted by it */
	_Atomic uint64_t octets;	    /* of bodies, sent to it */
	struct stats_latency time[STATS_TIMES];
};

struct stats_worker {
	_Atomic uint64_t pid; /* 0: not running */
	_Atomic uint64_t started_us, starts;
	_Atomic uint64_t open; /* sessions now */
	_Atomic uint64_t sessions;
	_Atomic uint64_t turned_away[STATS_LIMITS];
	_Atomic uint64_t ends[STATS_ENDS];
	_Atomic uint64_t messages[STATS_RESULTS];
	_Atomic uint64_t octets; /* of bodies, sent on */
	_Atomic uint64_t recipients[STATS_RULES];
	_Atomic uint64_t replies[STATS_CLASSES]; /* said to clients */
	_Atomic uint64_t logins[2];		 /* refused, accepted */
	_Atomic uint64_t handshakes[STATS_HANDSHAKES];
	struct stats_destination destination[SEATS_DESTINATIONS]; /* by slot, see slots.h */
};

struct stats {
	char layout[32];     /* of all this; a program of another one does not go on with it */
	uint64_t started_us; /* the daemon's start, since 1970 */
	_Atomic uint64_t reloaded_us; /* the last reload or upgrade (0: none), which was REFUSED */
	_Atomic uint64_t refused;
	_Atomic uint64_t renewal_refused; /* certificates on disk are not taken */
	unsigned workers; /* slots (runtime.h): one without a start was never used */
	_Alignas(64) struct stats_worker worker[];
};

size_t stats_room(unsigned workers);
/* MEM is zeroed shared memory of stats_room() octets. */
void stats_init(struct stats *s, unsigned workers, uint64_t now_us);
/* True when MEM was made by a program of the same layout, for so many. */
bool stats_fits(const struct stats *mem, unsigned workers);
/* Worker WORKER's life begins, in process PID: nothing is open. Its own first call. */
struct stats_worker *stats_begin(struct stats *s, unsigned worker, pid_t pid, uint64_t now_us);
/* … and has ended, said by the master, with LOST sessions. */
void stats_ended(struct stats *s, unsigned worker, unsigned lost);
/* Sessions that have ended: all of them, and those that a stop or a worker's death cut off. */
void stats_count_ends(const struct stats *s, uint64_t ends[2]);
/* Certificates that have changed on disk are taken (or what is there is in use), or not. */
void stats_renewed(struct stats *s, bool good);
/* A reload or an upgrade has ended, said by the master. */
void stats_reloaded(struct stats *s, bool good, uint64_t now_us);
/* Destination number DEST, which no worker counts any more, begins anew: it is another one's now.
 * By the master. */
void stats_forget(struct stats *s, unsigned dest);

/* ---- counting: by the worker alone; a NULL counts nothing ---- */

static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer: no locked instruction is needed. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void stats_set(_Atomic uint64_t *gauge, uint64_t value)
{
	atomic_store_explicit(gauge, value, memory_order_relaxed);
}

/* Counts in MEMBER of a block of whatever kind. */
#define stats_count(block, member, n)                                                              \
	do {                                                                                       \
		if (block)                                                                         \
			stats_add(&(block)->member, (n));                                          \
	} while (0)

#define stats_now(block, member, value)                                                            \
	do {                                                                                       \
		if (block)                                                                         \
			stats_set(&(block)->member, (value));                                      \
	} while (0)

/* The worker's figures of one destination. */
static inline struct stats_destination *stats_at(struct stats_worker *w, unsigned dest)
{
	return w ? &w->destination[dest] : NULL;
}

void stats_time(struct stats_destination *d, enum stats_time what, uint64_t us);
/* REPLY was said to a client. */
void stats_reply(struct stats_worker *w, struct span reply);

/* A message was answered with REPLY, its destination's words (AT) or our own; empty: with nothing.
 */
void stats_message(struct stats_worker *w, struct stats_destination *at, struct span reply);

/* ---- reading ---- */

struct stats_times {
	uint64_t bucket[STATS_BUCKETS];
	uint64_t sum_us;
};

struct stats_destination_sum {
	uint64_t sessions, failures, refused_greetings, messages, octets;
	struct stats_times time[STATS_TIMES];
};

/* All workers together. */
struct stats_sum {
	uint64_t sessions, turned_away[STATS_LIMITS], ends[STATS_ENDS], messages[STATS_RESULTS],
		octets, recipients[STATS_RULES], replies[STATS_CLASSES], logins[2],
		handshakes[STATS_HANDSHAKES];
	struct stats_destination_sum destination[]; /* as many as were asked for */
};

size_t stats_sum_room(unsigned destinations);
/* Adds up into SUM, of stats_sum_room(DESTINATIONS) octets. */
void stats_sum(const struct stats *s, struct stats_sum *sum, unsigned destinations);
/* The same where destination i is counted as number SLOT[i]. */
void stats_sum_slots(const struct stats *s, struct stats_sum *sum, const uint8_t *slot,
		     unsigned destinations);

uint64_t stats_times_count(const struct stats_times *t);
/* What lies between two readings of the same histogram: NOW becomes the difference. */
void stats_times_since(struct stats_times *now, const struct stats_times *before);
void stats_times_add(struct stats_times *to, const struct stats_times *t);
/* The duration that PERCENT of them do not exceed, in microseconds (the end of its bucket); 0:
 * there are none. */
uint64_t stats_times_quantile(const struct stats_times *t, unsigned percent);
/* The end of a bucket, not in it any more; UINT64_MAX for the last. */
uint64_t stats_bucket_end(unsigned bucket);

#endif
