/* SPDX-License-Identifier: ISC */
/* ends: what befalls a session from outside: the end of one of its connections, or a refusal. */
#ifndef SESSION_ENDS_H
#define SESSION_ENDS_H

#include "session/session.h"

/* The client's stream is over: RES 0, or a fault. */
void session_client_ended(struct session *s, int res);
/* Sees whether a client that is not being read is gone (reset, or closed both ways): if so the
 * session ends, unless a message of it is on its way. */
bool session_client_gone(struct session *s);
/* Nothing more can be sent to the destination. What it said before is still taken; then comes the
 * end of its stream, which ends the matter. */
void session_dest_broken(struct session *s);
/* Ends a session that has no destination with REPLY (static, with CR LF). */
void session_refuse(struct session *s, const char *reply, enum session_end end, enum reason why);
/* … for want of TLS with one. */
void session_refuse_insecure(struct session *s);
/* … that does not take the client's identity. */
void session_refuse_unidentified(struct session *s);

#endif
