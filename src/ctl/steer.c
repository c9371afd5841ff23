/* SPDX-License-Identifier: ISC */
/* carontectl reload, upgrade and stop: ask the running daemon for it, wait, say what became of it.
 */
#include "ctl/steer.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "config/load.h"
#include "ctl/inner.h"

#define LIMIT_S 120
#define REFUSED 1

struct arguments {
	struct ask_where where;
	unsigned limit_s;
};

static void usage(FILE *out, enum results_kind kind)
{
	fprintf(out,
		"usage: carontectl %s [OPTION]...\n" ASK_USAGE
		"  -t, --timeout SECONDS    wait so long for the result (%s)\n"
		"  -h, --help               print this, end\n",
		results_name(kind), kind == RESULTS_STOP ? "without end" : "120");
}

/* ---- where it is ---- */

static void set_if(char **to, const char *text)
{
	if (*text)
		*to = strdup(text);
}

/* False: said. The daemon may run on a file that has got faults since: those are its to tell. */
static bool find(struct steer *s, const struct ask_where *where)
{
	struct config *c =
		config_load(where->config.file, where->config.overrides, where->config.count);
	bool found;

	if (where->socket)
		s->socket[0] = strdup(where->socket);
	set_if(&s->socket[1], c->set.control_socket);
	if (!where->socket)
		set_if(&s->pid_file, c->set.pid_file);
	found = s->socket[0] || s->socket[1] || s->pid_file;
	if (!found && c->fault_count)
		config_print_faults(c, stderr);
	else if (!found)
		fprintf(stderr,
			"carontectl: %s: neither CONTROL_SOCKET nor PID_FILE is set, so the daemon "
			"cannot be found; set one of them and restart it, or signal it yourself "
			"(caronte(8), SIGNALS)\n",
			where->config.file);
	config_free(c);
	return found;
}

static void forget(struct steer *s)
{
	for (unsigned i = 0; i < STEER_SOCKETS; i++)
		free(s->socket[i]);
	free(s->pid_file);
	if (s->pidfd >= 0)
		close(s->pidfd);
}

/* ---- what became of it ---- */

static int say_result(const struct steer *s, const struct result *r)
{
	if (r->how == RESULTS_DONE) {
		fputs(r->text, stdout);
		return EX_OK;
	}
	fputs(r->text, stderr);
	fprintf(stderr, "carontectl: the %s was refused, nothing has changed\n",
		results_name(s->kind));
	return REFUSED;
}

static int say_late(const struct steer *s)
{
	static const char *const still[RESULTS_KINDS] = {
		"it may still be reading the configuration, or waiting for a name server",
		"the sessions are served on; the new program may still be starting its workers",
		"sessions may still be running: STOP_GRACE says for how long",
	};

	fprintf(stderr, "carontectl: no result of the %s in %u seconds: %s\n",
		results_name(s->kind), s->limit_s, still[s->kind]);
	return EX_TEMPFAIL;
}

static int say_end(struct steer *s, enum steer_end end, const struct result *r, int status)
{
	switch (end) {
	case STEER_RESULT:
		/* The log's last records are written after the last session. */
		if (s->kind == RESULTS_STOP && !steer_gone(s, true))
			return say_late(s);
		return say_result(s, r);
	case STEER_GONE:
		if (s->kind == RESULTS_STOP) {
			puts("stopped; how many sessions were cut off is not known");
			return EX_OK;
		}
		fprintf(stderr, "carontectl: the daemon (process %d) has ended\n", (int)s->pid);
		return EX_UNAVAILABLE;
	case STEER_LATE:
		return say_late(s);
	case STEER_FAILED:
		break;
	}
	return status;
}

static int steer(struct steer *s, const struct ask_where *where)
{
	enum steer_end end = STEER_FAILED;
	struct result r;
	int status = 0;

	if (!find(s, where))
		return EX_CONFIG;
	if (s->socket[0] || s->socket[1])
		end = steer_by_socket(s, &r, &status);
	if (end == STEER_FAILED && !status && s->pid_file) {
		end = steer_by_file(s, &r, &status);
	} else if (end == STEER_FAILED && !status) {
		fprintf(stderr, "carontectl: %s: no daemon listens there%s\n",
			s->socket[s->socket[0] ? 0 : 1],
			where->socket ? ""
				      : "; if CONTROL_SOCKET was changed since it has read its "
					"configuration, name the old one with -s");
		status = EX_UNAVAILABLE;
	}
	return say_end(s, end, &r, status);
}

/* ---- arguments ---- */

/* -1: go on; else the exit status. */
static int read_arguments(struct arguments *a, enum results_kind kind, int argc, char **argv)
{
	static const struct option options[] = {
		ASK_LONG,
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, ASK_SHORT "t:h", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout, kind);
			return EX_OK;
		}
		if (c == 't' && !ctl_seconds(results_name(kind), optarg, &a->limit_s))
			return EX_USAGE;
		if (c != 't' && !ask_option(&a->where, c, optarg)) {
			usage(stderr, kind);
			return EX_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "%s: %s: no such argument\n", argv[0], argv[optind]);
	usage(stderr, kind);
	return EX_USAGE;
}

static int run(enum results_kind kind, int argc, char **argv)
{
	struct arguments a = { .limit_s = kind == RESULTS_STOP ? 0 : LIMIT_S };
	struct steer s = { .kind = kind, .pidfd = -1 };
	int status;

	if (!ctl_config_open(&a.where.config, argc))
		return EX_OSERR;
	status = read_arguments(&a, kind, argc, argv);
	s.limit_s = a.limit_s;
	if (status < 0)
		status = steer(&s, &a.where);
	forget(&s);
	ctl_config_close(&a.where.config);
	return status;
}

int ctl_reload(int argc, char **argv)
{
	return run(RESULTS_RELOAD, argc, argv);
}

int ctl_upgrade(int argc, char **argv)
{
	return run(RESULTS_UPGRADE, argc, argv);
}

int ctl_stop(int argc, char **argv)
{
	return run(RESULTS_STOP, argc, argv);
}
