/* SPDX-License-Identifier: ISC */
/*
 * rename: XCLIENT of a proxy (XCLIENT_FROM). Everything counts by the client that it names, seat,
 * networks and destination too, so the proxy's session ends, and another one begins over the same
 * connection, with the TLS that it has. Only when the first has given back all that it had does the
 * worker admit the second one, as if it had just been accepted.
 */
#ifndef SESSION_RENAME_H
#define SESSION_RENAME_H

struct session;

/* Goes on with it, as far as that can be done now. */
void session_rename(struct session *s);

#endif
