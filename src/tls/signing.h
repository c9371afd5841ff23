/* SPDX-License-Identifier: ISC */
/*
 * signing: what a process without private keys (distant.h) and the one that has them (signer.h) say
 * to each other over a pair of sockets: a packet is one struct. Only the two ends know the layout,
 * and they are of one fork.
 */
#ifndef TLS_SIGNING_H
#define TLS_SIGNING_H

#include <stdint.h>

#include "tls/pair.h"

/* Octets to be signed, or of a signature: those of RSA with 8,192 bits. */
#define SIGNING_MOST 1024

enum signing_kind {
	SIGNING_ECDSA,	   /* of a digest; the signature is DER (RFC 8446 4.2.3) */
	SIGNING_RSA_PKCS1, /* of a DigestInfo: the signer pads (RFC 8017 9.2) */
	SIGNING_RSA_PSS	   /* of a whole block, padded by whoever asks (RFC 8017 9.1.1) */
};

struct signing_ask {
	uint64_t number; /* counted up: the answer has it too */
	uint8_t key[TLS_DIGEST];
	uint32_t kind, n;
	uint8_t octets[SIGNING_MOST];
};

struct signing_answer {
	uint64_t number;
	uint32_t n; /* 0: it is not signed */
	uint8_t octets[SIGNING_MOST];
};

#endif
