/* SPDX-License-Identifier: ISC */
/* carontectl drain and ready: take a destination out of use, and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/ask.h"
#include "ctl/inner.h"

static void usage(FILE *out, const char *title)
{
	fprintf(out,
		"usage: %s [OPTION]... DESTINATION\n" ASK_USAGE
		"  -h, --help               print this, end\n"
		"DESTINATION is HOST:PORT, or unix:/PATH, as it stands in DESTINATIONS.\n",
		title);
}

/* The daemon's words for the operator; the exit status. */
static int say(const char *answer, const char *socket)
{
	if (strncmp(answer, "ok ", 3) == 0) {
		puts(answer + 3);
		return EX_OK;
	}
	if (strncmp(answer, "error ", 6) != 0)
		return ask_foreign(socket);
	fprintf(stderr, "carontectl: %s\n", answer + 6);
	return EX_USAGE;
}

static int ask_for(const struct ask_where *where, const char *what, const char *destination)
{
	char request[400];
	char *socket, *answer;
	int n = snprintf(request, sizeof(request), "%s %s", what, destination);
	int status;

	if ((size_t)n >= sizeof(request) || strchr(request, '\n')) {
		fputs("carontectl: that is no destination\n", stderr);
		return EX_USAGE;
	}
	socket = ask_socket(where, &status);
	if (!socket)
		return status;
	answer = ask(socket, request, &status);
	if (answer)
		status = say(answer, socket);
	free(answer);
	free(socket);
	return status;
}

static int run(struct ask_where *where, const char *what, int argc, char **argv)
{
	int status = ask_options(where, argc, argv, usage);

	if (status >= 0)
		return status;
	if (argc - optind == 1)
		return ask_for(where, what, argv[optind]);
	fprintf(stderr, "%s: one DESTINATION is wanted\n", argv[0]);
	usage(stderr, argv[0]);
	return EX_USAGE;
}

static int drain_or_ready(const char *what, int argc, char **argv)
{
	struct ask_where where = { 0 };
	int status;

	if (!ctl_config_open(&where.config, argc))
		return EX_OSERR;
	status = run(&where, what, argc, argv);
	ctl_config_close(&where.config);
	return status;
}

int ctl_drain(int argc, char **argv)
{
	return drain_or_ready("drain", argc, argv);
}

int ctl_ready(int argc, char **argv)
{
	return drain_or_ready("ready", argc, argv);
}
