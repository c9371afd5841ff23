/* SPDX-License-Identifier: ISC */
/* certs: certificates and keys for tests, made on the spot. */
#ifndef TESTS_UNIT_CERTS_H
#define TESTS_UNIT_CERTS_H

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls/pair.h"

/* What a certificate is to be. */
struct cert_wish {
	const char *names;    /* as openssl(1) has them: "DNS:a.test,DNS:b.test"; NULL: none */
	const char *common;   /* its common name; NULL: "test" */
	bool rsa;	      /* else P-256 */
	long from_s, until_s; /* from now on; both 0: an hour back, and a day from now */
	const struct tls_pair *issuer; /* NULL: itself */
	bool ca;
};

static inline void cert_extend(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(ext);
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* A certificate, its key and no chain; freed by tls_pair_free(). */
static inline struct tls_pair cert_make(const struct cert_wish *wish)
{
	struct tls_pair p = { .own = X509_new(), .chain = sk_X509_new_null() };
	const struct tls_pair *issuer = wish->issuer ? wish->issuer : &p;
	static long serial;
	X509_NAME *name = X509_get_subject_name(p.own);
	bool usual = !wish->from_s && !wish->until_s;

	p.key = wish->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	assert_non_null(p.key);
	X509_set_version(p.own, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(p.own), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(p.own), usual ? -3600 : wish->from_s);
	X509_gmtime_adj(X509_getm_notAfter(p.own), usual ? 86400 : wish->until_s);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
				   (const unsigned char *)(wish->common ? wish->common : "test"),
				   -1, -1, 0);
	X509_set_issuer_name(p.own, X509_get_subject_name(issuer->own));
	X509_set_pubkey(p.own, p.key);
	if (wish->names)
		cert_extend(p.own, NID_subject_alt_name, wish->names);
	if (wish->ca)
		cert_extend(p.own, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(p.own, issuer->key, EVP_sha256()) > 0);
	return p;
}

/* What OUT holds goes behind what TEXT has already. */
static inline void cert_append(char *text, size_t cap, BIO *out)
{
	size_t used = strlen(text);
	char *p;
	long n = BIO_get_mem_data(out, &p);

	assert_true(used + (size_t)n < cap);
	memcpy(text + used, p, (size_t)n);
	text[used + (size_t)n] = '\0';
	BIO_free(out);
}

/* PEM of a certificate, or of a key, behind what TEXT has already. */
static inline void cert_write(char *text, size_t cap, const X509 *cert)
{
	BIO *out = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_X509(out, (X509 *)(uintptr_t)cert), 1);
	cert_append(text, cap, out);
}

static inline void cert_write_key(char *text, size_t cap, EVP_PKEY *key, const char *passphrase)
{
	BIO *out = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_PKCS8PrivateKey(
				 out, key, passphrase ? EVP_aes_128_cbc() : NULL, passphrase,
				 passphrase ? (int)strlen(passphrase) : 0, NULL, NULL),
			 1);
	cert_append(text, cap, out);
}

#endif
