/* SPDX-License-Identifier: ISC */
/* destination: the dialog's side towards the destination. */
#ifndef DIALOG_DESTINATION_H
#define DIALOG_DESTINATION_H

#include <stddef.h>

#include "base/span.h"

struct dialog;

/* Takes replies of the destination from IN; the octets consumed (all but an incomplete reply and
 * what there is no room to say yet). */
size_t dialog_from_destination(struct dialog *d, struct span in);

#endif
