/* SPDX-License-Identifier: ISC */
/* The files of certificates: what a directory of them holds, in which order, and what it must not
 * hold; and how they are read. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check/pairs.h"
#include "config/load.h"
#include "machine.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/caronte-pairs-XXXXXX");
	return mkdtemp(dir) && chmod(dir, 0755) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return remove_folder(dir);
}

static void path_of(char out[256], const char *name)
{
	snprintf(out, 256, "%s/%s", dir, name);
}

static void make(const char *name)
{
	char path[256];
	FILE *f;

	path_of(path, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(name, f);
	assert_int_equal(fclose(f), 0);
}

static void make_dir(const char *name)
{
	char path[256];

	path_of(path, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void make_link(const char *name, const char *to)
{
	char path[256];

	path_of(path, name);
	assert_int_equal(symlink(to, path), 0);
}

static int list(struct pairs *p, const char *where)
{
	char why[512] = "";
	int err = pairs_list(p, where, why, sizeof(why));

	assert_true((err == 0) == (*why == '\0'));
	return err;
}

/* The files, without the directory; a key with an '=' before it. */
static void said(const struct pairs *p, char *out, size_t cap)
{
	size_t n = strlen(dir) + 1;

	*out = '\0';
	for (unsigned i = 0; i < p->count; i++) {
		size_t used = strlen(out);

		assert_memory_equal(p->file[i].file.path, dir, n - 1);
		assert_int_equal(p->file[i].file.setting, SETTING_TLS_CERTIFICATE_DIR);
		snprintf(out + used, cap - used, "%s%s", p->file[i].is_key ? "=" : " ",
			 p->file[i].file.path + n);
	}
}

static void layouts(void **state)
{
	static const char *const files[] = { "b.pem",	    "lego.crt",	 "lego.key",
					     "README",	    "lego.json", "x.pem.bak",
					     ".hidden.pem", ".pem",	 "lego.issuer.crt",
					     "alone.key",   "A.pem" };
	struct pairs p = { 0 };
	char text[512], where[80];

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		make(files[i]);
	make_dir("mx.test");
	make("mx.test/fullchain.pem");
	make("mx.test/chain.pem");
	make_dir("other");
	make("other/some.pem");
	make_dir("dir.pem");
	make_dir(".git");
	make("keyless.crt");
	make_link("z.pem", "b.pem");
	make_link("zz", "mx.test");
	make_link("nowhere.pem", "gone");
	make_link("nowhere", "gone");
	make_dir("cut");
	make_link("cut/fullchain.pem", "../../archive/gone");
	assert_int_equal(list(&p, dir), 0);
	said(&p, text, sizeof(text));
	assert_string_equal(text, " A.pem b.pem cut/fullchain.pem=cut/privkey.pem"
				  " keyless.crt=keyless.key lego.crt=lego.key"
				  " mx.test/fullchain.pem=mx.test/privkey.pem nowhere.pem z.pem"
				  " zz/fullchain.pem=zz/privkey.pem");
	pairs_free(&p);
	snprintf(where, sizeof(where), "%s//", dir);
	assert_int_equal(list(&p, where), 0);
	assert_int_equal(p.count, 14);
	assert_null(strstr(p.file[0].file.path, "//A.pem"));
	pairs_free(&p);
}

/* What was there before stays, whatever becomes of the directory. */
static void faults(void **state)
{
	struct pairs p = { 0 };
	char path[256], name[32];

	(void)state;
	pairs_add(&p, SETTING_TLS_CERTIFICATE, "/a", 2, false);
	assert_int_equal(list(&p, dir), -ENOENT); /* nothing in it */
	path_of(path, "missing");
	assert_int_equal(list(&p, path), -ENOENT);
	make("a.pem");
	path_of(path, "a.pem");
	assert_int_equal(list(&p, path), -ENOTDIR);
	for (int i = 0; i < PAIRS_OF_DIR; i++) {
		snprintf(name, sizeof(name), "n%04d.pem", i);
		make(name);
	}
	assert_int_equal(list(&p, dir), -E2BIG);
	path_of(path, "a.pem");
	unlink(path);
	assert_int_equal(p.count, 1);
	assert_int_equal(list(&p, dir), 0);
	assert_int_equal(p.count, 1 + PAIRS_OF_DIR);
	pairs_free(&p);
}

/* As somebody who may not look into it. (Who is not root here cannot become another.) */
static void denied(void **state)
{
	struct pairs p = { 0 };
	char path[256];
	bool root = geteuid() == 0;

	(void)state;
	make("a.pem");
	make_dir("closed");
	make("closed/fullchain.pem");
	path_of(path, "closed");
	assert_int_equal(chmod(path, 0), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	assert_int_equal(list(&p, dir), -EACCES);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(p.count, 0);
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(chmod(dir, 0), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	assert_int_equal(list(&p, dir), -EACCES);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	pairs_free(&p);
}

/* A file is read when it is taken, and closed. */
static void taken(void **state)
{
	static const struct {
		mode_t mode;
		bool shared;
	} rows[] = { { 0600, false }, { 0640, false }, { 0644, true }, { 0602, true } };
	struct config *c = config_load(NULL, NULL, 0);
	struct pairs p = { 0 };
	char path[256];

	(void)state;
	make("a.pem");
	path_of(path, "a.pem");
	for (unsigned i = 0; i < 4; i++) {
		int fd = open(path, O_RDONLY);

		assert_int_equal(fchmod(fd, rows[i].mode), 0);
		pairs_add(&p, SETTING_TLS_CERTIFICATE_DIR, path, strlen(path), false);
		pairs_take(&p.file[i], fd, c);
		assert_true(p.file[i].taken);
		assert_int_equal(p.file[i].shared, rows[i].shared);
		assert_int_equal(p.file[i].text.n, strlen("a.pem"));
		assert_memory_equal(p.file[i].text.data, "a.pem", strlen("a.pem"));
		assert_int_equal(fcntl(fd, F_GETFD), -1);
	}
	assert_int_equal(truncate(path, PAIR_FILE_MAX + 1), 0);
	pairs_add(&p, SETTING_TLS_CERTIFICATE_DIR, path, strlen(path), false);
	pairs_take(&p.file[4], open(path, O_RDONLY), c);
	assert_null(p.file[4].text.data);
	assert_int_equal(c->fault_count, 1);
	pairs_free(&p);
	config_free(c);
}

/* A name without a slash is a credential's, where there are any. */
static void credentials(void **state)
{
	static const struct {
		const char *where, *certificate, *want; /* NULL: a fault */
	} rows[] = {
		{ "/run/credentials/c", "mx.pem", "/run/credentials/c/mx.pem" },
		{ "/run/credentials/c", "/etc/mx.pem", "/etc/mx.pem" },
		{ "/run/credentials/c", "etc/mx.pem", NULL },
		{ "credentials", "mx.pem", NULL },
		{ "", "mx.pem", NULL },
		{ NULL, "mx.pem", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char line[64], key[64];
		const char *lines[] = { line, key };
		struct pairs p;
		struct config *c;

		unsetenv("CREDENTIALS_DIRECTORY");
		if (rows[i].where)
			setenv("CREDENTIALS_DIRECTORY", rows[i].where, 1);
		snprintf(line, sizeof(line), "TLS_CERTIFICATE=%s", rows[i].certificate);
		snprintf(key, sizeof(key), "TLS_KEY=%s", rows[i].certificate);
		c = config_load(NULL, lines, 2);
		pairs_plan(&p, c);
		assert_int_equal(c->fault_count, rows[i].want ? 0 : 2);
		assert_int_equal(p.count, rows[i].want ? 2 : 0);
		for (unsigned f = 0; f < p.count; f++) {
			assert_string_equal(p.file[f].file.path, rows[i].want);
			assert_int_equal(p.file[f].is_key, f == 1);
		}
		pairs_free(&p);
		config_free(c);
	}
	unsetenv("CREDENTIALS_DIRECTORY");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(layouts), TEST(faults), TEST(denied), TEST(taken), TEST(credentials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
