/* SPDX-License-Identifier: ISC */
/* keyring: see keyring.h. A number is 32 bits, in the machine's order; octets have their number
 * before them. */
#include "tls/keyring.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- packing ---- */

/* What is reserved for so many octets: with a thousand certificates, few copies are made. */
static size_t room_of(size_t n)
{
	size_t room = 4096;

	while (room < n)
		room *= 2;
	return room;
}

/* Room for MORE octets behind the N that are there, in memory that is wiped before it is given
 * back. */
static uint8_t *grow(uint8_t **p, size_t *n, size_t more)
{
	size_t room = room_of(*n + more);

	if (!*p || room != room_of(*n)) {
		uint8_t *all = malloc(room);

		if (!all)
			return NULL;
		if (*p)
			memcpy(all, *p, *n);
		OPENSSL_clear_free(*p, *n);
		*p = all;
	}
	*n += more;
	return *p + *n - more;
}

static int add_number(uint8_t **p, size_t *n, size_t number)
{
	uint32_t value = (uint32_t)number;
	uint8_t *at = grow(p, n, sizeof(value));

	if (!at)
		return -ENOMEM;
	memcpy(at, &value, sizeof(value));
	return 0;
}

static int add_octets(uint8_t **p, size_t *n, const uint8_t *octets, size_t len)
{
	int err = add_number(p, n, len);
	uint8_t *at = err ? NULL : grow(p, n, len);

	if (!at)
		return -ENOMEM;
	memcpy(at, octets, len);
	return 0;
}

static int add_certificate(struct keyring *k, const X509 *cert)
{
	unsigned char *der = NULL;
	int n = i2d_X509(cert, &der);
	int err = n > 0 ? add_octets(&k->chains, &k->chains_n, der, (size_t)n) : -ENOMEM;

	OPENSSL_free(der);
	return err;
}

static int add_key(struct keyring *k, const struct tls_pair *pair)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pair->key);
	uint8_t digest[TLS_DIGEST];
	unsigned char *der = NULL;
	int n = info && tls_key_digest(pair->own, digest) ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : 0;
	int err = n > 0 ? add_octets(&k->keys, &k->keys_n, digest, sizeof(digest)) : -ENOMEM;

	if (!err)
		err = add_octets(&k->keys, &k->keys_n, der, (size_t)n);
	OPENSSL_clear_free(der, n > 0 ? (size_t)n : 0);
	PKCS8_PRIV_KEY_INFO_free(info);
	return err;
}

static int add_text(struct keyring *k, const char *text)
{
	return add_octets(&k->chains, &k->chains_n, (const uint8_t *)text, strlen(text));
}

static int add_names(struct keyring *k, const struct tls_pair *pair)
{
	char name[TLS_NAME_MAX], *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	int err = -ENOMEM;

	for (unsigned i = 0; out && tls_pair_name(pair, i, name); i++)
		fprintf(out, "%s%s", i ? " " : "", name);
	if (out && fclose(out) == 0)
		err = add_text(k, text);
	free(text);
	return err;
}

static int add_about(struct keyring *k, unsigned group, const char *file,
		     const struct tls_pair *pair)
{
	int64_t life[2] = { tls_pair_from_s(pair), tls_pair_until_s(pair) };
	uint8_t digest[TLS_DIGEST];
	char kind[64];
	int err = add_number(&k->chains, &k->chains_n, group);

	tls_pair_kind(pair, kind, sizeof(kind));
	if (!err)
		err = add_octets(&k->chains, &k->chains_n, (const uint8_t *)life, sizeof(life));
	if (!err)
		err = add_text(k, file);
	if (!err)
		err = add_names(k, pair);
	if (!err)
		err = add_text(k, kind);
	if (!err && !tls_key_digest(pair->own, digest))
		err = -ENOMEM;
	return err ? err : add_octets(&k->chains, &k->chains_n, digest, sizeof(digest));
}

int keyring_add(struct keyring *k, unsigned group, const char *file, const struct tls_pair *pair)
{
	int chain = sk_X509_num(pair->chain);
	int err = add_about(k, group, file, pair);

	if (!err)
		err = add_number(&k->chains, &k->chains_n, (size_t)chain + 1);
	if (!err)
		err = add_certificate(k, pair->own);
	for (int i = 0; i < chain && !err; i++)
		err = add_certificate(k, sk_X509_value(pair->chain, i));
	if (!err)
		err = add_key(k, pair);
	if (!err)
		k->count++;
	return err;
}

void keyring_free(struct keyring *k)
{
	free(k->chains);
	OPENSSL_clear_free(k->keys, k->keys_n);
	*k = (struct keyring){ 0 };
}

/* ---- reading ---- */

static bool next_number(struct keyring_reader *r, uint32_t *number)
{
	if (r->rest.n < sizeof(*number))
		return false;
	memcpy(number, r->rest.p, sizeof(*number));
	r->rest = span_from(r->rest, sizeof(*number));
	return true;
}

static bool next_octets(struct keyring_reader *r, struct span *octets)
{
	uint32_t n;

	if (!next_number(r, &n) || n > r->rest.n)
		return false;
	*octets = span_of(r->rest.p, n);
	r->rest = span_from(r->rest, n);
	return true;
}

static X509 *next_certificate(struct keyring_reader *r)
{
	struct span der;
	const unsigned char *p;

	if (!next_octets(r, &der))
		return NULL;
	p = der.p;
	return d2i_X509(NULL, &p, (long)der.n);
}

/* And how many certificates follow. */
static bool read_about(struct keyring_reader *r, struct keyring_about *about, uint32_t *certs)
{
	struct span life;
	int64_t at[2];
	uint32_t group;

	if (!next_number(r, &group) || !next_octets(r, &life) || life.n != sizeof(at) ||
	    !next_octets(r, &about->file) || !next_octets(r, &about->names) ||
	    !next_octets(r, &about->kind) || !next_octets(r, &about->digest) ||
	    about->digest.n != TLS_DIGEST || !next_number(r, certs) || *certs == 0 ||
	    *certs > TLS_CHAIN_MAX)
		return false;
	about->group = group;
	memcpy(at, life.p, sizeof(at));
	about->from_s = at[0];
	about->until_s = at[1];
	return true;
}

bool keyring_next_about(struct keyring_reader *r, struct keyring_about *about)
{
	struct span der;
	uint32_t certs;

	if (!read_about(r, about, &certs))
		return false;
	while (certs > 0 && next_octets(r, &der))
		certs--;
	return certs == 0;
}

struct span keyring_name(const struct keyring_about *about, unsigned n)
{
	struct span rest = about->names;

	for (;;) {
		const uint8_t *blank = rest.n ? memchr(rest.p, ' ', rest.n) : NULL;
		size_t len = blank ? (size_t)(blank - rest.p) : rest.n;

		if (n-- == 0)
			return span_of(rest.p, len);
		rest = span_from(rest, blank ? len + 1 : len);
	}
}

unsigned keyring_name_count(const struct keyring_about *about)
{
	unsigned n = about->names.n > 0;

	for (size_t i = 0; i < about->names.n; i++)
		n += about->names.p[i] == ' ';
	return n;
}

static bool read_pair(struct keyring_reader *r, unsigned *group, struct tls_pair *pair)
{
	struct keyring_about about;
	uint32_t certs;

	if (!read_about(r, &about, &certs))
		return false;
	*group = about.group;
	pair->own = next_certificate(r);
	for (uint32_t i = 1; i < certs && pair->own; i++) {
		X509 *cert = next_certificate(r);

		if (!cert || sk_X509_push(pair->chain, cert) <= 0) {
			X509_free(cert);
			return false;
		}
	}
	return pair->own;
}

bool keyring_next(struct keyring_reader *r, unsigned *group, struct tls_pair *pair)
{
	if (keyring_is_over(r))
		return false;
	*pair = (struct tls_pair){ .chain = sk_X509_new_null() };
	if (pair->chain && read_pair(r, group, pair))
		return true;
	tls_pair_free(pair);
	return false;
}

bool keyring_next_key(struct keyring_reader *r, struct span *digest, struct span *der)
{
	return next_octets(r, digest) && digest->n == TLS_DIGEST && next_octets(r, der);
}
