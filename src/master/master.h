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

/* The whole life of the daemon, from a good check on; the exit status (sysexits.h). K's tables are
 * given back. */
int master_run(const struct master_start *start, const struct config *c, struct check *k);

/*
 * The same in the place of a running daemon, whose state is in descriptor FD: upgrade.c, which is
 * also who has called. With ONLY_CHECK it is not: the configuration is checked against the state,
 * what was found goes where the state says, nothing is touched.
 */
int master_adopt(const struct master_start *start, int fd, bool only_check);

#endif
