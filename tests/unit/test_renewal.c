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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(taken_or_not) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
