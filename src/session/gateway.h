/* SPDX-License-Identifier: ISC */
/* gateway: the sockets' side of the gateway dialog. */
#ifndef SESSION_GATEWAY_H
#define SESSION_GATEWAY_H

#include "session/session.h"

/* DIALOG_GATEWAY. True: the session has no greeting yet, and this has seen to it. */
bool session_gateway_begin(struct session *s);
/* Takes a connection of the pool to DEST, with its seat there; false: there is none. It is the
 * session's with session_gateway_taken(). */
bool session_gateway_take(struct session *s, unsigned dest);
void session_gateway_taken(struct session *s);
/* That connection speaks for the client already, or the destination is not told by commands. */
bool session_gateway_is_known(const struct session *s);
/* It does now, by connect_again(). */
void session_gateway_presented(struct session *s, const struct connect *c);
/* A connection of its own stands. */
void session_gateway_connected(struct session *s, const struct connect *c);
/* Sees whether a connection of the pool turns out dead without a word: in TIMEOUT_CONNECT nothing
 * that it was given was acknowledged. If so it is lost. */
bool session_gateway_dead(struct session *s);
/* What has just come over a connection of the pool is older than what this session has said, of
 * which nothing is acknowledged: it answers nobody here. */
bool session_gateway_stray(const struct session *s);
/* Gives the connection back, when the dialog has done with it. */
void session_gateway_release(struct session *s);
/* Looks for one when the dialog wants it. */
void session_gateway_reach(struct session *s);

#endif
