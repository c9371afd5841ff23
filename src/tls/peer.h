/* SPDX-License-Identifier: ISC */
/*
 * peer: a server that we meet as a client: whether its certificate must be good, and how that is
 * judged. Three ways: not at all; by an authority's signature for its name (RFC 6125, RFC 5280); by
 * its public key alone, whatever else the certificate says (RFC 7672 3.1.1).
 *
 * A session is resumed with the same peer alone, judged in the same way: it belongs to this struct,
 * and to those of other workers for the same version of the configuration.
 * Refuses to speak anything older than TLS 1.2.
 */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "shared/resumption.h"
#include "tls/pair.h"

struct tls_peer;

/* What is asked of it. */
struct tls_peer_want {
	/* The name that is asked for (SNI), for which its certificate must be where `verify`: a
	 * host name, or an IP address, which is not asked for; "": none. */
	const char *name;
	X509_STORE *verify; /* the authorities; NULL: it is not verified */
	const uint8_t (*pin)[TLS_DIGEST];
	unsigned pins; /* 0: none; else `verify` is NULL */
	/* Where other workers have theirs, at which place, and of which version; NULL: there are
	 * none. */
	struct resumption *others;
	unsigned place;
	uint64_t version;
	bool kernel; /* may have the records: kernel.h */
};

enum tls_trust { TLS_TRUST_NONE, TLS_TRUST_VERIFIED, TLS_TRUST_PINNED };
/* "none", "verified", "pinned" */
const char *tls_trust_name(enum tls_trust trust);

/* Keeps a copy of WANT. NULL: see WHY. */
struct tls_peer *tls_peer_make(const struct tls_peer_want *want, char why[TLS_WHY_MAX]);
/* NULL does nothing. */
void tls_peer_free(struct tls_peer *peer);
SSL_CTX *tls_peer_context(const struct tls_peer *peer);
enum tls_trust tls_peer_trust(const struct tls_peer *peer);
/* For struct tls_role, with PEER as its argument. */
bool tls_peer_prepare(SSL *ssl, const void *peer);
/* Why SSL's handshake with it has failed, as far as its certificate is the reason; else NULL. */
const char *tls_peer_fault(SSL *ssl);

/* The authorities in a PEM text. NULL: see WHY. */
X509_STORE *tls_authorities(struct span text, char why[TLS_WHY_MAX]);

#endif
