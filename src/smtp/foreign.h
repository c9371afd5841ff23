/* SPDX-License-Identifier: ISC */
/*
 * foreign: the words of another protocol where a command belongs. Each ends the session: a web
 * application that can be told what to fetch would else speak SMTP from a trusted address, by the
 * lines of its request's body; a PROXY header (of HAProxy) says that a balancer stands between us
 * and the clients, so that all of them have its address. No I/O, no state; the result does not
 * depend on how the octets arrived. Private to src/smtp.
 */
#ifndef SMTP_FOREIGN_H
#define SMTP_FOREIGN_H

#include <stdbool.h>

#include "base/span.h"
#include "smtp/reason.h"

/*
 * Looks at IN, which begins where a command does, before a line is cut from it: a TLS ClientHello,
 * or, where nothing was said before (FIRST), the signature of PROXY version 2, which begins with
 * empty lines. *MORE: what has come may become that signature, and nothing can be said yet.
 */
enum reason smtp_foreign_octets(struct span in, bool first, bool *more);
/* LINE begins with an HTTP method or a PROXY header of version 1: REASON_NONE for all others. */
enum reason smtp_foreign_word(struct span line);

#endif
