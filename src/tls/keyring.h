/* SPDX-License-Identifier: ISC */
/*
 * keyring: the certificates that a daemon has now, as two images in sealed memory: what everybody
 * may see (chains), and the private keys. Whoever has read the files writes them, once; workers map
 * the first, and the second is for the process that signs alone. A later keyring is another pair of
 * images: sessions keep the one that they began with.
 */
#ifndef TLS_KEYRING_H
#define TLS_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "tls/pair.h"

/* One that is written. All zero: nothing yet. */
struct keyring {
	unsigned count;
	uint8_t *chains, *keys;
	size_t chains_n, keys_n;
};

/* Adds a pair, which stays the caller's, to the group of that number (set.h). 0 or -errno. */
int keyring_add(struct keyring *k, unsigned group, const struct tls_pair *pair)
	__attribute__((warn_unused_result));
/* Writes both images. 0, with two descriptors that are closed on exec; or -errno. */
int keyring_write(const struct keyring *k, int *chains_fd, int *keys_fd)
	__attribute__((warn_unused_result));
/* Forgets everything; private keys are wiped. */
void keyring_free(struct keyring *k);

/* One that is read: an image, mapped. */
struct keyring_image {
	const void *mem;
	size_t size, at; /* octets, and how many were read */
	unsigned count, next;
};

/* Maps the image in FD, which may be closed then. 0, -EPROTO: it is none of this program's, or
 * -ENOMEM. */
int keyring_map(struct keyring_image *image, int fd) __attribute__((warn_unused_result));
void keyring_unmap(struct keyring_image *image);
/* The next pair of an image of chains, without its key; the caller frees it. False: there was none,
 * or it cannot be read. */
bool keyring_next(struct keyring_image *image, unsigned *group, struct tls_pair *pair);
/* The next key of an image of keys, which come in the order of the chains, as DER (PKCS #8). */
bool keyring_next_key(struct keyring_image *image, struct span *der);

#endif
