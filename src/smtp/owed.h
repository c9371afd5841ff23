/* SPDX-License-Identifier: ISC */
/*
 * owed: the destination-facing dialog. Keeps what the destination owes us, in order, and judges
 * each reply by the table in owed.c: which command it answers, or that the two sides disagree
 * (invariant 6). A reply to a command whose octets have not left yet is one too many.
 *
 * It refuses to attribute a reply to any but the oldest command that has left. No I/O, no memory.
 */
#ifndef SMTP_OWED_H
#define SMTP_OWED_H

#include <stdbool.h>
#include <stdint.h>

#include "smtp/mechanism.h"
#include "smtp/reply.h"

/* Commands in flight to one destination at most; more wait (back-pressure). */
#define SMTP_OPEN_MAX 64

/* What the destination owes next. */
enum smtp_owes {
	SMTP_OWES_NOTHING,
	SMTP_OWES_GREETING,
	SMTP_OWES_COMMAND, /* the answer to any command but the ones below */
	SMTP_OWES_DATA,	   /* the answer to DATA */
	SMTP_OWES_BODY,	   /* nothing yet: we are sending the message, or a chunk of it */
	SMTP_OWES_EOD,	   /* the answer to the end of data, or to the last chunk */
	SMTP_OWES_CHUNK,   /* the answer to a chunk that was not the last, while more of them go */
	SMTP_OWES_AUTH,
	SMTP_OWES_FORWARD, /* the answer to XFORWARD, which no client has asked for */
	SMTP_OWES_KINDS
};

enum smtp_owed_verdict {
	SMTP_OWED_ANSWER,  /* it answers the oldest open command */
	SMTP_OWED_EARLY,   /* a refusal in the middle of a body: the connection is to be closed */
	SMTP_OWED_CLOSING, /* 421: the destination ends the session */
	SMTP_OWED_DESYNC,  /* the two sides disagree */
};

struct smtp_owed {
	uint8_t owed[SMTP_OPEN_MAX]; /* a ring of enum smtp_owes, oldest first */
	uint8_t head, count;
	uint8_t unsent;	   /* of the youngest, how many have not left yet */
	uint32_t ext;	   /* enum smtp_ext: what its last EHLO answer offered */
	uint64_t size_max; /* octets of a message that it takes; 0: no limit */
	struct smtp_mechanisms mechanisms;
	/* enum smtp_attribute: what that offered of these. */
	uint32_t forward, xclient;
};

/* A fresh connection: the greeting is owed. */
void smtp_owed_start(struct smtp_owed *c);
/* A command was queued for sending; there must be room (smtp_owed_full()). */
void smtp_owed_queued(struct smtp_owed *c, enum smtp_owes what);
/* The N oldest of those that had not left were given to the kernel. */
void smtp_owed_flushed(struct smtp_owed *c, unsigned n);
static inline bool smtp_owed_full(const struct smtp_owed *c)
{
	return c->count >= SMTP_OPEN_MAX - 1; /* one place is kept for BODY behind DATA */
}
static inline bool smtp_owed_owes(const struct smtp_owed *c)
{
	return c->count > 0;
}
/* What the oldest open command is. */
enum smtp_owes smtp_owed_oldest(const struct smtp_owed *c);
/* Judges a well-formed reply, of which the first octet came when BEGUN was the oldest open command
 * (smtp_owed_oldest()): what began too early answers nothing that was sent since. ANSWER takes
 * the oldest command off; after a 354 to DATA the body is what is open, until
 * smtp_owed_body_sent(). */
enum smtp_owed_verdict smtp_owed_judge(struct smtp_owed *c, const struct smtp_reply *reply,
				       enum smtp_owes begun);
/* A body begins that we have made chunks of (RFC 3030): nothing is owed before it. */
void smtp_owed_body_begun(struct smtp_owed *c);
/* True while more of a message is to go to the destination: the youngest is SMTP_OWES_BODY. */
bool smtp_owed_in_body(const struct smtp_owed *c);
/* A chunk of it has reached the destination, and was not the last: its answer is owed. There must
 * be room for all that are not answered yet. */
void smtp_owed_chunk_reached(struct smtp_owed *c);
/* The end of data, or the last chunk of such a body, is queued: its answer is owed, after those to
 * the chunks before. */
void smtp_owed_body_sent(struct smtp_owed *c);
/* The last octets of a chunk (queued as SMTP_OWES_BODY) have left: its answer is owed. */
void smtp_owed_chunk_sent(struct smtp_owed *c, bool last);

#endif
