/* SPDX-License-Identifier: ISC */
/*
 * master: the first process. Binds, makes what is shared, drops privilege, forks the log writer and
 * the workers, and from then on only looks after them: starts them again when they die, takes
 * signals, has names resolved. It reads no byte of a client and has no session.
 */
#ifndef PROXY_MASTER_H
#define PROXY_MASTER_H

#include "config/config.h"
#include "proxy/check.h"

/* The whole life of the daemon, from a good check on; the exit status (sysexits.h). */
int master_run(const struct config *c, const struct check *k);

#endif
