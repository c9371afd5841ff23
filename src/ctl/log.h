/* SPDX-License-Identifier: ISC */
/*
 * log: what `carontectl log` has been asked for, between its arguments (log_options.c) and its work
 * (log.c).
 */
#ifndef CTL_LOG_H
#define CTL_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/log_filter.h"
#include "ctl/log_print.h"
#include "ctl/log_where.h"

struct log_options {
	struct log_filter filter;
	struct log_print print;
	bool summary, follow, header;
	bool has_last;
	size_t last; /* records at most, the last of them; has_last */
	struct log_where where;
};

#define LOG_LAST_MOST 100000

/* Reads the arguments. -1: go on; else the exit status, and all has been said. */
int log_options_read(struct log_options *o, int argc, char **argv);

#endif
