/* SPDX-License-Identifier: ISC */
/* say: what the client is told. */
#ifndef DIALOG_SAY_H
#define DIALOG_SAY_H

#include <stdbool.h>

struct dialog;

/* True when there is room to say a reply of the destination: else dialog_from_destination() takes
 * none until the client has been sent some. */
bool dialog_has_room(const struct dialog *d);

#endif
