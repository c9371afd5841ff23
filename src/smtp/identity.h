/* SPDX-License-Identifier: ISC */
/*
 * identity: the commands by which a server is told whom a proxy speaks for: XCLIENT, after which
 * the server takes the proxy for the client, and XFORWARD, after which it names the client in its
 * log alone (Postfix's XCLIENT_README and XFORWARD_README). Only attributes that the server offers
 * are said. Values go as xtext (RFC 3461 4), so that no octet of a client's ends one. No I/O.
 *
 * LOGIN is never said: it would log the client in.
 */
#ifndef SMTP_IDENTITY_H
#define SMTP_IDENTITY_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/buf.h"
#include "smtp/reply.h"

#define SMTP_IDENTITY_LINE_MAX 512 /* with CR LF: what the servers take of a command */

enum smtp_attribute {
	SMTP_ATTRIBUTE_NAME = 1 << 0,
	SMTP_ATTRIBUTE_ADDR = 1 << 1,
	SMTP_ATTRIBUTE_PORT = 1 << 2,
	SMTP_ATTRIBUTE_PROTO = 1 << 3,
	SMTP_ATTRIBUTE_HELO = 1 << 4,
	SMTP_ATTRIBUTE_SOURCE = 1 << 5,
	SMTP_ATTRIBUTE_IDENT = 1 << 6,
	SMTP_ATTRIBUTE_DESTADDR = 1 << 7,
	SMTP_ATTRIBUTE_DESTPORT = 1 << 8,
};

/* What a proxy says of its client by XCLIENT. */
struct smtp_identity {
	bool has_client, has_to; /* an address of the client's, and one that it has connected to */
	struct addr client, to;	 /* family 0: only a port was said, or nothing */
};

/* Reads ARGS, what stands behind XCLIENT. What it says beside addresses and ports is checked and
 * forgotten; it never logs in. False: it is not well-formed, or says of the client's address that
 * it is not known. */
bool smtp_identity_parse(struct span args, struct smtp_identity *said);
/* What we understand of it, as it is offered. */
extern const char smtp_identity_offer[];

/* What REPLY, an answer to EHLO, offers behind KEYWORD, "XCLIENT" or "XFORWARD"; 0: nothing that we
 * can say. */
uint32_t smtp_identity_offered(const struct smtp_reply *reply, struct span keyword);

/* What is wrong with one that we cannot tell of the client. */
extern const char smtp_identity_no_xclient[], smtp_identity_no_xforward[];

/* The command with which a server that offers OFFERED is told of the client, with CR LF. OFFERED
 * has SMTP_ATTRIBUTE_ADDR: without it there is nothing to tell. The name of the client is said to
 * be unknown. 0, or -ENOBUFS with OUT as it was: SMTP_IDENTITY_LINE_MAX octets are always enough.
 */
int smtp_identity_xclient(uint32_t offered, const struct addr *client, const struct addr *to,
			  struct buf *out) __attribute__((warn_unused_result));
/* HELO is the client's, "": none; one that would be too long is said to be unknown. EXTENDED: it
 * said EHLO. ID is what the log calls the session. */
int smtp_identity_xforward(uint32_t offered, const struct addr *client, const char *helo,
			   bool extended, const char *id, struct buf *out)
	__attribute__((warn_unused_result));

#endif
