/* SPDX-License-Identifier: ISC */
/*
 * door: between accepting and a session, for connections of which it is not known yet who comes: a
 * balancer of PROXY_FROM says that first, by a header of the PROXY protocol (smtp/proxy.h), before
 * TLS too. Only then is there a client to take a seat for.
 *
 * Exactly the header is taken off; what stands behind it is the client's. One that is not there
 * within DOOR_MS, is wrong or cut off ends the connection without a word: whatever is said could be
 * heard by somebody else than is meant. A fault "proxy-header" says why. A balancer that looks
 * whether we are there, and closes without an octet, is no fault.
 *
 * DOOR_MAX connections can be here at a time; one more is closed. Owns their descriptors until it
 * hands them over. It fails by closing.
 */
#ifndef DOOR_DOOR_H
#define DOOR_DOOR_H

#include "base/pool.h"
#include "io/stream.h"
#include "runtime/context.h"

#define DOOR_MS 5000 /* for the whole header */

/* A connection of which it is known now who comes. */
struct door_client {
	int fd;
	struct addr addr; /* the client's; where the connection is the balancer's own, that of it */
	struct addr proxy; /* the balancer's */
	struct addr to;	   /* what the client has connected to; family 0: this very socket */
	bool tls_first;
};

struct door {
	struct context *ctx;
	struct pool guests;
	struct list waiting;
	/* Takes over CLIENT's descriptor. */
	void (*enter)(struct door *d, const struct door_client *client);
	/* One less is waiting. */
	void (*left)(struct door *d);
};

/* CTX has its engine. 0 or -ENOMEM. */
int door_init(struct door *d, struct context *ctx,
	      void (*enter)(struct door *d, const struct door_client *client),
	      void (*left)(struct door *d)) __attribute__((warn_unused_result));
/* PEER, at the other end of FD, is in PROXY_FROM. `enter` may be called before this returns. */
void door_take(struct door *d, int fd, const struct addr *peer, bool tls_first);
/* Nobody waits here any more. */
void door_end(struct door *d);
static inline bool door_is_empty(const struct door *d)
{
	return d->guests.in_use == 0;
}

#endif
