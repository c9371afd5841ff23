/* SPDX-License-Identifier: ISC */
/* log_archive: see log_archive.h. */
#include "ctl/log_archive.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PREFIX	   "caronte-"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define STAMP	   "NNNNNNNN-NNNNNN" /* digits */
#define STAMP_LEN  (sizeof(STAMP) - 1)
#define SUFFIX	   ".xml"
#define SUFFIX_LEN (sizeof(SUFFIX) - 1)
#define SLACK_US   INT64_C(3600000000)

static bool is_old(const char *stamp, int64_t since_us)
{
	struct tm tm = { 0 };

	if (since_us == INT64_MIN || !strptime(stamp, "%Y%m%d-%H%M%S", &tm))
		return false;
	return (int64_t)timegm(&tm) * 1000000 < since_us - SLACK_US;
}

/* Whether NAME begins as one of ours: *STAMP is where its time stands, *SERIAL the N behind it,
 * *REST what has been added. */
static bool parse_start(const char *name, const char **stamp, unsigned long *serial,
			const char **rest)
{
	const char *p = name + PREFIX_LEN;
	char *end;

	if (strncmp(name, PREFIX, PREFIX_LEN) != 0)
		return false;
	for (size_t i = 0; i < STAMP_LEN; i++)
		if (STAMP[i] == 'N' ? p[i] < '0' || p[i] > '9' : p[i] != STAMP[i])
			return false;
	*stamp = p;
	*serial = 0;
	p += STAMP_LEN;
	if (*p == '-') {
		if (p[1] < '1' || p[1] > '9')
			return false;
		*serial = strtoul(p + 1, &end, 10);
		p = end;
	}
	if (strncmp(p, SUFFIX, SUFFIX_LEN) != 0)
		return false;
	*rest = p + SUFFIX_LEN;
	return true;
}

static bool parse_name(const char *name, const char **stamp, unsigned long *serial)
{
	const char *rest;

	return parse_start(name, stamp, serial, &rest) && !*rest;
}

/* An administrator's cron job has been there. */
static bool is_compressed(const char *name, int64_t since_us)
{
	static const char *const suffixes[] = { ".gz", ".xz", ".zst", ".bz2" };
	const char *stamp, *rest;
	unsigned long serial;

	if (!parse_start(name, &stamp, &serial, &rest) || is_old(stamp, since_us))
		return false;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (strcmp(rest, suffixes[i]) == 0)
			return true;
	return false;
}

/* Of two that are named as they should be. */
static int compare_names(const char *a, const char *b)
{
	const char *stamp_a, *stamp_b;
	unsigned long serial_a, serial_b;
	int by_stamp;

	if (!parse_name(strrchr(a, '/') + 1, &stamp_a, &serial_a) ||
	    !parse_name(strrchr(b, '/') + 1, &stamp_b, &serial_b))
		return 0;
	by_stamp = strncmp(stamp_a, stamp_b, STAMP_LEN);
	return by_stamp ? by_stamp : (serial_a > serial_b) - (serial_a < serial_b);
}

static int compare(const void *one, const void *other)
{
	const char *const *a = one, *const *b = other;

	return compare_names(*a, *b);
}

bool log_archive_is(const char *path)
{
	const char *stamp;
	unsigned long serial;

	return parse_name(strrchr(path, '/') + 1, &stamp, &serial);
}

size_t log_archive_after(const struct log_archive *a, const char *path)
{
	size_t i = 0;

	while (i < a->n && compare_names(a->path[i], path) <= 0)
		i++;
	return i;
}

static int add(struct log_archive *a, const char *dir, const char *name)
{
	char **more = realloc(a->path, (a->n + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	a->path = more;
	if (asprintf(&a->path[a->n], "%s/%s", dir, name) < 0)
		return -ENOMEM;
	a->n++;
	return 0;
}

int log_archive_open(struct log_archive *a, const char *path, int64_t since_us)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int err = 0;

	*a = (struct log_archive){ 0 };
	if (!dir)
		return -errno;
	while (!err && (errno = 0, entry = readdir(dir))) {
		const char *stamp;
		unsigned long serial;

		if (parse_name(entry->d_name, &stamp, &serial) && !is_old(stamp, since_us))
			err = add(a, path, entry->d_name);
		a->compressed += is_compressed(entry->d_name, since_us);
	}
	if (!err && errno)
		err = -errno;
	closedir(dir);
	if (a->n)
		qsort(a->path, a->n, sizeof(*a->path), compare);
	return err;
}

void log_archive_close(struct log_archive *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->path[i]);
	free(a->path);
	*a = (struct log_archive){ 0 };
}
