/* SPDX-License-Identifier: ISC */
/*
 * secure: from a connection to a destination to TLS over it: greeting, EHLO, STARTTLS, handshake
 * (RFC 3207), or the handshake at once (RFC 8314). What was said in clear counts for nothing: all
 * but the greeting, which its owner then takes as if it came over TLS, since no other one comes.
 *
 * Where TLS is asked for and cannot be had, the connection is of no use. With tls=may it goes on in
 * clear, but only where the destination says itself that it has no TLS: it does not offer STARTTLS,
 * or refuses it. Never after a handshake that has failed, nor after anything odd.
 *
 * A destination that greets with a refusal, or with what is no reply, or closes at once, is not
 * asked for TLS: that is its owner's to judge, in clear.
 *
 * Has no operation, stream or timer of its own: they are connect's, whose part it is.
 */
#ifndef UPSTREAM_SECURE_H
#define UPSTREAM_SECURE_H

#include "base/buf.h"
#include "smtp/hello.h"
#include "smtp/reply.h"
#include "upstream/connect.h"

struct secure {
	struct connect *connect;
	void (*done)(struct connect *c, enum connect_result how);
	struct smtp_hello hello;
	size_t greeting; /* octets of it, at the front of IN */
	struct buf in;
	uint8_t mem[2 * SMTP_REPLY_MAX];
};

/* The connection of C stands, and its destination has TLS. DONE: reached, in clear perhaps, with
 * what was said; or insecure, slow, no means. It may be called before this returns. */
void secure_begin(struct connect *c, void (*done)(struct connect *c, enum connect_result how));

#endif
