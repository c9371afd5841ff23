/* SPDX-License-Identifier: ISC */
/* secure: the client's TLS, from the word that asks for it to the end of the handshake. */
#ifndef SESSION_SECURE_H
#define SESSION_SECURE_H

struct session;

/* Goes on with it, as far as that can be done now. */
void session_secure(struct session *s);

/* The session ends: tells of it if TLS has failed behind the handshake. */
void session_secure_ends(struct session *s);

/* Before anything else is done with the client. */
void session_secure_first(struct session *s);

#endif
