/* SPDX-License-Identifier: ISC */
/*
 * inner: what the files of a connection share and nobody else calls, in the order in which they may
 * call one another.
 */
#ifndef TLS_INNER_H
#define TLS_INNER_H

#include "tls/conn.h"

#define TLS_RECORD 16384 /* octets of text in a record, at most (RFC 8446 5.1) */
/* New keys, renegotiations and tickets that a peer may send in a session: each costs time, and
 * nobody needs new keys before 2^24 records. */
#define TLS_LATE_MAX 32

/* ---- wire.c: octets between OpenSSL and the socket ---- */

/* The BIO method of all connections, or NULL. */
BIO_METHOD *tls_wire_method(void);
/* C's SSL object reads and writes through the connection. False: no memory. */
bool tls_wire_to(struct tls_conn *c, BIO_METHOD *method);
void tls_came_free(struct tls_came *came);
/* Part of a record has come, and not the rest. */
static inline bool tls_conn_is_between(const struct tls_conn *c)
{
	return c->header_n > 0 || c->record_left > 0;
}
/* C can neither be read nor written any more, because of FAULT and OpenSSL's last error. */
void tls_conn_failed(struct tls_conn *c, enum tls_fault fault);
/* How many octets of records can still be put behind those that wait to go. */
size_t tls_conn_room(struct tls_conn *c);
/* Sends what waits to go, which is something, by C->tx. HOW: enum io_send_how. DONE is called from
 * within the engine's run, with 0 or more, or -errno. */
void tls_conn_send(struct tls_conn *c, unsigned how, void (*done)(struct tls_conn *c, int res));
/* Sends what waits to go, as far as the kernel takes it now. */
void tls_conn_send_now(struct tls_conn *c);

/* ---- handshake.c ---- */

/* The steps that can be made in this turn. */
void tls_handshake_task(struct io_task *task);
void tls_handshake_cancel(struct tls_conn *c);
/* C's handshake is over, or is no more: the next one may begin. */
void tls_handshake_leave(struct tls_conn *c);

#endif
