/* SPDX-License-Identifier: ISC */
/*
 * trace_story: the records of one session, told in words. They come in the log's order, with those
 * of other sessions between, and the session's own record last. Each becomes text at once, so what
 * is kept of a session is what will be printed of it: a transaction of which nothing matches is
 * counted and left out, and so is what exceeds the bounds below.
 */
#ifndef CTL_TRACE_STORY_H
#define CTL_TRACE_STORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/log_print.h"
#include "ctl/trace_match.h"

#define STORY_TRANSACTIONS 20 /* told of a session, at most */
/* Of a transaction, that do not match: of those that were accepted, and of those refused. */
#define STORY_RECIPIENTS 20
#define STORY_NOTES	 40 /* logins, refusals and faults outside of transactions */
#define STORY_STATES	 6  /* of destinations */

struct story {
	bool begun, ended;
	bool trouble; /* the destinations' states may have to do with it */
	int64_t first_us, last_us;
	struct log_text client, body, end, reply; /* `reply`: the one told last */
	/* The transaction that is open, and its number. */
	struct log_text open;
	bool is_open, matched;
	uint64_t number, matching;  /* matching recipients told of it */
	uint64_t others, hidden[2]; /* that do not match: told, and left out (refused, accepted) */
	uint64_t told, untold;	    /* transactions */
	uint64_t notes, notes_hidden;
};

/* What the destinations did, whatever session it was. */
struct story_state {
	int64_t us;
	bool up;
	struct log_text address, line;
};

#define STORY_STATES_KEPT 512

struct story_states {
	struct story_state state[STORY_STATES_KEPT]; /* a ring */
	uint64_t n;
	int64_t started_us; /* of the daemon, the last time; INT64_MIN: not known */
};

struct story_teller {
	struct log_print print;
	const struct trace_match *match;
	struct story_states states;
};

/* A record of the session; WANTED, whether it matches or not. */
void story_add(struct story_teller *t, struct story *s, const struct log_record *r, bool wanted);
/* Appends the lines of a fault of no session, with its date. */
void story_tell_stray(const struct story_teller *t, const struct log_record *r,
		      struct log_text *out);
/* What is open of a transaction is whole. */
void story_close(struct story *s);
void story_free(struct story *s);

#endif
