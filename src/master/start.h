/* SPDX-License-Identifier: ISC */
/* start: how the daemon begins, in the first process. */
#ifndef MASTER_START_H
#define MASTER_START_H

#include "master/master.h"

/* The whole life of the daemon, from a good check on; the exit status (sysexits.h). K's tables are
 * given back. */
int master_run(const struct master_start *start, const struct config *c, struct check *k);

#endif
