/* SPDX-License-Identifier: ISC */
/*
 * follow: certificates that have changed on disk while the daemon runs. What their files look like
 * is one number, which a process of USER finds whenever the files are read, and again at each look.
 * Where it is another one, they are read anew: all of them make a version with everything else of
 * the running one, or none does. The configuration is not read.
 *
 * A look is done by a process of its own that ends after it: it reads private keys, and a file may
 * lie on a disk that does not answer.
 */
#ifndef CHECK_FOLLOW_H
#define CHECK_FOLLOW_H

#include <stdint.h>

#include "check/version.h"

enum follow_found {
	FOLLOW_FAILED, /* no memory, or the process has died: nothing is known */
	FOLLOW_SAME,   /* what is in use */
	FOLLOW_OTHER,  /* files have changed, and were not read */
	FOLLOW_NEW,    /* they were read, and the image is there */
	/* They were read, and nothing is to be taken: */
	FOLLOW_TORN,   /* a pair that does not match, or half a file: it may be whole soon */
	FOLLOW_OLDER,  /* one that ends sooner, that has ended, or that is missing (renewal.h) */
	FOLLOW_DENIED, /* USER may not read one */
	FOLLOW_WRONG   /* any other fault */
};

struct follow_ask {
	const struct version *version; /* what runs */
	uint64_t in_use;	       /* how the files looked that it is from */
	uint64_t quiet;		       /* how they must look to be read; 0: they are not */
	struct version_files files;    /* for FOLLOW_NEW */
};

#define FOLLOW_WHY 2048

struct follow_answer {
	enum follow_found found;
	uint64_t looks;	      /* what the files look like now */
	char why[FOLLOW_WHY]; /* a line for the operator where nothing is to be taken */
};

/* What the files of these settings look like to this process: device, inode, size and times of
 * each, behind links, or why not. Never 0. */
uint64_t follow_looks(const struct settings *set);
/* Looks, and reads what has changed where that is asked. */
void follow_look(const struct follow_ask *ask, struct follow_answer *a);

#endif
