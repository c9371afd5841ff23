/* SPDX-License-Identifier: ISC */
/*
 * warm: a worker's connections to destinations that no session has now (DIALOG_GATEWAY): greeted,
 * EHLO said, nothing owed. A session takes one for a transaction and gives it back, or one of its
 * own making, afterwards. And what each destination's answer to EHLO offers, learnt ahead by
 * a connection of its own, or by another worker, at start and every LEARN_MS, and from it what
 * clients are offered.
 *
 * It refuses to keep what it is not sure of: a connection over which anything comes while it is
 * idle, a 421 or an end too, is closed and no more; one whose RSET is not answered by a 250 alone
 * never becomes idle. At most PER_DESTINATION are idle at one destination, none for longer than
 * IDLE_MS, none is older than AGE_MS or used more than USES_MAX times.
 *
 * An idle connection is a session in the destination's eyes: where that has a max=, it holds a seat
 * there, and is closed as soon as a session of any worker waits for one (route_want_room()).
 *
 * A pool belongs to one version of the configuration; sessions that outlive it get and leave
 * nothing.
 */
#ifndef UPSTREAM_WARM_H
#define UPSTREAM_WARM_H

#include "io/stream.h"
#include "runtime/context.h"

struct warm; /* opaque */

/* Whom a connection speaks for: a session, by the name that its client goes by now. Zeroed: us. */
struct warm_client {
	struct xmllog_session session;
	uint64_t helo; /* a hash of it */
};

/* A connection between two transactions. */
struct warm_line {
	struct stream stream;
	unsigned dest;
	struct addr addr;
	uint32_t ext; /* what its own EHLO offered */
	uint64_t size_max;
	struct smtp_mechanisms mechanisms;
	uint64_t born_ms;
	unsigned uses;	/* transactions */
	uint32_t place; /* its seat at a destination with a max= */
	bool has_place;
	uint32_t refusals; /* struct dialog_gateway */
	/* Of a destination that is told of clients by XCLIENT: what it offers of that (enum
	 * smtp_attribute), and whom the connection speaks for. */
	uint32_t xclient;
	struct warm_client speaks_for;
	uint32_t forward; /* the same of XFORWARD, of any destination */
};

/* Room for all that a worker keeps. 0 or -ENOMEM. */
int warm_pool(struct pool *pool) __attribute__((warn_unused_result));
/* 0 or -ENOMEM. */
int warm_make(struct warm **made, struct context *ctx, struct context_version *v)
	__attribute__((warn_unused_result));
/* Begins to learn. W has its engine. */
void warm_begin(struct warm *p);
/* Nothing is kept any more. */
void warm_end(struct warm *p);
/* P has ended and no version user is left. NULL does nothing. */
void warm_free(struct warm *p);

/* What clients are offered now; the address stays the same. */
const struct smtp_offer *warm_offer(const struct warm *p);
enum warm_knowledge {
	WARM_KNOWS,    /* warm_offer() is worth something */
	WARM_LEARNS,   /* it may be soon */
	WARM_HOPELESS, /* all were asked since then, and none has answered */
};
/* For a client that has come at SINCE_MS: nobody is refused on old news, so where nothing is known
 * all destinations are asked again. */
enum warm_knowledge warm_knowledge(struct warm *p, uint64_t since_ms);

/* What a transaction or a login uses. */
struct warm_need {
	uint32_t ext; /* enum smtp_ext */
	uint64_t size;
	struct span login; /* its mechanism; empty: none */
	struct warm_client client;
};

/* Takes an idle connection to DEST that covers NEED for the session with seat SEAT; one that speaks
 * for the same client rather than another one. False: there is none. */
bool warm_take(struct warm *p, unsigned dest, uint32_t seat, const struct warm_need *need,
	       struct warm_line *line);
bool warm_speaks_for(const struct warm_line *l, const struct warm_client *c);
/* Takes over the connection of LINE, which has none afterwards. BEGUN: a transaction must be ended
 * by RSET first. */
void warm_give(struct warm *p, struct warm_line *line, bool begun);

#endif
