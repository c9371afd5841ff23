/* SPDX-License-Identifier: ISC */
/*
 * logfile: a file that is well-formed XML at every moment at which nobody is writing it, also when
 * the writer was killed between or inside any two writes, and when the disk is full. It ends in
 *
 *	</caronte-log><?pad BLANKS?>
 *
 * and grows like this (the rules that logfile.c keeps):
 *
 * 1. Room comes first. Blanks are added behind the final `?>`: white space is allowed there, so a
 *    write that is cut short does no harm, and a full disk shows here. Then `<?pad ?>` is written
 *    over the last of them, and then blanks over the old `?>`: the first instruction now runs to
 *    the new end, and what stands in it is opaque.
 * 2. A batch of lines and a new `</caronte-log><?pad ` go into the padding, opaque there as well.
 * 3. Blanks over the old `</caronte-log><?pad ` make the batch part of the document.
 *
 * Each write that changes what the file means lies within one page of 4096 octets, so the kernel
 * does it whole or not at all as far as killed processes go. (Power loss is another matter: no
 * fsync.) For 2, what is written must be ASCII without `?>`, and the padding must hold blanks:
 * after a write that failed, or one that a killed writer left, it is blanked first, or a seam of
 * old and new octets could make up a `?>`.
 *
 * One writer a file: it is locked (fcntl OFD). Errors are -errno, and then the file is as it was
 * for a reader; every call can be tried again.
 */
#ifndef XMLLOG_LOGFILE_H
#define XMLLOG_LOGFILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#define LOGFILE_PAGE	 4096u
#define LOGFILE_GROW	 (256u << 10)
#define LOGFILE_HEAD	 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<caronte-log>\n"
#define LOGFILE_TAIL	 "</caronte-log><?pad "
#define LOGFILE_TAIL_LEN (sizeof(LOGFILE_TAIL) - 1)

struct logfile {
	const char *path;
	const char *archive_dir;
	uint64_t limit; /* octets at which the file is full; 0: never */
	/* pwritev(2); the tests put their own here. */
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t at);

	int fd; /* -1: not open */
	dev_t dev;
	ino_t ino;
	uint64_t tail;	      /* where LOGFILE_TAIL begins */
	uint64_t next_tail;   /* where it will, after logfile_commit() */
	uint64_t end;	      /* behind the `?>` that ends its instruction */
	uint64_t second;      /* behind that of a second instruction not merged yet; 0: none */
	uint64_t size;	      /* of the file: white space from END (or SECOND) on */
	bool dirty;	      /* the padding may hold more than blanks */
	uint64_t first_us;    /* time stamp of the first record; 0: no record yet */
	char moved[PATH_MAX]; /* where logfile_open() has moved a file that it could not continue */
};

/* PATH and ARCHIVE_DIR are kept, not copied. */
void logfile_init(struct logfile *f, const char *path, const char *archive_dir, uint64_t limit);
/* Gives the padding back as far as possible and closes. */
void logfile_close(struct logfile *f);
/* Whether the open file is still as we left it: nobody truncated or removed it. */
bool logfile_intact(const struct logfile *f);
/* Whether N octets of records would lead past the limit (never true for a file without records). */
bool logfile_full(const struct logfile *f, size_t n);

/* Steps 1 and 2 for the lines in X: not part of the document yet. */
int logfile_prepare(struct logfile *f, const void *x, size_t n) __attribute__((warn_unused_result));
/* Step 3. NOW_US becomes the file's age where it had no record. */
int logfile_commit(struct logfile *f, uint64_t now_us) __attribute__((warn_unused_result));

/* For logopen.c. */
/* All of the text, which lies within one page, by one write at AT. */
int logfile_put(struct logfile *f, const void *text, size_t n, uint64_t at)
	__attribute__((warn_unused_result));
/* Writes the closing tag and padding to the end of its page at AT, which is the end of the file:
 * a file that nobody else sees yet, or an empty one. HEAD is written in front of it. */
int logfile_put_end(struct logfile *f, const char *head, uint64_t at)
	__attribute__((warn_unused_result));
/* Cleans up what a killed writer may have left: merges a second instruction, blanks the padding,
 * cuts white space off. */
int logfile_repair(struct logfile *f) __attribute__((warn_unused_result));
/* Gives the padding back as far as possible. */
void logfile_shrink(struct logfile *f);

#endif
