/* SPDX-License-Identifier: ISC */
/*
 * hello: whether the first octets of a connection are a whole ClientHello (RFC 8446 4.1.2, 5.1).
 * It is asked before anything of OpenSSL's is made: an object that has seen a ClientHello has 56 KB
 * of heap, so peers that are silent, stop in the middle, or do not speak TLS at all must not get
 * one. It does not judge what the ClientHello says.
 */
#ifndef TLS_HELLO_H
#define TLS_HELLO_H

#include "base/span.h"

/* Octets of a ClientHello, and of all records that bring it. Those of mail servers are 200 to 700;
 * with a key share of a post-quantum group they have 1,500. */
#define TLS_HELLO_MAX 4096

enum tls_hello_result {
	TLS_HELLO_MORE,	     /* the beginning of one */
	TLS_HELLO_WHOLE,     /* all of it is here */
	TLS_HELLO_TOO_LARGE, /* one of more than TLS_HELLO_MAX octets */
	TLS_HELLO_NONE,	     /* something else */
};

/* IN is all that has come so far. */
enum tls_hello_result tls_hello_look(struct span in);

#endif
