/* SPDX-License-Identifier: ISC */
/* acked: how far a stream has come, in octets. A file of its own: glibc's struct tcp_info is too
 * short, and the kernel's header does not go together with glibc's. */
#ifndef IO_ACKED_H
#define IO_ACKED_H

#include <stdint.h>

#include "io/stream.h"

/* How many octets the peer's kernel has acknowledged since the connection began: differences alone
 * say something. Only where stream_can_count(). 0 or -errno. */
int stream_octets_acked(const struct stream *st, uint64_t *octets)
	__attribute__((warn_unused_result));

#endif
