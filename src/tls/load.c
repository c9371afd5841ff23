/* SPDX-License-Identifier: ISC */
/* load: see load.h. */
#include "tls/load.h"

#include <stdio.h>

#include "tls/keyring.h"

/* The next pair, with its key. */
static bool next(struct keyring_reader *chains, struct keyring_reader *keys, unsigned *group,
		 struct tls_pair *pair)
{
	const unsigned char *p;
	struct span der;

	if (!keyring_next(chains, group, pair))
		return false;
	if (keyring_next_key(keys, &der)) {
		p = der.p;
		pair->key = d2i_AutoPrivateKey(NULL, &p, (long)der.n);
	}
	return true;
}

static bool load_all(struct tls_set *set, struct span chains, struct span keys,
		     char why[TLS_WHY_MAX])
{
	struct keyring_reader from = { chains }, secret = { keys };
	struct tls_pair pair;
	unsigned group;
	bool good = true;

	snprintf(why, TLS_WHY_MAX, "the certificates cannot be read");
	while (good && next(&from, &secret, &group, &pair)) {
		good = tls_set_add(set, group, &pair, why);
		tls_pair_free(&pair);
	}
	return good && keyring_is_over(&from) && tls_set_ready(set);
}

struct tls_set *tls_load(const struct tls_policy *policy, struct span chains, struct span keys,
			 char why[TLS_WHY_MAX])
{
	enum tls_part part;
	struct tls_set *set = tls_set_make(policy, &part, why);

	if (set && load_all(set, chains, keys, why))
		return set;
	tls_set_free(set);
	return NULL;
}
