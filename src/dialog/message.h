/* SPDX-License-Identifier: ISC */
/*
 * message: where the client's message stands, and what is known of it. One for each dialog.
 *
 *     NONE --> COMING --> WHOLE --> GIVEN --> NONE      its octets go on
 *               |  ^                  |
 *               |  +------------------+                 the chunk was taken, and is not the last
 *               v
 *             DISCARDED --> NONE                        a refusal waits for its end
 *
 * A chunk of the client's (BDAT) runs through the same states as a message that comes by DATA. A
 * message that is answered before its end was given (its connection is lost) is NONE from then on.
 * enter() in message.c is the only writer of the state, and has the table of what may follow what.
 */
#ifndef DIALOG_MESSAGE_H
#define DIALOG_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "smtp/eod.h"
#include "smtp/header.h"
#include "smtp/repair.h"
#include "smtp/text.h"

enum message_state {
	MESSAGE_NONE,	   /* none has begun, or it was answered */
	MESSAGE_COMING,	   /* the client sends it, and its octets go on */
	MESSAGE_DISCARDED, /* … and they are thrown away; `saved` answers its end */
	MESSAGE_WHOLE,	   /* it is all here; the destination has not been given the end */
	MESSAGE_GIVEN,	   /* the kernel has all of it; the destination's answer is awaited */
	MESSAGE_STATES
};

/* How it comes, and how it goes on. */
enum message_way {
	MESSAGE_BY_DATA,
	MESSAGE_COUNTED,   /* by DATA, and on in chunks of ours */
	MESSAGE_BY_CHUNKS, /* by BDAT */
};

/* Why octets are thrown away, and what follows the refusal. */
enum message_discard {
	DISCARD_MESSAGE,      /* the message is refused, its connection closed */
	DISCARD_AND_END,      /* … and the session ends without more words */
	DISCARD_LONE_CHUNK,   /* a chunk of no message, of which the destination never hears */
	DISCARD_LONE_AND_END, /* … and it is gone meanwhile: the session ends too */
};

/* How the octets went on: a set. */
enum message_moved { MESSAGE_COPIED = 1, MESSAGE_SPLICED = 2 };

struct message {
	uint8_t state;	  /* enum message_state */
	uint8_t way;	  /* enum message_way */
	uint8_t moved;	  /* enum message_moved */
	uint8_t discard;  /* enum message_discard */
	uint8_t why;	  /* enum reason: … because of that */
	bool last;	  /* of the chunk that comes, or came: it ends the message */
	uint32_t gates;	  /* lines of it that were waited for */
	uint64_t bytes;	  /* octets that went on */
	uint64_t trace_s; /* its trace is still to be said: seconds since 1970; 0: no */
	uint64_t looked;  /* … of which were looked at, where they come in chunks */
	struct smtp_newlines newlines; /* of those */
	uint64_t left;		       /* octets of the chunk that the client has not sent yet */
	struct smtp_eod eod;
	struct smtp_repair repair;
	struct smtp_header header;
	struct smtp_text text;
};

struct dialog;

const char *message_state_name(enum message_state state);

/* The client sends octets, and they are thrown away. */
static inline bool message_is_discarded(const struct message *m)
{
	return m->state == MESSAGE_DISCARDED;
}

/* A refusal waits for the end of what comes, for the reason that its connection is gone. */
static inline bool message_is_refused(const struct message *m)
{
	return message_is_discarded(m) && m->discard != DISCARD_LONE_CHUNK;
}

/* A message has begun and is not answered: it gets a record. */
static inline bool message_is_open(const struct message *m)
{
	return m->state != MESSAGE_NONE &&
	       !(message_is_discarded(m) && m->discard >= DISCARD_LONE_CHUNK);
}

/* The message, with its end of data, or the chunk is all here: the kernel was given all of it. */
void dialog_message_given(struct dialog *d);
/* … and the destination's kernel has it: from now on it can be answered. */
void dialog_message_reached(struct dialog *d);
/* The caller moves octets in another way than it said: they are copied (enum message_moved). */
void dialog_message_copied(struct dialog *d);

#endif
