/* SPDX-License-Identifier: ISC */
/*
 * diag: the one kind of error that is our own fault. CHECK() stands in release builds too: a proxy
 * that goes on after a broken invariant is an open relay. die() is for start only, before sessions.
 * What a daemon says while it runs never holds it up. And the end of a program that was asked for
 * an answer.
 */
#ifndef BASE_DIAG_H
#define BASE_DIAG_H

#include <stddef.h>

/* Aborts with file, line and condition on standard error when COND is false. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			check_failed(__FILE__, __LINE__, #cond);                                   \
	} while (0)

_Noreturn void check_failed(const char *file, int line, const char *cond);

/* Prints "caronte: MESSAGE" and exits with STATUS (sysexits.h). */
_Noreturn void die(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Says N octets of lines on standard error without waiting for whoever reads it: what finds no room
 * there is dropped, as a rule from the beginning of a line on. Its O_NONBLOCK is not ours to set:
 * others may write to the same file.
 */
void diag_say(const char *text, size_t n);

/* STATUS, once all that was printed is out; else says so and EX_IOERR: an answer that nobody could
 * read is none. */
int diag_end_output(int status);

#endif
