/* SPDX-License-Identifier: ISC */
/* body: moves a message's octets. */
#ifndef SESSION_BODY_H
#define SESSION_BODY_H

#include "session/session.h"

/* OCTETS of a message have come: they are `rest` from now on, in a buffer that is borrowed. */
void session_body_take(struct session *s, struct span octets);
/* Whether the kernel can move octets from the client to the destination. */
bool session_can_splice(const struct session *s);
/* BODY_SPLICE, as far as this body can be moved so: its octets are to be left in the socket. */
bool session_body_by_splice(const struct session *s);
/* Goes on after anything has changed. */
void session_body_step(struct session *s);
/* Gives back what a body borrowed, and ends its copy. */
void session_body_release(struct session *s);
/* The same, but the copy goes on with the next chunk. */
void session_body_return(struct session *s);
/* No octets have come for a while: a body that had flowed gives back the buffer that it waits with.
 */
void session_body_stalled(struct session *s);
/* Receives octets of a chunk, MOST of them at most, into a buffer that is borrowed once they have
 * come: they are `rest` from then on. */
void session_body_receive(struct session *s, size_t most);
/* The destination begins to take octets, and has taken them: that time is not the client's
 * (MIN_RATE). */
void session_dest_takes(struct session *s);
void session_dest_took(struct session *s);
/* Moves N octets from the client's socket to the destination's, through the session's pipe; then,
 * or when that fails, SPLICED is called as io_splice's `done` is (pipe.h). */
void session_splice(struct session *s, uint64_t n,
		    void (*spliced)(struct session *s, const struct io_splice *how, int res));

#endif
