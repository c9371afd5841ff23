/* SPDX-License-Identifier: ISC */
/*
 * distant: private keys that are not in this process. OpenSSL has a key of which the public half
 * alone is there, and where it wants a signature the process that has the other half is asked for
 * it (signer.h). OpenSSL cannot go on meanwhile, so the process waits: 30 to 75 microseconds longer
 * than it would take itself. It asks again where no answer comes, since the other process may have
 * been started anew, and gives up after two seconds; from then on until an answer comes it waits
 * for a moment only, so that a process which does not answer does not hold all sessions.
 *
 * OpenSSL takes RSA and elliptic curves so, by methods that are deprecated and that have no
 * successor but a provider of one's own.
 */
#ifndef TLS_DISTANT_H
#define TLS_DISTANT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "tls/pair.h"

struct distant;

/* FD: the socket at whose other end a signer serves; it stays the caller's. NULL: no memory. */
struct distant *distant_make(int fd);
/* No key of it is left. */
void distant_free(struct distant *d);
/* A key that can be had so: NULL where it is of another kind, or there is no memory, and then WHY
 * says so. */
EVP_PKEY *distant_key(struct distant *d, X509 *cert, char why[TLS_WHY_MAX]);
/* Whether KEY's kind and size are such. */
bool distant_takes(const EVP_PKEY *key);

#endif
