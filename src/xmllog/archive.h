/* SPDX-License-Identifier: ISC */
/*
 * archive: moves a log file into the archive under a name made of date and time. Never overwrites
 * anything. Within a file system it is a rename; across, the copy gets its name when it is whole,
 * and then the original goes: killed in between, the worst is the same records in two files.
 *
 * A log that another one replaces is missing at its place between two renames, no longer: its
 * successor is whole before. (Changing places in one step, RENAME_EXCHANGE, would leave an empty
 * log in the archive, or a full one beside its place, with who is killed behind it.)
 */
#ifndef XMLLOG_ARCHIVE_H
#define XMLLOG_ARCHIVE_H

#include <stddef.h>

/* Moves PATH to DIR as caronte-YYYYMMDD-HHMMSS[-N] and ENDING (".xml"), across file systems too.
 * Where it is then comes into NAME. 0 or -errno. */
int archive_move(const char *path, const char *dir, const char *ending, char *name, size_t cap)
	__attribute__((warn_unused_result));
/* The same with ".xml", and NEXT, a file beside PATH, takes its place. On failure PATH is what it
 * was. */
int archive_replace(const char *path, const char *next, const char *dir, char *name, size_t cap)
	__attribute__((warn_unused_result));
/* rename(2) that never replaces: then it is -EEXIST. */
int archive_rename(const char *from, const char *to) __attribute__((warn_unused_result));

#endif
