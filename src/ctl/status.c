/* SPDX-License-Identifier: ISC */
/* carontectl status: what a running daemon does. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "ctl/ask.h"
#include "ctl/inner.h"
#include "ctl/status_check.h"
#include "ctl/status_table.h"

#define WATCH_S 2
#define CLEAR	"\033[H\033[J"

struct arguments {
	struct ask_where where;
	bool json, watch, check;
	unsigned seconds;
};

static void usage(FILE *out)
{
	fputs("usage: carontectl status [OPTION]...\n" ASK_USAGE
	      "  -j, --json               the daemon's own document, on one line\n"
	      "  -w, --watch [SECONDS]    again and again until interrupted, every 2 seconds; rates are\n"
	      "                           then those since the time before\n"
	      "  -C, --check              one line for a monitor; exit status 0 good, 1 warning,\n"
	      "                           2 critical\n"
	      "  -h, --help               print this, end\n",
	      out);
}

/* -1: go on; else the exit status. */
static int read_option(struct arguments *a, int c)
{
	switch (c) {
	case 'j':
		a->json = true;
		return -1;
	case 'C':
		a->check = true;
		return -1;
	case 'w':
		a->watch = true;
		return !optarg || ctl_seconds("status", optarg, &a->seconds) ? -1 : EX_USAGE;
	case 'h':
		usage(stdout);
		return EX_OK;
	default:
		return ask_option(&a->where, c, optarg) ? -1 : EX_USAGE;
	}
}

static int read_arguments(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		ASK_LONG,
		{ "json", no_argument, NULL, 'j' },
		{ "watch", optional_argument, NULL, 'w' },
		{ "check", no_argument, NULL, 'C' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int status = -1;
	int c;

	while (status < 0 && (c = getopt_long(argc, argv, ASK_SHORT "jw::Ch", options, NULL)) != -1)
		status = read_option(a, c);
	/* "--watch 5" means what "--watch=5" does. */
	if (status < 0 && a->watch && optind == argc - 1)
		status = ctl_seconds("status", argv[optind++], &a->seconds) ? -1 : EX_USAGE;
	if (status < 0 && optind < argc) {
		fprintf(stderr, "carontectl status: %s: no such argument\n", argv[optind]);
		status = EX_USAGE;
	}
	if (status == EX_USAGE)
		usage(stderr);
	return status;
}

static bool same_daemon(const json_t *a, const json_t *b)
{
	return json_equal(json_object_get(a, "started"), json_object_get(b, "started"));
}

/* What the terminal shows of TEXT: lines and the ends of lines that find no room are left out. */
static void put_on_screen(const char *text)
{
	struct winsize size = { 0 };
	size_t row = 0, column = 0;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_row || !size.ws_col)
		size = (struct winsize){ .ws_row = USHRT_MAX, .ws_col = USHRT_MAX };
	fputs(CLEAR, stdout);
	for (; *text; text++) {
		bool begins = ((unsigned char)*text & 0xc0) != 0x80; /* of a character in UTF-8 */

		if (*text == '\n') {
			if (++row == size.ws_row)
				break; /* it would scroll the first line away */
			column = 0;
			putchar('\n');
		} else if ((column += begins) <= size.ws_col) {
			putchar(*text);
		}
	}
}

static bool print_table(const json_t *now, const json_t *before, bool screen)
{
	char *text = NULL;
	size_t n;
	FILE *out = screen ? open_memstream(&text, &n) : stdout;
	bool good = out && status_table_print(out, now, before);

	if (screen && out && fclose(out) == 0 && good)
		put_on_screen(text);
	free(text);
	return good;
}

/* One look. *BEFORE is what was seen at the last one, and becomes what is seen now. */
static int show(const struct arguments *a, const char *socket, json_t **before, bool screen)
{
	int status;
	char *text = ask(socket, "status", &status);
	json_t *now;
	bool good;

	if (!text)
		return status;
	now = json_loads(text, 0, NULL);
	if (a->json && now)
		good = puts(text) >= 0;
	else
		good = now &&
		       print_table(now, *before && same_daemon(now, *before) ? *before : NULL,
				   screen);
	free(text);
	json_decref(*before);
	*before = now;
	if (!good && !ferror(stdout))
		return ask_foreign(socket);
	return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static void pause_for(unsigned seconds)
{
	struct timespec left = { .tv_sec = (time_t)seconds };

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

/* A daemon that is gone is looked for again; only a reader of ours that is gone ends this. */
static int watch(const struct arguments *a, const char *socket)
{
	bool screen = isatty(STDOUT_FILENO) && !a->json;
	json_t *before = NULL;
	int status = EX_OK;

	for (;;) {
		if (screen && status != EX_OK)
			fputs(CLEAR, stdout);
		status = show(a, socket, &before, screen);
		if (status == EX_IOERR)
			break;
		if (!screen && !a->json)
			putchar('\n');
		fflush(stdout);
		pause_for(a->seconds);
	}
	json_decref(before);
	return status;
}

/* Whatever is in the way of an answer is critical: a monitor is to turn red by it. */
static int check(struct arguments *a)
{
	int status;
	char *socket = ask_socket(&a->where, &status);
	char *text = socket ? ask(socket, "status", &status) : NULL;
	json_t *now = text ? json_loads(text, 0, NULL) : NULL;

	status = (int)status_check_print(stdout, now, socket ? socket : "CONTROL_SOCKET");
	if (fflush(stdout) != 0)
		status = STATUS_CRITICAL;
	json_decref(now);
	free(text);
	free(socket);
	return status;
}

static int run(struct arguments *a)
{
	json_t *before = NULL;
	int status;
	char *socket = ask_socket(&a->where, &status);

	if (!socket)
		return status;
	status = a->watch ? watch(a, socket) : show(a, socket, &before, false);
	json_decref(before);
	free(socket);
	return status;
}

int ctl_status(int argc, char **argv)
{
	struct arguments a = { .seconds = WATCH_S };
	int status;

	if (!ctl_config_open(&a.where.config, argc))
		return EX_OSERR;
	status = read_arguments(&a, argc, argv);
	if (status < 0)
		status = a.check ? check(&a) : run(&a);
	ctl_config_close(&a.where.config);
	return status;
}
