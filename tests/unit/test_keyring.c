/* SPDX-License-Identifier: ISC */
/* All certificates packed: what was packed is read, and keys stand apart from chains. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "certs.h"
#include "feed.h"
#include "tls/keyring.h"

#define PAIRS 3

static void make_pairs(struct tls_pair pair[PAIRS])
{
	static struct tls_pair root;

	if (!root.own)
		root = cert_make(&(struct cert_wish){ .common = "root", .ca = true });
	pair[0] = cert_make(&(struct cert_wish){ .names = "DNS:a.test", .issuer = &root });
	pair[1] = cert_make(&(struct cert_wish){ .names = "DNS:a.test", .rsa = true });
	pair[2] = cert_make(&(struct cert_wish){ .names = "DNS:b.test,DNS:*.b.test" });
	assert_true(X509_up_ref(root.own));
	assert_true(sk_X509_push(pair[0].chain, root.own) > 0);
}

static void free_pairs(struct tls_pair pair[PAIRS])
{
	for (unsigned i = 0; i < PAIRS; i++)
		tls_pair_free(&pair[i]);
}

static void pack(const struct tls_pair pair[PAIRS], struct keyring *k)
{
	static const unsigned groups[PAIRS] = { 0, 0, 7 };
	static const char *const files[PAIRS] = { "/a.pem", "/rsa.pem", "/b/fullchain.pem" };

	*k = (struct keyring){ 0 };
	for (unsigned i = 0; i < PAIRS; i++)
		assert_int_equal(keyring_add(k, groups[i], files[i], &pair[i]), 0);
	assert_int_equal(k->count, PAIRS);
}

static void what_was_packed_is_read(void **state)
{
	struct tls_pair pair[PAIRS], got;
	struct keyring_reader r;
	struct keyring k;
	unsigned group;
	struct span digest, der;

	(void)state;
	make_pairs(pair);
	pack(pair, &k);
	r.rest = span_of(k.chains, k.chains_n);
	for (unsigned i = 0; i < PAIRS; i++) {
		assert_true(keyring_next(&r, &group, &got));
		assert_int_equal(group, i < 2 ? 0 : 7);
		assert_int_equal(X509_cmp(got.own, pair[i].own), 0);
		assert_int_equal(sk_X509_num(got.chain), i == 0);
		assert_null(got.key);
		tls_pair_free(&got);
	}
	assert_false(keyring_next(&r, &group, &got));
	assert_true(keyring_is_over(&r));
	r.rest = span_of(k.keys, k.keys_n);
	for (unsigned i = 0; i < PAIRS; i++) {
		uint8_t want[TLS_DIGEST];

		assert_true(keyring_next_key(&r, &digest, &der));
		assert_true(tls_key_digest(pair[i].own, want));
		assert_true(span_eq(digest, span_of(want, TLS_DIGEST)));
		const unsigned char *p = der.p;
		EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)der.n);

		assert_non_null(key);
		assert_int_equal(EVP_PKEY_eq(key, pair[i].key), 1);
		EVP_PKEY_free(key);
	}
	assert_false(keyring_next_key(&r, &digest, &der));
	assert_true(keyring_is_over(&r));
	keyring_free(&k);
	free_pairs(pair);
}

/* What is told of each, without a look at the certificates. */
static void about_each(void **state)
{
	static const struct {
		unsigned group;
		const char *file, *names[3], *kind;
	} rows[PAIRS] = {
		{ 0, "/a.pem", { "a.test" }, "ECDSA P-256" },
		{ 0, "/rsa.pem", { "a.test" }, "RSA 2048" },
		{ 7, "/b/fullchain.pem", { "b.test", "*.b.test" }, "ECDSA P-256" },
	};
	struct tls_pair pair[PAIRS];
	struct keyring_reader r;
	struct keyring_about about;
	struct keyring k;

	(void)state;
	make_pairs(pair);
	pack(pair, &k);
	r.rest = span_of(k.chains, k.chains_n);
	for (unsigned i = 0; i < PAIRS; i++) {
		uint8_t digest[TLS_DIGEST];
		unsigned n = 0;

		assert_true(keyring_next_about(&r, &about));
		assert_int_equal(about.group, rows[i].group);
		assert_int_equal(about.from_s, tls_pair_from_s(&pair[i]));
		assert_int_equal(about.until_s, tls_pair_until_s(&pair[i]));
		assert_true(span_eq(about.file, span_str(rows[i].file)));
		for (; rows[i].names[n]; n++)
			assert_true(span_eq(keyring_name(&about, n), span_str(rows[i].names[n])));
		assert_int_equal(keyring_name(&about, n).n, 0);
		assert_int_equal(keyring_name_count(&about), n);
		assert_true(span_eq(about.kind, span_str(rows[i].kind)));
		assert_true(tls_key_digest(pair[i].own, digest));
		assert_memory_equal(about.digest.p, digest, TLS_DIGEST);
	}
	assert_false(keyring_next_about(&r, &about));
	assert_true(keyring_is_over(&r));
	keyring_free(&k);
	free_pairs(pair);
}

/* The private number of a key stands nowhere among the chains. */
static void keys_stand_apart(void **state)
{
	struct tls_pair pair[PAIRS];
	uint8_t secret[32];
	BIGNUM *number = NULL;
	struct keyring k;

	(void)state;
	make_pairs(pair);
	pack(pair, &k);
	assert_int_equal(EVP_PKEY_get_bn_param(pair[0].key, "priv", &number), 1);
	assert_int_equal(BN_bn2binpad(number, secret, sizeof(secret)), sizeof(secret));
	assert_non_null(memmem(k.keys, k.keys_n, secret, sizeof(secret)));
	assert_null(memmem(k.chains, k.chains_n, secret, sizeof(secret)));
	BN_clear_free(number);
	keyring_free(&k);
	free_pairs(pair);
}

/* Octets that were cut or changed: reading ends, and nothing is read that is not there. */
static void wrong_octets(void **state)
{
	struct tls_pair pair[PAIRS], got;
	struct keyring k;
	struct keyring_about about;
	unsigned group;

	(void)state;
	make_pairs(pair);
	pack(pair, &k);
	for (size_t at = 0; at < 2 * k.chains_n; at++) {
		bool cut = at >= k.chains_n;
		size_t n = cut ? at - k.chains_n : k.chains_n;
		struct keyring_reader r = { span_of(k.chains, n) };
		unsigned count = 0;

		if (!cut)
			k.chains[at] ^= 0xff;
		r.rest = feed_guard(r.rest);
		while (keyring_next(&r, &group, &got) && count++ < 2 * PAIRS)
			tls_pair_free(&got);
		assert_true(count <= PAIRS);
		assert_true(!cut || count < PAIRS);
		r.rest = feed_guard(span_of(k.chains, n));
		for (count = 0; keyring_next_about(&r, &about) && count <= PAIRS; count++)
			assert_true(keyring_name_count(&about) < TLS_NAME_MAX);
		assert_true(count <= PAIRS);
		if (!cut)
			k.chains[at] ^= 0xff;
	}
	keyring_free(&k);
	free_pairs(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_packed_is_read),
		cmocka_unit_test(about_each),
		cmocka_unit_test(keys_stand_apart),
		cmocka_unit_test(wrong_octets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
