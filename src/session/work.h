/* SPDX-License-Identifier: ISC */
/*
 * work: the memory that a session has while something is under way. A session that waits for its
 * client has none of it.
 */
#ifndef SESSION_WORK_H
#define SESSION_WORK_H

#include "session/session.h"

/* Takes the memory of what is under way. */
void session_borrow(struct session *s);
void session_return_work(struct session *s);
/* Gives it back where the session only waits for its client. */
void session_return_idle_work(struct session *s);
/* Keeps octets for the dialog's next look; there is room by construction. */
void session_keep(struct buf *in, struct span octets);

#endif
