/* SPDX-License-Identifier: ISC */
/* distant: see distant.h. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tls/distant.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "tls/fault.h"
#include "tls/signing.h"

/* How long an answer is waited for, each time that it is asked for. */
static const int patience_ms[] = { 100, 300, 600, 1000 };
#define ASKED	  (sizeof(patience_ms) / sizeof(*patience_ms))
#define MOMENT_MS 10

struct distant {
	int fd;
	uint64_t number; /* of what was asked last */
	bool silent;	 /* there was no answer to it */
	RSA_METHOD *rsa;
	EC_KEY_METHOD *ec;
};

/* Which key it is, at OpenSSL's one. */
struct which {
	struct distant *distant;
	uint8_t digest[TLS_DIGEST];
};

/* ---- asking ---- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* True: the answer to the last question is here. */
static bool hear(struct distant *d, struct signing_answer *answer, int wait_ms)
{
	int64_t until = now_ms() + wait_ms;
	struct pollfd p = { .fd = d->fd, .events = POLLIN };

	for (;;) {
		ssize_t n = recv(d->fd, answer, sizeof(*answer), MSG_DONTWAIT);
		int64_t left = until - now_ms();

		if (n == (ssize_t)sizeof(*answer) && answer->number == d->number)
			return true;
		if (n > 0) {
			d->silent = false; /* to a question that was given up: it is late */
			continue;
		}
		if (n == 0 || (errno != EAGAIN && errno != EINTR) || left <= 0)
			return false;
		(void)!poll(&p, 1, (int)left);
	}
}

static bool ask(struct distant *d, struct signing_ask *a, struct signing_answer *answer)
{
	a->number = ++d->number;
	for (unsigned i = 0; i < (d->silent ? 1 : ASKED); i++) {
		(void)!send(d->fd, a, sizeof(*a), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (hear(d, answer, d->silent ? MOMENT_MS : patience_ms[i])) {
			d->silent = false;
			return true;
		}
	}
	d->silent = true;
	return false;
}

/* Signs N octets into OUT, of ROOM. Their number; 0: there is no signature, and OpenSSL has the
 * reason. */
static size_t sign(const struct which *w, enum signing_kind kind, const uint8_t *octets, size_t n,
		   uint8_t *out, size_t room)
{
	struct signing_ask a = { .kind = kind, .n = (uint32_t)n };
	struct signing_answer answer = { .n = 0 };

	if (w && n <= SIGNING_MOST) {
		memcpy(a.key, w->digest, TLS_DIGEST);
		memcpy(a.octets, octets, n);
		if (ask(w->distant, &a, &answer) && answer.n <= room && answer.n <= SIGNING_MOST)
			memcpy(out, answer.octets, answer.n);
		else
			answer.n = 0;
	}
	if (answer.n == 0)
		ERR_raise(ERR_LIB_USER, TLS_REASON_NO_SIGNATURE);
	return answer.n;
}

/* ---- RSA ---- */

static int rsa_sign(int n, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
	enum signing_kind kind = padding == RSA_PKCS1_PADDING ? SIGNING_RSA_PKCS1 : SIGNING_RSA_PSS;
	size_t got;

	if (n <= 0 || (padding != RSA_PKCS1_PADDING && padding != RSA_NO_PADDING))
		return -1;
	got = sign(RSA_get_app_data(rsa), kind, from, (size_t)n, to, (size_t)RSA_size(rsa));
	return got ? (int)got : -1;
}

/* Nobody is to decrypt. */
static int rsa_refuse(int n, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
	(void)n;
	(void)from;
	(void)to;
	(void)rsa;
	(void)padding;
	return -1;
}

static int rsa_finish(RSA *rsa)
{
	free(RSA_get_app_data(rsa));
	return RSA_meth_get_finish(RSA_PKCS1_OpenSSL())(rsa);
}

static bool make_rsa(struct distant *d)
{
	d->rsa = RSA_meth_dup(RSA_PKCS1_OpenSSL());
	return d->rsa && RSA_meth_set_priv_enc(d->rsa, rsa_sign) == 1 &&
	       RSA_meth_set_priv_dec(d->rsa, rsa_refuse) == 1 &&
	       RSA_meth_set_finish(d->rsa, rsa_finish) == 1;
}

static EVP_PKEY *rsa_key(struct distant *d, const EVP_PKEY *public, struct which *w)
{
	RSA *rsa = RSAPublicKey_dup((RSA *)(uintptr_t)EVP_PKEY_get0_RSA(public));
	EVP_PKEY *key = rsa ? EVP_PKEY_new() : NULL;

	if (!key || RSA_set_method(rsa, d->rsa) != 1 || EVP_PKEY_assign_RSA(key, rsa) != 1)
		RSA_free(rsa);
	else if (RSA_set_app_data(rsa, w) == 1)
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

/* ---- elliptic curves ---- */

/* The place that a key has for its user: OpenSSL keeps the first one free for that. */
#define EC_APP_DATA 0

static int ec_sign(int type, const unsigned char *digest, int n, unsigned char *out,
		   unsigned int *out_n, const BIGNUM *kinv, const BIGNUM *r, EC_KEY *ec)
{
	(void)type;
	(void)kinv;
	(void)r;
	*out_n = n <= 0 ? 0
			: (unsigned int)sign(EC_KEY_get_ex_data(ec, EC_APP_DATA), SIGNING_ECDSA,
					     digest, (size_t)n, out, (size_t)ECDSA_size(ec));
	return *out_n > 0;
}

static ECDSA_SIG *ec_sign_numbers(const unsigned char *digest, int n, const BIGNUM *kinv,
				  const BIGNUM *r, EC_KEY *ec)
{
	unsigned char der[SIGNING_MOST];
	const unsigned char *p = der;
	unsigned int der_n;

	if (ECDSA_size(ec) > SIGNING_MOST || !ec_sign(0, digest, n, der, &der_n, kinv, r, ec))
		return NULL;
	return d2i_ECDSA_SIG(NULL, &p, (long)der_n);
}

static void ec_finish(EC_KEY *ec)
{
	free(EC_KEY_get_ex_data(ec, EC_APP_DATA));
}

static bool make_ec(struct distant *d)
{
	d->ec = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
	if (!d->ec)
		return false;
	EC_KEY_METHOD_set_init(d->ec, NULL, ec_finish, NULL, NULL, NULL, NULL);
	EC_KEY_METHOD_set_sign(d->ec, ec_sign, NULL, ec_sign_numbers);
	return true;
}

/* The public half alone, whatever stands beside it. */
static EC_KEY *dup_public(const EC_KEY *of)
{
	EC_KEY *ec = of ? EC_KEY_new() : NULL;

	if (ec && EC_KEY_set_group(ec, EC_KEY_get0_group(of)) == 1 &&
	    EC_KEY_set_public_key(ec, EC_KEY_get0_public_key(of)) == 1)
		return ec;
	EC_KEY_free(ec);
	return NULL;
}

static EVP_PKEY *ec_key(struct distant *d, const EVP_PKEY *public, struct which *w)
{
	EC_KEY *ec = dup_public(EVP_PKEY_get0_EC_KEY(public));
	EVP_PKEY *key = ec ? EVP_PKEY_new() : NULL;

	if (!key || EC_KEY_set_method(ec, d->ec) != 1 || EVP_PKEY_assign_EC_KEY(key, ec) != 1)
		EC_KEY_free(ec);
	else if (EC_KEY_set_ex_data(ec, EC_APP_DATA, w) == 1)
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

/* ---- keys ---- */

struct distant *distant_make(int fd)
{
	struct distant *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->fd = fd;
	if (make_rsa(d) && make_ec(d))
		return d;
	distant_free(d);
	return NULL;
}

void distant_free(struct distant *d)
{
	if (!d)
		return;
	RSA_meth_free(d->rsa);
	EC_KEY_METHOD_free(d->ec);
	free(d);
}

bool distant_takes(const EVP_PKEY *key)
{
	int type = EVP_PKEY_get_base_id(key);

	return (type == EVP_PKEY_RSA || type == EVP_PKEY_EC) &&
	       EVP_PKEY_get_size(key) <= SIGNING_MOST;
}

EVP_PKEY *distant_key(struct distant *d, X509 *cert, char why[TLS_WHY_MAX])
{
	const EVP_PKEY *public = X509_get0_pubkey(cert);
	struct which *w = calloc(1, sizeof(*w));
	EVP_PKEY *key = NULL;

	snprintf(why, TLS_WHY_MAX, "no memory");
	if (!public || !distant_takes(public)) {
		snprintf(why, TLS_WHY_MAX, "a key of this kind cannot be in a process of its own");
	} else if (w && tls_key_digest(cert, w->digest)) {
		w->distant = d;
		key = EVP_PKEY_get_base_id(public) == EVP_PKEY_RSA ? rsa_key(d, public, w)
								   : ec_key(d, public, w);
	}
	if (!key)
		free(w);
	return key;
}
