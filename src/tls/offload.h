/* SPDX-License-Identifier: ISC */
/*
 * offload: a socket's records are given to the kernel: keys for both directions, of AES-GCM in TLS
 * 1.2 or 1.3. And whether that works here.
 */
#ifndef TLS_OFFLOAD_H
#define TLS_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/pair.h"

#define OFFLOAD_KEY	 32
#define OFFLOAD_SALT	 4
#define OFFLOAD_NONCE	 12 /* salt and all: RFC 5288 3, RFC 8446 5.3 */
#define OFFLOAD_SEQUENCE 8

/* One direction of a connection, as its next record needs it. */
struct offload_keys {
	uint8_t key[OFFLOAD_KEY], nonce[OFFLOAD_NONCE], sequence[OFFLOAD_SEQUENCE];
};

/* Both of them. VERSION: TLS1_2_VERSION or TLS1_3_VERSION. KEY_N: 16 or 32 octets. */
struct offload {
	int version;
	size_t key_n;
	struct offload_keys ours, theirs;
};

/* 0: the kernel has FD's records. Another: it has none, and all is as it was; but -EPROTO: one
 * direction, and the connection is lost. */
int offload_give(int fd, const struct offload *o) __attribute__((warn_unused_result));

/* Whether it can be had, tried on connections of loopback. False: WHY says why not. */
bool offload_works(char why[TLS_WHY_MAX]);

#endif
