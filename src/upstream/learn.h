/* SPDX-License-Identifier: ISC */
/* learn: how the pool finds out what a destination can do. */
#ifndef UPSTREAM_LEARN_H
#define UPSTREAM_LEARN_H

#include "upstream/warm_inner.h"

/* Takes in what any worker has learnt of DEST. */
void warm_see(struct warm *p, unsigned dest);
/* Says the line of C->hello, or with an empty one only listens, and calls ANSWERED with what the
 * one reply that comes means: SMTP_HELLO_BAD too where there is none in MS, or more than one, or
 * one that is older than what was said. It may be called before this returns. */
void warm_ask(struct warm_conn *c, uint64_t ms,
	      void (*answered)(struct warm_conn *c, enum smtp_hello_result how));
/* Begins to ask DEST what it can do where that has not been tried since SINCE_MS (0: where it is
 * due), unless somebody does. */
void warm_learn(struct warm *p, unsigned dest, uint64_t since_ms);

#endif
