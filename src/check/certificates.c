/* SPDX-License-Identifier: ISC */
/* certificates: see certificates.h. */
#include "check/certificates.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check/hints.h"

#define BLANKS " \t"

/* ---- the files ---- */

/* Adds the paths in TEXT, of S. How many, or -ENOMEM. */
static int plan_files(struct tables_plan *plan, struct config *c, enum setting s, const char *text)
{
	int count = 0;

	for (const char *at = text + strspn(text, BLANKS); *at; at += strspn(at, BLANKS)) {
		size_t n = strcspn(at, BLANKS);
		int shown = n < 255 ? (int)n : 255;

		if (*at != '/')
			config_fault(c, s, "%.*s: write it from / on", shown, at);
		else if (count == CERTIFICATES_MAX)
			config_fault(c, s, "%.*s: is one file too many, at most %d are allowed",
				     shown, at, CERTIFICATES_MAX);
		else if (tables_add_file(plan, s, at, n) < 0)
			return -ENOMEM;
		else
			count++;
		at += n;
	}
	return count;
}

int certificates_plan(struct tables_plan *plan, struct config *c)
{
	int chains = plan_files(plan, c, SETTING_TLS_CERTIFICATE, c->set.tls_certificate);
	int keys = chains < 0 ? chains : plan_files(plan, c, SETTING_TLS_KEY, c->set.tls_key);

	if (keys < 0)
		return keys;
	if (keys > 0 && chains == 0)
		config_fault(c, SETTING_TLS_KEY, "TLS_CERTIFICATE names no certificate for it");
	else if (keys > 0 && keys != chains)
		config_fault(c, SETTING_TLS_KEY,
			     "%d files for the %d of TLS_CERTIFICATE; as many are needed, in the "
			     "same order",
			     keys, chains);
	return 0;
}

static bool is_ours(const struct tables_file *f)
{
	return f->setting == SETTING_TLS_CERTIFICATE || f->setting == SETTING_TLS_KEY;
}

void certificates_open_rest(struct tables_plan *plan, struct config *c)
{
	char why[1024];

	for (unsigned i = 0; i < plan->count; i++) {
		struct tables_file *f = &plan->file[i];

		if (!is_ours(f) || f->fd >= 0 || tables_open(f, why, sizeof(why)) != -EACCES)
			continue; /* any other fault has been told */
		hints_denied(why, sizeof(why));
		config_fault(c, f->setting, "%s", why);
	}
}

/* ---- reading ---- */

/* A pair, and where it comes from. */
struct source {
	const struct tables_file *chain, *key;
};

/* The N-th file of S, or NULL. */
static const struct tables_file *file_of(const struct tables_plan *plan, enum setting s, unsigned n)
{
	for (unsigned i = 0; i < plan->count; i++)
		if (plan->file[i].setting == s && n-- == 0)
			return &plan->file[i];
	return NULL;
}

static bool find_source(const struct tables_plan *plan, const struct settings *set, unsigned n,
			struct source *from)
{
	bool apart = set->tls_key[strspn(set->tls_key, BLANKS)];

	from->chain = file_of(plan, SETTING_TLS_CERTIFICATE, n);
	from->key = apart ? file_of(plan, SETTING_TLS_KEY, n) : from->chain;
	return from->chain && from->key && from->chain->fd >= 0 && from->key->fd >= 0;
}

static bool is_private(const struct tables_file *f, struct config *c)
{
	struct stat st;

	if (fstat(f->fd, &st) == 0 && !(st.st_mode & S_IRWXO))
		return true;
	config_fault(c, f->setting,
		     "%s: has a private key, and others than its owner and its group may read it: "
		     "chmod o= %s",
		     f->path, f->path);
	return false;
}

/* The pair in the contents of both files; what is wrong is a fault. */
static bool read_texts(const struct source *from, struct tables_text *chain,
		       struct tables_text *key, struct tls_pair *pair, struct config *c)
{
	char why[TLS_WHY_MAX];

	if (!tls_pair_read(pair, span_of(chain->data, chain->n), span_of(key->data, key->n), why)) {
		config_fault(c, from->chain->setting, "%s: %s", from->chain->path, why);
		return false;
	}
	if (is_private(from->key, c))
		return true;
	tls_pair_free(pair);
	return false;
}

static void wipe(struct tables_text *t)
{
	OPENSSL_cleanse(t->data, t->n);
	free(t->data);
}

static bool read_pair(const struct source *from, struct tls_pair *pair, struct config *c)
{
	struct tables_text chain, key;
	bool good = false;

	if (!tables_read(from->chain, &chain, c))
		return false;
	if (tables_read(from->key, &key, c)) {
		good = read_texts(from, &chain, &key, pair, c);
		wipe(&key);
	}
	wipe(&chain);
	return good;
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

static int add(struct keyring *k, struct tls_set *set, const struct source *from, struct config *c)
{
	struct tls_pair pair;
	char why[TLS_WHY_MAX];
	int err = 0;

	if (!read_pair(from, &pair, c))
		return 0;
	if (set && !tls_set_add(set, 0, &pair, why))
		config_fault(c, from->chain->setting, "%s: %s", from->chain->path, why);
	else
		err = keyring_add(k, 0, &pair);
	tls_pair_free(&pair);
	return err;
}

int certificates_build(struct keyring *k, const struct tables_plan *plan, struct config *c)
{
	struct source from;
	struct tls_set *set;
	int err = 0;

	*k = (struct keyring){ 0 };
	if (!file_of(plan, SETTING_TLS_CERTIFICATE, 0))
		return 0;
	set = try_policy(c);
	for (unsigned i = 0; !err && file_of(plan, SETTING_TLS_CERTIFICATE, i); i++)
		if (find_source(plan, &c->set, i, &from))
			err = add(k, set, &from, c);
	tls_set_free(set);
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
