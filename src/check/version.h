/* SPDX-License-Identifier: ISC */
/*
 * version: a configuration that was judged good, with everything that was found out for it, as one
 * image in shared memory: settings, destinations and their addresses, tables, certificates. Free of
 * pointers and sealed, so that any process of the same program can map it, and none can change it.
 * The process that checks writes it; the master and the workers map it, and unmap it when no
 * session needs it any more.
 *
 * Private keys are in a file of their own, beside the image: the master keeps it and does not map
 * it, and it goes to the process that signs (tls/signer.h), or to workers with TLS_KEY_PROCESS=n.
 */
#ifndef CHECK_VERSION_H
#define CHECK_VERSION_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "base/span.h"
#include "policy/policy.h"
#include "check/check.h"

struct version_image; /* opaque */

/* An image, mapped. */
struct version {
	const struct version_image *image;
	size_t size;
	struct config config; /* .set alone, its strings in the image */
	struct policy policy;
	struct span chains;		      /* of clients' certificates: tls/keyring.h */
	const uint8_t *keys_mark;	      /* SHA-256 of their private keys */
	struct span authorities[AUTHORITIES]; /* PEM; empty: nobody needs them */
	const struct route *route;
	const struct listen_set *listen;
	const struct probe *probe; /* its answers */
	struct addr metrics;
	unsigned workers;
	bool fewer_sessions; /* MAX_SESSIONS is what RLIMIT_NOFILE carries */
};

/* An image, and the private keys that belong to it. -1: none. */
struct version_files {
	int image, keys;
};

/* Makes them, empty memfds, close on exec. 0 or -errno. */
int version_make_files(struct version_files *files) __attribute__((warn_unused_result));
void version_close_files(struct version_files *files);
/* Writes what K found for C into FILES and seals them. 0 or -errno. */
int version_write(const struct version_files *files, const struct config *c, const struct check *k)
	__attribute__((warn_unused_result));
/* Writes what V is, with other certificates (K, whose files look so) and nothing else new. 0 or
 * -errno. */
int version_renew(const struct version_files *files, const struct version *v,
		  const struct certificates *k, uint64_t looks) __attribute__((warn_unused_result));
/* Maps the image in FD, which may be closed then. 0, or -EPROTO: no image of this program's, or
 * -ENOMEM. V may not move: it points into itself. */
int version_map(struct version *v, int fd) __attribute__((warn_unused_result));
void version_unmap(struct version *v);
/* Names of the settings that differ, and of those whose files have other contents, separated by
 * blanks, into OUT; as many as fit. */
void version_changes(const struct version *before, const struct version *now, char *out,
		     size_t cap);

#endif
