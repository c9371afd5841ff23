/* SPDX-License-Identifier: ISC */
/* What the files of certificates look like: the same as long as nothing has happened to them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check/follow.h"
#include "machine.h"

static char dir[64], chain[96], key[96], other[96], many[96];

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/caronte-follow-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(chain, sizeof(chain), "%s/a.crt", dir);
	snprintf(key, sizeof(key), "%s/a.key", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	snprintf(many, sizeof(many), "%s/many", dir);
	put(chain, "chain");
	put(key, "key");
	put(other, "other");
	return mkdir(many, 0755);
}

static int teardown(void **state)
{
	(void)state;
	return remove_folder(dir);
}

static void in_place(void)
{
	put(chain, "niahc");
}

static void touch(void)
{
	static const struct timespec times[2] = { { 1, 0 }, { 1, 0 } };

	assert_int_equal(utimensat(AT_FDCWD, key, times, 0), 0);
}

static void renamed(void)
{
	assert_int_equal(rename(other, chain), 0);
}

static void mode(void)
{
	assert_int_equal(chmod(key, 0400), 0);
}

static void gone(void)
{
	assert_int_equal(unlink(key), 0);
}

static void link_to(void)
{
	assert_int_equal(unlink(chain), 0);
	assert_int_equal(symlink("other", chain), 0);
}

static void behind_link(void)
{
	put(other, "rehto");
}

static void put_beside(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", many, name);
	put(path, name);
}

static void one_more(void)
{
	put_beside("one.pem");
}

static void another(void)
{
	put_beside("two.pem");
}

static void no_certificate(void)
{
	put_beside("README");
}

static void directory_gone(void)
{
	char to[128];

	snprintf(to, sizeof(to), "%s/away", dir);
	assert_int_equal(rename(many, to), 0);
}

static void nothing(void)
{
	char text[16];
	int fd = open(chain, O_RDONLY);

	assert_true(read(fd, text, sizeof(text)) > 0);
	close(fd);
}

/* One after the other. */
static void every_change_is_seen(void **state)
{
	static const struct {
		void (*change)(void);
		bool seen;
	} rows[] = {
		{ nothing, false },
		{ in_place, true },
		{ touch, true },
		{ renamed, true },
		{ mode, true },
		{ gone, true },
		{ behind_link, false },
		{ link_to, true },
		{ behind_link, true },
		{ one_more, true },
		{ no_certificate, false },
		{ another, true },
		{ directory_gone, true },
		{ nothing, false },
	};
	struct settings set = { .tls_certificate = chain,
				.tls_key = key,
				.tls_certificate_dir = many };
	uint64_t before = follow_looks(&set);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint64_t now;

		/* Beyond the steps of the file system's clock. */
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
		rows[i].change();
		now = follow_looks(&set);
		assert_true(now != 0);
		if ((now != before) != rows[i].seen)
			fail_msg("row %zu", i);
		before = now;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(every_change_is_seen,
									    setup, teardown) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
