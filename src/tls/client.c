/* SPDX-License-Identifier: ISC */
/* client: see client.h. */
#include "tls/client.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "tls/pair.h"

/* Octets of a client's chain: three or four certificates, of any kind. */
#define CHAIN_MAX 8192
#define DEPTH	  8 /* certificates between its own and an authority's, at most */

/*
 * Verifies up to the first fault, which is asked for at the end (SSL_get_verify_result()): going on
 * would check signatures with keys that the client chose, and they may take long. What OpenSSL says
 * of it must not stand in the queue of errors, where the next step would find it. A session would
 * keep the chain as long as it lasts.
 */
static int verify(X509_STORE_CTX *ctx, void *unused)
{
	STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(ctx);

	(void)unused;
	(void)X509_verify_cert(ctx);
	X509_STORE_CTX_set0_verified_chain(ctx, NULL);
	while (sk_X509_num(sent) > 1)
		X509_free(sk_X509_pop(sent));
	ERR_clear_error();
	return 1;
}

void client_ask(SSL_CTX *ctx, X509_STORE *authorities)
{
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify, NULL);
	SSL_CTX_set_verify_depth(ctx, DEPTH);
	SSL_CTX_set_max_cert_list(ctx, CHAIN_MAX);
	if (authorities)
		SSL_CTX_set1_verify_cert_store(ctx, authorities);
}

static bool put_common_name(const X509 *cert, char out[CLIENT_WORDS])
{
	X509_NAME *name = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	unsigned char *text = NULL;
	int n = at < 0 ? -1
		       : ASN1_STRING_to_UTF8(
				 &text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	bool fits = n > 0 && n < CLIENT_WORDS && !memchr(text, '\0', (size_t)n);

	if (fits)
		snprintf(out, CLIENT_WORDS, "%.*s", n, text);
	OPENSSL_free(text);
	return fits;
}

static void put_digest(const X509 *cert, char out[CLIENT_WORDS])
{
	unsigned char digest[TLS_DIGEST];
	int n = snprintf(out, CLIENT_WORDS, "sha256:");

	if (X509_digest(cert, EVP_sha256(), digest, NULL) != 1)
		return;
	for (unsigned i = 0; i < TLS_DIGEST; i++)
		n += snprintf(out + n, (size_t)(CLIENT_WORDS - n), "%02x", digest[i]);
}

void client_words(const SSL *ssl, char out[CLIENT_WORDS])
{
	const X509 *cert = SSL_get0_peer_certificate(ssl);

	*out = '\0';
	if (cert && (SSL_get_verify_result(ssl) != X509_V_OK || !put_common_name(cert, out)))
		put_digest(cert, out);
}
