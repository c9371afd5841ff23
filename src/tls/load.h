/* SPDX-License-Identifier: ISC */
/*
 * load: a set of certificates (set.h) from what was packed of them (keyring.h). One of them takes a
 * millisecond or two, so whoever has sessions to serve loads them in pieces.
 */
#ifndef TLS_LOAD_H
#define TLS_LOAD_H

#include "base/span.h"
#include "tls/distant.h"
#include "tls/keyring.h"
#include "tls/set.h"

/* Where the private keys are. */
struct tls_keys {
	struct distant *distant; /* in another process; NULL: here */
	struct span packed;	 /* then; else nothing */
};

struct tls_loading {
	struct tls_set *set; /* the caller's to free; ready at TLS_LOADED */
	struct keyring_reader chains, keys;
	struct distant *distant;
};

enum tls_load { TLS_LOADED, TLS_LOAD_MORE, TLS_LOAD_FAILED };

/* What was packed stays until all is loaded. False: see WHY; there is no set. */
bool tls_load_begin(struct tls_loading *l, const struct tls_policy *policy, struct span chains,
		    const struct tls_keys *keys, char why[TLS_WHY_MAX]);
/* Loads so many more, at most. Failed: see WHY. */
enum tls_load tls_load_some(struct tls_loading *l, unsigned most, char why[TLS_WHY_MAX]);

#endif
