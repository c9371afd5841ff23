/* SPDX-License-Identifier: ISC */
/* io_uring_inner: what the two files of the engine over liburing share. */
#ifndef IO_IO_URING_INNER_H
#define IO_IO_URING_INNER_H

#include <liburing.h>

#include "io/inner.h"

#define BLOCK_GROUP   0
#define OP_POLL_FIRST (IO_OP_BACKEND << 1) /* is to look for readiness before it tries */

struct uring {
	struct io_uring ring;
	struct list todo;
	struct list later; /* polls that pause */
	struct list quiet; /* lazy sends without a completion */
	struct io_timer pause;
	struct sockaddr_storage *addrs; /* one for each entry of the submission ring */
	unsigned addr_count;
	struct io_uring_buf_ring *feed;
	unsigned feed_size; /* a power of two; 0 without blocks */
	unsigned feed_want;
	unsigned fed;
	bool skips; /* the kernel knows IOSQE_CQE_SKIP_SUCCESS */
};

/* Makes the ring and what goes with it, U being zero but for its lists and its timer. 0, or -errno
 * with U freed and, where it is known, what was refused in *WHY. */
int uring_make(struct io *io, struct uring *u, const char **why);
void uring_shut(struct io *io);
/* Octets of locked memory that the ring counts for; 0: none are counted. */
uint64_t uring_locked(const struct io *io);

#endif
