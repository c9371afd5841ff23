/* SPDX-License-Identifier: ISC */
/* pair: see pair.h. */
#include "tls/pair.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static bool refuse(char why[TLS_WHY_MAX], const char *what)
{
	snprintf(why, TLS_WHY_MAX, "%s", what);
	ERR_clear_error();
	return false;
}

/* ---- PEM ---- */

static BIO *over(struct span text)
{
	return text.n > 0 && text.n <= INT32_MAX ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
}

/* All certificates of the text, in their order. False: one of them cannot be read. */
static bool read_certificates(STACK_OF(X509) * all, struct span text)
{
	BIO *in = over(text);
	X509 *cert = NULL;
	bool good = in;

	if (text.n == 0)
		return true;
	ERR_clear_error();
	while (good && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
		good = sk_X509_num(all) < TLS_CHAIN_MAX && sk_X509_push(all, cert) > 0;
	if (!good)
		X509_free(cert);
	BIO_free(in);
	/* The end of the text is an error of its own; any other one is a fault. */
	good = good && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	return good;
}

static int no_passphrase(char *out, int cap, int writing, void *asked)
{
	(void)out;
	(void)cap;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

static EVP_PKEY *read_key(struct span text, bool *encrypted)
{
	BIO *in = over(text);
	EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, encrypted) : NULL;

	BIO_free(in);
	ERR_clear_error();
	return key;
}

/* ---- the chain ---- */

static bool signs(X509 *issuer, X509 *cert)
{
	return X509_check_issued(issuer, cert) == X509_V_OK;
}

static X509 *take(STACK_OF(X509) * all, int i)
{
	return sk_X509_delete(all, i);
}

static int issuer_of(STACK_OF(X509) * all, X509 *cert)
{
	for (int i = 0; i < sk_X509_num(all); i++)
		if (signs(sk_X509_value(all, i), cert))
			return i;
	return -1;
}

/* Those of ALL that lead from the pair's own certificate upwards, in the order that TLS wants: what
 * belongs to no chain is of no use to a peer. */
static bool make_chain(struct tls_pair *pair, STACK_OF(X509) * all)
{
	X509 *last = pair->own;
	int at;

	while ((at = issuer_of(all, last)) >= 0) {
		last = take(all, at);
		if (sk_X509_push(pair->chain, last) <= 0) {
			X509_free(last);
			return false;
		}
	}
	return true;
}

/* The one that the key belongs to. */
static X509 *take_own(STACK_OF(X509) * all, EVP_PKEY *key)
{
	for (int i = 0; i < sk_X509_num(all); i++)
		if (X509_check_private_key(sk_X509_value(all, i), key) == 1)
			return take(all, i);
	ERR_clear_error();
	return NULL;
}

static bool has_names(const struct tls_pair *pair)
{
	char name[TLS_NAME_MAX];

	return tls_pair_name(pair, 0, name);
}

static bool read_pair(struct tls_pair *pair, STACK_OF(X509) * all, struct span certificates,
		      struct span key, char why[TLS_WHY_MAX])
{
	bool encrypted = false;

	if (!read_certificates(all, certificates))
		return refuse(why,
			      "a certificate in it cannot be read; it may be written just now");
	if (sk_X509_num(all) == 0)
		return refuse(why, "no certificate (BEGIN CERTIFICATE) in it");
	pair->key = read_key(key, &encrypted);
	if (!pair->key && encrypted)
		return refuse(why, "the private key is encrypted, and nobody can be asked for its "
				   "passphrase; write it without one");
	if (!pair->key)
		return refuse(why, "no private key (BEGIN PRIVATE KEY) that can be read");
	pair->own = take_own(all, pair->key);
	if (!pair->own)
		return refuse(why, "the private key belongs to none of the certificates");
	if (!make_chain(pair, all))
		return refuse(why, "no memory");
	if (!has_names(pair))
		return refuse(why, "the certificate is for no name");
	return true;
}

bool tls_pair_read(struct tls_pair *pair, struct span certificates, struct span key,
		   char why[TLS_WHY_MAX])
{
	STACK_OF(X509) *all = sk_X509_new_null();
	bool good;

	*pair = (struct tls_pair){ .chain = sk_X509_new_null() };
	good = all && pair->chain ? read_pair(pair, all, certificates, key, why)
				  : refuse(why, "no memory");
	sk_X509_pop_free(all, X509_free);
	if (!good)
		tls_pair_free(pair);
	return good;
}

void tls_pair_free(struct tls_pair *pair)
{
	X509_free(pair->own);
	sk_X509_pop_free(pair->chain, X509_free);
	EVP_PKEY_free(pair->key);
	*pair = (struct tls_pair){ 0 };
}

/* ---- what it says ---- */

static int64_t seconds_of(const ASN1_TIME *time)
{
	struct tm tm = { 0 };

	return ASN1_TIME_to_tm(time, &tm) ? timegm(&tm) : 0;
}

int64_t tls_pair_from_s(const struct tls_pair *pair)
{
	return seconds_of(X509_get0_notBefore(pair->own));
}

int64_t tls_pair_until_s(const struct tls_pair *pair)
{
	return seconds_of(X509_get0_notAfter(pair->own));
}

bool tls_pair_is_alone(const struct tls_pair *pair)
{
	return sk_X509_num(pair->chain) <= 0 &&
	       X509_NAME_cmp(X509_get_issuer_name(pair->own), X509_get_subject_name(pair->own));
}

int64_t tls_pair_left_s(const struct tls_pair *pair, int64_t now_s)
{
	return tls_pair_until_s(pair) - now_s;
}

/* A host name as certificates have it, of letters that DNS knows: others name no host. */
static bool take_name(char out[TLS_NAME_MAX], const ASN1_STRING *text)
{
	int n = ASN1_STRING_length(text);
	const unsigned char *p = ASN1_STRING_get0_data(text);

	if (n <= 0 || n >= TLS_NAME_MAX)
		return false;
	for (int i = 0; i < n; i++) {
		bool star = p[i] == '*' && i == 0 && n > 2 && p[1] == '.';

		if (!star && !isalnum(p[i]) && p[i] != '-' && p[i] != '.' && p[i] != '_')
			return false;
		out[i] = (char)ascii_lower(p[i]);
	}
	out[n] = '\0';
	return true;
}

static bool alternative_name(const GENERAL_NAMES *names, unsigned n, char out[TLS_NAME_MAX])
{
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS && take_name(out, name->d.dNSName) && n-- == 0)
			return true;
	}
	return false;
}

static bool common_name(X509 *cert, char out[TLS_NAME_MAX])
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

	return at >= 0 &&
	       take_name(out, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

bool tls_pair_name(const struct tls_pair *pair, unsigned n, char out[TLS_NAME_MAX])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(pair->own, NID_subject_alt_name, NULL, NULL);
	char first[TLS_NAME_MAX];
	bool found;

	if (names && alternative_name(names, 0, first))
		found = alternative_name(names, n, out);
	else
		found = n == 0 && common_name(pair->own, out);
	GENERAL_NAMES_free(names);
	return found;
}

void tls_pair_kind(const struct tls_pair *pair, char *out, size_t cap)
{
	EVP_PKEY *key = X509_get0_pubkey(pair->own);
	char group[32] = "";
	size_t n = 0;

	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
		snprintf(out, cap, "RSA %d", EVP_PKEY_get_bits(key));
		break;
	case EVP_PKEY_EC:
		if (EVP_PKEY_get_group_name(key, group, sizeof(group), &n) != 1)
			group[0] = '\0';
		snprintf(out, cap, "ECDSA %s", strcmp(group, "prime256v1") ? group : "P-256");
		break;
	default:
		snprintf(out, cap, "%s", OBJ_nid2sn(EVP_PKEY_get_base_id(key)));
	}
}

bool tls_key_digest(const X509 *cert, uint8_t out[TLS_DIGEST])
{
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	bool good = n > 0 && EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return good;
}
