/* SPDX-License-Identifier: ISC */
/*
 * kernel: the kernel's record layer (TLS_KERNEL). Once the handshake is over, its keys are ours to
 * give to the kernel, and OpenSSL's object goes. From then on the socket takes and gives the
 * peers' octets, and what comes beside them, alerts and messages of the handshake, is ours to
 * handle. OpenSSL's own way (SSL_OP_ENABLE_KTLS) is not used: in 3.0 it knows half of the cases,
 * and goes on sending with a key that is no more.
 *
 * The kernel can move octets to such a socket (splice). From one it can, too, but where a record
 * does not fit into a pipe's places, the rest of it is lost: so that is not done.
 *
 * Both directions or none. AES-GCM in TLS 1.2 and 1.3; other ciphers stay with OpenSSL. A peer that
 * wants new keys (KeyUpdate) ends its connection: kernels before 6.14 cannot change them. Tickets
 * of a server are passed over.
 */
#ifndef TLS_KERNEL_H
#define TLS_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct io_op;
struct tls_conn;

/* C's records are the kernel's from now on, its handshake being over and nothing else having been
 * done: true. Else all is as it was. A connection that the kernel has half is failed. */
bool tls_kernel_take_over(struct tls_conn *c);
/* C tells its keys no more, and where the kernel has them, OpenSSL's object goes. */
void tls_kernel_settle(struct tls_conn *c);

/* ---- conn.c: of a connection that the kernel has ---- */

/* As many octets as there are now, at most LEN; 0 at the end; or -errno. */
ssize_t tls_kernel_read(struct tls_conn *c, uint8_t *buf, size_t len);
/* Handles what is no octet of the peer's. How many octets wait behind it (16384 at most). */
int tls_kernel_look(struct tls_conn *c);
/* Part of a record has come. */
bool tls_kernel_is_between(const struct tls_conn *c);
/* Sends by C->tx, whose completion DONE is. */
void tls_kernel_send(struct tls_conn *c, const void *buf, size_t len,
		     void (*done)(struct io_op *op, int res));
/* Sends a few octets where there is room for them. */
void tls_kernel_say(const struct tls_conn *c, const void *octets, size_t n);
/* Octets of records that the kernel was given. */
uint64_t tls_kernel_sent(const struct tls_conn *c);
/* close_notify. */
void tls_kernel_goodbye(const struct tls_conn *c);

#endif
