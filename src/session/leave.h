/* SPDX-License-Identifier: ISC */
/*
 * leave: how a session ends (invariant 10): its record, the destination's connection, the last
 * words, which no reset must destroy, and then all that it has.
 */
#ifndef SESSION_LEAVE_H
#define SESSION_LEAVE_H

#include "session/session.h"

/* The dialog has come to its end: the session's record, and the last words. The record is written
 * when it is decided how the session ends, not when a client at last hangs up. */
void session_ends(struct session *s);
/* Closes the destination's connection as soon as no operation uses it. */
void session_close_destination(struct session *s);
/* The last words have gone out: waits until the client has read them. */
void session_leave(struct session *s);
/* Closes both sides at once; the session is gone when the last operation has come back. */
void session_close_all(struct session *s);
/* The last thing that a turn does: S may be gone afterwards. The client sees its end last, when its
 * seat is free again for whoever comes next. */
void session_finish_closing(struct session *s);

#endif
