/* SPDX-License-Identifier: ISC */
/* Certificates and keys from PEM files: which pairs are taken, and why others are not; what a pair
 * says. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "certs.h"

#define TEXT_MAX 16384

struct files {
	char certs[TEXT_MAX], key[TEXT_MAX];
};

static bool read_files(struct tls_pair *p, const struct files *f, char why[TLS_WHY_MAX])
{
	*why = '\0';
	return tls_pair_read(p, span_str(f->certs), span_str(f->key), why);
}

static void write_pair(struct files *f, const struct tls_pair *p)
{
	*f = (struct files){ 0 };
	cert_write(f->certs, sizeof(f->certs), p->own);
	cert_write_key(f->key, sizeof(f->key), p->key, NULL);
}

static void refused(const struct files *f, const char *why_wanted)
{
	struct tls_pair p;
	char why[TLS_WHY_MAX];

	assert_false(read_files(&p, f, why));
	assert_non_null(strstr(why, why_wanted));
	assert_null(p.own);
	assert_null(p.key);
}

static void both_kinds(void **state)
{
	(void)state;
	for (int rsa = 0; rsa < 2; rsa++) {
		struct tls_pair made =
			cert_make(&(struct cert_wish){ .names = "DNS:mx.test", .rsa = rsa });
		struct tls_pair p;
		struct files f;
		char why[TLS_WHY_MAX], text[TLS_NAME_MAX];

		write_pair(&f, &made);
		assert_true(read_files(&p, &f, why));
		assert_int_equal(X509_cmp(p.own, made.own), 0);
		assert_int_equal(sk_X509_num(p.chain), 0);
		tls_pair_kind(&p, text, sizeof(text));
		assert_string_equal(text, rsa ? "RSA 2048" : "ECDSA P-256");
		tls_pair_free(&p);
		tls_pair_free(&made);
	}
}

/* Key and certificates in one file, the key first or last. */
static void one_file(void **state)
{
	struct tls_pair made = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" }), p;
	char why[TLS_WHY_MAX], text[TEXT_MAX] = "";

	(void)state;
	cert_write_key(text, sizeof(text), made.key, NULL);
	cert_write(text, sizeof(text), made.own);
	assert_true(tls_pair_read(&p, span_str(text), span_str(text), why));
	tls_pair_free(&p);
	*text = '\0';
	cert_write(text, sizeof(text), made.own);
	cert_write_key(text, sizeof(text), made.key, NULL);
	assert_true(tls_pair_read(&p, span_str(text), span_str(text), why));
	tls_pair_free(&p);
	tls_pair_free(&made);
}

/* In whatever order they stand; what belongs to no chain is left out. */
static void chain_is_put_in_order(void **state)
{
	struct tls_pair root = cert_make(&(struct cert_wish){ .common = "root", .ca = true });
	struct tls_pair middle =
		cert_make(&(struct cert_wish){ .common = "middle", .issuer = &root, .ca = true });
	struct tls_pair own =
		cert_make(&(struct cert_wish){ .names = "DNS:mx.test", .issuer = &middle });
	struct tls_pair other = cert_make(&(struct cert_wish){ .common = "other", .ca = true });
	const X509 *all[] = { root.own, own.own, other.own, middle.own };
	struct files f = { 0 };
	struct tls_pair p;
	char why[TLS_WHY_MAX];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		cert_write(f.certs, sizeof(f.certs), all[i]);
	cert_write_key(f.key, sizeof(f.key), own.key, NULL);
	assert_true(read_files(&p, &f, why));
	assert_int_equal(X509_cmp(p.own, own.own), 0);
	assert_int_equal(sk_X509_num(p.chain), 2);
	assert_int_equal(X509_cmp(sk_X509_value(p.chain, 0), middle.own), 0);
	assert_int_equal(X509_cmp(sk_X509_value(p.chain, 1), root.own), 0);
	assert_false(tls_pair_is_alone(&p));
	assert_true(tls_pair_is_alone(&own));
	assert_false(tls_pair_is_alone(&root)); /* its own issuer */
	tls_pair_free(&p);
	tls_pair_free(&root);
	tls_pair_free(&middle);
	tls_pair_free(&own);
	tls_pair_free(&other);
}

static void pairs_that_are_none(void **state)
{
	struct tls_pair a = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });
	struct tls_pair b = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });
	struct tls_pair nameless = cert_make(&(struct cert_wish){ .common = "no name" });
	struct files f;

	(void)state;
	write_pair(&f, &a);
	*f.key = '\0';
	refused(&f, "no private key");
	cert_write_key(f.key, sizeof(f.key), b.key, NULL);
	refused(&f, "belongs to none");
	*f.key = '\0';
	cert_write_key(f.key, sizeof(f.key), a.key, "secret");
	refused(&f, "passphrase");
	write_pair(&f, &a);
	*f.certs = '\0';
	refused(&f, "no certificate");
	snprintf(f.certs, sizeof(f.certs), "%s", f.key);
	refused(&f, "no certificate");
	write_pair(&f, &nameless);
	refused(&f, "for no name");
	tls_pair_free(&a);
	tls_pair_free(&b);
	tls_pair_free(&nameless);
}

/* A file that is written just now is no pair, wherever it ends; what is behind a whole one is. */
static void cut_anywhere(void **state)
{
	struct tls_pair root = cert_make(&(struct cert_wish){ .common = "root", .ca = true });
	struct tls_pair own =
		cert_make(&(struct cert_wish){ .names = "DNS:mx.test", .issuer = &root });
	struct files f;
	size_t first, all;

	(void)state;
	write_pair(&f, &own);
	first = strlen(f.certs);
	cert_write(f.certs, sizeof(f.certs), root.own);
	all = strlen(f.certs);
	for (size_t n = 0; n < all; n += 7) {
		struct tls_pair p;
		char why[TLS_WHY_MAX];
		bool good = tls_pair_read(&p, span_of(f.certs, n), span_str(f.key), why);

		/* Within the line that begins the next one there is nothing to see yet. */
		if (n < first - 1 || n > first + 27)
			assert_false(good);
		else if (n >= first && n < first + 27)
			assert_true(good);
		if (good)
			tls_pair_free(&p);
	}
	for (size_t n = 0; n < strlen(f.key) - 2; n += 7) {
		struct tls_pair p;
		char why[TLS_WHY_MAX];

		assert_false(tls_pair_read(&p, span_str(f.certs), span_of(f.key, n), why));
	}
	tls_pair_free(&root);
	tls_pair_free(&own);
}

static void names(void **state)
{
	static const struct {
		const char *names, *common, *want[4];
	} rows[] = {
		{ "DNS:mx.test", "other.test", { "mx.test" } },
		{ "DNS:MX.Test,DNS:*.mx.test,IP:192.0.2.1,DNS:a_b.test",
		  NULL,
		  { "mx.test", "*.mx.test", "a_b.test" } },
		{ "IP:192.0.2.1", "old.test", { "old.test" } },
		{ NULL, "old.test", { "old.test" } },
		{ "DNS:bad*star.test,DNS:good.test", NULL, { "good.test" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct tls_pair p = cert_make(
			&(struct cert_wish){ .names = rows[i].names, .common = rows[i].common });
		char name[TLS_NAME_MAX];
		unsigned n = 0;

		for (; rows[i].want[n]; n++) {
			assert_true(tls_pair_name(&p, n, name));
			assert_string_equal(name, rows[i].want[n]);
		}
		assert_false(tls_pair_name(&p, n, name));
		tls_pair_free(&p);
	}
}

static void end_of_validity(void **state)
{
	struct tls_pair p = cert_make(
		&(struct cert_wish){ .names = "DNS:mx.test", .from_s = -1000, .until_s = 500 });
	int64_t now = time(NULL), left = tls_pair_left_s(&p, now);

	(void)state;
	assert_in_range(left, 400, 500);
	assert_int_equal(tls_pair_until_s(&p), now + left);
	assert_true(tls_pair_left_s(&p, now + 501) < 0);
	tls_pair_free(&p);
}

/* The digest is that of the key, and a renewed certificate has the same. */
static void digest(void **state)
{
	struct tls_pair a = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });
	struct tls_pair b = cert_make(&(struct cert_wish){ .names = "DNS:mx.test" });
	uint8_t one[TLS_DIGEST], other[TLS_DIGEST];

	(void)state;
	assert_true(tls_key_digest(a.own, one));
	assert_true(tls_key_digest(b.own, other));
	assert_memory_not_equal(one, other, sizeof(one));
	X509_set_pubkey(b.own, a.key);
	assert_true(tls_key_digest(b.own, other));
	assert_memory_equal(one, other, sizeof(one));
	tls_pair_free(&a);
	tls_pair_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_kinds),
		cmocka_unit_test(one_file),
		cmocka_unit_test(chain_is_put_in_order),
		cmocka_unit_test(pairs_that_are_none),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(names),
		cmocka_unit_test(end_of_validity),
		cmocka_unit_test(digest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
