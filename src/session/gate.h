/* SPDX-License-Identifier: ISC */
/* gate: a line that waits for the destination's silence. */
#ifndef SESSION_GATE_H
#define SESSION_GATE_H

#include "session/session.h"

/* The next line waits at the gate from now on. */
void session_gate_shut(struct session *s);
/* True while it does. */
bool session_gate_waits(struct session *s);
/* The time until the next look is over. */
void session_gate_timed_out(struct session *s);

#endif
