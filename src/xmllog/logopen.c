/* SPDX-License-Identifier: ISC */
/*
 * logopen: how a log file is begun, continued, and makes way for the next one. One that is not
 * there is made beside its place (FILE.new) and renamed when it is whole. One that is there is read
 * once, whole, by libxml2; if it is well-formed, begins as our files do and ends in the closing
 * tag, it is continued; where only its end has another shape (an editor, a log that went to
 * standard output) a copy with our end replaces it. Anything else is moved to the archive.
 * Directories are never made, symbolic links never followed.
 */
#include "xmllog/logopen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libxml/xmlreader.h>

#include "xmllog/archive.h"

#define CLOSE_TAG     "</caronte-log>"
#define CLOSE_TAG_LEN (sizeof(CLOSE_TAG) - 1)
#define HEAD_LEN      (sizeof(LOGFILE_HEAD) - 1)
#define END_MAX	      (16u << 20) /* more than that behind the closing tag is nothing of ours */
#define LOCK_TRIES    10
#define LOCK_PAUSE_MS 50
#define RACES	      8

/* What is behind the records of a file. */
struct ending {
	uint64_t tail;	  /* of the closing tag */
	uint64_t pi_end;  /* behind the first instruction's `?>`, 0: none */
	uint64_t pi2_end; /* behind the second's */
	unsigned pis;
	bool pi_at_tag; /* the first instruction begins as LOGFILE_TAIL says */
	bool blank;	/* only blanks between LOGFILE_TAIL and pi_end */
};

static ssize_t read_at(int fd, void *p, size_t n, uint64_t at)
{
	size_t have = 0;

	while (have < n) {
		ssize_t k = pread(fd, (char *)p + have, n - have, (off_t)(at + have));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		if (k == 0)
			break;
		have += (size_t)k;
	}
	return (ssize_t)have;
}

/* Where TEXT first stands in the file, or UINT64_MAX. */
static uint64_t find(int fd, const char *text, size_t len)
{
	static char buf[256u << 10];
	uint64_t at = 0;

	for (;;) {
		ssize_t n = read_at(fd, buf, sizeof(buf), at);
		const char *hit;

		if (n < (ssize_t)len)
			return UINT64_MAX;
		hit = memmem(buf, (size_t)n, text, len);
		if (hit)
			return at + (uint64_t)(hit - buf);
		at += (uint64_t)n - (len - 1);
	}
}

static void no_message(void *arg, const char *msg, xmlParserSeverities severity,
		       xmlTextReaderLocatorPtr where)
{
	(void)arg, (void)msg, (void)severity, (void)where;
}

/* The time stamp of a record, or 0. */
static uint64_t record_time(xmlTextReaderPtr reader)
{
	xmlChar *text = xmlTextReaderGetAttribute(reader, BAD_CAST "time");
	struct tm tm = { 0 };
	uint64_t us = 0;

	if (text && strptime((const char *)text, "%Y-%m-%dT%H:%M:%S", &tm))
		us = (uint64_t)timegm(&tm) * 1000000u;
	xmlFree(text);
	return us;
}

/* 1: well-formed, 0: not, or -errno. FIRST_US: the first record's time, 0 without one. */
static int check_xml(int fd, uint64_t *first_us)
{
	xmlTextReaderPtr reader;
	int rc;

	*first_us = 0;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	reader = xmlReaderForFd(fd, NULL, NULL, XML_PARSE_NONET);
	if (!reader)
		return -ENOMEM;
	xmlTextReaderSetErrorHandler(reader, no_message, NULL);
	while ((rc = xmlTextReaderRead(reader)) == 1)
		if (!*first_us && xmlTextReaderDepth(reader) == 1 &&
		    xmlTextReaderNodeType(reader) == XML_READER_TYPE_ELEMENT)
			*first_us = record_time(reader);
	xmlFreeTextReader(reader);
	return rc == 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Reads what follows the closing tag; false when that is more than white space and padding. */
static bool read_ending(struct ending *e, const char *p, size_t n)
{
	size_t i = 0;

	for (;;) {
		const char *close;

		while (i < n && is_space(p[i]))
			i++;
		if (i == n)
			return true;
		if (n - i < 6 || memcmp(p + i, "<?pad ", 6) != 0)
			return false;
		close = memmem(p + i, n - i, "?>", 2);
		if (!close)
			return false;
		e->pis++;
		if (e->pis == 1) {
			e->pi_at_tag = i == 0;
			e->blank = true;
			for (const char *c = p + i + 6; c < close; c++)
				e->blank &= *c == ' ';
		}
		i = (size_t)(close - p) + 2;
		if (e->pis == 1)
			e->pi_end = e->tail + CLOSE_TAG_LEN + i;
		else
			e->pi2_end = e->tail + CLOSE_TAG_LEN + i;
	}
}

/* 1: the file is one of ours and *E tells its end, 0: it is not, or -errno. */
static int find_ending(int fd, uint64_t size, struct ending *e)
{
	char head[HEAD_LEN];
	char *rest;
	uint64_t from;
	ssize_t n;
	int rc = 0;

	*e = (struct ending){ 0 };
	if (read_at(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	    memcmp(head, LOGFILE_HEAD, sizeof(head)) != 0)
		return 0;
	/* No value holds a bare "<", so the first such text is the closing tag, and any other that
	 * stands in the padding comes later. */
	e->tail = find(fd, CLOSE_TAG, CLOSE_TAG_LEN);
	from = e->tail + CLOSE_TAG_LEN;
	if (e->tail == UINT64_MAX || size - from > END_MAX)
		return 0;
	rest = malloc((size_t)(size - from) + 1);
	if (!rest)
		return -ENOMEM;
	n = read_at(fd, rest, (size_t)(size - from), from);
	if (n < 0)
		rc = (int)n;
	else
		rc = read_ending(e, rest, (size_t)n);
	free(rest);
	return rc;
}

static bool one_page(uint64_t at, uint64_t n)
{
	return at / LOGFILE_PAGE == (at + n - 1) / LOGFILE_PAGE;
}

/* Whether the file can go on as it is; otherwise it needs another end (replace()). */
static bool usable(const struct ending *e, uint64_t size)
{
	return e->pis >= 1 && e->pis <= 2 && e->pi_at_tag && one_page(e->tail, LOGFILE_TAIL_LEN) &&
	       one_page(e->pi_end - 2, 2) &&
	       (e->pis == 1 || (e->pi2_end == size && one_page(size - 2, 2)));
}

static int lock(int fd)
{
	struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };

	for (int i = 0; i < LOCK_TRIES; i++) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		if (fcntl(fd, F_OFD_SETLK, &l) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return errno == ENOLCK || errno == EOPNOTSUPP ? 0 : -errno;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

/* Locks FD and sees that it is a regular file that still stands at PATH; -EAGAIN when not. */
static int claim(int fd, const char *path, struct stat *st)
{
	struct stat there;
	int rc;

	if (fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode))
		return -EINVAL;
	rc = lock(fd);
	if (rc < 0)
		return rc;
	/* What another writer did before it let go of the lock counts. */
	if (fstat(fd, st) < 0)
		return -errno;
	if (lstat(path, &there) < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	return there.st_dev == st->st_dev && there.st_ino == st->st_ino ? 0 : -EAGAIN;
}

static int copy_prefix(int to, int from, uint64_t n)
{
	static char buf[64u << 10];
	uint64_t at = 0;

	while (at < n) {
		size_t want = n - at < sizeof(buf) ? (size_t)(n - at) : sizeof(buf);
		ssize_t have = read_at(from, buf, want, at), done;

		if (have <= 0)
			return have < 0 ? (int)have : -EIO;
		done = pwrite(to, buf, (size_t)have, (off_t)at);
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		at += (uint64_t)done;
	}
	return 0;
}

/* Makes the file at PATH + ".new" whole: the first N octets of FROM (-1: our head), then our end.
 */
static int fill_new(struct logfile *f, const char *path, int from, uint64_t n)
{
	struct stat st;
	int rc = claim(f->fd, path, &st);

	if (rc < 0)
		return rc;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (ftruncate(f->fd, 0) < 0 || fchmod(f->fd, 0640) < 0)
		return -errno;
	if (from >= 0) {
		rc = copy_prefix(f->fd, from, n);
		if (rc < 0)
			return rc;
	}
	return logfile_put_end(f, from < 0 ? LOGFILE_HEAD : "", n);
}

/* Where a new file is made. */
static int beside(const struct logfile *f, char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s.new", f->path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* What a killed writer had begun there. Only who holds the lock of the file itself may do this. */
static void tidy(const struct logfile *f)
{
	char path[PATH_MAX];
	struct stat st;

	if (beside(f, path) == 0 && lstat(path, &st) == 0 && S_ISREG(st.st_mode))
		unlink(path);
}

/* Nothing that we have made stays. */
static void abandon(struct logfile *f, const char *path, int rc)
{
	if (rc != -EBUSY && rc != -EAGAIN)
		unlink(path);
	close(f->fd);
	f->fd = -1;
}

/* Makes a file beside the log's place, into PATH, and leaves it open and locked. */
static int make_beside(struct logfile *f, char path[PATH_MAX], int from, uint64_t n)
{
	int rc = beside(f, path);

	if (rc < 0)
		return rc;
	f->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
	if (f->fd < 0)
		return -errno;
	rc = fill_new(f, path, from, n);
	if (rc < 0)
		abandon(f, path, rc);
	return rc;
}

/*
 * Makes a new file at its place: one that must not be there yet (FROM -1), or one that replaces
 * FROM, of whose content it takes N octets.
 */
static int make(struct logfile *f, int from, uint64_t n)
{
	char path[PATH_MAX];
	int rc = make_beside(f, path, from, n);

	if (rc < 0)
		return rc;
	if (from >= 0)
		rc = rename(path, f->path) == 0 ? 0 : -errno;
	else
		rc = archive_rename(path, f->path);
	/* Another writer was faster, and has tidied up. */
	if (rc == -EEXIST || rc == -ENOENT)
		rc = -EAGAIN;
	if (rc < 0)
		abandon(f, path, rc);
	return rc;
}

/* Goes on with the file F->fd, which is well-formed and ours. */
static int resume(struct logfile *f, const struct ending *e, uint64_t size)
{
	int old = f->fd, rc;

	if (!usable(e, size)) {
		rc = make(f, old, e->tail);
		close(old);
		return rc;
	}
	f->tail = e->tail;
	f->end = e->pi_end;
	f->second = e->pi2_end;
	f->size = size;
	f->dirty = !e->blank || e->pis == 2;
	return logfile_repair(f);
}

/* The archive need not be there where nothing is rotated; a log is to begin all the same. */
static int move_away(struct logfile *f)
{
	int rc = archive_move(f->path, f->archive_dir, ".xml", f->moved, sizeof(f->moved));
	char beside[PATH_MAX];

	if (rc == 0 || snprintf(beside, sizeof(beside), "%s", f->path) >= (int)sizeof(beside))
		return rc;
	return archive_move(f->path, dirname(beside), ".xml", f->moved, sizeof(f->moved)) == 0 ? 0
											       : rc;
}

/* Goes on with the file F->fd if that can be done; -EAGAIN when it was moved away. */
static int adopt(struct logfile *f)
{
	struct stat st;
	struct ending e;
	uint64_t size;
	int rc = claim(f->fd, f->path, &st);

	if (rc < 0)
		return rc;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	size = (uint64_t)st.st_size;
	/* Empty, as `touch` or a rotating script makes it: one write makes a log of it. */
	if (size == 0)
		return logfile_put_end(f, LOGFILE_HEAD, 0);
	rc = check_xml(f->fd, &f->first_us);
	if (rc == 1)
		rc = find_ending(f->fd, size, &e);
	if (rc < 0)
		return rc;
	if (rc == 1)
		return resume(f, &e, size);
	rc = move_away(f);
	return rc < 0 ? rc : -EAGAIN;
}

int logfile_open(struct logfile *f)
{
	int rc = -EAGAIN;

	f->moved[0] = '\0';
	for (int i = 0; rc == -EAGAIN && i < RACES; i++) {
		f->first_us = 0;
		f->fd = open(f->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (f->fd < 0 && errno != ENOENT)
			return -errno;
		rc = f->fd < 0 ? make(f, -1, 0) : adopt(f);
		if (rc < 0 && f->fd >= 0) {
			close(f->fd);
			f->fd = -1;
		}
	}
	if (rc == 0)
		tidy(f);
	return rc;
}

int logfile_rotate(struct logfile *f)
{
	struct logfile next = *f;
	char path[PATH_MAX], name[sizeof(f->moved)];
	struct stat there;
	int rc;

	/* Somebody may have moved it already and not told us. */
	if (lstat(f->path, &there) < 0 || there.st_dev != f->dev || there.st_ino != f->ino) {
		logfile_close(f);
		return 0;
	}
	next.first_us = 0;
	rc = make_beside(&next, path, -1, 0);
	if (rc < 0)
		return rc;
	logfile_shrink(f);
	rc = archive_replace(f->path, path, f->archive_dir, name, sizeof(name));
	if (rc < 0) {
		abandon(&next, path, 0);
		return rc;
	}
	close(f->fd);
	*f = next;
	return 0;
}
