/* SPDX-License-Identifier: ISC */
/* client: the dialog's side towards the client. */
#ifndef DIALOG_CLIENT_H
#define DIALOG_CLIENT_H

#include <stddef.h>

#include "base/span.h"

struct dialog;

/* Takes commands of the client from IN as far as they can be dealt with now; the octets consumed.
 * Call again, with what was left and what has come, whenever anything has changed. */
size_t dialog_from_client(struct dialog *d, struct span in);

#endif
