/* SPDX-License-Identifier: ISC */
/*
 * talk: what is said over a connection before anybody has it (secure.h, present.h): a line, and
 * exactly one reply to it; then the next one. Its owners say what a reply means.
 *
 * Has no operation, stream or timer of its own: they are connect's, whose part it is.
 */
#ifndef UPSTREAM_TALK_H
#define UPSTREAM_TALK_H

#include "base/buf.h"
#include "smtp/hello.h"
#include "smtp/reply.h"
#include "upstream/connect.h"

/* Why there is no reply: the connection ended or was silent, the octets are no reply, or the server
 * spoke before it was asked. */
enum talk_failure { TALK_LOST, TALK_MALFORMED, TALK_EARLY };

struct talk {
	struct connect *connect;
	/* The owner's: the last is called when its part is over. */
	/* A reply came to this step; MORE: and something behind it. */
	void (*heard)(struct talk *t, const struct smtp_reply *reply, bool more);
	/* None came, because of WHY. (A greeting that fails is for who has the connection next.) */
	void (*failed)(struct talk *t, enum talk_failure how, const char *why);
	void (*done)(struct connect *c, enum connect_result how);
	struct smtp_hello hello;
	size_t greeting; /* octets of it, which stay at the front of IN */
	struct buf in;
	uint8_t mem[2 * SMTP_REPLY_MAX];
};

/* One for C, of its worker's pool; NULL: there is no room. */
struct talk *talk_new(struct connect *c);
/* Says the line of T->hello's step, and awaits the reply. Whatever stands behind the greeting
 * counts no more. */
void talk_ask(struct talk *t);
/* The same, where what is in T->in already may be the reply, or its beginning. */
void talk_listen(struct talk *t);
/* The stage has come to its end: HOW. What is in T->in is for who has the connection next. T may be
 * gone afterwards. */
void talk_over(struct talk *t, enum connect_result how);
/* Only the greeting counts. */
void talk_keep_greeting(struct talk *t);
/* The fault WHAT of the destination: WHY. Once a second at most it is told. */
void talk_fault(const struct talk *t, const char *what, const char *why);

#endif
