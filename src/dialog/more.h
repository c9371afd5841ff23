/* SPDX-License-Identifier: ISC */
/* more: what a session is called, how it is spoken to, and the last refusal that its client got. */
#ifndef DIALOG_MORE_H
#define DIALOG_MORE_H

#include "base/span.h"

struct dialog;
struct dialog_peer;

/* What the client calls itself; "" before it has said it. */
const char *dialog_helo(const struct dialog *d);
/* Who has logged in: the name, else the mechanism; "" while nobody has. */
const char *dialog_login(const struct dialog *d);
/* How the destination that the dialog has now is spoken to. */
void dialog_note_peer(struct dialog *d, const struct dialog_peer *peer);
/* The last 4xx or 5xx that the client got, or its beginning; empty: none. */
struct span dialog_last_refusal(const struct dialog *d);

#endif
