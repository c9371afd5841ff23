/* SPDX-License-Identifier: ISC */
/*
 * tables: RELAY_NETWORKS and RECIPIENTS, from open files into read-only images that all processes
 * have in common. Faults are added to the configuration, each with its file and line. The memory
 * lives as long as the process.
 */
#ifndef PROXY_TABLES_H
#define PROXY_TABLES_H

#include <stddef.h>

#include "config/config.h"
#include "policy/policy.h"

#define TABLES_FILES 64 /* files that RELAY_NETWORKS may name, and one of RECIPIENTS */

/* A file that a setting names, opened (as USER) by the probe. */
struct tables_file {
	enum setting setting;
	char *path; /* owned */
	int fd;	    /* -1: it could not be opened, and a fault says so */
};

/* What the two settings ask for. */
struct tables_plan {
	char *entries; /* networks given in the setting itself, one a line; owned */
	unsigned count;
	struct tables_file file[TABLES_FILES + 1];
};

/* Reads the two settings; what is wrong with an entry is a fault. 0 or -ENOMEM. */
int tables_plan(struct tables_plan *plan, struct config *c) __attribute__((warn_unused_result));
/*
 * Builds what the plan's files and entries hold and points P at it. What is wrong in a file is a
 * fault; P is then not to be used. 0 or -errno (no memory).
 */
int tables_build(struct policy *p, const struct tables_plan *plan, struct config *c)
	__attribute__((warn_unused_result));
void tables_free(struct tables_plan *plan);

#endif
