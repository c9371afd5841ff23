/* SPDX-License-Identifier: ISC */
/*
 * starttls: TLS as the dialog sees it: a command that needs quiet on both sides, after which the
 * session begins anew (RFC 3207 4.2). What came in clear behind the command would be taken for
 * words of the secure session: so nothing may have come, and the owner, who knows the socket, says
 * whether it has.
 */
#ifndef DIALOG_STARTTLS_H
#define DIALOG_STARTTLS_H

#include <stdbool.h>

struct dialog;
struct dialog_secure;

/* STARTTLS waits for the owner, and all that was said before it has left. Then one of the next
 * three. */
bool dialog_tls_is_asked(const struct dialog *d);
/* Nothing more has come: 220 is said, and the handshake begins once it has left. */
void dialog_tls_begins(struct dialog *d);
/* The same, but the client is told to come later. */
void dialog_tls_later(struct dialog *d);
/* Something has: the session ends without a word. */
void dialog_tls_injected(struct dialog *d);
/* The client begins with a handshake: nothing is said before it is over. */
void dialog_tls_comes_first(struct dialog *d);
/* The handshake is over: the client has said nothing yet. */
void dialog_tls_done(struct dialog *d, const struct dialog_secure *how);

#endif
