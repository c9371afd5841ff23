/* SPDX-License-Identifier: ISC */
/* seat: a session's seat: what it is told, and when the session gives it up. */
#ifndef SESSION_SEAT_H
#define SESSION_SEAT_H

#include "session/session.h"

/* Tells the seat what the session is good for: that it is of use, whom it waits for. */
void session_seat_useful(struct session *s);
void session_seat_waits(struct session *s);
/* Where its seat was asked for, the session ends. */
void session_seat_asked(struct session *s);
/* A session that leaves: its seat is free, if it gives that up and can. False: there is no room
 * for one more without a seat, and the connection is to be closed. */
bool session_seat_given(struct session *s);
/* The destination's connection is closed: its seat is free. */
void session_forget_destination(struct session *s);

#endif
