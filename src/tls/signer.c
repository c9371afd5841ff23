/* SPDX-License-Identifier: ISC */
/* signer: see signer.h. */
#include "tls/signer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tls/keyring.h"

struct held {
	struct span digest, der;
	EVP_PKEY *key; /* NULL: not read yet */
};

struct signer {
	struct held *held; /* in the order of their digests */
	unsigned count;
	pthread_mutex_t lock; /* of the keys that are not read yet */
};

/* What a thread serves. */
struct place {
	struct signer *signer;
	int fd;
	pthread_t thread;
};

/* ---- keys ---- */

static int compare(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	return memcmp(x->digest.p, y->digest.p, TLS_DIGEST);
}

static bool add(struct signer *s, struct span packed)
{
	struct keyring_reader r = { packed };
	struct held next = { .key = NULL };

	while (keyring_next_key(&r, &next.digest, &next.der)) {
		struct held *all = realloc(s->held, (s->count + 1) * sizeof(*all));

		if (!all)
			return false;
		s->held = all;
		all[s->count++] = next;
	}
	return keyring_is_over(&r);
}

struct signer *signer_make(const struct span *packed, unsigned count)
{
	struct signer *s = calloc(1, sizeof(*s));
	bool good = s != NULL;

	if (s)
		pthread_mutex_init(&s->lock, NULL);
	for (unsigned i = 0; good && i < count; i++)
		good = add(s, packed[i]);
	if (!good) {
		signer_free(s);
		return NULL;
	}
	if (s->count)
		qsort(s->held, s->count, sizeof(*s->held), compare);
	return s;
}

void signer_free(struct signer *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->count; i++)
		EVP_PKEY_free(s->held[i].key);
	pthread_mutex_destroy(&s->lock);
	free(s->held);
	free(s);
}

/* NULL: it is not here, or is none. */
static EVP_PKEY *find(struct signer *s, const uint8_t digest[TLS_DIGEST])
{
	const struct held want = { .digest = span_of(digest, TLS_DIGEST) };
	struct held *h =
		s->count ? bsearch(&want, s->held, s->count, sizeof(*s->held), compare) : NULL;
	const unsigned char *p;
	EVP_PKEY *key;

	if (!h)
		return NULL;
	pthread_mutex_lock(&s->lock);
	p = h->der.p;
	if (!h->key)
		h->key = d2i_AutoPrivateKey(NULL, &p, (long)h->der.n);
	key = h->key;
	pthread_mutex_unlock(&s->lock);
	return key;
}

/* ---- signing ---- */

/* XORs N octets of MGF1 of the seed onto DB (RFC 8017 B.2.1). */
static bool unmask(uint8_t *db, size_t n, struct span seed, const EVP_MD *md)
{
	uint8_t mask[EVP_MAX_MD_SIZE];
	size_t len = (size_t)EVP_MD_get_size(md);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx != NULL;

	for (size_t at = 0; good && at < n; at += len) {
		const uint8_t counter[4] = { 0, 0, 0, (uint8_t)(at / len) };

		good = EVP_DigestInit_ex(ctx, md, NULL) == 1 &&
		       EVP_DigestUpdate(ctx, seed.p, seed.n) == 1 &&
		       EVP_DigestUpdate(ctx, counter, sizeof(counter)) == 1 &&
		       EVP_DigestFinal_ex(ctx, mask, NULL) == 1;
		for (size_t i = 0; good && i < len && at + i < n; i++)
			db[at + i] ^= mask[i];
	}
	EVP_MD_CTX_free(ctx);
	return good;
}

/* Whether EM, whose first octet has BITS bits, is a block of PSS with a salt as long as the digest,
 * as TLS has it (RFC 8017 9.1.2, steps 4 to 10; RFC 8446 4.2.3). */
static bool is_block(struct span em, unsigned bits, const EVP_MD *md)
{
	uint8_t db[SIGNING_MOST];
	size_t len = (size_t)EVP_MD_get_size(md), zeros;

	if (em.n < 2 * len + 2 || em.p[em.n - 1] != 0xbc || em.p[0] >> bits)
		return false;
	memcpy(db, em.p, em.n - len - 1);
	if (!unmask(db, em.n - len - 1, span_of(em.p + em.n - len - 1, len), md))
		return false;
	db[0] &= (uint8_t)(0xff >> (8 - bits));
	zeros = em.n - 2 * len - 2;
	for (size_t i = 0; i < zeros; i++)
		if (db[i])
			return false;
	return db[zeros] == 1;
}

/* A number that somebody has encrypted for the key has no such form, and cannot be given one. */
static bool is_padded(const struct signing_ask *ask, const EVP_PKEY *key)
{
	unsigned bits = (unsigned)EVP_PKEY_get_bits(key) - 1;
	struct span em = span_of(ask->octets, ask->n);

	if (em.n != (size_t)EVP_PKEY_get_size(key))
		return false;
	if (bits % 8 == 0) { /* the number is an octet longer than the block */
		if (em.p[0])
			return false;
		em = span_from(em, 1);
	}
	bits = bits % 8 ? bits % 8 : 8;
	return is_block(em, bits, EVP_sha256()) || is_block(em, bits, EVP_sha384()) ||
	       is_block(em, bits, EVP_sha512());
}

/* RSA's padding for ASK, which KEY can answer; 0: it has none; -1: it cannot. */
static int padding_of(const struct signing_ask *ask, const EVP_PKEY *key)
{
	int type = EVP_PKEY_get_base_id(key);

	if (ask->n == 0 || ask->n > SIGNING_MOST || EVP_PKEY_get_size(key) > SIGNING_MOST)
		return -1;
	if (ask->kind == SIGNING_ECDSA)
		return type == EVP_PKEY_EC ? 0 : -1;
	if (type != EVP_PKEY_RSA)
		return -1;
	if (ask->kind == SIGNING_RSA_PKCS1)
		return RSA_PKCS1_PADDING;
	return ask->kind == SIGNING_RSA_PSS && is_padded(ask, key) ? RSA_NO_PADDING : -1;
}

void signer_answer(struct signer *s, const struct signing_ask *ask, struct signing_answer *answer)
{
	EVP_PKEY *key = find(s, ask->key);
	int padding = key ? padding_of(ask, key) : -1;
	EVP_PKEY_CTX *ctx = padding >= 0 ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	size_t n = SIGNING_MOST;

	*answer = (struct signing_answer){ .number = ask->number };
	if (ctx && EVP_PKEY_sign_init(ctx) == 1 &&
	    (padding == 0 || EVP_PKEY_CTX_set_rsa_padding(ctx, padding) == 1) &&
	    EVP_PKEY_sign(ctx, answer->octets, &n, ask->octets, ask->n) == 1)
		answer->n = (uint32_t)n;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
}

/* ---- serving ---- */

/* The other end is closed. (A packet of no octets is told in the same way by recv(2).) */
static bool is_over(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

/* The newest question: whoever asks again waits for no answer to the one before. False: nobody asks
 * any more. */
static bool next_ask(int fd, struct signing_ask *ask)
{
	struct signing_ask got;
	int flags = 0;
	bool any = false;

	for (;;) {
		ssize_t n = recv(fd, &got, sizeof(got), flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || (n == 0 && is_over(fd)))
			return any;
		if (n != (ssize_t)sizeof(got))
			continue;
		*ask = got;
		any = true;
		flags = MSG_DONTWAIT;
	}
}

static void *serve(void *arg)
{
	const struct place *place = arg;
	struct signing_answer answer;
	struct signing_ask ask;

	while (next_ask(place->fd, &ask)) {
		signer_answer(place->signer, &ask, &answer);
		(void)!send(place->fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	return NULL;
}

int signer_serve(struct signer *s, const int *fds, unsigned count)
{
	struct place *place = calloc(count, sizeof(*place));
	int err = place ? 0 : -ENOMEM;
	unsigned n = 0;

	for (; !err && n < count; n++) {
		place[n] = (struct place){ .signer = s, .fd = fds[n] };
		err = -pthread_create(&place[n].thread, NULL, serve, &place[n]);
	}
	if (err) /* the threads that have begun go with the process */
		return err;
	for (unsigned i = 0; i < count; i++)
		pthread_join(place[i].thread, NULL);
	free(place);
	return 0;
}
