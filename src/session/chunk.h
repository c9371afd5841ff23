/* SPDX-License-Identifier: ISC */
/* chunk: moves the octets of a chunk (BDAT). */
#ifndef SESSION_CHUNK_H
#define SESSION_CHUNK_H

#include "session/transfer.h"

extern const struct mover chunk_mover;

/* What was queued for the destination has left, the end of a chunk perhaps too. */
void chunk_flushed(struct session *s);

#endif
