/* SPDX-License-Identifier: ISC */
/*
 * health: a worker's visits to destinations with no client waiting for them: tries of what is down
 * (route_due()), looks at what is busy in a cluster (route_busy_due()), and the checks of CHECK_TCP
 * and CHECK_SMTP of what is up. Which of the workers makes a visit is settled in the shared state
 * of route/. Nothing here holds up a session, and no client pays for the news.
 *
 * A TCP connection that fails sets a destination aside, one that succeeds brings it back. A
 * greeting that is no 2xx makes one of a cluster busy (greeting.h), a good one ends that.
 * Elsewhere, and where none comes in CHECK_TIMEOUT, it is said in the log and changes nothing.
 */
#ifndef UPSTREAM_HEALTH_H
#define UPSTREAM_HEALTH_H

#include "runtime/context.h"

struct health;

/* 0 or -ENOMEM. W has its engine. It is there as long as the process. */
int health_make(struct health **h, struct context *ctx) __attribute__((warn_unused_result));
/* Begins; a worker that drains makes no new visits. */
void health_start(struct health *h);

#endif
