/* SPDX-License-Identifier: ISC */
/*
 * main: arguments, the check of the configuration, and then the master. Says what is wrong on
 * standard error and ends with a status of sysexits.h; nothing is bound before all is known good.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/check.h"
#include "proxy/master.h"

#define DEFAULT_FILE CARONTE_SYSCONFDIR "/caronte/caronte.conf"

struct arguments {
	const char *file;
	const char **overrides;
	size_t override_count;
	bool check_only;
};

static void usage(FILE *out)
{
	fputs("usage: caronte [-c FILE] [-o NAME=VALUE]... [-t] [-V] [-h]\n"
	      "  -c, --config FILE        read this configuration (" DEFAULT_FILE ")\n"
	      "  -o, --option NAME=VALUE  override one setting of it, as often as given\n"
	      "  -t, --test               check the configuration and every file that it names, end\n"
	      "  -V, --version            print the version, end\n"
	      "  -h, --help               print this, end\n",
	      out);
}

/* -1: go on; else the exit status. */
static int read_arguments(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "option", required_argument, NULL, 'o' },
		{ "test", no_argument, NULL, 't' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:o:tVh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			a->file = optarg;
			break;
		case 'o':
			a->overrides[a->override_count++] = optarg;
			break;
		case 't':
			a->check_only = true;
			break;
		case 'V':
			puts("caronte " CARONTE_VERSION);
			return EX_OK;
		case 'h':
			usage(stdout);
			return EX_OK;
		default:
			usage(stderr);
			return EX_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "caronte: %s: no such argument\n", argv[optind]);
		usage(stderr);
		return EX_USAGE;
	}
	return -1;
}

/* Standard streams that the caller closed must not become sockets that messages are written to. */
static bool open_standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return false;
	} while (fd <= STDERR_FILENO);
	close(fd);
	return true;
}

/* A file that cannot be read at all leaves nothing to judge but defaults: only that is said. */
static bool readable(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	bool can;

	if (fd < 0)
		return false;
	can = fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode);
	close(fd);
	return can;
}

static int run(const struct arguments *a)
{
	static struct check check;
	struct config *c = config_load(a->file, a->overrides, a->override_count);
	char why[PROBE_TEXT_MAX];
	int status = 0;

	if (readable(a->file))
		status = check_run(&check, c, why, sizeof(why));
	config_print_faults(c, stderr);
	if (status)
		fprintf(stderr, "caronte: %s\n", why);
	if (c->fault_count)
		status = EX_CONFIG;
	if (!status)
		check_print_notes(&check, stderr);
	if (!status && a->check_only)
		fprintf(stderr, "caronte: %s: good\n", a->file);
	else if (!status)
		status = master_run(c, &check);
	config_free(c);
	return status;
}

int main(int argc, char **argv)
{
	struct arguments a = { .file = DEFAULT_FILE };
	int status;

	if (!open_standard_streams())
		return EX_OSERR;
	a.overrides = calloc((size_t)argc, sizeof(*a.overrides));
	if (!a.overrides) {
		fputs("caronte: no memory\n", stderr);
		return EX_OSERR;
	}
	status = read_arguments(&a, argc, argv);
	if (status < 0)
		status = run(&a);
	free(a.overrides);
	return status;
}
