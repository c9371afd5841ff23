/* SPDX-License-Identifier: ISC */
/* adopt: how it begins in the place of a running one. */
#ifndef MASTER_ADOPT_H
#define MASTER_ADOPT_H

#include "master/master.h"

/*
 * The whole life in the place of a running daemon, whose upgrade.c has called: its state is in
 * descriptor FD. With ONLY_CHECK it is not: the configuration is checked against the state,
 * what was found goes where the state says, nothing is touched.
 */
int master_adopt(const struct master_start *start, int fd, bool only_check);

#endif
