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
 * A part of connect's, by its talk (talk.h).
 */
#ifndef UPSTREAM_SECURE_H
#define UPSTREAM_SECURE_H

#include "upstream/connect.h"

/* The connection of C stands, and its destination has TLS. DONE: reached, in clear perhaps, with
 * what was said; or insecure, slow, no means. It may be called before this returns. */
void secure_begin(struct connect *c, void (*done)(struct connect *c, enum connect_result how));

#endif
