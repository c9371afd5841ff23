/* SPDX-License-Identifier: ISC */
/*
 * pair: a certificate with its chain, and its private key, as they stand in PEM files (RFC 7468,
 * RFC 8446 4.4.2). It is taken whole or not at all: a pair that does not match, or a file of which
 * a part was written, is refused with the reason.
 *
 * Refuses to open files, and to ask for passphrases.
 */
#ifndef TLS_PAIR_H
#define TLS_PAIR_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct tls_pair {
	X509 *own;
	STACK_OF(X509) * chain; /* from its issuer on; the root need not be there */
	EVP_PKEY *key;		/* NULL: not here */
};

#define TLS_WHY_MAX 160

/* Certificates that a file may have: a chain has three or four. */
#define TLS_CHAIN_MAX 16

/*
 * Reads a pair from the contents of its two files, which may be the same one. False: there is none,
 * and WHY says what is wrong, to be read behind the name of a file and a colon.
 */
bool tls_pair_read(struct tls_pair *pair, struct span certificates, struct span key,
		   char why[TLS_WHY_MAX]);
void tls_pair_free(struct tls_pair *pair);

/* No other certificate is there, and its issuer is another: who knows the root alone cannot verify
 * it, where there is an intermediate one between them. */
bool tls_pair_is_alone(const struct tls_pair *pair);
/* Seconds until it is no longer valid, from NOW_S on; negative: since then. */
int64_t tls_pair_left_s(const struct tls_pair *pair, int64_t now_s);
/* Its beginning and its end, in seconds since 1970. */
int64_t tls_pair_from_s(const struct tls_pair *pair);
int64_t tls_pair_until_s(const struct tls_pair *pair);

/* Room for a DNS name, with its NUL. */
#define TLS_NAME_MAX 256
/*
 * The names that the certificate is for, one after the other: in small letters, `*.` first where it
 * is for all names of a domain. N counts from 0; false: there is none of that number. The names are
 * those of subjectAltName, or the common name where it has none of them (RFC 6125 6.4.4).
 */
bool tls_pair_name(const struct tls_pair *pair, unsigned n, char out[TLS_NAME_MAX]);

/* "RSA 2048", "ECDSA P-256", "Ed25519". */
void tls_pair_kind(const struct tls_pair *pair, char *out, size_t cap);

#define TLS_DIGEST 32
/* SHA-256 of the certificate's public key (RFC 7671: TLSA 3 1 1). */
bool tls_key_digest(const X509 *cert, uint8_t out[TLS_DIGEST]);

#endif
