/* SPDX-License-Identifier: ISC */
/*
 * log_where: which logs a subcommand reads: those of its arguments, or else the configuration's,
 * LOG_ARCHIVE_DIR and then LOG_FILE.
 */
#ifndef CTL_LOG_WHERE_H
#define CTL_LOG_WHERE_H

#include <stdbool.h>
#include <stddef.h>

#include "ctl/inner.h"

struct log_where {
	struct ctl_config from;
	char **files; /* of the arguments, and after log_where_find() never empty */
	size_t count;
	const char *user; /* USER, where the files are the configuration's; else NULL */
	struct config *config;
	char *own[2];
};

/* Finds the files where the arguments name none, for the subcommand TITLE. CURRENT: without the
 * archive. -1: there are some; else the exit status, and all has been said. */
int log_where_find(struct log_where *w, const char *title, bool current);
void log_where_close(struct log_where *w);

#endif
