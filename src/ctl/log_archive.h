/* SPDX-License-Identifier: ISC */
/*
 * log_archive: the rotated logs of a directory: the files named caronte-YYYYMMDD-HHMMSS[-N].xml, as
 * the log writer names them, by that time and N. Anything else in the directory is left alone.
 */
#ifndef CTL_LOG_ARCHIVE_H
#define CTL_LOG_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_archive {
	char **path; /* in order, owned */
	size_t n;
	size_t compressed; /* that are left out, since somebody has compressed them */
};

/*
 * Lists PATH. A file is named by the time at which it was full, so one that was so more than an
 * hour before SINCE_US (clocks may be set back) is left out. 0, or -errno; closed in both cases by
 * log_archive_close().
 */
int log_archive_open(struct log_archive *a, const char *path, int64_t since_us);
void log_archive_close(struct log_archive *a);
/* The first of A that is later than PATH, which must be named as they are; A's number: none is. */
size_t log_archive_after(const struct log_archive *a, const char *path);
/* Whether PATH, which holds a slash, is named as the log writer names rotated files. */
bool log_archive_is(const char *path);

#endif
