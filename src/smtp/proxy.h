/* SPDX-License-Identifier: ISC */
/*
 * proxy: the header of the PROXY protocol (HAProxy's document of that name, versions 1 and 2), with
 * which a balancer says whose connection it passes on. It is read as strictly as the text allows:
 * who may send one also decides whom the server believes to speak with. No I/O.
 */
#ifndef SMTP_PROXY_H
#define SMTP_PROXY_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/span.h"

#define SMTP_PROXY_LINE_MAX 107 /* octets of version 1, with CR LF: 2.1 of the text */
#define SMTP_PROXY_HEAD	    16	/* of version 2, before the addresses: 2.2 */
#define SMTP_PROXY_BODY_MAX 536 /* … and all that follows it; longer ones are refused */
#define SMTP_PROXY_MAX	    (SMTP_PROXY_HEAD + SMTP_PROXY_BODY_MAX)

struct smtp_proxy {
	/* It is a connection of the balancer's own (LOCAL, UNKNOWN, AF_UNSPEC): FROM and TO say
	 * nothing. */
	bool local;
	struct addr from; /* the client */
	struct addr to;	  /* what it has connected to */
	size_t n;	  /* octets of the header */
};

enum smtp_proxy_result {
	SMTP_PROXY_OK,
	SMTP_PROXY_MORE, /* IN is the beginning of a header */
	SMTP_PROXY_BAD,
};

/* Reads the header at the front of IN. BAD: *WHY says what is wrong, in a few words. Whatever
 * stands behind the header is not looked at. */
enum smtp_proxy_result smtp_proxy_parse(struct span in, struct smtp_proxy *header,
					const char **why);

/* What a header says beside the addresses; NULL or empty: nothing. */
struct smtp_proxy_more {
	/* That the client has asked for by TLS: PP2_TYPE_AUTHORITY. One that is no host's by its
	 * octets, or makes the header longer than all servers take, is left out. */
	const char *name;
	const char *version, *cipher; /* of its TLS, NULL: none; PP2_TYPE_SSL */
	const char *id;		      /* of the session, 128 octets at most; PP2_TYPE_UNIQUE_ID */
};

/*
 * Appends a header for a client at FROM that has connected to TO. Where only one of them is IPv6,
 * the other one is written as a mapped address (RFC 4291 2.5.5.2). FROM of family 0: the connection
 * is our own (version 1: UNKNOWN, version 2: LOCAL). Version 1 has no room for MORE. 0, or -ENOBUFS
 * with OUT as it was; SMTP_PROXY_MAX octets are always enough.
 */
int smtp_proxy_write_line(const struct addr *from, const struct addr *to, struct buf *out)
	__attribute__((warn_unused_result));
int smtp_proxy_write(const struct addr *from, const struct addr *to,
		     const struct smtp_proxy_more *more, struct buf *out)
	__attribute__((warn_unused_result));

#endif
