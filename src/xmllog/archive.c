/* SPDX-License-Identifier: ISC */
/* archive: see archive.h. */
#include "xmllog/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ARCHIVE_SAME_SECOND 10000

int archive_rename(const char *from, const char *to)
{
	struct stat st;

	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A file system without that flag; the archive has one writer, so looking first will do. */
	if (lstat(to, &st) == 0)
		return -EEXIST;
	return rename(from, to) == 0 ? 0 : -errno;
}

static int copy_octets(int in, int out)
{
	static char buf[64u << 10];
	ssize_t n;

	while ((n = read(in, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0, k; at < n; at += k) {
			k = write(out, buf + at, (size_t)(n - at));
			if (k <= 0)
				return k < 0 ? -errno : -EIO;
		}
	return n < 0 ? -errno : 0;
}

/* Makes DIR/.caronte-archive.part a copy of PATH. */
static int copy_file(const char *path, const char *part)
{
	int in = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), out, rc;

	if (in < 0)
		return -errno;
	out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (out < 0) {
		rc = -errno;
		close(in);
		return rc;
	}
	rc = copy_octets(in, out);
	if (close(out) < 0 && rc == 0)
		rc = -errno;
	close(in);
	if (rc < 0)
		unlink(part);
	return rc;
}

/* FROM under the first free name; -ERANGE when there is none. */
static int rename_dated(const char *from, const char *dir, const char *ending, char *name,
			size_t cap)
{
	char stamp[32];
	time_t now = time(NULL);
	struct tm tm;
	int rc = -EEXIST, n;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	for (int i = 0; rc == -EEXIST && i < ARCHIVE_SAME_SECOND; i++) {
		if (i == 0)
			n = snprintf(name, cap, "%s/caronte-%s%s", dir, stamp, ending);
		else
			n = snprintf(name, cap, "%s/caronte-%s-%d%s", dir, stamp, i, ending);
		if (n < 0 || (size_t)n >= cap)
			return -ENAMETOOLONG;
		rc = archive_rename(from, name);
	}
	return rc;
}

/* Across file systems: PATH stays. */
static int copy_dated(const char *path, const char *dir, const char *ending, char *name, size_t cap)
{
	char part[PATH_MAX];
	int rc;

	if (snprintf(part, sizeof(part), "%s/.caronte-archive.part", dir) >= (int)sizeof(part))
		return -ENAMETOOLONG;
	rc = copy_file(path, part);
	if (rc < 0)
		return rc;
	rc = rename_dated(part, dir, ending, name, cap);
	if (rc < 0)
		unlink(part);
	return rc;
}

int archive_move(const char *path, const char *dir, const char *ending, char *name, size_t cap)
{
	int rc = rename_dated(path, dir, ending, name, cap);

	if (rc != -EXDEV)
		return rc;
	rc = copy_dated(path, dir, ending, name, cap);
	if (rc < 0)
		return rc;
	return unlink(path) == 0 ? 0 : -errno;
}

int archive_replace(const char *path, const char *next, const char *dir, char *name, size_t cap)
{
	int rc = rename_dated(path, dir, ".xml", name, cap);

	if (rc == 0) {
		rc = archive_rename(next, path);
		if (rc < 0)
			(void)!archive_rename(name, path);
		return rc;
	}
	if (rc != -EXDEV)
		return rc;
	rc = copy_dated(path, dir, ".xml", name, cap);
	if (rc < 0)
		return rc;
	if (rename(next, path) == 0)
		return 0;
	rc = -errno;
	unlink(name);
	return rc;
}
