/* SPDX-License-Identifier: ISC */
/*
 * check: whether the log can be written, asked before the daemon starts, as the user that will
 * write. Looks only: makes nothing, takes no lock, moves nothing.
 */
#include "xmllog/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static bool has_json(const struct xmllog_writer_config *c)
{
	return c->json && *c->json;
}

static bool rotates(const struct xmllog_writer_config *c)
{
	return c->rotate_mib || c->rotate_hours;
}

const char *xmllog_archive_check(const struct xmllog_writer_config *c, char *out, size_t cap)
{
	bool any = !is_output(c) || has_json(c);

	return any && rotates(c) ? xmllog_dir_check(c->archive_dir, out, cap) : NULL;
}

/* A file that is written as it is, or made, and moved away from its place when MOVES. */
static const char *check_file(const char *file, bool moves, char *out, size_t cap)
{
	int fd = open(file, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	const char *fault = NULL;
	bool there = fd >= 0;

	if (!there && errno == ELOOP)
		return say(out, cap, "%s: a symbolic link", file);
	if (!there && errno != ENOENT)
		return say(out, cap, "%s: %s", file, strerror(errno));
	if (there) {
		fault = check_open_file(file, fd, out, cap);
		close(fd);
	}
	if (!fault && (!there || moves))
		fault = check_parent(file, out, cap);
	return fault;
}

const char *xmllog_writer_check(const struct xmllog_writer_config *c, char *out, size_t cap)
{
	if (is_output(c))
		return fcntl(STDOUT_FILENO, F_GETFD) >= 0
			       ? NULL
			       : say(out, cap, "standard output: %s", strerror(errno));
	if (c->file[0] == '\0')
		return say(out, cap, "no file is named");
	return check_file(c->file, rotates(c), out, cap);
}

static bool are_one(const char *a, const char *b)
{
	struct stat sa, sb;

	return strcmp(a, b) == 0 || (stat(a, &sa) == 0 && stat(b, &sb) == 0 &&
				     sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
}

const char *xmllog_json_check(const struct xmllog_writer_config *c, char *out, size_t cap)
{
	if (!has_json(c))
		return NULL;
	if (!is_output(c) && are_one(c->file, c->json))
		return say(out, cap, "%s: this is LOG_FILE; the two need files of their own",
			   c->json);
	return check_file(c->json, rotates(c), out, cap);
}
