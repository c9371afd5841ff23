/* SPDX-License-Identifier: ISC */
/* logfile: see logfile.h. logopen.c opens, makes anew and rotates it. */
#include "xmllog/logfile.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"

#define BLANKS (64u << 10)

static const char second_pi[] = "<?pad ?>";
#define SECOND_LEN (sizeof(second_pi) - 1)
static const char split_pi[] = "?><?pad ";
#define SPLIT_LEN (sizeof(split_pi) - 1)

static char blanks[BLANKS]; /* filled by logfile_init() */

static bool in_one_page(uint64_t at, size_t n)
{
	return at / LOGFILE_PAGE == (at + n - 1) / LOGFILE_PAGE;
}

/* The first place from AT on where N octets lie within one page. */
static uint64_t place(uint64_t at, size_t n)
{
	return in_one_page(at, n) ? at : (at / LOGFILE_PAGE + 1) * LOGFILE_PAGE;
}

static uint64_t page_up(uint64_t at)
{
	return (at + LOGFILE_PAGE - 1) / LOGFILE_PAGE * LOGFILE_PAGE;
}

void logfile_init(struct logfile *f, const char *path, const char *archive_dir, uint64_t limit)
{
	memset(blanks, ' ', sizeof(blanks));
	*f = (struct logfile){ .path = path,
			       .archive_dir = archive_dir,
			       .limit = limit,
			       .pwritev = pwritev,
			       .fd = -1 };
}

/* Takes what was written off the front of the vectors. */
static void advance(struct iovec **iov, int *n, size_t done)
{
	while (*n && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

/* Writes all, or fails with a part of it written; the file's size is kept in both cases. */
static int put_vec(struct logfile *f, struct iovec *iov, int n, uint64_t at)
{
	advance(&iov, &n, 0);
	while (n) {
		ssize_t done = f->pwritev(f->fd, iov, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		at += (uint64_t)done;
		if (at > f->size)
			f->size = at;
		advance(&iov, &n, (size_t)done);
	}
	return 0;
}

int logfile_put(struct logfile *f, const void *text, size_t n, uint64_t at)
{
	struct iovec iov = { (void *)(uintptr_t)text, n };

	CHECK(in_one_page(at, n));
	return put_vec(f, &iov, 1, at);
}

static int put_blanks(struct logfile *f, uint64_t from, uint64_t to)
{
	int rc = 0;

	while (from < to && rc == 0) {
		size_t n = to - from < BLANKS ? (size_t)(to - from) : BLANKS;
		struct iovec iov = { blanks, n };

		rc = put_vec(f, &iov, 1, from);
		from += n;
	}
	return rc;
}

int logfile_put_end(struct logfile *f, const char *head, uint64_t at)
{
	char page[2 * LOGFILE_PAGE];
	size_t n = strlen(head);
	uint64_t tail = place(at + n, LOGFILE_TAIL_LEN + 2), end = page_up(tail + 1);
	struct iovec iov = { page, (size_t)(end - at) };
	int rc;

	CHECK(end - at <= sizeof(page));
	memset(page, ' ', sizeof(page));
	memcpy(page, head, n);
	memcpy(page + (tail - at), LOGFILE_TAIL, LOGFILE_TAIL_LEN);
	memcpy(page + (end - at) - 2, "?>", 2);
	rc = put_vec(f, &iov, 1, at);
	if (rc < 0)
		return rc;
	f->tail = tail;
	f->end = f->size = end;
	f->second = 0;
	f->dirty = false;
	return 0;
}

/* The first instruction swallows the second. */
static int merge(struct logfile *f)
{
	int rc;

	if (!f->second)
		return 0;
	rc = logfile_put(f, "  ", 2, f->end - 2);
	if (rc < 0)
		return rc;
	f->end = f->second;
	f->second = 0;
	return 0;
}

/* The state that step 2 needs: one instruction, nothing but blanks in it. */
static int clean(struct logfile *f)
{
	int rc = merge(f);

	if (rc == 0 && f->dirty)
		rc = put_blanks(f, f->tail + LOGFILE_TAIL_LEN, f->end - 2);
	if (rc == 0)
		f->dirty = false;
	return rc;
}

/* White space behind the end, from a growth that was cut short, goes. */
static int trim(struct logfile *f)
{
	if (f->size > f->end && ftruncate(f->fd, (off_t)f->end) < 0)
		return -errno;
	f->size = f->end;
	return 0;
}

int logfile_repair(struct logfile *f)
{
	int rc = clean(f);

	return rc < 0 ? rc : trim(f);
}

/* Step 1: padding up to at least NEED. */
static int grow(struct logfile *f, uint64_t need)
{
	uint64_t target = f->end + LOGFILE_GROW;
	int rc;

	if (f->limit && target > f->limit)
		target = f->limit;
	if (target < need)
		target = need;
	/* White space that an earlier, failed growth left is taken along; the instruction needs
	 * room of its own. */
	if (target < f->size)
		target = f->size;
	if (target < f->end + SECOND_LEN)
		target = f->end + SECOND_LEN;
	target = page_up(target);
	rc = put_blanks(f, f->size, target);
	if (rc < 0)
		return rc;
	rc = logfile_put(f, second_pi, SECOND_LEN, target - SECOND_LEN);
	if (rc < 0)
		return rc;
	f->second = target;
	rc = merge(f);
	/* What is left of the second instruction is opaque now; blanks are nicer. */
	if (rc == 0 && put_blanks(f, target - SECOND_LEN, target - 2) < 0)
		f->dirty = true;
	return rc;
}

int logfile_prepare(struct logfile *f, const void *x, size_t n)
{
	uint64_t at = f->tail + LOGFILE_TAIL_LEN;
	uint64_t next = place(at + n, LOGFILE_TAIL_LEN);
	struct iovec iov[] = {
		{ (void *)(uintptr_t)x, n },
		{ blanks, (size_t)(next - (at + n)) },
		{ (void *)(uintptr_t)LOGFILE_TAIL, LOGFILE_TAIL_LEN },
	};
	int rc = clean(f);

	if (rc == 0 && next + LOGFILE_TAIL_LEN + 2 > f->end)
		rc = grow(f, next + LOGFILE_TAIL_LEN + 2);
	if (rc < 0)
		return rc;
	f->dirty = true;
	f->next_tail = next;
	return put_vec(f, iov, 3, at);
}

int logfile_commit(struct logfile *f, uint64_t now_us)
{
	/* A line of its own, so that the first record of the batch begins one. */
	static const char line[] = "                   \n";
	int rc;

	_Static_assert(sizeof(line) - 1 == LOGFILE_TAIL_LEN, "covers the old tail");
	rc = logfile_put(f, line, LOGFILE_TAIL_LEN, f->tail);
	if (rc < 0)
		return rc;
	f->tail = f->next_tail;
	f->dirty = false;
	if (!f->first_us)
		f->first_us = now_us;
	return 0;
}

bool logfile_full(const struct logfile *f, size_t n)
{
	return f->limit && f->first_us && f->tail + 2 * LOGFILE_TAIL_LEN + 2 + n > f->limit;
}

bool logfile_intact(const struct logfile *f)
{
	struct stat st;

	return fstat(f->fd, &st) == 0 && st.st_nlink > 0 && (uint64_t)st.st_size == f->size;
}

/* Splits the padding in two instructions and cuts the second off: well-formed before, between,
 * after. */
void logfile_shrink(struct logfile *f)
{
	uint64_t at = place(f->tail + LOGFILE_TAIL_LEN, SPLIT_LEN);

	if (logfile_repair(f) < 0 || at + SPLIT_LEN + 2 > f->end)
		return;
	if (logfile_put(f, split_pi, SPLIT_LEN, at) < 0)
		return;
	f->second = f->end;
	f->end = at + 2;
	f->dirty = true;
	if (ftruncate(f->fd, (off_t)f->end) < 0)
		return;
	f->size = f->end;
	f->second = 0;
	f->dirty = false;
}

void logfile_close(struct logfile *f)
{
	if (f->fd < 0)
		return;
	if (logfile_intact(f))
		logfile_shrink(f);
	close(f->fd);
	f->fd = -1;
}
