/* SPDX-License-Identifier: ISC */
/* follow: see follow.h. */
#include "check/follow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/siphash.h"
#include "check/certificates.h"
#include "check/hints.h"
#include "check/pairs.h"
#include "check/renewal.h"

/* A configuration that only collects faults. */
static struct config *collector(const struct settings *set)
{
	struct config *c = calloc(1, sizeof(*c));

	if (c)
		c->set = *set;
	return c;
}

/* ---- what files look like ---- */

/* What is compared of a file. */
struct look {
	uint64_t before; /* the hash so far */
	uint64_t device, inode, size;
	int64_t modified_s, modified_ns, changed_s, changed_ns;
	int64_t err; /* errno, where it cannot be looked at */
};

static void add(uint64_t *hash, const struct stat *st, int err)
{
	static const struct siphash_key key; /* nobody chooses what files look like */
	struct look look = { .before = *hash, .err = err };

	if (!err) {
		look.device = st->st_dev;
		look.inode = st->st_ino;
		look.size = (uint64_t)st->st_size;
		look.modified_s = st->st_mtim.tv_sec;
		look.modified_ns = st->st_mtim.tv_nsec;
		look.changed_s = st->st_ctim.tv_sec;
		look.changed_ns = st->st_ctim.tv_nsec;
	}
	*hash = siphash(key, &look, sizeof(look));
}

/* The link itself too: it may be seen where what it leads to may not. */
static void add_path(uint64_t *hash, const char *path)
{
	struct stat st;
	int err = lstat(path, &st) != 0 ? errno : 0;

	add(hash, &st, err);
	err = stat(path, &st) != 0 ? errno : 0;
	add(hash, &st, err);
}

uint64_t follow_looks(const struct settings *set)
{
	struct config *c = collector(set);
	struct pairs pairs = { 0 };
	uint64_t hash = 1;
	char why[1024];
	int err = 0;

	if (!c)
		return hash;
	pairs_plan(&pairs, c);
	if (pairs_has_dir(c))
		err = pairs_list(&pairs, set->tls_certificate_dir, why, sizeof(why));
	if (err) /* what is in it is not known: the directory says whether that has changed */
		add_path(&hash, set->tls_certificate_dir);
	for (unsigned i = 0; i < pairs.count; i++)
		add_path(&hash, pairs.file[i].file.path);
	pairs_free(&pairs);
	config_free(c);
	return hash ? hash : 1;
}

/* ---- reading them ---- */

/* Certificates that are read anew. */
struct attempt {
	const struct version *version;
	struct config *config; /* where faults are collected */
	struct pairs pairs;
	struct certificates certificates;
	struct follow_answer *answer;
};

/* False: nothing more is to be done. */
static bool refuse(struct attempt *t, enum follow_found found, const char *why)
{
	t->answer->found = found;
	snprintf(t->answer->why, sizeof(t->answer->why), "%s", why);
	return false;
}

static bool deny(struct attempt *t, const char *path)
{
	char user[64], why[FOLLOW_WHY];

	hints_user(user, sizeof(user));
	snprintf(why, sizeof(why),
		 "%s: has changed, or what belongs to it, and %s cannot read it: restart or make "
		 "it readable",
		 path, user);
	return refuse(t, FOLLOW_DENIED, why);
}

/* The first fault, without the place in a configuration that nobody has read. */
static bool refuse_fault(struct attempt *t, enum follow_found found)
{
	const char *text = t->config->faults[0].text, *colon = strstr(text, ": ");

	return refuse(t, found, colon ? colon + 2 : text);
}

static bool list(struct attempt *t)
{
	const char *dir = t->version->config.set.tls_certificate_dir;
	char why[1024];
	int err;

	pairs_plan(&t->pairs, t->config);
	if (!pairs_has_dir(t->config))
		return true;
	err = pairs_list(&t->pairs, dir, why, sizeof(why));
	if (err == -EACCES)
		return deny(t, dir);
	return err ? refuse(t, FOLLOW_WRONG, why) : true;
}

static bool read_files(struct attempt *t)
{
	char why[1024];

	for (unsigned i = 0; i < t->pairs.count; i++) {
		struct pair_file *f = &t->pairs.file[i];
		int err = tables_open(&f->file, why, sizeof(why));

		if (err == -EACCES)
			return deny(t, f->file.path);
		if (err)
			return refuse(t, FOLLOW_WRONG, why);
		pairs_take(f, f->file.fd, t->config);
	}
	return t->config->fault_count ? refuse_fault(t, FOLLOW_WRONG) : true;
}

static bool build(struct attempt *t)
{
	unsigned torn = 0;
	char why[RENEWAL_WHY];

	if (certificates_build(&t->certificates, &t->pairs, t->config, &torn) != 0)
		return refuse(t, FOLLOW_FAILED, strerror(ENOMEM));
	if (t->config->fault_count)
		return refuse_fault(t, t->config->fault_count == torn ? FOLLOW_TORN : FOLLOW_WRONG);
	if (!renewal_fits(t->version->chains,
			  span_of(t->certificates.chains, t->certificates.chains_n), time(NULL),
			  why))
		return refuse(t, FOLLOW_OLDER, why);
	return true;
}

static bool differs(struct span a, const uint8_t *p, size_t n)
{
	return a.n != n || memcmp(a.p, p, n) != 0;
}

/* What was read is good: into the image, where it is anything new. */
static void take(struct attempt *t, const struct version_files *files)
{
	const struct version *v = t->version;
	const struct certificates *k = &t->certificates;
	int err;

	t->answer->found = FOLLOW_SAME;
	if (!differs(v->chains, k->chains, k->chains_n) &&
	    memcmp(v->keys_mark, k->mark, TLS_DIGEST) == 0)
		return;
	err = version_renew(files, v, k, t->answer->looks);
	if (err)
		(void)refuse(t, FOLLOW_FAILED, strerror(-err));
	else
		t->answer->found = FOLLOW_NEW;
}

static void read_anew(const struct follow_ask *ask, struct follow_answer *a)
{
	struct attempt t = { .version = ask->version, .answer = a };
	uint64_t looks;
	bool good;

	t.config = collector(&ask->version->config.set);
	if (!t.config)
		return;
	good = list(&t) && read_files(&t) && build(&t);
	looks = follow_looks(&ask->version->config.set);
	if (looks != a->looks) { /* something has changed while they were read */
		a->looks = looks;
		a->found = FOLLOW_OTHER;
	} else if (good) {
		take(&t, &ask->files);
	}
	pairs_free(&t.pairs);
	certificates_free(&t.certificates);
	config_free(t.config);
}

void follow_look(const struct follow_ask *ask, struct follow_answer *a)
{
	*a = (struct follow_answer){ .found = FOLLOW_FAILED, .why = "no memory" };
	a->looks = follow_looks(&ask->version->config.set);
	if (a->looks == ask->in_use)
		a->found = FOLLOW_SAME;
	else if (a->looks != ask->quiet)
		a->found = FOLLOW_OTHER;
	else
		read_anew(ask, a);
}
