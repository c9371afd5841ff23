/* SPDX-License-Identifier: ISC */
/* Which certificate a client gets: by the name that it asks for, by what it can verify, and the
 * first one otherwise. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "certs.h"
#include "tls/conn.h"
#include "tls/load.h"
#include "tls/set.h"

enum { FIRST, EXACT, WILD, IDN, BOTH_EC, BOTH_RSA, LATE, PAIRS };

struct world {
	struct tls_pair pair[PAIRS];
	struct tls_set *set;
};

static void setup(struct world *w)
{
	static const struct {
		const char *names;
		unsigned group;
		bool rsa;
	} rows[PAIRS] = {
		[FIRST] = { "DNS:first.test", 0, false },
		[EXACT] = { "DNS:mx.test,DNS:two.test", 1, false },
		[WILD] = { "DNS:*.wild.test", 2, false },
		[IDN] = { "DNS:xn--bcher-kva.test", 3, false },
		[BOTH_EC] = { "DNS:both.test", 4, false },
		[BOTH_RSA] = { "DNS:both.test", 4, true },
		/* Names that others have already, and one of its own. */
		[LATE] = { "DNS:mx.test,DNS:late.test,DNS:exact.wild.test", 5, false },
	};
	const struct tls_policy policy = {
		.min_version = TLS1_2_VERSION, .level = 2, .ciphers = "", .groups = ""
	};
	enum tls_part part;
	char why[TLS_WHY_MAX];

	w->set = tls_set_make(&policy, &part, why);
	assert_non_null(w->set);
	for (unsigned i = 0; i < PAIRS; i++) {
		w->pair[i] = cert_make(
			&(struct cert_wish){ .names = rows[i].names, .rsa = rows[i].rsa });
		assert_true(tls_set_add(w->set, rows[i].group, &w->pair[i], why));
	}
	assert_true(tls_set_ready(w->set));
}

static void teardown(struct world *w)
{
	for (unsigned i = 0; i < PAIRS; i++)
		tls_pair_free(&w->pair[i]);
	tls_set_free(w->set);
}

/* A ClientHello that asks for NAME (NULL: none), with a NUL in place of each '|'. */
static BIO *hello(const char *name, const char *sigalgs)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *out = BIO_new(BIO_s_mem());
	char *p, *at;
	long n;

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	if (sigalgs)
		assert_int_equal(SSL_set1_sigalgs_list(ssl, sigalgs), 1);
	if (name)
		assert_int_equal(SSL_set_tlsext_host_name(ssl, name), 1);
	SSL_set_connect_state(ssl);
	assert_true(SSL_do_handshake(ssl) < 0);
	n = BIO_get_mem_data(out, &p);
	at = name && strchr(name, '|') ? memmem(p, (size_t)n, name, strlen(name)) : NULL;
	for (; at && (at = memchr(at, '|', (size_t)(p + n - at))); at++)
		*at = '\0';
	BIO_up_ref(out);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return out;
}

/* The pair that a client gets; -1: none. */
static int chosen(const struct world *w, const char *name, const char *sigalgs)
{
	SSL *ssl = SSL_new(tls_set_context(w->set));
	struct tls_conn c = { .ssl = ssl };
	int found = -1;

	SSL_set_app_data(ssl, &c);
	SSL_set_bio(ssl, hello(name, sigalgs), BIO_new(BIO_s_mem()));
	SSL_set_accept_state(ssl);
	(void)SSL_do_handshake(ssl);
	for (int i = 0; i < PAIRS; i++)
		if (X509_cmp(SSL_get_certificate(ssl), w->pair[i].own) == 0)
			found = i;
	SSL_free(ssl);
	return found;
}

static void by_name(void **state)
{
	static const struct {
		const char *name;
		int want;
	} rows[] = {
		/* sni_exact */
		{ "mx.test", EXACT },
		{ "two.test", EXACT },
		{ "MX.Test", EXACT },
		{ "mx.test.", EXACT },
		{ "late.test", LATE },
		{ "first.test", FIRST },
		/* sni_wildcard: one label, whole (RFC 6125 6.4.3) */
		{ "a.wild.test", WILD },
		{ "A.WILD.test", WILD },
		{ "exact.wild.test", LATE },
		{ "a.b.wild.test", FIRST },
		{ "wild.test", FIRST },
		{ ".wild.test", FIRST },
		{ "*.wild.test", FIRST },
		/* sni_unknown */
		{ "other.test", FIRST },
		{ "mx.test.other", FIRST },
		{ "x", FIRST },
		/* sni_none */
		{ NULL, FIRST },
		/* sni_IP */
		{ "192.0.2.1", FIRST },
		{ "2001:db8::1", FIRST },
		/* sni_idn: names are A-labels there (RFC 6066 3) */
		{ "xn--bcher-kva.test", IDN },
		{ "XN--BCHER-KVA.TEST", IDN },
		{ "b\xc3\xbc"
		  "cher.test",
		  FIRST },
		/* sni_NUL */
		{ "mx.test|.evil.test", FIRST },
		{ "mx.test|", FIRST },
		{ "|mx.test", FIRST },
		{ "a|b.wild.test", FIRST },
	};
	struct world w;

	(void)state;
	setup(&w);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(chosen(&w, rows[i].name, NULL), rows[i].want);
	teardown(&w);
}

/* A client that can verify RSA alone, within the group of its name. */
static void by_signature(void **state)
{
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(chosen(&w, "both.test", "ecdsa_secp256r1_sha256"), BOTH_EC);
	assert_int_equal(chosen(&w, "both.test", "rsa_pss_rsae_sha256:RSA+SHA256"), BOTH_RSA);
	teardown(&w);
}

/* In pieces of any size it is the same set. */
static void loaded_in_pieces(void **state)
{
	const struct tls_policy policy = {
		.min_version = TLS1_2_VERSION, .level = 2, .ciphers = "", .groups = ""
	};
	struct keyring k = { 0 };
	struct tls_keys keys;
	struct world w;
	char why[TLS_WHY_MAX];

	(void)state;
	setup(&w);
	for (unsigned i = 0; i < PAIRS; i++)
		assert_int_equal(keyring_add(&k, i <= BOTH_EC ? i : i - 1, "/x", &w.pair[i]), 0);
	keys = (struct tls_keys){ .packed = span_of(k.keys, k.keys_n) };
	for (unsigned most = 1; most <= PAIRS + 1; most++) {
		struct tls_loading l;
		unsigned calls = 1;
		enum tls_load got;

		tls_set_free(w.set);
		assert_true(tls_load_begin(&l, &policy, span_of(k.chains, k.chains_n), &keys, why));
		while ((got = tls_load_some(&l, most, why)) == TLS_LOAD_MORE)
			calls++;
		assert_int_equal(got, TLS_LOADED);
		assert_int_equal(calls, (PAIRS + most - 1) / most);
		w.set = l.set;
		assert_int_equal(chosen(&w, "two.test", NULL), EXACT);
		assert_int_equal(chosen(&w, "late.test", NULL), LATE);
		assert_int_equal(chosen(&w, "both.test", "rsa_pss_rsae_sha256"), BOTH_RSA);
	}
	/* Without the last key. */
	struct tls_loading l;

	keys.packed.n--;
	assert_true(tls_load_begin(&l, &policy, span_of(k.chains, k.chains_n), &keys, why));
	assert_int_equal(tls_load_some(&l, PAIRS - 1, why), TLS_LOAD_MORE);
	assert_int_equal(tls_load_some(&l, 1, why), TLS_LOAD_FAILED);
	tls_set_free(l.set);
	keyring_free(&k);
	teardown(&w);
}

/* One of a kind in a group. */
static void two_of_a_kind(void **state)
{
	struct world w;
	char why[TLS_WHY_MAX];

	(void)state;
	setup(&w);
	assert_false(tls_set_add(w.set, 4, &w.pair[BOTH_EC], why));
	teardown(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_name),
		cmocka_unit_test(by_signature),
		cmocka_unit_test(loaded_in_pieces),
		cmocka_unit_test(two_of_a_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
