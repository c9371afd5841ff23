/* SPDX-License-Identifier: ISC */
/* chunk: moves the octets of a chunk (BDAT). */
#ifndef SESSION_CHUNK_H
#define SESSION_CHUNK_H

#include "session/session.h"

/* A chunk begins: its command was read. */
void session_chunk_begin(struct session *s);
/* Goes on with it. */
void session_chunk_step(struct session *s);
/* What was queued for the destination has left, the end of a chunk perhaps too. */
void session_chunk_flushed(struct session *s);

#endif
