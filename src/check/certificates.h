/* SPDX-License-Identifier: ISC */
/*
 * certificates: those of TLS_CERTIFICATE and TLS_CERTIFICATE_DIR, from files that were read
 * (pairs.h) into what goes to other processes (tls/keyring.h), and what else is asked of TLS with
 * clients. Everything is read anew each time, whole or not at all.
 *
 * A process of its own reads them and ends: what OpenSSL leaves of a private key in memory goes
 * with it, and the keys come back in a file that whoever asks need not map.
 */
#ifndef CHECK_CERTIFICATES_H
#define CHECK_CERTIFICATES_H

#include <stddef.h>
#include <stdint.h>

#include "check/pairs.h"
#include "config/config.h"
#include "tls/keyring.h"
#include "tls/set.h"

/* All of them. Zero but for KEYS, which is -1: none. */
struct certificates {
	unsigned count;
	uint8_t *chains; /* as tls/keyring.h packs them */
	size_t chains_n;
	size_t named; /* … of which so many octets are those that TLS_CERTIFICATE names */
	int keys;     /* a memfd with the private keys, close on exec; -1: none */
	/* SHA-256 of the private keys, and of those of TLS_CERTIFICATE: to see that they change. */
	uint8_t mark[TLS_DIGEST], named_mark[TLS_DIGEST];
};

/* Makes them of PAIRS, and judges the other settings of TLS; all faults are C's. TORN: how many of
 * them are pairs that do not match or are not whole. 0 or -errno. */
int certificates_build(struct certificates *found, const struct pairs *pairs, struct config *c,
		       unsigned *torn) __attribute__((warn_unused_result));
void certificates_free(struct certificates *found);

/* How clients are met with SET; PAGE: the keys of session tickets. */
struct tls_policy certificates_policy(const struct settings *set, const struct ticket_page *page);

#endif
