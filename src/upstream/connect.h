/* SPDX-License-Identifier: ISC */
/*
 * connect: the one way to a destination, for a session, for the pool of DIALOG_GATEWAY, and for
 * tries, looks and checks (health.h). One attempt after another: a socket, the connection, the
 * deadline of it, and what the result says about the destination. That is told to the shared state
 * of route/, with the `destination` record where the state has changed:
 *
 *   reached    a TCP connection, or a place in the queue of a Unix socket. One that the destination
 *              has taken, and reset before we have seen it, is one too (a port that is closed
 *              refuses): it is dying, and that is another matter.
 *   failed     no connection, or none in time: the next address may do, or the next destination.
 *   no means   something of our own is wanting (descriptors, memory), which says nothing about the
 *              destination. A local port is wanted for that very destination, so that its want is
 *              a failure.
 *
 * Where a destination is spoken to by TLS (secure.h), that is settled here too, so that nobody
 * above has to know: what is reached is the stream that mail goes over. A destination with which
 * TLS cannot be had is not down, and there is no other one in its place for this caller:
 *
 *   insecure   the connection stands, for the caller to part with. A fault "destination-tls" says
 *              why. In a cluster it is busy (greeting.h), so the next sessions go elsewhere;
 *              not where a header has told it of the client (see below).
 *   slow       the same, and it has not even greeted in time.
 *
 * So is it with whom the connection speaks for (present.h), where the destination is told:
 *
 *   unidentified  the same: the destination does not take the client's identity. A fault
 *                 "identity" says why. It is busy only where no client has a part in that:
 *                 strangers would choose among destinations by what they are refused for.
 *
 * A connection of the pool can be made another client's (connect_again()). One that cannot be any
 * more is stale, and to be parted with too: a fresh one will tell why.
 *
 * Which address comes next is the caller's: connect_next() for those that want this destination
 * and no other, route_pick() for a session. The caller owns the struct, which must stay while an
 * attempt is under way; nothing is allocated.
 */
#ifndef UPSTREAM_CONNECT_H
#define UPSTREAM_CONNECT_H

#include "io/stream.h"
#include "runtime/context.h"

/* Whose connection it is: a session's, or the pool's for sessions to come; that of a visit, after
 * which sessions begin with the address that was reached; the same to what is down, so that its
 * failure is no news. */
enum connect_purpose { CONNECT_MAIL, CONNECT_VISIT, CONNECT_TRY };

/* What people are told of one that is insecure, or unidentified. */
extern const char connect_insecure[], connect_unidentified[];

enum connect_result {
	CONNECT_REACHED,
	CONNECT_FAILED,
	CONNECT_NO_MEANS,
	CONNECT_INSECURE,
	CONNECT_SLOW,
	CONNECT_UNIDENTIFIED,
	CONNECT_STALE,
	CONNECT_CANCELLED, /* by connect_cancel() */
};

struct identity;
struct talk;

struct connect {
	struct context *ctx;
	const struct context_version *version; /* DEST is one of its destinations */
	const struct runtime *rt;	       /* of that version */
	/* An attempt is over: C may be used for the next one, or be gone afterwards. Where it was
	 * reached, or cancelled (then connected or not), STREAM is the caller's to move. */
	void (*done)(struct connect *c, enum connect_result how);
	struct stream stream;
	/* CONNECT_REACHED: what the destination has said already, which is to be taken as if it
	 * came now. There until `done` returns. */
	struct span said;
	enum connect_purpose purpose;
	bool alone; /* nothing but the connection is wanted */
	/* Whom it speaks for, until `done`; NULL: nobody but us. */
	const struct identity *identity;
	/* CONNECT_REACHED: the destination has been told of the client by XCLIENT, and what it
	 * greets with is for that client. */
	bool presented;
	bool is_of_client; /* CONNECT_UNIDENTIFIED: it is, perhaps, because of that client */
	/* CONNECT_REACHED by connect_again(): what it offers that client, there until `done`
	 * returns; and of XCLIENT (enum smtp_attribute). */
	const struct smtp_offer *offer;
	uint32_t xclient;
	unsigned dest;
	struct addr addr;
	struct route_search search;
	uint64_t began_us; /* this attempt */

	/* connect's own. */
	struct io_op op;
	struct io_timer timer;
	struct talk *talk; /* what is said before anybody has the connection */
	uint8_t stage;	   /* of what comes before that, the next */
	bool under_way, cancelled;
};

/* Room for all that is said so in a worker. 0 or -ENOMEM. */
int connect_pool(struct pool *pool, unsigned count) __attribute__((warn_unused_result));

void connect_init(struct connect *c, struct context *ctx, const struct context_version *version,
		  enum connect_purpose purpose,
		  void (*done)(struct connect *c, enum connect_result how));

/* C goes to DEST and nowhere else: the address to begin with, of a try the next one each time.
 * False: the name has none now. */
bool connect_first(struct connect *c, unsigned dest) __attribute__((warn_unused_result));
/* After CONNECT_FAILED, the next address of the same destination. False: none is left; a try has
 * one address. */
bool connect_next(struct connect *c) __attribute__((warn_unused_result));

/* Connects to C->addr of C->dest, for MS at most. `done` may be called before this returns. */
void connect_to(struct connect *c, uint64_t ms);
/* ST, a connection to DEST that stands, owes nothing and has offered XCLIENT, is to speak for C's
 * client from now on. It belongs to C, as one that was made does. */
void connect_again(struct connect *c, struct stream *st, unsigned dest, uint32_t xclient);
static inline bool connect_is_under_way(const struct connect *c)
{
	return c->under_way;
}
/* Nobody wants it any more: CONNECT_CANCELLED, which tells nobody anything, comes as soon as it
 * can. Without an attempt under way nothing happens. */
void connect_cancel(struct connect *c);
/* The time of the attempt is over now. */
void connect_expire(struct connect *c);

/* Takes a place (seats.h) where DEST has a max=, which *HAS_PLACE then says. False: it is full. */
bool connect_place(struct context *ctx, const struct runtime *rt, unsigned dest, bool *has_place,
		   uint32_t *place) __attribute__((warn_unused_result));

#endif
