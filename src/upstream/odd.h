/* SPDX-License-Identifier: ISC */
/*
 * odd: what destinations say against the protocol, malformed, out of order or one reply too many,
 * whoever hears it: a session, the pool of DIALOG_GATEWAY, a check. The log's
 * `fault what="destination-reply"` has its octets, once a second and destination at most. What is
 * against TLS, behind the handshake, is `fault what="destination-tls"`.
 */
#ifndef UPSTREAM_ODD_H
#define UPSTREAM_ODD_H

#include "io/stream.h"
#include "runtime/context.h"

/* Destination DEST has said SAID; ID is the session's, or NULL. */
void odd_reply(struct context *ctx, const struct runtime *rt, unsigned dest,
	       const struct xmllog_session *id, struct span said);
/* The same of what came when nothing was asked: a 421 may come at any time. */
void odd_stray(struct context *ctx, const struct runtime *rt, unsigned dest,
	       const struct xmllog_session *id, struct span said);
/* Tells of it if TLS has failed on ST, the connection with destination DEST. */
void odd_tls(struct context *ctx, const struct runtime *rt, unsigned dest,
	     const struct xmllog_session *id, const struct stream *st);

/* … SAID shows that it does not take a client's identity (present.h): a fault "identity". */
void odd_identity(struct context *ctx, const struct runtime *rt, unsigned dest,
		  const struct xmllog_session *id, struct span said);

#endif
