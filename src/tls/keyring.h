/* SPDX-License-Identifier: ISC */
/*
 * keyring: the certificates that a daemon has now, as two pieces of memory without pointers: what
 * everybody may see (chains), and the private keys. Whoever has read the files packs them; chains
 * go to other processes in the image of a version, keys in a file beside it (check/version.h).
 * Before each chain stands what is told of it, so that whoever tells need not read certificates.
 */
#ifndef TLS_KEYRING_H
#define TLS_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "tls/pair.h"

/* One that is packed. All zero: nothing yet. */
struct keyring {
	unsigned count;
	uint8_t *chains, *keys;
	size_t chains_n, keys_n;
};

/* Adds a pair, which stays the caller's and was read from FILE, to the group of that number. 0 or
 * -ENOMEM. */
int keyring_add(struct keyring *k, unsigned group, const char *file, const struct tls_pair *pair)
	__attribute__((warn_unused_result));
/* Forgets everything; private keys are wiped. */
void keyring_free(struct keyring *k);

/* What was packed, read from its beginning: the octets of the chains, or of the keys. */
struct keyring_reader {
	struct span rest;
};

/* The next pair of the chains, without its key; the caller frees it. False: there is none, or it
 * cannot be read: see keyring_is_over(). */
bool keyring_next(struct keyring_reader *r, unsigned *group, struct tls_pair *pair);
/* What is told of a certificate. */
struct keyring_about {
	unsigned group;
	int64_t from_s, until_s; /* its beginning and its end, since 1970 */
	struct span file;	 /* where it stands */
	struct span names;	 /* those of tls_pair_name(), a blank between two */
	struct span kind;	 /* tls_pair_kind() */
	struct span digest;	 /* tls_key_digest(), TLS_DIGEST octets */
};

/* That of the next pair, which is passed over. False: there is none, or it cannot be read. */
bool keyring_next_about(struct keyring_reader *r, struct keyring_about *about);
/* The N-th of its names, from 0 on; empty: there is none. */
struct span keyring_name(const struct keyring_about *about, unsigned n);
unsigned keyring_name_count(const struct keyring_about *about);
/* The next of the keys, which come in the order of the chains, as DER (PKCS #8), and
 * tls_key_digest() of its certificate. */
bool keyring_next_key(struct keyring_reader *r, struct span *digest, struct span *der);
static inline bool keyring_is_over(const struct keyring_reader *r)
{
	return r->rest.n == 0;
}

#endif
