/* SPDX-License-Identifier: ISC */
/* load: see load.h. */
#include "tls/load.h"

#include <stdio.h>

/* The next of the keys that are here. */
static EVP_PKEY *next_key(struct keyring_reader *keys)
{
	struct span digest, der;
	const unsigned char *p;

	if (!keyring_next_key(keys, &digest, &der))
		return NULL;
	p = der.p;
	return d2i_AutoPrivateKey(NULL, &p, (long)der.n);
}

/* The next pair, with its key. */
static bool next(struct tls_loading *l, unsigned *group, struct tls_pair *pair,
		 char why[TLS_WHY_MAX])
{
	snprintf(why, TLS_WHY_MAX, "the certificates cannot be read");
	if (!keyring_next(&l->chains, group, pair))
		return false;
	pair->key = l->distant ? distant_key(l->distant, pair->own, why) : next_key(&l->keys);
	if (pair->key)
		return true;
	tls_pair_free(pair); /* OpenSSL would take it without a key */
	return false;
}

bool tls_load_begin(struct tls_loading *l, const struct tls_policy *policy, struct span chains,
		    const struct tls_keys *keys, char why[TLS_WHY_MAX])
{
	enum tls_part part;

	*l = (struct tls_loading){
		.set = tls_set_make(policy, &part, why),
		.chains = { chains },
		.keys = { keys->packed },
		.distant = keys->distant,
	};
	return l->set;
}

enum tls_load tls_load_some(struct tls_loading *l, unsigned most, char why[TLS_WHY_MAX])
{
	struct tls_pair pair;
	unsigned group;

	for (; most > 0 && !keyring_is_over(&l->chains); most--) {
		bool good;

		if (!next(l, &group, &pair, why))
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
