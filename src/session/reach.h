/* SPDX-License-Identifier: ISC */
/* reach: how a session comes to a destination, and leaves it. */
#ifndef SESSION_REACH_H
#define SESSION_REACH_H

#include "session/session.h"

/* Looks for a destination; again when one failed, or a seat was waited for. */
void session_connect(struct session *s);
/* … for the first time. */
void session_begin(struct session *s);
/* The destination may have greeted: others are to know how. */
void session_greeted(struct session *s);
/* Closes the destination's connection, which no operation uses, and frees its seat. */
void session_part(struct session *s);
/* Waits a while for what others have now, a seat or knowledge; session_connect() looks again. */
void session_wait_for_seat(struct session *s);

#endif
