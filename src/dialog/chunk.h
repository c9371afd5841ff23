/* SPDX-License-Identifier: ISC */
/* chunk: the octets of a chunk that the client makes. */
#ifndef DIALOG_CHUNK_H
#define DIALOG_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct dialog;

/*
 * N octets of the chunk were taken from the client, and SENT of them were given to the destination
 * (all, but where it fails; none in a chunk that is thrown away). Nobody looks at them. Afterwards
 * dialog_in_chunk() says whether more are to come; when not, what follows is a command. A client
 * whose stream ends before that is lost: dialog_client_lost().
 */
void dialog_chunk(struct dialog *d, uint64_t n, uint64_t sent);
/* The next octets of the chunk may not pass without a look. */
bool dialog_chunk_must_be_seen(const struct dialog *d);
/* Before dialog_chunk(), where the octets go through memory: a look. False: they do not go on, and
 * the message is discarded. */
bool dialog_chunk_look(struct dialog *d, struct span octets);

#endif
