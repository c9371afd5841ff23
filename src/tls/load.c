/* SPDX-License-Identifier: ISC */
/* load: see load.h. */
#include "tls/load.h"

#include <stdio.h>

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
	if (pair->key)
		return true;
	tls_pair_free(pair); /* OpenSSL would take it without a key */
	return false;
}

bool tls_load_begin(struct tls_loading *l, const struct tls_policy *policy, struct span chains,
		    struct span keys, char why[TLS_WHY_MAX])
{
	enum tls_part part;

	*l = (struct tls_loading){ tls_set_make(policy, &part, why), { chains }, { keys } };
	return l->set;
}

enum tls_load tls_load_some(struct tls_loading *l, unsigned most, char why[TLS_WHY_MAX])
{
	struct tls_pair pair;
	unsigned group;

	for (; most > 0 && !keyring_is_over(&l->chains); most--) {
		bool good;

		snprintf(why, TLS_WHY_MAX, "the certificates cannot be read");
		if (!next(&l->chains, &l->keys, &group, &pair))
			return TLS_LOAD_FAILED;
		good = tls_set_add(l->set, group, &pair, why);
		tls_pair_free(&pair);
		if (!good)
			return TLS_LOAD_FAILED;
	}
	if (!keyring_is_over(&l->chains))
		return TLS_LOAD_MORE;
	snprintf(why, TLS_WHY_MAX, "no memory");
	return tls_set_ready(l->set) ? TLS_LOADED : TLS_LOAD_FAILED;
}
