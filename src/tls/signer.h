/* SPDX-License-Identifier: ISC */
/*
 * signer: the one process that has private keys. It signs what workers ask for and does nothing
 * else, so whoever takes a worker over can use a key as long as he is there, and takes none with
 * him. Each worker has a socket and is served by a thread of its own, so workers wait for one
 * another no more than with keys of their own. A key is read where it is asked for first.
 *
 * Refuses to decrypt, and to sign a block that is not padded.
 */
#ifndef TLS_SIGNER_H
#define TLS_SIGNER_H

#include "base/span.h"
#include "tls/signing.h"

struct signer;

/* PACKED: keys as tls/keyring.h packs them, COUNT times, which stay as long as the signer. One may
 * stand there several times. NULL: no memory, or the octets are wrong. */
struct signer *signer_make(const struct span *packed, unsigned count);
void signer_free(struct signer *s);
/* May be called by several threads at a time. */
void signer_answer(struct signer *s, const struct signing_ask *ask, struct signing_answer *answer);
/* Serves COUNT sockets until all of their other ends are closed. 0, or -errno: it could not begin.
 */
int signer_serve(struct signer *s, const int *fds, unsigned count)
	__attribute__((warn_unused_result));

#endif
