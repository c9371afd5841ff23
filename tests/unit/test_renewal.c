/* SPDX-License-Identifier: ISC */
/* Which certificates take the place of others without anybody's word. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "certs.h"
#include "check/renewal.h"
#include "tls/keyring.h"

#define DAY  86400
#define MOST 3

/* Certificates of a keyring; names NULL: no more. */
struct made {
	const char *file, *names;
	long until_s; /* from now on */
	bool rsa;
};

/* They are made once for the same wish, so that two keyrings can have the very same one. */
static struct tls_pair *pair_of(const struct made *wish)
{
	static struct {
		struct made wish;
		struct tls_pair pair;
	} all[64];
	size_t i = 0;

	while (all[i].wish.names &&
	       (strcmp(all[i].wish.names, wish->names) != 0 ||
		all[i].wish.until_s != wish->until_s || all[i].wish.rsa != wish->rsa))
		i++;
	assert_true(i < 63);
	if (!all[i].wish.names) {
		all[i].wish = *wish;
		all[i].pair = cert_make(&(struct cert_wish){ .names = wish->names,
							     .rsa = wish->rsa,
							     .from_s = -90L * DAY,
							     .until_s = wish->until_s });
	}
	return &all[i].pair;
}

static struct keyring pack(const struct made made[MOST])
{
	struct keyring k = { 0 };

	for (unsigned i = 0; i < MOST && made[i].names; i++)
		assert_int_equal(keyring_add(&k, i, made[i].file, pair_of(&made[i])), 0);
	return k;
}

#define NOW    "DNS:a.test"
#define TWO    "DNS:a.test,DNS:b.test"
#define TURNED "DNS:b.test,DNS:a.test"
#define TWICE  "DNS:a.test,DNS:a.test"

static const struct {
	struct made in_use[MOST], next[MOST];
	const char *want; /* a part of why not; NULL: they are taken */
} rows[] = {
	{ { { "/a", NOW, DAY, false } }, { { "/a", NOW, 2 * DAY, false } }, NULL },
	{ { { "/a", NOW, DAY, false } }, { { "/a", NOW, DAY, false } }, NULL },
	{ { { "/a", NOW, 2 * DAY, false } }, { { "/a", NOW, DAY, false } }, "/a: ends 20" },
	/* Of one that ends sooner the file does not matter, nor does the order of its names; */
	{ { { "/a", TWO, 2 * DAY, false } }, { { "/b", TURNED, DAY, false } }, "/b: ends 20" },
	{ { { "/a", TWO, DAY, false } }, { { "/b", TURNED, 2 * DAY, false } }, NULL },
	/* for other names, or with another kind of key, it is another certificate. */
	{ { { "/a", NOW, 2 * DAY, false } }, { { "/a", TWO, DAY, false } }, NULL },
	{ { { "/a", TWO, 2 * DAY, false } }, { { "/a", TWICE, DAY, false } }, NULL },
	{ { { "/a", NOW, 2 * DAY, false } }, { { "/a", NOW, DAY, true } }, NULL },
	{ { { "/a", NOW, 2 * DAY, false }, { "/r", NOW, DAY, true } },
	  { { "/a", NOW, 2 * DAY, false }, { "/r", NOW, 2 * DAY, true } },
	  NULL },
	{ { { "/a", NOW, 2 * DAY, false }, { "/r", NOW, 3 * DAY, true } },
	  { { "/a", NOW, 3 * DAY, false }, { "/r", NOW, 2 * DAY, true } },
	  "/r: ends 20" },
	/* One that has ended is used as long as it is the one in use. */
	{ { { "/a", NOW, -DAY, false } }, { { "/a", NOW, -60, false } }, "/a: has ended 20" },
	{ { { "/a", NOW, -DAY, false }, { "/b", TWO, DAY, false } },
	  { { "/a", NOW, -DAY, false }, { "/b", TWO, 2 * DAY, false } },
	  NULL },
	{ { { "/a", NOW, -DAY, false } }, { { "/a", TWO, -DAY, false } }, "/a: has ended 20" },
	/* The same one elsewhere is the same. */
	{ { { "/a", NOW, DAY, false } }, { { "/b", NOW, DAY, false } }, NULL },
	{ { { "/a", NOW, DAY, false }, { "/b", NOW, 2 * DAY, false } },
	  { { "/a", NOW, DAY, false }, { "/b", NOW, 3 * DAY, false } },
	  NULL },
	{ { { "/a", NOW, DAY, false }, { "/b", NOW, 2 * DAY, false } },
	  { { "/a", NOW, 3600, false }, { "/b", NOW, 2 * DAY, false } },
	  "/a: ends 20" },
	/* More are welcome, and none may be missing. */
	{ { { "/a", NOW, DAY, false } },
	  { { "/a", NOW, DAY, false }, { "/b", TWO, DAY, false } },
	  NULL },
	{ { { "/a", NOW, DAY, false }, { "/b", TWO, DAY, false } },
	  { { "/a", NOW, 2 * DAY, false } },
	  "/b: is not there any more" },
};

static void taken_or_not(void **state)
{
	char why[RENEWAL_WHY];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct keyring in_use = pack(rows[i].in_use), next = pack(rows[i].next);
		bool fits = renewal_fits(span_of(in_use.chains, in_use.chains_n),
					 span_of(next.chains, next.chains_n), time(NULL), why);

		if (fits != !rows[i].want || (!fits && !strstr(why, rows[i].want)))
			fail_msg("row %zu: %s", i, fits ? "taken" : why);
		keyring_free(&in_use);
		keyring_free(&next);
	}
}

static void say(const struct keyring *before, const struct keyring *now, const char *want)
{
	char words[RENEWAL_WORDS];

	renewal_words(span_of(before->chains, before->chains_n),
		      span_of(now->chains, now->chains_n), words);
	assert_string_equal(words, want);
}

static const struct {
	struct made before[MOST], now[MOST];
	const char *want;
} said[] = {
	{ { { "/a", NOW, DAY, false } }, { { "/elsewhere", NOW, DAY, false } }, "" },
	{ { { "/a", NOW, DAY, false } },
	  { { "/a", NOW, 2 * DAY, false } },
	  "a.test (ECDSA P-256, another key)" },
	{ { { "/a", NOW, DAY, false }, { "/r", NOW, DAY, true } },
	  { { "/a", NOW, DAY, false }, { "/b", TWO, DAY, true } },
	  "a.test (RSA 2048, new), a.test (RSA 2048, gone)" },
	{ { { "/a", "DNS:b.test", DAY, false }, { "/c", "DNS:c.test", DAY, false } },
	  { { "/a", "DNS:b.test", 2 * DAY, false } },
	  "b.test (ECDSA P-256, another key), c.test (ECDSA P-256, gone)" },
};

static void renewed_in_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++) {
		struct keyring before = pack(said[i].before), now = pack(said[i].now);

		say(&before, &now, said[i].want);
		keyring_free(&before);
		keyring_free(&now);
	}
}

/* With the key that it had, as certbot's --reuse-key does. */
static void with_its_key(void **state)
{
	const struct tls_pair *first = pair_of(&(struct made){ "/a", NOW, DAY, false });
	struct tls_pair again = { X509_dup(first->own), first->chain, first->key };
	struct keyring before = { 0 }, now = { 0 };

	(void)state;
	X509_gmtime_adj(X509_getm_notAfter(again.own), 3 * DAY);
	assert_true(X509_sign(again.own, again.key, EVP_sha256()) > 0);
	assert_int_equal(keyring_add(&before, 0, "/a", first), 0);
	assert_int_equal(keyring_add(&now, 0, "/a", &again), 0);
	say(&before, &now, "a.test (ECDSA P-256)");
	X509_free(again.own);
	keyring_free(&before);
	keyring_free(&now);
}

/* More of them than there is room for are counted. */
static void more_than_fit(void **state)
{
	const struct tls_pair *pair = pair_of(&(struct made){ "/a", NOW, DAY, false });
	struct keyring none = { 0 }, many = { 0 };
	char want[RENEWAL_WORDS] = "";

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(keyring_add(&many, i, "/a", pair), 0);
	for (unsigned i = 0; i < 18; i++)
		sprintf(want + strlen(want), "%sa.test (ECDSA P-256, new)", i ? ", " : "");
	strcat(want, " and 82 more");
	say(&none, &many, want);
	keyring_free(&many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken_or_not),
		cmocka_unit_test(renewed_in_words),
		cmocka_unit_test(with_its_key),
		cmocka_unit_test(more_than_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
