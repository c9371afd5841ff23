/* SPDX-License-Identifier: ISC */
/*
 * asked: a child of the master that tries something out and says on its standard error what is
 * wrong. The master does not wait for it: it reads what comes, keeps the first of it, and is told
 * by SIGCHLD that it is over. One that takes longer than ASKED_PATIENCE_MS is killed: while it
 * lasts, no other question can be asked.
 */
#ifndef MASTER_ASKED_H
#define MASTER_ASKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ASKED_TEXT	  8192
#define ASKED_PATIENCE_MS 600000 /* name servers that are silent take their time */

struct asked {
	pid_t pid;	   /* 0: nobody is asked */
	int fd;		   /* what it says; -1: nothing more */
	uint64_t until_ms; /* 0: it was ended */
	size_t said;
	char text[ASKED_TEXT]; /* with its NUL; what is more is thrown away */
};

/*
 * Forks. In the child (0) standard error is the pipe; NAME is what it is called. Else its pid, or
 * -errno.
 */
pid_t asked_fork(struct asked *a, const char *name, uint64_t now_ms)
	__attribute__((warn_unused_result));
/* Ends it where it is out of time, and says so in its text. */
void asked_look(struct asked *a, uint64_t now_ms);
/* Reads what is there. */
void asked_read(struct asked *a);
/* It has ended: reads the rest; A->text is what it said. */
void asked_ended(struct asked *a);

#endif
