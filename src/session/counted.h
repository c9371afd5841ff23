/* SPDX-License-Identifier: ISC */
/*
 * counted: the chunks that Caronte makes of a body which the client sends by DATA (DATA_AS_BDAT).
 * Each is one send: its command and its octets, from the memory that was scanned. With PIPELINING
 * (RFC 2920) up to COUNTED_MOST of them go on before the first is answered, else one. One also over
 * a Unix socket, where no more is known than whether all that was sent has been read.
 *
 * An answer to a chunk counts only when its last octet is acknowledged, as that to a whole message
 * does: what the destination says before that answers something else.
 */
#ifndef SESSION_COUNTED_H
#define SESSION_COUNTED_H

#include <stdbool.h>
#include <stdint.h>

#define COUNTED_MOST 8

struct session;

struct counted {
	uint32_t message;	     /* whose chunks they are: its number in the session */
	uint32_t size[COUNTED_MOST]; /* of those that are not acknowledged, the oldest first */
	uint8_t open;
	bool begun;	 /* `before` is known */
	uint64_t before; /* octets that the destination had acknowledged when the message began */
	uint64_t done;	 /* … and of its chunks, up to the first of `size` */
};

/* A body begins. */
void counted_reset(struct session *s);
/* A chunk that is not the last is about to be sent. */
void counted_begin(struct session *s);
/* It was sent, with its command SIZE octets. */
void counted_sent(struct session *s, uint32_t size);
/* True while the next chunk waits for answers. */
bool counted_waits(const struct session *s);
/* Something of the destination's is about to be read: which chunks have reached it? */
void counted_look(struct session *s);
/* All of them have. */
void counted_all(struct session *s);

#endif
