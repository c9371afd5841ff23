/* SPDX-License-Identifier: ISC */
/* handshake: how a connection becomes a TLS one, and how the handshakes of a process share its time
 * and memory: see conn.h. */
#ifndef TLS_HANDSHAKE_H
#define TLS_HANDSHAKE_H

#include "tls/conn.h"

/* Shakes hands. OP completes with 0, or with -errno and c->fault; it can be cancelled by
 * stream_cancel(), once C is its stream's layer. */
void tls_handshake(struct tls_conn *c, struct io_op *op);

#endif
