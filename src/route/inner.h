/* SPDX-License-Identifier: ISC */
/*
 * inner: what lies in struct route_shared, for the files of this folder alone. Every field that
 * changes is an atomic of its own or guarded by a sequence count; there is no lock that a killed
 * process could keep. Single steps, so that death between two of them leaves something valid.
 */
#ifndef ROUTE_INNER_H
#define ROUTE_INNER_H

#include <stdatomic.h>

#include "route/busy.h"
#include "route/note.h"
#include "route/route.h"
#include "route/shared.h"

/* One copy of a destination's addresses; SEQUENCE is odd while it is written. */
struct route_copy {
	_Atomic uint32_t sequence;
	_Atomic uint32_t n;
	_Atomic uint64_t word[ROUTE_ADDRESSES][3]; /* the IP's two halves, family and port */
};

/* One copy of a note; SUM is that of the rest. */
struct route_note {
	_Atomic uint64_t sum;
	_Atomic uint32_t n;
	_Atomic uint64_t word[ROUTE_NOTE_MAX / 8];
};

/* What a busy destination said. SUM is that of the rest. */
struct route_words {
	_Atomic uint64_t sum;
	_Atomic uint32_t n;
	_Atomic uint64_t word[ROUTE_WORDS_MAX / 8];
};

struct route_state {
	_Atomic uint64_t health;      /* down, step and end of the pause, or up since: shared.c */
	_Atomic uint64_t check_ms;    /* when the next check is due */
	_Atomic uint32_t unwell;      /* the last check found fault beyond the connection */
	_Atomic uint32_t insecure;    /* the last connection had no TLS, and must have it */
	_Atomic uint64_t busy;	      /* step and end of the pause, or greeted well since: busy.c */
	_Atomic uint64_t busy_ms;     /* since when it is busy */
	struct route_words words;     /* what it said then */
	_Atomic uint64_t round_robin; /* where its next turn begins, in virtual time: pick.c */
	_Atomic uint32_t first;	      /* modulo their number, the address to try first */
	_Atomic uint32_t current;     /* the copy that is read, 0 or 1 */
	_Atomic uint32_t room_wanted; /* how often */
	_Atomic uint32_t unidentified; /* the last client could not be told to it */
	_Atomic uint64_t odd_ms;       /* when its words were last told of: route_may_tell() */
	struct route_copy copy[2];
	_Atomic uint32_t note_number;	/* how often it was written: the copy that is read */
	_Atomic uint64_t note_due_ms;	/* when it is to be written again */
	_Atomic uint64_t note_claim;	/* who is about to, and until when: note.c */
	_Atomic uint64_t note_begun_ms; /* when the last one began to */
	struct route_note note[2];
	/* Fixed by route_shared_init(). */
	uint16_t port;
	bool literal; /* an IP address, never resolved */
};

struct route_shared {
	_Atomic uint64_t resolve;      /* a bit for each name to be resolved again */
	_Atomic uint64_t drained;      /* a bit for each destination that gets no new sessions */
	_Atomic uint64_t turn;	       /* breaks ties */
	_Atomic uint64_t virtual_time; /* of round robin */
	struct route_state state[DESTINATIONS_MAX];
};

static inline uint64_t route_bit(unsigned dest)
{
	return UINT64_C(1) << dest;
}

/* The addresses in the resolver's order. */
unsigned route_read_addresses(struct route_shared *s, unsigned dest,
			      struct addr out[ROUTE_ADDRESSES]);
bool route_has_addresses(struct route_shared *s, unsigned dest);
void route_want_resolved(struct route_shared *s, unsigned dest);
/* Takes the one try of a pause that is over, which begins the next pause. */
bool route_claim(struct route_shared *s, unsigned dest, uint64_t now_ms);
/* DEST has gone down or come back: it is not busy, whatever attempts from before now find. */
void route_busy_forget(struct route_shared *s, unsigned dest, uint64_t now_ms);
/* What OLD knows of FROM, busy or not, is what S knows of TO. */
void route_busy_carry(struct route_shared *s, unsigned to, struct route_shared *old, unsigned from);
/* A search that tries DEST from its first address on; false when it has none. */
bool route_begin(struct route_shared *s, struct route_search *search, unsigned dest,
		 uint64_t now_ms, struct addr *address);
/* The address that the search tries next at its destination; false when there is none. */
bool route_next_address(struct route_shared *s, const struct route_search *search,
			struct addr *address);

#endif
