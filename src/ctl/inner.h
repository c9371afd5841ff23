/* SPDX-License-Identifier: ISC */
/*
 * inner: what the subcommands of carontectl share. Each subcommand is one file (ctl/NAME.c, with
 * helpers beside it as NAME_*.c) and one row of the table in ctl/main.c; it reads its own
 * arguments, says its own usage and returns the exit status.
 *
 * No subcommand changes a configuration, a table or a log.
 */
#ifndef CTL_INNER_H
#define CTL_INNER_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/config.h"

/*
 * ARGV[0] is "carontectl NAME", for messages; getopt's state is fresh. The exit status (sysexits.h)
 * is returned, and what is wrong has been said on standard error.
 */
int ctl_explain(int argc, char **argv);
int ctl_log(int argc, char **argv);
int ctl_trace(int argc, char **argv);
int ctl_status(int argc, char **argv);
int ctl_drain(int argc, char **argv);
int ctl_ready(int argc, char **argv);
int ctl_reload(int argc, char **argv);
int ctl_upgrade(int argc, char **argv);
int ctl_stop(int argc, char **argv);
int ctl_tlsa(int argc, char **argv);
int ctl_check_destination(int argc, char **argv);

/* The configuration that a subcommand asks about: -c and -o, as caronte takes them. */
#define CTL_CONFIG_FILE CARONTE_SYSCONFDIR "/caronte/caronte.conf"
#define CTL_CONFIG_LONG                                                                            \
	{ "config", required_argument, NULL, 'c' },                                                \
	{                                                                                          \
		"option", required_argument, NULL, 'o'                                             \
	}
#define CTL_CONFIG_SHORT "c:o:"
#define CTL_CONFIG_USAGE                                                                           \
	"  -c, --config FILE        read this configuration (" CTL_CONFIG_FILE ")\n"               \
	"  -o, --option NAME=VALUE  override one setting of it, as often as given\n"

struct ctl_config {
	const char *file;
	const char **overrides; /* room for every argument */
	size_t count;
};

/* Room for the overrides of ARGC arguments. False: no memory, and said. */
bool ctl_config_open(struct ctl_config *k, int argc);
void ctl_config_close(struct ctl_config *k);
/* Takes the option C with its argument; false: it is not one of these. */
bool ctl_config_option(struct ctl_config *k, int c, const char *argument);
/* Loads it. One that has faults is printed on standard error and is NULL: EX_CONFIG. */
struct config *ctl_config_load(const struct ctl_config *k);

/* A number of seconds, up to a day, in TEXT. False: it is none, and said for the subcommand NAME.
 */
bool ctl_seconds(const char *name, const char *text, unsigned *seconds);

#endif
