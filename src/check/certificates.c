/* SPDX-License-Identifier: ISC */
/* certificates: see certificates.h. */
#include "check/certificates.h"

#include <errno.h>
#include <string.h>

#include "tls/grouping.h"

/* A pair, and where it comes from. */
struct source {
	const struct pair_file *chain, *key;
};

static bool is_private(const struct pair_file *f, struct config *c)
{
	if (!f->shared)
		return true;
	config_fault(c, f->file.setting,
		     "%s: has a private key, and others than its owner and its group may read it: "
		     "chmod o= %s",
		     f->file.path, f->file.path);
	return false;
}

static struct span text_of(const struct pair_file *f)
{
	return span_of(f->text.data, f->text.n);
}

/* The pair in the contents of both files; what is wrong is a fault. */
static bool read_pair(const struct source *from, struct tls_pair *pair, struct config *c,
		      unsigned *torn)
{
	const struct tables_file *at = &from->chain->file;
	bool may_stand_apart = at->setting == SETTING_TLS_CERTIFICATE && from->key == from->chain;
	char why[TLS_WHY_MAX];

	if (!from->chain->text.data || !from->key->text.data)
		return false; /* a fault says why */
	if (!tls_pair_read(pair, text_of(from->chain), text_of(from->key), why)) {
		++*torn;
		config_fault(c, at->setting, "%s: %s%s", at->path, why,
			     may_stand_apart && strstr(why, "no private key")
				     ? "; TLS_KEY names the files of keys that stand apart"
				     : "");
		return false;
	}
	if (is_private(from->key, c))
		return true;
	tls_pair_free(pair);
	return false;
}

/* OpenSSL tries all settings of TLS together; what it refuses is a fault. */
static struct tls_set *try_policy(struct config *c)
{
	const struct tls_policy policy = certificates_policy(&c->set, NULL);
	static const enum setting settings[] = {
		[TLS_PART_VERSION] = SETTING_TLS_SECURITY_LEVEL,
		[TLS_PART_CIPHERS] = SETTING_TLS_CIPHERS,
		[TLS_PART_GROUPS] = SETTING_TLS_GROUPS,
		[TLS_PART_OTHER] = SETTING_TLS_CERTIFICATE,
	};
	char why[TLS_WHY_MAX];
	enum tls_part part = TLS_PART_OTHER;
	struct tls_set *set = tls_set_make(&policy, &part, why);

	if (!set)
		config_fault(c, settings[part], "%s", why);
	return set;
}

/* What all certificates are put into. */
struct building {
	struct keyring *keyring;
	struct grouping grouping;
	struct tls_set *set; /* tries them; NULL: it has no chance */
	unsigned *torn;
	struct config *config;
};

/* 0; 1: it is not to be added; or -ENOMEM. */
static int find_group(struct building *b, const struct tables_file *at, const struct tls_pair *pair,
		      unsigned *group)
{
	const char *other = NULL;
	int err;

	*group = 0;
	if (at->setting == SETTING_TLS_CERTIFICATE)
		return grouping_first(&b->grouping, pair, at->path);
	err = grouping_find(&b->grouping, pair, at->path, group, &other);
	if (err == -ENOTUNIQ)
		config_fault(
			b->config, at->setting,
			"%s: is for the same names, with the same kind of key, as %s; take one "
			"of them away",
			at->path, other);
	return err == -ENOTUNIQ || err == -EEXIST ? 1 : err;
}

static int add(struct building *b, const struct source *from)
{
	const struct tables_file *at = &from->chain->file;
	struct tls_pair pair;
	char why[TLS_WHY_MAX];
	unsigned group;
	int err;

	if (!read_pair(from, &pair, b->config, b->torn))
		return 0;
	err = find_group(b, at, &pair, &group);
	if (!err && b->set && !tls_set_add(b->set, group, &pair, why))
		config_fault(b->config, at->setting, "%s: %s", at->path, why);
	else if (!err)
		err = keyring_add(b->keyring, group, at->path, &pair);
	if (at->setting == SETTING_TLS_CERTIFICATE) {
		b->keyring->named_chains = b->keyring->chains_n;
		b->keyring->named_keys = b->keyring->keys_n;
	}
	tls_pair_free(&pair);
	return err < 0 ? err : 0;
}

int certificates_build(struct keyring *k, const struct pairs *pairs, struct config *c,
		       unsigned *torn)
{
	struct building b = { .keyring = k, .config = c, .torn = torn };
	int err = 0;

	*k = (struct keyring){ 0 };
	*torn = 0;
	if (pairs->count == 0)
		return 0;
	b.set = try_policy(c);
	for (unsigned i = 0; !err && i < pairs->count; i++) {
		const struct pair_file *f = &pairs->file[i];
		bool apart = i + 1 < pairs->count && f[1].is_key;

		if (!f->is_key)
			err = add(&b, &(struct source){ f, apart ? f + 1 : f });
	}
	tls_set_free(b.set);
	grouping_free(&b.grouping);
	return err;
}

static int min_version(const struct settings *set)
{
	switch (set->tls_min_version) {
	case TLS_MIN_VERSION_1_0:
		return TLS1_VERSION;
	case TLS_MIN_VERSION_1_1:
		return TLS1_1_VERSION;
	case TLS_MIN_VERSION_1_3:
		return TLS1_3_VERSION;
	case TLS_MIN_VERSION_1_2:
		break;
	}
	return TLS1_2_VERSION;
}

struct tls_policy certificates_policy(const struct settings *set, const struct ticket_page *page)
{
	return (struct tls_policy){
		.min_version = min_version(set),
		.level = set->tls_security_level,
		.ciphers = set->tls_ciphers,
		.groups = set->tls_groups,
		.ticket_hours = page ? (unsigned)set->tls_ticket_hours : 0,
		.tickets = page,
	};
}
