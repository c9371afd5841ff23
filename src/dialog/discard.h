/* SPDX-License-Identifier: ISC */
/* discard: a session that cannot go on. */
#ifndef DIALOG_DISCARD_H
#define DIALOG_DISCARD_H

#include "smtp/reason.h"

struct dialog;

/* Says REPLY (static, with CR LF) as the answer to the oldest open command, or alone, and ends.
 * WHY: see dialog_end_as(). */
void dialog_close(struct dialog *d, const char *reply, enum session_end end, enum reason why);

#endif
