/* SPDX-License-Identifier: ISC */
/*
 * resolver: destination names after the start. getaddrinfo(3) blocks and has faults of its own, so
 * a short-lived child process asks, and writes what it learns into the shared state of route/. One
 * child at a time; a name that does not resolve is asked again after a pause, one that does each
 * RESOLVER_REFRESH_MS, since its old addresses may answer for long. The owner (the master) says
 * what time it is and when the child has ended; nothing here waits.
 */
#ifndef CHECK_RESOLVER_H
#define CHECK_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "check/listen.h"
#include "route/route.h"

#define RESOLVER_PAUSE_MS   5000  /* until a name that did not resolve is asked again */
#define RESOLVER_REFRESH_MS 60000 /* until every name is asked again, whatever became of it */
#define RESOLVER_PATIENCE_S 60	  /* a child that takes longer ends */

struct resolver {
	const struct route *route;
	struct route_shared *shared;
	const struct listen_set *listen;  /* never resolves to these */
	struct resolver_answers *answers; /* shared with the child */
	uint64_t names;	 /* destinations that are names, not addresses: a bit each */
	uint64_t wanted; /* to be asked */
	uint64_t asked;	 /* what the child was given */
	uint64_t silent; /* did not resolve when asked last */
	uint64_t not_before_ms;
	uint64_t refresh_ms; /* 0: not running yet */
	pid_t pid;	     /* 0: no child */
};

/* True when "HOST:PORT" is an IP address with a port; *A is it. */
bool resolver_literal(const char *host_port, struct addr *a);

/* 0 or -ENOMEM. */
int resolver_init(struct resolver *r, const struct route *route, struct route_shared *shared,
		  const struct listen_set *listen) __attribute__((warn_unused_result));
/* Goes on with other destinations. A child that is under way is not ours any more: the caller ends
 * it. */
void resolver_change(struct resolver *r, const struct route *route, struct route_shared *shared,
		     const struct listen_set *listen);
/* Destination DEST had no address at start. */
void resolver_missing(struct resolver *r, unsigned dest);
/*
 * Looks whether a name is to be asked and starts a child for it. CHILD_INIT, with CTX, is the first
 * thing that the child calls. 0, or -errno of fork(2): tried again after the pause.
 */
int resolver_run(struct resolver *r, uint64_t now_ms, void (*child_init)(void *ctx), void *ctx);
/*
 * The child PID has ended. *LOST: names that stopped resolving now, *FOUND: names that resolve
 * again; a bit each. What it did not come to is neither, and asked for again.
 */
void resolver_ended(struct resolver *r, uint64_t now_ms, uint64_t *lost, uint64_t *found);

#endif
