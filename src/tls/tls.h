/* SPDX-License-Identifier: ISC */
/*
 * tls: what the TLS connections of one process share: the engine, pools, and the turns in which
 * they shake hands. All room is reserved at start (invariant 7: bounded everything); OpenSSL's own
 * objects are its to allocate, and are bounded by the connections.
 */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include <openssl/bio.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"
#include "io/io.h"

/* What the connections of one process share. */
struct tls {
	struct io *io;
	struct pool conns, outs;
	BIO_METHOD *method;
	bool kernel;		  /* may have records: kernel.h */
	unsigned most, under_way; /* handshakes */
	size_t crowd;		  /* connections at most, since the heap was given back */
	struct list waiting;	  /* for their turn to begin one */
	struct list due;	  /* those whose next step can be made */
	struct io_task task;
	uint8_t block[16384]; /* for stream_recv_block(), and to look at what has come */
};

/* CONNECTIONS: how many may be there at a time; MOST: how many of them may shake hands;
 * KERNEL: it works (offload.h). 0 or -errno. */
int tls_init(struct tls *t, struct io *io, unsigned connections, unsigned most, bool kernel)
	__attribute__((warn_unused_result));
/* No connection is left. */
void tls_destroy(struct tls *t);
/* Called from time to time: gives back to the kernel what a crowd has needed of the heap that has
 * gone. It takes 0.1 ms for each MB, so small ones are not worth it. */
void tls_trim(struct tls *t);

#endif
