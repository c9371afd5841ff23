/* SPDX-License-Identifier: ISC */
/* busy: a destination that takes connections and greets them with a refusal. */
#ifndef ROUTE_BUSY_H
#define ROUTE_BUSY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "route/route.h"

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

#endif
