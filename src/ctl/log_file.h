/* SPDX-License-Identifier: ISC */
/*
 * log_file: one log file, read from its beginning to its closing tag, also while the daemon writes
 * it, and from there on again when more has come (xmllog/logfile.h tells how a log grows). What
 * stands behind the closing tag is padding and means nothing; only a file that is not expected to
 * grow is searched there for another log, as `cat` or `zcat` puts one behind the other.
 *
 * The writer may be in the midst of overwriting the closing tag, so a line that is not as the
 * writer makes them is read a second time before it is believed, if the file has just been written.
 *
 * Memory is constant; nothing is mapped.
 */
#ifndef CTL_LOG_FILE_H
#define CTL_LOG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl/log_parse.h"

struct log_file {
	int fd; /* -1: not open */
	bool seekable;
	dev_t dev;
	ino_t ino;
	uint64_t at; /* offset of what is read next: all before it has been parsed */
	bool ended;  /* END has been told to the parser */
	bool behind; /* AT is between a closing tag and the next document, if there is one */
	/* How often the line at AT, and all of this reading, has been read again. */
	unsigned doubted, doubts;
	char *buf;
	size_t n; /* octets in it, from AT on */
};

/* PATH "-" is standard input. 0, or -errno. */
int log_file_open(struct log_file *f, const char *path);
void log_file_close(struct log_file *f);
/* Where the file, of which nothing has been read, is compressed: the program that prints what is in
 * it. Else NULL. */
const char *log_file_unpacker(const struct log_file *f);
/*
 * Reads what is there. GROWS: more may come, so an end that is not there yet is waited for: then
 * the parser is not told of an end, and the next call goes on. Else the end, or that there is none,
 * is told. *ANY: something was read. 0, or -errno of read(2).
 */
int log_file_read(struct log_file *f, struct log_parse *p, bool grows, bool *any);
/* Where the file is now, after it may have been moved, into PATH of CAP octets. False: nowhere. */
bool log_file_where(const struct log_file *f, char *path, size_t cap);
/* Whether PATH is another file now. */
bool log_file_moved(const struct log_file *f, const char *path);
/* Whether the file has become shorter than what has been read. */
bool log_file_cut(const struct log_file *f);

#endif
