/* SPDX-License-Identifier: ISC */
/*
 * main: the subcommands of carontectl. Nothing but the table and its usage; each of them reads its
 * own arguments (inner.h).
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/diag.h"
#include "ctl/inner.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *title; /* as in messages */
	const char *arguments;
	const char *what;
};

static const struct command commands[] = {
	{ "explain", ctl_explain, "carontectl explain", "IP SENDER RECIPIENT",
	  "say whether mail would be let through, and by which rule" },
	{ "status", ctl_status, "carontectl status", "[OPTION]...",
	  "show what a running daemon does" },
	{ "drain", ctl_drain, "carontectl drain", "DESTINATION",
	  "give a destination no new sessions" },
	{ "ready", ctl_ready, "carontectl ready", "DESTINATION", "give it sessions again" },
	{ "reload", ctl_reload, "carontectl reload", "[OPTION]...",
	  "have the configuration read again, say what became of it" },
	{ "upgrade", ctl_upgrade, "carontectl upgrade", "[OPTION]...",
	  "have the program on disk take over, say what became of it" },
	{ "stop", ctl_stop, "carontectl stop", "[OPTION]...",
	  "stop the daemon, say when it has ended" },
	{ "tlsa", ctl_tlsa, "carontectl tlsa", "[OPTION]...",
	  "print the DNS records (DANE) of a running daemon's certificates" },
	{ "check-destination", ctl_check_destination, "carontectl check-destination", "[OPTION]...",
	  "look for what makes destinations unsafe behind Caronte" },
	{ "trace", ctl_trace, "carontectl trace", "WHAT [FILE]...",
	  "tell what became of a message, from the log" },
	{ "log", ctl_log, "carontectl log", "[OPTION]... [FILE]...",
	  "print records of the XML log" },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	fputs("usage: carontectl COMMAND [OPTION]... [ARGUMENT]...\n", out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-18s %-21s %s\n", commands[i].name, commands[i].arguments,
			commands[i].what);
	fputs("  -V, --version                            print the version, end\n"
	      "  -h, --help                               print this, end; of a command: its options\n",
	      out);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	for (size_t i = 0; name && i < COMMANDS; i++) {
		if (strcmp(name, commands[i].name) != 0)
			continue;
		argv[1] = (char *)(uintptr_t)commands[i].title;
		return diag_end_output(commands[i].run(argc - 1, argv + 1));
	}
	if (name && (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)) {
		usage(stdout);
		return diag_end_output(EX_OK);
	}
	if (name && (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0)) {
		puts("carontectl " CARONTE_VERSION);
		return diag_end_output(EX_OK);
	}
	if (name)
		fprintf(stderr, "carontectl: %s: no such command\n", name);
	usage(stderr);
	return EX_USAGE;
}
