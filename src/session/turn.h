/* SPDX-License-Identifier: ISC */
/*
 * turn: all the work of a session outside of a body, in one turn at the end of the loop's turn, so
 * that what belongs together leaves together: what has come is given to the dialog, and what the
 * dialog has to say is sent.
 */
#ifndef SESSION_TURN_H
#define SESSION_TURN_H

#include "session/session.h"

void session_turn(struct io_task *task);

#endif
