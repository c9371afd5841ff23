/* SPDX-License-Identifier: ISC */
/*
 * config: one configuration, read (load.h) against the table that the build makes from the Kconfig
 * tree (settings.h, generated: struct settings, enum setting, one enum for each choice). All faults
 * are collected, each with its place; what a value means beyond its type and range is judged by the
 * folders that use it, which add their faults here.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/settings.h"

struct config_fault {
	char *text; /* the whole line, "FILE:LINE: NAME: what", control characters as \xHH */
	/* Its place, for the order: 0 the configuration file, 1 an argument, 2 another file. */
	int rank;
	const char *file;
	unsigned line;
};

struct config {
	struct settings set;
	/* Where each setting was last given: file NULL: the default; "-o" with line 0: an argument.
	 */
	struct {
		const char *file;
		unsigned line;
	} where[SETTING_COUNT];
	struct config_fault *faults;
	size_t fault_count;
	char *path;
	void *memory; /* strings that `set` points to */
};

void config_free(struct config *c);
/* Adds a fault at the place where setting S was given. Text without final dot or newline. */
void config_fault(struct config *c, enum setting s, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds a fault at a line of another file that setting S names. */
void config_fault_in(struct config *c, enum setting s, const char *file, unsigned line,
		     const char *what);
/* Prints all faults, in the order of their places, a line each. */
void config_print_faults(const struct config *c, FILE *out);
/* "LISTEN_PORT"; for members of a choice the member that is set. */
const char *config_name(enum setting s);

#endif
