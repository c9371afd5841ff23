/* SPDX-License-Identifier: ISC */
/*
 * check: whether the log can be written, asked before the daemon starts, as the user that will
 * write. Looks only: makes nothing, takes no lock, moves nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xmllog/writer.h"

static const char *__attribute__((format(printf, 3, 4)))
say(char *out, size_t cap, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, cap, fmt, ap);
	va_end(ap);
	return out;
}

const char *xmllog_dir_check(const char *dir, char *out, size_t cap)
{
	struct stat st;

	if (!*dir)
		return say(out, cap, "no directory is named");
	if (stat(dir, &st) < 0)
		return say(out, cap, "%s: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return say(out, cap, "%s: %s", dir, strerror(ENOTDIR));
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0)
		return say(out, cap, "%s: %s", dir, strerror(errno));
	return NULL;
}

static const char *check_parent(const char *file, char *out, size_t cap)
{
	const char *slash = strrchr(file, '/');
	char dir[PATH_MAX];

	if (!slash)
		return xmllog_dir_check(".", out, cap);
	if (slash == file)
		return xmllog_dir_check("/", out, cap);
	if ((size_t)(slash - file) >= sizeof(dir))
		return say(out, cap, "%s: %s", file, strerror(ENAMETOOLONG));
	memcpy(dir, file, (size_t)(slash - file));
	dir[slash - file] = '\0';
	return xmllog_dir_check(dir, out, cap);
}

static const char *check_open_file(const char *file, int fd, char *out, size_t cap)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return say(out, cap, "%s: %s", file, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return say(out, cap, "%s: not a regular file", file);
	return NULL;
}

static bool is_output(const struct xmllog_writer_config *c)
{
	return strcmp(c->file, "-") == 0;
}

bool xmllog_writer_busy(const struct xmllog_writer_config *c)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd;
	bool busy;

	if (is_output(c))
		return false;
	fd = open(c->file, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	busy = fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
	close(fd);
	return busy;
}

static bool rotates(const struct xmllog_writer_config *c)
{
	return !is_output(c) && (c->rotate_mib || c->rotate_hours);
}

const char *xmllog_archive_check(const struct xmllog_writer_config *c, char *out, size_t cap)
{
	return rotates(c) ? xmllog_dir_check(c->archive_dir, out, cap) : NULL;
}

const char *xmllog_writer_check(const struct xmllog_writer_config *c, char *out, size_t cap)
{
	bool there;
	const char *fault = NULL;
	int fd;

	if (is_output(c))
		return fcntl(STDOUT_FILENO, F_GETFD) >= 0
			       ? NULL
			       : say(out, cap, "standard output: %s", strerror(errno));
	if (c->file[0] == '\0')
		return say(out, cap, "no file is named");
	fd = open(c->file, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	there = fd >= 0;
	if (!there && errno == ELOOP)
		return say(out, cap, "%s: a symbolic link", c->file);
	if (!there && errno != ENOENT)
		return say(out, cap, "%s: %s", c->file, strerror(errno));
	if (there) {
		fault = check_open_file(c->file, fd, out, cap);
		close(fd);
	}
	if (!fault && (!there || rotates(c)))
		fault = check_parent(c->file, out, cap);
	return fault;
}
