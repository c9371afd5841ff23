/* SPDX-License-Identifier: ISC */
/*
 * greeting: how destinations greet, whoever has connected to them (a session, a look or a check,
 * the pool of DIALOG_GATEWAY): counts it and, in a cluster, tells the shared state of route/. There
 * a destination that greets badly is busy, which keeps later sessions from it (busy.h). A single
 * one, and one with backups, is used whatever it says: that it refuses is no change of its state.
 */
#ifndef UPSTREAM_GREETING_H
#define UPSTREAM_GREETING_H

#include "runtime/context.h"

/* The attempt that began at BEGAN_MS was greeted badly, with WORDS (smtp/greeting.h), or well. True
 * when the destination's state changed by it: a `destination` record is due. */
bool greeting_bad(struct context *ctx, const struct runtime *rt, unsigned dest, uint64_t began_ms,
		  const char *words);
bool greeting_good(struct context *ctx, const struct runtime *rt, unsigned dest, uint64_t began_ms);
/* The same, and write that record. */
void greeting_record_bad(struct context *ctx, const struct runtime *rt, unsigned dest,
			 uint64_t began_ms, const char *words);
void greeting_record_good(struct context *ctx, const struct runtime *rt, unsigned dest,
			  uint64_t began_ms);

#endif
