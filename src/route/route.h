/* SPDX-License-Identifier: ISC */
/*
 * route: which destination a session goes to. The list (struct route) is read-only after start; the
 * state that changes (struct route_shared: addresses, up or down, when to try again) lies in memory
 * that all processes share and has no pointers. No descriptor, clock or allocation of its own: time
 * is an argument, counts and seats are asked of the caller. The one reason for a session to go on
 * to another destination is a TCP connection that failed (caronte(8)); a greeting that is no
 * welcome sends later sessions elsewhere (busy.c).
 */
#ifndef ROUTE_ROUTE_H
#define ROUTE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/bounds.h"
#include "base/span.h"

#define ROUTE_ADDRESSES 8   /* of one name */
#define ROUTE_WORDS_MAX 256 /* of what a busy destination said, with its NUL; a multiple of 8 */

enum route_cooperation { ROUTE_SINGLE, ROUTE_CLUSTER, ROUTE_BACKUP };
enum route_balance { ROUTE_LEAST_SESSIONS, ROUTE_ROUND_ROBIN, ROUTE_SOURCE };

/* How a destination is spoken to. */
enum route_tls {
	ROUTE_TLS_NONE,
	ROUTE_TLS_MAY,	   /* by TLS where it offers STARTTLS */
	ROUTE_TLS_REQUIRE, /* by TLS alone, whoever it is */
	ROUTE_TLS_VERIFY,  /* … with a certificate that an authority has signed for its name */
	ROUTE_TLS_PIN,	   /* … with one of these keys */
};

#define ROUTE_PINS	   4
#define ROUTE_PIN	   32  /* SHA-256 of a public key (RFC 7671: TLSA 3 1 1) */
#define ROUTE_TLS_NAME_MAX 254 /* with its NUL */

struct route_secure {
	enum route_tls tls;
	bool wrap;		       /* TLS comes first (RFC 8314) */
	char name[ROUTE_TLS_NAME_MAX]; /* "": the host of the destination's name */
	unsigned pins;
	uint8_t pin[ROUTE_PINS][ROUTE_PIN];
};

/* How a destination is told whom a connection speaks for. */
enum route_identity {
	ROUTE_IDENTITY_NONE,	 /* it sees us */
	ROUTE_IDENTITY_PROXY1,	 /* by the PROXY protocol's header, version 1 */
	ROUTE_IDENTITY_PROXY2,	 /* … version 2 */
	ROUTE_IDENTITY_XCLIENT,	 /* by Postfix's commands of that name */
	ROUTE_IDENTITY_XFORWARD, /* … for its log alone */
	ROUTE_IDENTITIES
};

/* A connection is one client's for good: none of another client, and none of the pool, will do. */
static inline bool route_identity_binds(enum route_identity identity)
{
	return identity == ROUTE_IDENTITY_PROXY1 || identity == ROUTE_IDENTITY_PROXY2;
}

struct route_destination {
	/* "HOST:PORT", a host name as configured, an address as addr_format() writes it; or
	 * "unix:/path" */
	char name[DESTINATION_NAME_MAX];
	unsigned weight; /* 1 to 1000 */
	unsigned max;	 /* sessions at most, 0: no limit */
	struct route_secure secure;
	enum route_identity identity;
};

struct route {
	enum route_cooperation cooperation;
	enum route_balance balance;
	bool identifies; /* some destination is to take us for the client */
	unsigned count;
	struct route_destination destination[DESTINATIONS_MAX];
};

struct route_shared; /* opaque, pointer-free, shared between processes */

/* One session's search for a destination. Zero-initialised before its first pick. */
struct route_search {
	uint64_t tried;	   /* a bit per destination that failed this session */
	uint8_t address;   /* of the destination's addresses, the next to try */
	uint8_t tried_any; /* 1: `dest` is being tried */
	uint8_t first;	   /* of the addresses, the one that was tried first */
	unsigned dest;
	uint64_t began_ms; /* when the attempts at `dest` began */
	uint64_t since_ms; /* when the first pick was */
};

#endif
