/* SPDX-License-Identifier: ISC */
/*
 * asked: a child of the master that tries something out and says on its standard error what is
 * wrong. The master does not wait for it: it reads what comes, keeps the first of it, and is told
 * by SIGCHLD that it is over.
 */
#ifndef PROXY_ASKED_H
#define PROXY_ASKED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ASKED_TEXT 8192

struct asked {
	pid_t pid; /* 0: nobody is asked */
	int fd;	   /* what it says; -1: nothing more */
	size_t said;
	char text[ASKED_TEXT]; /* with its NUL; what is more is thrown away */
};

/*
 * Forks. In the child (0) standard error is the pipe; NAME is what it is called. Else its pid, or
 * -errno.
 */
pid_t asked_fork(struct asked *a, const char *name) __attribute__((warn_unused_result));
/* Reads what is there. */
void asked_read(struct asked *a);
/* It has ended: reads the rest; A->text is what it said. */
void asked_ended(struct asked *a);

#endif
