/* SPDX-License-Identifier: ISC */
/*
 * secrets: the keys of a connection's records, from what OpenSSL tells of its handshake.
 */
#ifndef TLS_SECRETS_H
#define TLS_SECRETS_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "tls/offload.h"

struct tls_conn;

/* Connections of CTX tell their secrets. */
void tls_secrets_told(SSL_CTX *ctx);
/* C's keys, where its handshake has just ended. False: it has a cipher that is not for the kernel,
 * or it has not told. The caller wipes OUT. */
bool tls_secrets_keys(const struct tls_conn *c, struct offload *out);
/* C has none any more. */
void tls_secrets_forget(struct tls_conn *c);

#endif
