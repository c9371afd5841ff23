/* SPDX-License-Identifier: ISC */
/*
 * main: arguments, the check of the configuration, and then the master. Says what is wrong on
 * standard error and ends with a status of sysexits.h; nothing is bound before all is known good.
 *
 * --adopt N is not for people: a running daemon that makes way for this program (SIGUSR2) calls it
 * so, with its state in descriptor N.
 */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/diag.h"
#include "check/warnings.h"
#include "config/config.h"
#include "check/check.h"
#include "master/adopt.h"
#include "master/start.h"
#include "master/notify.h"

#define DEFAULT_FILE CARONTE_SYSCONFDIR "/caronte/caronte.conf"

struct arguments {
	const char *file;
	const char **overrides;
	size_t override_count;
	bool check_only;
	int adopt; /* descriptor; -1: an ordinary start */
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

/* What a program gives to its successor, and nobody else. */
static bool read_descriptor(const char *text, int *fd)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n > INT_MAX)
		return false;
	*fd = (int)n;
	return true;
}

/* One option, of getopt. -1: go on; else the exit status. */
static int take_option(struct arguments *a, int c)
{
	switch (c) {
	case 'c':
		a->file = optarg;
		return -1;
	case 'o':
		a->overrides[a->override_count++] = optarg;
		return -1;
	case 't':
		a->check_only = true;
		return -1;
	case 'A':
		if (read_descriptor(optarg, &a->adopt))
			return -1;
		fprintf(stderr, "caronte: --adopt: %s: no descriptor\n", optarg);
		return EX_USAGE;
	case 'V':
		puts("caronte " CARONTE_VERSION);
		return diag_end_output(EX_OK);
	case 'h':
		usage(stdout);
		return diag_end_output(EX_OK);
	default:
		usage(stderr);
		return EX_USAGE;
	}
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
		{ "adopt", required_argument, NULL, 'A' },
		{ NULL, 0, NULL, 0 },
	};
	int c, status;

	while ((c = getopt_long(argc, argv, "c:o:tVh", options, NULL)) != -1) {
		status = take_option(a, c);
		if (status >= 0)
			return status;
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

/* Whether DIR/NAME (DIR "": NAME itself) is the file that runs here; its absolute path, with its
 * symbolic links as they are, is then in OUT. */
static bool runs_here(const char *dir, int dir_n, const char *name, char out[PATH_MAX])
{
	struct stat here, there;
	char cwd[PATH_MAX] = "";
	bool relative = dir_n ? *dir != '/' : *name != '/';
	int n;

	if (relative && !getcwd(cwd, sizeof(cwd)))
		return false;
	n = snprintf(out, PATH_MAX, "%s%s%.*s%s%s", cwd, relative ? "/" : "", dir_n, dir,
		     dir_n ? "/" : "", name);
	return n < PATH_MAX && stat("/proc/self/exe", &here) == 0 && stat(out, &there) == 0 &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/*
 * The name that the operator calls us by, so that SIGUSR2 finds what a symbolic link says by then;
 * else the file itself; NULL: it is not known. After an exec of a file that was held open, its name
 * is in argv[0].
 */
static const char *program_path(const struct arguments *a, const char *argv0)
{
	static char path[PATH_MAX];
	const char *dirs = getenv("PATH");
	ssize_t n;

	if (a->adopt >= 0)
		return argv0;
	if (strchr(argv0, '/') && runs_here("", 0, argv0, path))
		return path;
	while (dirs && *dirs && !strchr(argv0, '/')) {
		size_t dir_n = strcspn(dirs, ":");

		if (dir_n && dir_n < PATH_MAX && runs_here(dirs, (int)dir_n, argv0, path))
			return path;
		dirs += dir_n + (dirs[dir_n] == ':');
	}
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n <= 0 || n >= (ssize_t)sizeof(path) - 1)
		return NULL;
	path[n] = '\0';
	return path;
}

static int start(const struct arguments *a, struct master_start *s)
{
	static struct check check;
	static struct listen_set handed;
	static int fds[LISTEN_MAX];
	struct config *c;
	char why[256];
	int status, n;

	n = notify_listen_fds(&handed, fds, why, sizeof(why));
	if (n < 0) {
		fprintf(stderr, "caronte: %s\n", why);
		return EX_UNAVAILABLE;
	}
	if (n > 0) {
		s->source.handed = &handed;
		s->handed_fds = fds;
	}
	status = check_load(&check, &c, &s->source, stderr);
	if (!status)
		check_print_notes(&check, c, stderr);
	if (!status && a->check_only) {
		check_print_warnings(&check, c, stderr);
		fprintf(stderr, "caronte: %s: good\n", a->file);
	}
	if (!status && !a->check_only)
		status = master_run(s, c, &check);
	config_free(c);
	return status;
}

static int run(const struct arguments *a, const char *argv0)
{
	struct master_start s = {
		.source = { .file = a->file,
			    .overrides = a->overrides,
			    .override_count = a->override_count },
		.program = program_path(a, argv0),
	};

	return a->adopt >= 0 ? master_adopt(&s, a->adopt, a->check_only) : start(a, &s);
}

int main(int argc, char **argv)
{
	struct arguments a = { .file = DEFAULT_FILE, .adopt = -1 };
	int status;

	/* Memory has private keys, other people's mail and, in passing, their passwords: no core
	 * files, and no other process of USER looks into it. An exec undoes that (--adopt). */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!open_standard_streams())
		return EX_OSERR;
	a.overrides = calloc((size_t)argc, sizeof(*a.overrides));
	if (!a.overrides) {
		fputs("caronte: no memory\n", stderr);
		return EX_OSERR;
	}
	status = read_arguments(&a, argc, argv);
	if (status < 0)
		status = run(&a, argv[0]);
	free(a.overrides);
	return status;
}
