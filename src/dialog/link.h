/* SPDX-License-Identifier: ISC */
/*
 * link: how far a session and a destination's connection have come together. The dialog decides,
 * and its owner, who has the socket, does it and says so.
 *
 *     APART --> WANTED --> REACHING --> GREETED --> HELLO --> TOGETHER --> PARTING --> APART
 *                          ^      |                              ^           |
 *                          v      +------------------------------+           +--> CLOSING --> APART
 *                         FULL           one of the pool
 *
 * In DIALOG_SNIFF there is one connection, from the session's beginning on, and no HELLO: the EHLO
 * is the client's. In DIALOG_GATEWAY each transaction has one (gateway.h). link_enter() is the only
 * writer of the state, and has the table of what may follow what.
 */
#ifndef DIALOG_LINK_H
#define DIALOG_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "smtp/command.h"

struct dialog;

enum link_state {
	LINK_APART,    /* there is no connection */
	LINK_WANTED,   /* … and the dialog wants one */
	LINK_FULL,     /* … all destinations are at their max=: asked again in a moment */
	LINK_REACHING, /* … it is looked for, or connected to */
	LINK_GREETED,  /* it stands; the destination's greeting is awaited */
	LINK_HELLO,    /* … the answer to our own EHLO or HELO */
	LINK_TOGETHER, /* commands and answers go over it */
	LINK_PARTING,  /* the dialog has done with it: the owner gives it back or closes it */
	LINK_CLOSING,  /* … it is being closed: operations in flight are awaited */
	LINK_STATES
};

/* What is to become of a connection that the dialog has done with. */
enum link_parting {
	LINK_CLOSES,
	LINK_GIVES_CLEAN, /* to the pool */
	LINK_GIVES_BEGUN, /* … a transaction has begun there: RSET must end it */
};

/* DIALOG_GATEWAY: which connection is wanted, or is there. */
enum link_kind {
	LINK_ANY,
	LINK_FRESH, /* one of its own; one that was used before will not do */
	LINK_USED,  /* one of the pool */
};

/* What has come over a connection. */
enum link_heard {
	LINK_HEARD_NOTHING,
	LINK_HEARD_OCTETS,
	LINK_HEARD_REPLY, /* a whole answer that was no 421: nothing is given twice */
};

/* What of a transaction a connection has been given. */
enum link_given {
	LINK_GIVEN_NOTHING,
	LINK_GIVEN_MAIL,  /* it owes the answer, which the client does not wait for */
	LINK_GIVEN_BEGUN, /* … and has answered, and the transaction is not over */
};

struct link {
	uint8_t state;	 /* enum link_state */
	uint8_t parting; /* PARTING: enum link_parting */
	uint8_t kind;	 /* enum link_kind */
	uint8_t heard;	 /* enum link_heard: since TOGETHER */
	uint8_t given;	 /* enum link_given */
	/* Since the destination last took a message over it; its owner carries it to the next. */
	uint32_t refusals;
};

const char *link_state_name(enum link_state state);

/* The only writer of the state. */
void link_enter(struct dialog *d, enum link_state state);
/* The dialog has done with its connection, or looks for none any more: HOW matters where there is
 * one. What was decided before stands. */
void link_part(struct dialog *d, enum link_parting how);

/* A connection has just been met: nothing was given to it. REFUSALS is what it had before. */
void link_meets_as(struct dialog *d, enum link_kind kind, enum link_state state, uint32_t refusals);
/* A command was given to the destination. */
void link_was_given(struct link *l, enum smtp_verb verb);
/* An answer has begun to come; a whole one has, and it is no 421. */
void link_heard(struct link *l);
void link_replied(struct link *l);
/* CODE answered a command, or (MESSAGE) a message. */
void link_was_answered(struct link *l, unsigned code, bool message);
/* Nobody else should have the connection. */
bool link_is_worn(const struct link *l);

/* Octets of a destination are the dialog's. */
static inline bool link_talks(const struct link *l)
{
	return l->state >= LINK_GREETED && l->state <= LINK_TOGETHER;
}

/* The destination is not of use before it has answered. */
static inline bool link_meets(const struct link *l)
{
	return l->state == LINK_GREETED || l->state == LINK_HELLO;
}

/* A connection is looked for. */
static inline bool link_seeks(const struct link *l)
{
	return l->state == LINK_FULL || l->state == LINK_REACHING;
}

/* The connection is to be closed, and nothing is to be sent over it. */
static inline bool link_closes(const struct link *l)
{
	return (l->state == LINK_PARTING && l->parting == LINK_CLOSES) || l->state == LINK_CLOSING;
}

#endif
