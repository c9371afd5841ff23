/* SPDX-License-Identifier: ISC */
/*
 * log_read: logs one after the other, each one a file, a directory of rotated ones (in the order of
 * their names' time), or standard input. What cannot be read, or is damaged, is said on standard
 * error, and all that can be read is handed out.
 *
 * The last file of a list is opened first: it may be rotated while those before it are read, and is
 * then not read twice.
 */
#ifndef CTL_LOG_READ_H
#define CTL_LOG_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/log_file.h"
#include "ctl/log_parse.h"

struct log_read {
	const char *title; /* of the subcommand, in messages: "carontectl log" */
	const char *user;  /* who may read the files; NULL: not known */
	bool quiet;	   /* all was said when they were read before */
	int64_t since_us;  /* files of a directory that are older are left out */
	void (*record)(void *ctx, const struct log_record *r);
	void *ctx;

	bool faulty;  /* something was damaged or could not be read */
	size_t files; /* that were read */
	/* The rest is its own. */
	struct log_sink sink;
	struct log_parse parse;
	const char *path; /* of the file that is read */
	uint64_t damages; /* of it */
	struct log_file newest;
};

/* The members before FAULTY are set. False: no memory. log_read_close() in both cases. */
bool log_read_open(struct log_read *k);
void log_read_close(struct log_read *k);

bool log_read_is_directory(const char *path);
/* Opens PATH as `newest`, whose fd is -1 otherwise. */
bool log_read_open_newest(struct log_read *k, const char *path);
/* Reads N of PATHS. */
void log_read_paths(struct log_read *k, char *const *paths, size_t n);
/* All of them, the last one opened first. */
void log_read_all(struct log_read *k, char *const *paths, size_t n);
/* Reads `newest` to its end and closes it. */
void log_read_newest(struct log_read *k, const char *path);

/* For who follows a file. */
void log_read_begin(struct log_read *k, const char *path);
bool log_read_open_file(struct log_read *k, struct log_file *f, const char *path);
/* A rotated file, unless it is NEXT. */
void log_read_rotated(struct log_read *k, const char *path, const struct log_file *next);
void log_read_complain(struct log_read *k, const char *path, int err);
void log_read_damage(struct log_read *k, uint64_t line, const char *what);
void log_read_end(struct log_read *k);

#endif
