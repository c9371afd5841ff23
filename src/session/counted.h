/* SPDX-License-Identifier: ISC */
/*
 * counted: the chunks that Caronte makes of a body which the client sends by DATA (DATA_AS_BDAT).
 * Each is one send: its command and its octets, from the memory that was scanned.
 *
 * The next one goes when the last was answered well, though RFC 3030 4.2 lets it go before: there
 * are servers (those made with go-smtp) that refuse a chunk, and with it the transaction, and take
 * the octets of the next one for commands, since nobody is left to receive them.
 *
 * An answer to a chunk counts only when its last octet is acknowledged, as that to a whole message
 * does: what the destination says before that answers something else.
 */
#ifndef SESSION_COUNTED_H
#define SESSION_COUNTED_H

#include <stdbool.h>
#include <stdint.h>

struct session;

struct counted {
	uint32_t message; /* whose chunk it is: its number in the session */
	bool open;	  /* one was sent, and is not acknowledged */
};

/* A body begins. */
void counted_reset(struct session *s);
/* A chunk that is not the last was sent. */
void counted_sent(struct session *s);
/* True while the next chunk waits for an answer. */
bool counted_waits(const struct session *s);
/* Something of the destination's is about to be read: has the chunk reached it? */
void counted_look(struct session *s);
/* The chunk that was sent has reached the destination. */
void counted_all(struct session *s);

#endif
