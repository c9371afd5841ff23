/* SPDX-License-Identifier: ISC */
/* jsonfile: see jsonfile.h. */
#include "xmllog/jsonfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "xmllog/archive.h"

#define ROTATE_RETRY_US (60u * 1000000u)
#define FIRST_LINE	128 /* octets of it that hold its time stamp */

static const char time_member[] = "\"time\":\"";

void jsonfile_init(struct jsonfile *f, const char *path, const char *archive_dir, uint64_t limit,
		   uint64_t age_us)
{
	*f = (struct jsonfile){ .path = path,
				.archive_dir = archive_dir,
				.limit = limit,
				.age_us = age_us,
				.write = write,
				.fd = -1 };
}

/* The time stamp of the first line; 0 where there is none. */
static uint64_t first_time(int fd)
{
	char head[FIRST_LINE + 1];
	ssize_t n = pread(fd, head, FIRST_LINE, 0);
	struct tm tm = { 0 };
	const char *at;

	if (n <= 0)
		return 0;
	head[n] = '\0';
	at = strstr(head, time_member);
	if (!at || !strptime(at + sizeof(time_member) - 1, "%Y-%m-%dT%H:%M:%S", &tm))
		return 0;
	return (uint64_t)timegm(&tm) * 1000000u;
}

static bool ends_in_part(int fd, off_t size)
{
	char last;

	return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

/* The beginning of the first line that is kept went away with another file. */
static void forget_part(struct jsonfile *f)
{
	const char *end = memchr(f->rest, '\n', f->rest_n);
	size_t n = end ? (size_t)(end + 1 - f->rest) : f->rest_n;

	f->rest_n -= n;
	memmove(f->rest, f->rest + n, f->rest_n);
	f->rest_mid = false;
	f->lost++;
}

static int open_file(struct jsonfile *f)
{
	struct stat st;
	int rc;

	f->fd = open(f->path,
		     O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		     0640);
	if (f->fd < 0)
		return -errno;
	rc = fstat(f->fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (rc < 0) {
		jsonfile_reopen(f);
		return rc;
	}
	if (f->rest_mid && (f->dev != st.st_dev || f->ino != st.st_ino || st.st_size == 0))
		forget_part(f);
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->size = (uint64_t)st.st_size;
	f->first_us = first_time(f->fd);
	f->torn = !f->rest_mid && ends_in_part(f->fd, st.st_size);
	return 0;
}

/* Whether the open file still stands at its place; its size may have changed. */
static bool is_in_place(struct jsonfile *f)
{
	struct stat st;

	if (stat(f->path, &st) < 0 || st.st_dev != f->dev || st.st_ino != f->ino)
		return false;
	f->size = (uint64_t)st.st_size;
	return true;
}

static bool is_due(const struct jsonfile *f, size_t n, uint64_t now_us)
{
	if (f->size == 0)
		return false;
	return (f->limit && f->size + n > f->limit) ||
	       (f->age_us && f->first_us && now_us > f->first_us &&
		now_us - f->first_us >= f->age_us);
}

static int rotate(struct jsonfile *f, uint64_t now_us)
{
	char name[PATH_MAX];
	int rc;

	if (now_us < f->rotate_after_us)
		return 0;
	rc = archive_move(f->path, f->archive_dir, ".json", name, sizeof(name));
	if (rc < 0)
		f->rotate_after_us = now_us + ROTATE_RETRY_US;
	else
		jsonfile_reopen(f);
	return rc;
}

int jsonfile_open(struct jsonfile *f)
{
	if (f->fd >= 0 && !is_in_place(f))
		jsonfile_reopen(f);
	return f->fd < 0 ? open_file(f) : 0;
}

int jsonfile_ready(struct jsonfile *f, size_t n, uint64_t now_us, int *rotation)
{
	int rc;

	*rotation = 0;
	if (!jsonfile_wanted(f))
		return 0;
	rc = jsonfile_open(f);
	/* A line of which a part is written ends in the same file. */
	if (rc == 0 && f->rest_n == 0 && is_due(f, n, now_us)) {
		*rotation = rotate(f, now_us);
		if (f->fd < 0)
			rc = open_file(f);
	}
	if (rc == 0 && !f->first_us)
		f->first_us = now_us;
	return rc;
}

/* Octets of P that were written before anything went wrong; *RC says what. */
static size_t put(struct jsonfile *f, const void *p, size_t n, int *rc)
{
	size_t done = 0;

	*rc = f->fd < 0 ? -EBADF : 0;
	while (*rc == 0 && done < n) {
		ssize_t k = f->write(f->fd, (const char *)p + done, n - done);

		if (k > 0)
			done += (size_t)k;
		else if (k == 0 || errno != EINTR)
			*rc = k == 0 ? -ENOSPC : -errno;
	}
	f->size += done;
	return done;
}

static uint64_t count_lines(struct span text)
{
	uint64_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

/* As many whole lines as there is room for. The rest of one that has begun comes first, into empty
 * room, which is larger than any line. */
static void keep(struct jsonfile *f, struct span text)
{
	size_t room = JSONFILE_REST - f->rest_n, n = text.n < room ? text.n : room;

	if (!f->rest)
		f->rest = malloc(JSONFILE_REST);
	if (!f->rest) {
		n = 0;
		f->torn = f->rest_mid;
		f->rest_mid = false;
	}
	while (n > 0 && n < text.n && text.p[n - 1] != '\n')
		n--;
	if (n > 0)
		memcpy(f->rest + f->rest_n, text.p, n);
	f->rest_n += n;
	f->lost += count_lines(span_from(text, n));
}

static int flush_rest(struct jsonfile *f)
{
	size_t done;
	int rc;

	if (f->rest_n == 0)
		return 0;
	done = put(f, f->rest, f->rest_n, &rc);
	f->rest_n -= done;
	if (done > 0)
		f->rest_mid = f->rest[done - 1] != '\n';
	if (f->rest_n > 0) {
		memmove(f->rest, f->rest + done, f->rest_n);
		return rc;
	}
	free(f->rest);
	f->rest = NULL;
	return 0;
}

int jsonfile_flush(struct jsonfile *f)
{
	int rc = 0;

	if (f->torn)
		f->torn = put(f, "\n", 1, &rc) == 0;
	return rc == 0 ? flush_rest(f) : rc;
}

int jsonfile_add(struct jsonfile *f, struct span lines)
{
	size_t done = 0;
	int rc;

	if (!jsonfile_wanted(f) || lines.n == 0)
		return 0;
	rc = jsonfile_flush(f);
	if (rc == 0)
		done = put(f, lines.p, lines.n, &rc);
	if (rc == 0)
		return 0;
	if (done > 0)
		f->rest_mid = lines.p[done - 1] != '\n';
	keep(f, span_from(lines, done));
	return rc;
}

uint64_t jsonfile_take_lost(struct jsonfile *f)
{
	uint64_t lost = f->rest_n == 0 ? f->lost : 0;

	if (lost)
		f->lost = 0;
	return lost;
}

void jsonfile_reopen(struct jsonfile *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

void jsonfile_close(struct jsonfile *f)
{
	jsonfile_reopen(f);
	free(f->rest);
	f->rest = NULL;
	f->rest_n = 0;
	f->rest_mid = false;
}
