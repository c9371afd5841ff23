/* SPDX-License-Identifier: ISC */
/* timeout: what a session does when its timer rings (deadline.h says what for). */
#ifndef SESSION_TIMEOUT_H
#define SESSION_TIMEOUT_H

#include "session/session.h"

void session_timer_init(struct session *s);

#endif
