/* SPDX-License-Identifier: ISC */
/*
 * jsonfile: LOG_JSON_FILE, the log's records as JSON, one a line. The file is only ever appended
 * to, so whoever follows it by its size sees every line. It is rotated as the log is: at a size or
 * an age it is moved to the archive as caronte-YYYYMMDD-HHMMSS[-N].json, and a new one begins.
 *
 * Nothing here waits, and nothing here holds up the log. Text that finds no room on the disk is
 * kept, up to JSONFILE_REST octets, and goes first when there is room again; lines beyond that are
 * lost, counted and then told of in the file itself. A line is never cut: one of which a part was
 * written is finished later. Where somebody else has moved the file away or shortened it, the next
 * lines go into a new one, or to its new end.
 */
#ifndef XMLLOG_JSONFILE_H
#define XMLLOG_JSONFILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/span.h"

#define JSONFILE_REST (1u << 20)

struct jsonfile {
	const char *path; /* "": there is none, and every call succeeds */
	const char *archive_dir;
	uint64_t limit;	 /* octets at which the file is full; 0: never */
	uint64_t age_us; /* age at which it is old; 0: never */
	/* write(2); the tests put their own here. */
	ssize_t (*write)(int fd, const void *p, size_t n);

	int fd; /* -1: not open */
	dev_t dev;
	ino_t ino;
	uint64_t size;
	uint64_t first_us; /* time stamp of the first line; 0: none yet */
	bool torn;	   /* the file ends in a part of a line that nobody will finish */
	char *rest;	   /* text that found no room yet */
	size_t rest_n;
	bool rest_mid; /* the file has the beginning of its first line */
	uint64_t lost; /* lines that found none here either, and were not told of */
	uint64_t rotate_after_us;
};

/* PATH and ARCHIVE_DIR are kept, not copied. */
void jsonfile_init(struct jsonfile *f, const char *path, const char *archive_dir, uint64_t limit,
		   uint64_t age_us);
static inline bool jsonfile_wanted(const struct jsonfile *f)
{
	return f->path[0] != '\0';
}

/* The file, open and at its place. 0 or -errno. */
int jsonfile_open(struct jsonfile *f) __attribute__((warn_unused_result));
/* The file, open, at its place and with room by its limits for N octets. 0 or -errno. NOW_US: since
 * 1970. A rotation that fails is tried again after a minute; ROTATION becomes its -errno, else 0.
 */
int jsonfile_ready(struct jsonfile *f, size_t n, uint64_t now_us, int *rotation)
	__attribute__((warn_unused_result));
/* Makes good what was left: writes what is kept, and ends a part of a line. 0: the file ends in a
 * whole line, and nothing is kept any more; or -errno. */
int jsonfile_flush(struct jsonfile *f) __attribute__((warn_unused_result));
/* Writes whole lines, or keeps them where they find no room, or counts them as lost: -errno says
 * why not all of them are in the file. */
int jsonfile_add(struct jsonfile *f, struct span lines) __attribute__((warn_unused_result));
/* The number of lines lost and not told of; with the line that says so they are. */
uint64_t jsonfile_take_lost(struct jsonfile *f);
/* So that the next call opens it anew. What is kept stays. */
void jsonfile_reopen(struct jsonfile *f);
void jsonfile_close(struct jsonfile *f);

#endif
