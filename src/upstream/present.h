/* SPDX-License-Identifier: ISC */
/*
 * present: a destination is told whom a connection speaks for (identity= of DESTINATIONS). A
 * connection that speaks for nobody but us (a visit, learning) says that by a header, and by
 * nothing where commands would say it.
 *
 *   header   of the PROXY protocol: before the first octet, of TLS too. It has no answer. A server
 *            that does not know it takes it for a command, and refuses that: the answer comes in
 *            place of the one to EHLO, which such a destination therefore may not refuse.
 *   XCLIENT  greeting, EHLO, XCLIENT; the destination then greets again, the client this time, and
 *            that greeting is what the owner of the connection gets. What was offered before
 *            counts no more.
 *
 * A destination that is not told is of no use: its own rules would judge us in the client's place.
 * One that does not offer XCLIENT, refuses it, or answers in any other way is unidentified. What it
 * says of the client in place of the second greeting (421, 450, 521, 550, 554) is the client's.
 *
 * A connection of the pool is told so again before another client's transaction, and its EHLO read
 * again, since what it offers may depend on the client.
 *
 * XFORWARD belongs to each transaction: dialog/identity.h.
 *
 * A part of connect's, by its talk (talk.h).
 */
#ifndef UPSTREAM_PRESENT_H
#define UPSTREAM_PRESENT_H

#include "smtp/proxy.h"
#include "upstream/connect.h"

struct identity {
	struct addr client;
	struct addr to;	  /* what the client has connected to */
	const char *helo; /* of the client; "": it has said none yet */
	struct smtp_proxy_more more;
};

/* Words about a destination that says more than its greeting behind a header. */
extern const char present_unknown_header[];

/* Whether the header is to be said, or was; whether XCLIENT is. */
bool present_by_header(const struct connect *c);
bool present_by_command(const struct connect *c);

/* Each calls DONE when it is over: CONNECT_REACHED, with what the destination has said, or the
 * failure of the connection. It may be called before this returns. */
void present_header(struct connect *c, void (*done)(struct connect *c, enum connect_result how));
/* Where TLS was begun by STARTTLS, the greeting has come already: C->talk has it. */
void present_client(struct connect *c, void (*done)(struct connect *c, enum connect_result how));
/* C->stream has spoken for another client, and has offered C->xclient. CONNECT_REACHED: it speaks
 * for C->identity, and C->offer says what it offers; or it is stale, or unidentified. */
void present_again(struct connect *c, void (*done)(struct connect *c, enum connect_result how));

#endif
