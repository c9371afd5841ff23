/* SPDX-License-Identifier: ISC */
/*
 * client: certificates of clients (TLS_CLIENT_CERTIFICATES). They are asked for and told of in the
 * log, and decide nothing: a handshake goes on whatever comes, and whether anything does.
 */
#ifndef TLS_CLIENT_H
#define TLS_CLIENT_H

#include <openssl/ssl.h>

/* Clients of CTX are asked; AUTHORITIES, which stays the caller's: who may have signed; NULL:
 * nobody is known. */
void client_ask(SSL_CTX *ctx, X509_STORE *authorities);

/* Room for what client_words() says. */
#define CLIENT_WORDS 80

/* Who the client of SSL is: the common name of its certificate, where an authority stands for it,
 * else "sha256:" and the certificate's digest, with which nobody else can be. "": it has none. */
void client_words(const SSL *ssl, char out[CLIENT_WORDS]);

#endif
