/* SPDX-License-Identifier: ISC */
/* grouping: see grouping.h. */
#include "tls/grouping.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct grouped {
	char *names; /* in order, a blank behind each */
	int kind;
	uint8_t digest[TLS_DIGEST]; /* of the certificate */
	unsigned group;
	const char *label;
};

struct names {
	char **name;
	size_t count;
};

static void free_names(struct names *all)
{
	for (size_t i = 0; i < all->count; i++)
		free(all->name[i]);
	free(all->name);
}

static bool take_names(struct names *all, const struct tls_pair *pair)
{
	char name[TLS_NAME_MAX];

	for (unsigned i = 0; tls_pair_name(pair, i, name); i++) {
		char **more = realloc(all->name, (all->count + 1) * sizeof(*more));

		if (!more)
			return false;
		all->name = more;
		more[all->count] = strdup(name);
		if (!more[all->count])
			return false;
		all->count++;
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Each once. NULL: no memory. */
static char *in_order(const struct tls_pair *pair)
{
	struct names all = { 0 };
	char *text = NULL;
	size_t n;
	FILE *out = take_names(&all, pair) ? open_memstream(&text, &n) : NULL;

	if (all.count > 0)
		qsort(all.name, all.count, sizeof(*all.name), compare);
	for (size_t i = 0; out && i < all.count; i++)
		if (i == 0 || strcmp(all.name[i - 1], all.name[i]) != 0)
			fprintf(out, "%s ", all.name[i]);
	free_names(&all);
	if (!out || fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* What is known of PAIR. The caller frees its names. */
static int describe(struct grouped *one, const struct tls_pair *pair, const char *label)
{
	*one = (struct grouped){ .names = in_order(pair), .label = label };
	if (one->names && X509_digest(pair->own, EVP_sha256(), one->digest, NULL) == 1) {
		one->kind = EVP_PKEY_get_base_id(X509_get0_pubkey(pair->own));
		return 0;
	}
	free(one->names);
	return -ENOMEM;
}

/* ONE's names are G's from here on. */
static int add(struct grouping *g, const struct grouped *one)
{
	struct grouped *all = realloc(g->all, (g->count + 1) * sizeof(*all));

	if (!all) {
		free(one->names);
		return -ENOMEM;
	}
	g->all = all;
	all[g->count++] = *one;
	if (g->groups <= one->group)
		g->groups = one->group + 1;
	return 0;
}

int grouping_first(struct grouping *g, const struct tls_pair *pair, const char *label)
{
	struct grouped one;
	int err = describe(&one, pair, label);

	return err ? err : add(g, &one);
}

int grouping_find(struct grouping *g, const struct tls_pair *pair, const char *label,
		  unsigned *group, const char **other)
{
	struct grouped one;
	int err = describe(&one, pair, label);

	if (err)
		return err;
	one.group = g->groups;
	for (unsigned i = 0; i < g->count && !err; i++) {
		const struct grouped *have = &g->all[i];

		if (memcmp(have->digest, one.digest, TLS_DIGEST) == 0) {
			err = -EEXIST;
		} else if (strcmp(have->names, one.names) == 0) {
			one.group = have->group;
			*other = have->label;
			err = have->kind == one.kind ? -ENOTUNIQ : 0;
		}
	}
	*group = one.group;
	if (!err)
		return add(g, &one);
	free(one.names);
	return err;
}

void grouping_free(struct grouping *g)
{
	for (unsigned i = 0; i < g->count; i++)
		free(g->all[i].names);
	free(g->all);
	*g = (struct grouping){ 0 };
}
