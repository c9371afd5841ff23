/* SPDX-License-Identifier: ISC */
/*
 * note: what has been found out about a destination.
 *
 * Octets whose meaning is their writer's, for all processes and those that come later. One process
 * at a time finds it out, whoever claims it first; a claim ends by itself, since its holder may be
 * stopped, and with its holder's end.
 */
#ifndef ROUTE_NOTE_H
#define ROUTE_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "route/route.h"

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

#endif
