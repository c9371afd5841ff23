/* SPDX-License-Identifier: ISC */
/* pairs: see pairs.h. */
#include "check/pairs.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "check/hints.h"

#define BLANKS " \t"

void pairs_add(struct pairs *p, enum setting s, const char *path, size_t n, bool is_key)
{
	if ((p->count & (p->count - 1)) == 0) { /* full at every power of two */
		p->file = realloc(p->file, (p->count ? 2 * p->count : 1) * sizeof(*p->file));
		CHECK(p->file);
	}
	p->file[p->count] = (struct pair_file){
		.file = { .setting = s, .path = strndup(path, n), .fd = -1 },
		.is_key = is_key,
	};
	CHECK(p->file[p->count].file.path);
	p->count++;
}

static void forget(struct pairs *p, unsigned from)
{
	while (p->count > from) {
		struct pair_file *f = &p->file[--p->count];

		if (f->text.data)
			OPENSSL_cleanse(f->text.data, f->text.n);
		free(f->text.data);
		free(f->file.path);
	}
}

void pairs_free(struct pairs *p)
{
	forget(p, 0);
	free(p->file);
	*p = (struct pairs){ 0 };
}

/* ---- the settings ---- */

struct paths {
	struct {
		const char *text;
		size_t n;
	} at[PAIRS_OF_SETTING];
	unsigned count;
	bool wrong; /* one of them is none */
};

/* Where the service manager puts the credentials of the service: CREDENTIALS_DIRECTORY of
 * systemd.exec(5). NULL: it gives none. */
static const char *credentials(void)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");

	return dir && *dir == '/' ? dir : NULL;
}

static bool is_path(const char *at, size_t n)
{
	return *at == '/' || (credentials() && !memchr(at, '/', n));
}

static void add_named(struct pairs *p, enum setting s, const char *at, size_t n, bool is_key)
{
	char path[PAIR_PATH_MAX];
	int len;

	if (*at == '/') {
		pairs_add(p, s, at, n, is_key);
		return;
	}
	len = snprintf(path, sizeof(path), "%s/%.*s", credentials(), (int)n, at);
	pairs_add(p, s, path, len < PAIR_PATH_MAX ? (size_t)len : PAIR_PATH_MAX - 1, is_key);
}

static void find_paths(struct paths *found, struct config *c, enum setting s, const char *text)
{
	*found = (struct paths){ .count = 0 };
	for (const char *at = text + strspn(text, BLANKS); *at; at += strspn(at, BLANKS)) {
		size_t n = strcspn(at, BLANKS);
		int shown = n < 255 ? (int)n : 255;

		if (!is_path(at, n)) {
			config_fault(c, s, "%.*s: %s", shown, at, hints_path(at, n));
			found->wrong = true;
		} else if (found->count == PAIRS_OF_SETTING) {
			config_fault(c, s, "%.*s: is one file too many, at most %d are allowed",
				     shown, at, PAIRS_OF_SETTING);
			found->wrong = true;
		} else {
			found->at[found->count].text = at;
			found->at[found->count++].n = n;
		}
		at += n;
	}
}

static void plan_named(struct pairs *p, struct config *c)
{
	struct paths chains, keys;

	find_paths(&chains, c, SETTING_TLS_CERTIFICATE, c->set.tls_certificate);
	find_paths(&keys, c, SETTING_TLS_KEY, c->set.tls_key);
	/* Which key belongs to which certificate is not known then. */
	if (keys.wrong || (chains.wrong && keys.count > 0))
		return;
	if (keys.count > 0 && chains.count == 0)
		config_fault(c, SETTING_TLS_KEY, "TLS_CERTIFICATE names no certificate for it");
	else if (keys.count > 0 && keys.count != chains.count)
		config_fault(c, SETTING_TLS_KEY,
			     "%u files for the %u of TLS_CERTIFICATE; as many are needed, in the "
			     "same order",
			     keys.count, chains.count);
	for (unsigned i = 0; i < chains.count && (keys.count == 0 || i < keys.count); i++) {
		add_named(p, SETTING_TLS_CERTIFICATE, chains.at[i].text, chains.at[i].n, false);
		if (keys.count > 0)
			add_named(p, SETTING_TLS_KEY, keys.at[i].text, keys.at[i].n, true);
	}
}

void pairs_plan(struct pairs *p, struct config *c)
{
	const char *dir = c->set.tls_certificate_dir;

	*p = (struct pairs){ 0 };
	plan_named(p, c);
	if (*dir && !pairs_has_dir(c))
		config_fault(c, SETTING_TLS_CERTIFICATE_DIR, "%s: %s", dir,
			     hints_path(dir, strlen(dir)));
}

bool pairs_has_dir(const struct config *c)
{
	return *c->set.tls_certificate_dir == '/';
}

/* ---- the directory ---- */

struct listing {
	struct pairs *pairs;
	const char *dir;
	int dir_n;
	unsigned found;
	int err; /* -errno, said in WHY */
	char *why;
	size_t cap;
};

static void fail(struct listing *l, int err, const char *path, const char *what)
{
	l->err = err;
	if (what)
		snprintf(l->why, l->cap, "%s: %s", path, what);
	else
		hints_file(path, false, -err, l->why, l->cap);
}

/* NAME, of N octets, with ENDING behind it, in the directory. False: it is too long, and said. */
static bool path_of(struct listing *l, const char *name, size_t n, const char *ending,
		    char out[PAIR_PATH_MAX])
{
	int len =
		snprintf(out, PAIR_PATH_MAX, "%.*s/%.*s%s", l->dir_n, l->dir, (int)n, name, ending);

	if (len < PAIR_PATH_MAX)
		return true;
	fail(l, -ENAMETOOLONG, l->dir, "has a file whose path is too long");
	return false;
}

/* KEY_ENDING NULL: the key stands in the same file. */
static void add_pair(struct listing *l, const char *name, size_t n, const char *ending,
		     const char *key_ending)
{
	char chain[PAIR_PATH_MAX], key[PAIR_PATH_MAX];

	if (l->found++ == PAIRS_OF_DIR) {
		snprintf(l->why, l->cap, "%s: has more certificates than %d", l->dir, PAIRS_OF_DIR);
		l->err = -E2BIG;
		return;
	}
	if (!path_of(l, name, n, ending, chain) ||
	    (key_ending && !path_of(l, name, n, key_ending, key)))
		return;
	pairs_add(l->pairs, SETTING_TLS_CERTIFICATE_DIR, chain, strlen(chain), false);
	if (key_ending)
		pairs_add(l->pairs, SETTING_TLS_CERTIFICATE_DIR, key, strlen(key), true);
}

/* NAME, a directory. (A symbolic link that leads nowhere is one that cannot be opened, later.) */
static void look_into(struct listing *l, const char *name)
{
	char path[PAIR_PATH_MAX];
	struct stat st;

	if (!path_of(l, name, strlen(name), "/fullchain.pem", path))
		return;
	if (lstat(path, &st) == 0)
		add_pair(l, name, strlen(name), "/fullchain.pem", "/privkey.pem");
	else if (errno != ENOENT)
		fail(l, -errno, path, NULL);
}

/* NAME ends with ENDING; *STEM is the length of what is before it. */
static bool ends(const char *name, const char *ending, size_t *stem)
{
	size_t n = strlen(name), end = strlen(ending);

	*stem = n - end;
	return n > end && strcmp(name + n - end, ending) == 0;
}

static void look_at(struct listing *l, const char *name)
{
	char path[PAIR_PATH_MAX];
	struct stat st;
	size_t n;

	if (!path_of(l, name, strlen(name), "", path))
		return;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		look_into(l, name);
	else if (ends(name, ".pem", &n))
		add_pair(l, name, n, ".pem", NULL);
	else if (ends(name, ".crt", &n) && !ends(name, ".issuer.crt", &(size_t){ 0 }))
		add_pair(l, name, n, ".crt", ".key");
}

static int is_shown(const struct dirent *d)
{
	return *d->d_name != '.';
}

/* By octets, whatever the locale. */
static int compare(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int pairs_list(struct pairs *p, const char *dir, char *why, size_t cap)
{
	struct listing l = { .pairs = p, .dir = dir, .why = why, .cap = cap };
	unsigned before = p->count;
	struct dirent **entry;
	int n = scandir(dir, &entry, is_shown, compare);

	if (n < 0) {
		fail(&l, -errno, dir, NULL);
		return l.err;
	}
	l.dir_n = (int)strlen(dir);
	while (l.dir_n > 0 && dir[l.dir_n - 1] == '/')
		l.dir_n--;
	for (int i = 0; i < n; i++) {
		if (!l.err)
			look_at(&l, entry[i]->d_name);
		free(entry[i]);
	}
	free(entry);
	if (!l.err && l.found == 0)
		fail(&l, -ENOENT, dir,
		     "has no certificate: NAME.pem, NAME.crt with NAME.key, or NAME/fullchain.pem "
		     "with NAME/privkey.pem");
	if (l.err)
		forget(p, before);
	return l.err;
}

/* ---- reading ---- */

void pairs_take(struct pair_file *f, int fd, struct config *c)
{
	struct stat st = { 0 };

	f->taken = true;
	f->file.fd = fd;
	f->shared = fstat(fd, &st) != 0 || (st.st_mode & S_IRWXO);
	if (st.st_size > PAIR_FILE_MAX)
		config_fault(c, f->file.setting,
			     "%s: has more than %d KiB, and is no certificate or key", f->file.path,
			     PAIR_FILE_MAX >> 10);
	else
		(void)tables_read(&f->file, &f->text, c);
	close(fd);
	f->file.fd = -1;
}

static void list_denied(struct pairs *p, struct config *c)
{
	char why[1024];

	if (pairs_list(p, c->set.tls_certificate_dir, why, sizeof(why)) != 0)
		config_fault(c, SETTING_TLS_CERTIFICATE_DIR, "%s", why);
}

const char *pairs_open_rest(struct pairs *p, struct config *c)
{
	const char *denied = NULL;
	char why[1024];
	int err;

	if (p->dir_denied) {
		list_denied(p, c);
		denied = c->set.tls_certificate_dir;
	}
	for (unsigned i = 0; i < p->count; i++) {
		struct pair_file *f = &p->file[i];

		if (f->taken)
			continue;
		err = tables_open(&f->file, why, sizeof(why));
		if (!err) {
			pairs_take(f, f->file.fd, c);
			denied = denied ? denied : f->file.path;
			continue;
		}
		config_fault(c, f->file.setting, "%s", why);
	}
	return denied;
}
