/* SPDX-License-Identifier: ISC */
/*
 * route: which destination a session goes to. The list (struct route) is read-only after start; the
 * state that changes (struct route_shared: addresses, up or down, when to try again) lies in memory
 * that all processes share and has no pointers. No descriptor, clock or allocation of its own: time
 * is an argument, counts and seats are asked of the caller. The one reason for a session to go on
 * to another destination is a TCP connection that failed (caronte(8)); a greeting that is no
 * welcome sends later sessions elsewhere (busy.c).
 */
#ifndef ROUTE_ROUTE_H
#define ROUTE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/bounds.h"
#include "base/span.h"

#define ROUTE_ADDRESSES 8   /* of one name */
#define ROUTE_WORDS_MAX 256 /* of what a busy destination said, with its NUL; a multiple of 8 */

enum route_cooperation { ROUTE_SINGLE, ROUTE_CLUSTER, ROUTE_BACKUP };
enum route_balance { ROUTE_LEAST_SESSIONS, ROUTE_ROUND_ROBIN, ROUTE_SOURCE };

struct route_destination {
	/* "HOST:PORT", a host name as configured, an address as addr_format() writes it */
	char name[DESTINATION_NAME_MAX];
	unsigned weight; /* 1 to 1000 */
	unsigned max;	 /* sessions at most, 0: no limit */
};

struct route {
	enum route_cooperation cooperation;
	enum route_balance balance;
	unsigned count;
	struct route_destination destination[DESTINATIONS_MAX];
};

/*
 * Parses DESTINATIONS (`HOST:PORT[,weight=N][,max=N]`…, separated by blanks) and checks that it
 * fits the cooperation mode. REPORT is called with what is wrong and what is allowed, for each
 * fault. True when there was none.
 */
bool route_parse(struct route *r, const char *list, enum route_cooperation cooperation,
		 enum route_balance balance, void (*report)(void *ctx, const char *what),
		 void *ctx);

/* The destination that NAME ("HOST:PORT", any text) means, or -1: none. */
int route_find(const struct route *r, const char *name);

struct route_shared; /* opaque, pointer-free, shared between processes */
size_t route_shared_room(void);
void route_shared_init(struct route_shared *s, const struct route *r);
/* Takes over what OLD, the state of OLD_ROUTE, knows of destinations of the same name: addresses,
 * up or down, drained. S is new and nobody else's yet; OLD may be in use. */
void route_carry_over(struct route_shared *s, const struct route *r, struct route_shared *old,
		      const struct route *old_route);
/*
 * The addresses that a destination's name has now (from the resolver; one process at a time). Those
 * that are none or stand there twice are left out, port 0 becomes the destination's own; N 0
 * changes nothing. True when they differ from those before, in whatever order. A writer that is
 * killed leaves the addresses of before.
 */
bool route_set_addresses(struct route_shared *s, unsigned dest, const struct addr *a, unsigned n);
/* The next one to try comes first; the number of them. */
unsigned route_get_addresses(struct route_shared *s, unsigned dest,
			     struct addr out[ROUTE_ADDRESSES]);

/* One session's search for a destination. Zero-initialised before its first pick. */
struct route_search {
	uint64_t tried;	   /* a bit per destination that failed this session */
	uint8_t address;   /* of the destination's addresses, the next to try */
	uint8_t tried_any; /* 1: `dest` is being tried */
	uint8_t first;	   /* of the addresses, the one that was tried first */
	unsigned dest;
	uint64_t began_ms; /* when the attempts at `dest` began */
	uint64_t since_ms; /* when the first pick was */
};

/* What the caller knows and route/ does not: the sessions open at DEST across all workers, and
 * whether a seat there could be taken (it is then taken; max 0: no limit). */
struct route_counts {
	unsigned (*sessions)(struct route_counts *c, unsigned dest);
	bool (*take)(struct route_counts *c, unsigned dest, unsigned max);
};

enum route_answer {
	ROUTE_PICKED, /* *DEST and *ADDRESS; the seat is taken */
	ROUTE_FULL,   /* every candidate is at its max: ask again later, until patience ends */
	ROUTE_NONE,   /* no destination is left to try */
};

/*
 * Picks the destination and address to connect to. Call again after route_failed() for the next
 * one. A destination that is down is no candidate while another one is, also when its pause is
 * over: trying it is the background's. The same holds for one of a cluster that is busy. When all
 * are down, or busy, they are tried all the same, so that no client is refused on old news.
 */
enum route_answer route_pick(const struct route *r, struct route_shared *s,
			     struct route_search *search, struct route_counts *counts,
			     const struct addr *client, uint64_t now_ms, unsigned *dest,
			     struct addr *address);

/* How a connection attempt ended. True when the destination's state changed by it (a `destination`
 * record is due). A failure sets aside once all addresses of the name failed; the pauses grow from
 * 500 to 5000 ms. Also marks the name for resolving again. An attempt that began before the
 * destination came back says nothing about it. SEARCH NULL, or one that is not trying DEST: the
 * failure is that of the whole destination. */
bool route_connected(struct route_shared *s, unsigned dest, uint64_t now_ms);
bool route_failed(struct route_shared *s, struct route_search *search, unsigned dest,
		  uint64_t now_ms);
bool route_up(struct route_shared *s, unsigned dest);
/* True once a second at most, in all processes together: what DEST has said may be told of. */
bool route_may_tell(struct route_shared *s, unsigned dest, uint64_t now_ms);
enum route_health { ROUTE_UP, ROUTE_BUSY, ROUTE_DOWN };
/* What DEST is now, and the word for it ("up", "busy", "down"). */
enum route_health route_health(struct route_shared *s, unsigned dest);
const char *route_health_name(enum route_health health);
/*
 * Takes DEST out of use (ON), or back: a drained destination is no candidate in any cooperation
 * mode; the sessions that it has go on. True when that is a change.
 */
bool route_drain(struct route_shared *s, unsigned dest, bool on);
bool route_drained(struct route_shared *s, unsigned dest);

/*
 * A session has found DEST at its max=: connections that stand there unused are to go. Whoever has
 * such ones looks whether the number has changed.
 */
void route_want_room(struct route_shared *s, unsigned dest);
uint32_t route_room_wanted(struct route_shared *s, unsigned dest);

/* ---- busy: a destination that takes connections and greets them with a refusal ---- */

/*
 * DEST has greeted with a refusal, with something malformed, or not at all, and said WORDS: it is
 * busy, for 2 s at first. Each time that the pause is over and the next greeting is no better, the
 * pause is doubled, up to 60 s. The attempt began at BEGAN_MS: one that began before the pause is
 * no news. True when DEST was not busy before (a record is due).
 */
bool route_turned_away(struct route_shared *s, unsigned dest, uint64_t began_ms, uint64_t now_ms,
		       const char *words);
/* DEST has greeted well. Within the first 2 s of a pause that is no news. True when DEST was busy
 * before (a record is due). */
bool route_welcomed(struct route_shared *s, unsigned dest, uint64_t began_ms, uint64_t now_ms);
bool route_busy(struct route_shared *s, unsigned dest);
/* The same, and its pause is not over. */
bool route_busy_rests(struct route_shared *s, unsigned dest, uint64_t now_ms);
/* Since when it is busy; 0: it is not. And what it said; the length, which may be 0. */
uint64_t route_busy_since(struct route_shared *s, unsigned dest);
size_t route_busy_words(struct route_shared *s, unsigned dest, char out[ROUTE_WORDS_MAX]);
/* Destinations of a cluster that are up, busy and due for a look (a bit each): the next pause has
 * begun, so each is handed out to one caller, who says what came of it by one of the above. */
uint64_t route_busy_due(struct route_shared *s, const struct route *r, uint64_t now_ms);

/* ---- tries in the background, of what is down ---- */

/* Destinations that are down and due for a try (a bit each); each is handed out to one caller per
 * pause, and its name is asked for again. */
uint64_t route_due(struct route_shared *s, const struct route *r, uint64_t now_ms);
/* The address to try: the next one each time, so that none has to time out first. False: none. */
bool route_try(struct route_shared *s, unsigned dest, struct addr *address);
/* The try reached ADDRESS, where sessions begin from now on. True: a record is due. (A try that
 * failed needs no word: the next pause began with it.) */
bool route_came_back(struct route_shared *s, unsigned dest, const struct addr *address,
		     uint64_t now_ms);

/* ---- checks, of what is up ---- */

/* Destinations that are up and due for a check (a bit each); each is the caller's alone until
 * route_check_done(), LEASE_MS at most: a caller may be killed. */
uint64_t route_checks_due(struct route_shared *s, const struct route *r, uint64_t now_ms,
			  uint64_t lease_ms);
void route_check_done(struct route_shared *s, unsigned dest, uint64_t next_ms);
/* SEARCH tries DEST and nothing else, as a session would: *ADDRESS is the first one, after
 * route_failed() the next one by route_check_next(). False: none is left. */
bool route_check_begin(struct route_shared *s, struct route_search *search, unsigned dest,
		       uint64_t now_ms, struct addr *address);
bool route_check_next(struct route_shared *s, const struct route_search *search,
		      struct addr *address);
/* What a check found beyond the connection, which moves no mail. True when the one before found
 * otherwise (a record is due). */
bool route_check_found(struct route_shared *s, unsigned dest, bool good);
/* Whether the last check found fault. */
bool route_unwell(struct route_shared *s, unsigned dest);

/*
 * ---- notes: what has been found out about a destination ----
 *
 * Octets whose meaning is their writer's, for all processes and those that come later. One process
 * at a time finds it out, whoever claims it first; a claim ends by itself, since its holder may be
 * stopped, and with its holder's end.
 */
#define ROUTE_NOTE_MAX 1024 /* octets, a multiple of 8 */
/* By the holder of the claim. NOTE has 1 to ROUTE_NOTE_MAX octets. */
void route_note_write(struct route_shared *s, unsigned dest, struct span note);
/* Its length; 0: there is none. */
size_t route_note_read(struct route_shared *s, unsigned dest, uint8_t out[ROUTE_NOTE_MAX]);
/* Another one for each note that was written; 0: there is none. */
uint32_t route_note_number(struct route_shared *s, unsigned dest);
/* Whether it is time for the next note, and when it will be. */
bool route_note_due(struct route_shared *s, unsigned dest, uint64_t now_ms);
void route_note_next(struct route_shared *s, unsigned dest, uint64_t due_ms);
/* For LEASE_MS from now it is the caller's to find out, who is HOLDER (of ROUTE_HOLDERS): the
 * claim, or 0 when it is another's. */
#define ROUTE_HOLDERS 65536
uint64_t route_note_claim(struct route_shared *s, unsigned dest, unsigned holder, uint64_t now_ms,
			  uint64_t lease_ms);
/* It takes longer: LEASE_MS from now. */
void route_note_hold(struct route_shared *s, unsigned dest, uint64_t *claim, uint64_t now_ms,
		     uint64_t lease_ms);
void route_note_leave(struct route_shared *s, unsigned dest, uint64_t claim);
/* HOLDER is no more: what it has claimed is anybody's. */
void route_note_release(struct route_shared *s, unsigned holder);
/* Whether somebody holds a claim. */
bool route_note_awaited(struct route_shared *s, unsigned dest, uint64_t now_ms);
/* The holder begins to ask the destination; when the last one did (0: nobody has). */
void route_note_begun(struct route_shared *s, unsigned dest, uint64_t now_ms);
uint64_t route_note_since(struct route_shared *s, unsigned dest);

/* Destinations whose name is to be resolved again (a bit each), handed out once. */
uint64_t route_to_resolve(struct route_shared *s, const struct route *r);

#endif
