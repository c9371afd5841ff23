/* SPDX-License-Identifier: ISC */
/* chunk: moves the octets of a chunk (BDAT). */
#ifndef SESSION_CHUNK_H
#define SESSION_CHUNK_H

#include "session/session.h"

/* Goes on with a chunk (BDAT). */
void session_chunk_step(struct session *s);
/* What was queued for the destination has left, the end of a chunk perhaps too. */
void session_chunk_flushed(struct session *s);

#endif
