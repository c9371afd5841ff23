/* SPDX-License-Identifier: ISC */
/*
 * log_file: see log_file.h. The buffer begins at the start of a line (or inside of one that is
 * longer than the buffer), so that a line can be read again from there.
 */
#include "ctl/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"

#define ROOM	    (256u << 10)
#define CLOSING	    "</caronte-log>"
#define CLOSING_LEN (sizeof(CLOSING) - 1)
#define HEAD	    "<?xml "
#define HEAD_LEN    (sizeof(HEAD) - 1)
#define DOUBTS	    100 /* of one line: a writer that has lost its processor comes back */
#define DOUBTS_MOST 250 /* of one reading: a file that is no log at all has doubts in each line */
#define DOUBT_NS    2000000 /* a write within a page takes microseconds */
#define LIVELY_S    10

int log_file_open(struct log_file *f, const char *path)
{
	struct stat st = { 0 };
	int err = 0;

	*f = (struct log_file){ .fd = STDIN_FILENO };
	if (strcmp(path, "-") != 0)
		f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (f->fd < 0 || fstat(f->fd, &st) != 0)
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	else if (!(f->buf = calloc(1, ROOM + 1))) /* a string, always */
		err = -ENOMEM;
	if (err) {
		log_file_close(f);
		return err;
	}
	f->seekable = S_ISREG(st.st_mode);
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	/* What a shell has read of its own redirection is not read again. */
	if (f->seekable && f->fd == STDIN_FILENO) {
		off_t at = lseek(f->fd, 0, SEEK_CUR);

		f->at = at > 0 ? (uint64_t)at : 0;
	}
	return 0;
}

void log_file_close(struct log_file *f)
{
	if (f->fd > STDIN_FILENO)
		close(f->fd);
	free(f->buf);
	*f = (struct log_file){ .fd = -1 };
}

const char *log_file_unpacker(const struct log_file *f)
{
	static const struct {
		const char *magic, *program;
	} kinds[] = {
		{ "\x1f\x8b", "zcat" },
		{ "\xfd"
		  "7zXZ",
		  "xzcat" },
		{ "\x28\xb5\x2f\xfd", "zstdcat" },
		{ "BZh", "bzcat" },
	};
	char start[8] = "";

	if (!f->seekable || pread(f->fd, start, sizeof(start) - 1, (off_t)f->at) <= 0)
		return NULL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(start, kinds[i].magic, strlen(kinds[i].magic)) == 0)
			return kinds[i].program;
	return NULL;
}

bool log_file_where(const struct log_file *f, char *path, size_t cap)
{
	char link[32];
	struct stat st;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", f->fd);
	n = readlink(link, path, cap - 1);
	if (n <= 0 || path[0] != '/')
		return false;
	path[n] = '\0';
	/* A file that is deleted has a text behind its name. */
	return stat(path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino;
}

bool log_file_moved(const struct log_file *f, const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && (st.st_dev != f->dev || st.st_ino != f->ino);
}

bool log_file_cut(const struct log_file *f)
{
	struct stat st;

	return fstat(f->fd, &st) == 0 && (uint64_t)st.st_size < f->at;
}

/*
 * How much more the buffer holds now; 0: the end of the file. What it held already of a file is
 * read again: half a closing tag may have been overwritten since, and the other half does not fit
 * it.
 */
static ssize_t fill(struct log_file *f)
{
	size_t had = f->n;
	ssize_t n;

	f->n = f->seekable ? 0 : had;
	do {
		if (f->seekable)
			n = pread(f->fd, f->buf, ROOM, (off_t)f->at);
		else
			n = read(f->fd, f->buf + had, ROOM - had);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	f->n += (size_t)n;
	return f->n > had ? (ssize_t)(f->n - had) : 0;
}

static void drop(struct log_file *f, size_t n)
{
	f->at += n;
	f->n -= n;
	memmove(f->buf, f->buf + n, f->n);
}

/* A line as the writer makes them: nothing, or one element or the like. */
static bool plausible(const char *s, size_t n)
{
	while (n && strchr(" \r\n", s[n - 1]) && s[n - 1])
		n--;
	while (n && *s == ' ') {
		s++;
		n--;
	}
	if (n == 0)
		return true;
	return n >= 3 && s[0] == '<' && s[n - 1] == '>' &&
	       ((s[1] >= 'a' && s[1] <= 'z') || s[1] == '!' || (s[1] == '?' && s[2] == 'x'));
}

/* What does not look right is to be read again: the file has been written a moment ago. */
static bool doubtful(struct log_file *f)
{
	struct timespec pause = { .tv_nsec = DOUBT_NS }, now;
	struct stat st;

	if (!f->seekable || f->doubted >= DOUBTS || f->doubts >= DOUBTS_MOST)
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	if (fstat(f->fd, &st) != 0 || now.tv_sec - st.st_mtim.tv_sec > LIVELY_S)
		return false;
	f->doubted++;
	f->doubts++;
	nanosleep(&pause, NULL);
	return true;
}

static void pass(struct log_file *f, struct log_parse *p, size_t at, size_t n, bool ends_line)
{
	log_parse_piece(p, span_of(f->buf + at, n), ends_line);
	f->doubted = 0;
}

/* The lines of the first N octets. *USED: of them, what is parsed. False: read again from there. */
static bool read_lines(struct log_file *f, struct log_parse *p, size_t n, size_t *used)
{
	const char *lf;

	*used = 0;
	while ((lf = memchr(f->buf + *used, '\n', n - *used))) {
		size_t len = (size_t)(lf - f->buf) + 1 - *used;

		if (!plausible(f->buf + *used, len) && doubtful(f))
			return false;
		pass(f, p, *used, len, true);
		*used += len;
	}
	return true;
}

/* Drops what stands between two documents; the line that the parser counts goes on. */
static void pass_over(struct log_file *f, struct log_parse *p, size_t n)
{
	const char *lf = f->buf;

	while ((lf = memchr(lf, '\n', n - (size_t)(lf - f->buf)))) {
		lf++;
		p->line++;
	}
	drop(f, n);
}

/* Between two documents: true when the next one begins at the start of the buffer. */
static bool find_next(struct log_file *f, struct log_parse *p)
{
	const char *head = memmem(f->buf, f->n, HEAD, HEAD_LEN);
	uint64_t line;

	if (!head) {
		if (f->n >= HEAD_LEN)
			pass_over(f, p, f->n - (HEAD_LEN - 1));
		return false;
	}
	pass_over(f, p, (size_t)(head - f->buf));
	f->behind = f->ended = false;
	line = p->line - 1;
	CHECK(log_parse_begin(p)); /* what it needs has just been freed */
	p->line = line;
	return true;
}

/* All that the buffer holds of whole lines, up to the closing tag. False: read again. */
static bool read_buffer(struct log_file *f, struct log_parse *p, bool grows)
{
	const char *tag = memmem(f->buf, f->n, CLOSING, CLOSING_LEN);
	size_t used, n = tag ? (size_t)(tag - f->buf) : f->n;
	bool good = read_lines(f, p, n, &used);

	drop(f, used);
	n -= used;
	if (!good)
		return false;
	if (!tag && f->n == ROOM) {
		/* So many blanks are padding, and its tag was not seen: it has just moved. */
		if (strspn(f->buf, " ") >= ROOM && doubtful(f))
			return false;
		/* A line longer than the buffer, in pieces that leave a tag whole. */
		n -= CLOSING_LEN;
		pass(f, p, 0, n, false);
		drop(f, n);
	}
	if (!tag || grows)
		return true;
	pass(f, p, 0, n, false);
	drop(f, n);
	log_parse_end(p, false);
	f->ended = f->behind = true;
	drop(f, CLOSING_LEN);
	return true;
}

/* The file has no more, and there was no closing tag. */
static void read_rest(struct log_file *f, struct log_parse *p)
{
	if (f->n)
		pass(f, p, 0, f->n, false);
	drop(f, f->n);
	log_parse_end(p, true);
	f->ended = true;
}

/* Nothing more is to be had now. True: the document goes on, or may. */
static bool at_end(struct log_file *f, struct log_parse *p, bool grows)
{
	if (grows)
		return false;
	if (f->n && doubtful(f)) {
		f->n = 0;
		return true;
	}
	read_rest(f, p);
	return false;
}

int log_file_read(struct log_file *f, struct log_parse *p, bool grows, bool *any)
{
	bool more = !f->ended || f->behind;

	*any = false;
	f->doubts = 0;
	f->n = f->seekable ? 0 : f->n;
	while (more) {
		uint64_t before = f->at;
		ssize_t n = fill(f);

		if (n < 0)
			return (int)n;
		if (f->behind && !find_next(f, p)) {
			more = n > 0;
			continue;
		}
		if (!read_buffer(f, p, grows)) {
			f->n = 0; /* and once more */
			continue;
		}
		*any |= f->at != before;
		if (f->ended)
			more = f->behind;
		else if (n == 0 && f->at == before)
			more = at_end(f, p, grows);
		else if (grows && memmem(f->buf, f->n, CLOSING, CLOSING_LEN))
			more = false;
	}
	return 0;
}
