/* SPDX-License-Identifier: ISC */
/*
 * held: the one way of a command to the destination, in both dialogs. A command is rebuilt from
 * what was understood of it (smtp/build.h), held, and given: its octets are queued for the
 * connection, its answer is owed, and the log has it.
 *
 * Where the connection is the client's own (DIALOG_SNIFF, or after a login) a command is given at
 * once, and so are a chunk and what Caronte says itself: such a command is not kept. The gateway
 * dialog holds the commands of a transaction, or of a login, until there is a connection that may
 * have them. Those that were given stay until the first whole answer that is no 421: a connection
 * of the pool that is lost before that is replaced, and the next one gets them again (gateway.h).
 *
 * Nothing is read out of the octets again: a command that is held keeps its verb, and how much of
 * it may stand in the log.
 */
#ifndef DIALOG_HELD_H
#define DIALOG_HELD_H

#include <stdint.h>

#include "base/buf.h"
#include "smtp/command.h"
#include "smtp/owed.h"

struct dialog;
struct dialog_work;

struct held_command {
	uint8_t verb;	/* enum smtp_verb */
	uint16_t n;	/* octets, with CR LF */
	uint16_t shown; /* octets that may stand in the log; what comes after them may not */
};

/* All that are held, oldest first: MAIL, and what the client has not been answered yet. */
struct held {
	struct buf octets;
	uint8_t head, count;
	uint8_t given; /* so many, the oldest, were given to this connection */
	struct held_command commands[SMTP_OPEN_MAX];
};

/* What the client was offered and this destination can do: after HELO nothing. In the gateway
 * dialog the offer alone counts, which is that of all destinations: gateway.c sees to the rest. */
uint32_t dialog_usable(const struct dialog *d);

/* Rebuilds CMD and gives it at once. There must be room, in these three. */
void dialog_give(struct dialog *d, const struct smtp_command *cmd);
/* The same for the LINE of an AUTH continuation, which was checked octet by octet. */
void dialog_give_continuation(struct dialog *d, struct span line);
/* Rebuilds CMD and keeps it. */
void dialog_hold(struct dialog *d, const struct smtp_command *cmd);
/* Gives what is held, as far as the connection may have it now. */
void dialog_give_held(struct dialog *d);

/* What was given is for the next connection. */
void dialog_give_again(struct dialog_work *w);
/* Forgets what was given; all. */
void dialog_forget_given(struct dialog_work *w);
void dialog_forget_held(struct dialog_work *w);

#endif
