/* SPDX-License-Identifier: ISC */
/*
 * master: the first process. Binds, makes what is shared, drops privilege, forks the log writer and
 * the workers, and from then on only looks after them: starts them again when they die, takes
 * signals, has names resolved, has another configuration checked and hands it to the workers, and
 * makes way for another program. It reads no byte of a client and has no session.
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "config/config.h"
#include "check/check.h"

/* What the daemon was started with, for as long as it lives. */
struct master_start {
	struct check_source source;
	/* The path of the program that runs; NULL: it is never replaced. */
	const char *program;
	/* Sockets handed to us, one for each address of source.handed. */
	const int *handed_fds;
};

#endif
