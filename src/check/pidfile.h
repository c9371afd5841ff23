/* SPDX-License-Identifier: ISC */
/*
 * pidfile: PID_FILE, which tells scripts and carontectl the master's process id. Written by USER,
 * after all privilege is gone, as a new file that takes the place of the old one: nobody reads a
 * half of it. The master holds a lock on it (fcntl(2)), and the kernel tells whose lock it is. So a
 * file that a dead daemon left is known for one, and nobody has to believe the number in a file
 * that USER can write.
 *
 * Beside it stands PID_FILE.result (results.h).
 */
#ifndef CHECK_PIDFILE_H
#define CHECK_PIDFILE_H

#include <stddef.h>
#include <sys/types.h>

#define PIDFILE_RESULT ".result"
/* Octets of the path; there is room for the names beside it. */
#define PIDFILE_MAX 240

/* Tried as USER: NULL, or what is wrong with PATH, in OUT of CAP octets. Changes nothing. */
const char *pidfile_check(const char *path, char *out, size_t cap);
/*
 * Writes our process id to PATH and locks it; *FD is to stay open. 0, or an exit status with a line
 * for the operator in WHY (CAP octets): EX_CONFIG where another process has it.
 */
int pidfile_take(const char *path, int *fd, char *why, size_t cap)
	__attribute__((warn_unused_result));
/* Removes PATH when it is still the file of FD, and closes that. */
void pidfile_remove(const char *path, int fd);
/* The process that has locked PATH; 0: nobody has; -errno: it cannot be opened. */
pid_t pidfile_owner(const char *path);

/* A file with these N octets takes the place of PATH; *FD is open for writing. 0 or -errno. */
int pidfile_replace(const char *path, const char *text, size_t n, int *fd)
	__attribute__((warn_unused_result));

#endif
