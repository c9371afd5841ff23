/* SPDX-License-Identifier: ISC */
/*
 * log_options: the arguments of `carontectl log`. Only syntax is judged here; files are opened when
 * their turn comes.
 */
#include <errno.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "ctl/inner.h"
#include "ctl/log.h"
#include "ctl/log_time.h"

enum key {
	KEY_UTC = 'u',
	KEY_LOCAL = 'l',
	KEY_FOLLOW = 'f',
	KEY_LAST = 'n',
	KEY_HELP = 'h',
	KEY_SINCE = 256,
	KEY_UNTIL,
	KEY_CLIENT,
	KEY_SENDER,
	KEY_RECIPIENT,
	KEY_SESSION,
	KEY_VERDICT,
	KEY_REPLY,
	KEY_DESTINATION,
	KEY_ELEMENT,
	KEY_LEVEL,
	KEY_JSON,
	KEY_XML,
	KEY_SUMMARY,
	KEY_NO_HEADER,
};

static const struct option options[] = {
	CTL_CONFIG_LONG,
	{ "since", required_argument, NULL, KEY_SINCE },
	{ "until", required_argument, NULL, KEY_UNTIL },
	{ "client", required_argument, NULL, KEY_CLIENT },
	{ "sender", required_argument, NULL, KEY_SENDER },
	{ "recipient", required_argument, NULL, KEY_RECIPIENT },
	{ "session", required_argument, NULL, KEY_SESSION },
	{ "verdict", required_argument, NULL, KEY_VERDICT },
	{ "reply", required_argument, NULL, KEY_REPLY },
	{ "destination", required_argument, NULL, KEY_DESTINATION },
	{ "element", required_argument, NULL, KEY_ELEMENT },
	{ "level", required_argument, NULL, KEY_LEVEL },
	{ "last", required_argument, NULL, KEY_LAST },
	{ "follow", no_argument, NULL, KEY_FOLLOW },
	{ "json", no_argument, NULL, KEY_JSON },
	{ "xml", no_argument, NULL, KEY_XML },
	{ "summary", no_argument, NULL, KEY_SUMMARY },
	{ "utc", no_argument, NULL, KEY_UTC },
	{ "local", no_argument, NULL, KEY_LOCAL },
	{ "no-header", no_argument, NULL, KEY_NO_HEADER },
	{ "help", no_argument, NULL, KEY_HELP },
	{ NULL, 0, NULL, 0 },
};

static void usage(FILE *out)
{
	fputs("usage: carontectl log [FILTER]... [OPTION]... [FILE]...\n"
	      "FILE is a log, a directory of rotated logs, or - for standard input; without one, the\n"
	      "configuration's LOG_ARCHIVE_DIR and LOG_FILE.\n"
	      "Filters; of one kind any may fit, of all kinds one must:\n"
	      "      --since TIME          from this time on: 2026-11-22, 2026-11-22T20:13,\n"
	      "                            20:13, today, yesterday, -30m, -2h, -7d\n"
	      "      --until TIME          before this time\n"
	      "      --client ADDRESS      an IP address, with a port or without, or a network\n"
	      "      --sender ADDRESS      an address, or @DOMAIN; <> is the empty sender\n"
	      "      --recipient ADDRESS   an address, or @DOMAIN\n"
	      "      --session ID          all of one session\n"
	      "      --verdict WORD        accept or refuse\n"
	      "      --reply TEXT          the reply begins so: 5, 421, \"550 5.7.1\"\n"
	      "      --destination HOST[:PORT]\n"
	      "      --element NAME[,NAME] recipient, message, session, login, fault, ...\n"
	      "      --level N             what is written at LOG_LEVEL N and below\n"
	      "Options:\n"
	      "  -c, --config FILE         read this configuration (" CTL_CONFIG_FILE ")\n"
	      "  -o, --option NAME=VALUE   override one setting of it\n"
	      "  -n, --last N              only the last N records\n"
	      "  -f, --follow              print new records as they come, through rotation\n"
	      "      --json                a JSON object a line\n"
	      "      --xml                 a log again\n"
	      "      --summary             how many records there are of each kind\n"
	      "  -u, --utc                 times are UTC (default)\n"
	      "  -l, --local               times in a table, and TIME without zone, are local\n"
	      "      --no-header           a table without its first line\n"
	      "  -h, --help                print this, end\n",
	      out);
}

/* What an option needs beside its argument. */
struct reading {
	struct log_options *o;
	const char *since, *until;
	unsigned formats;
};

static const char *take_last(struct log_options *o, const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || n > LOG_LAST_MOST)
		return "a number up to 100000 is wanted";
	o->has_last = true;
	o->last = n;
	return NULL;
}

/* Filters: NULL, or what is wrong with the argument. */
static const char *take_filter(struct reading *r, int key, char *text)
{
	struct log_filter *f = &r->o->filter;

	switch (key) {
	case KEY_CLIENT:
		return log_filter_client(f, text);
	case KEY_SENDER:
		return log_filter_add(&f->sender, text);
	case KEY_RECIPIENT:
		return log_filter_add(&f->recipient, text);
	case KEY_SESSION:
		return log_filter_add(&f->session, text);
	case KEY_VERDICT:
		return log_filter_verdict(f, text);
	case KEY_REPLY:
		return log_filter_add(&f->reply, text);
	case KEY_DESTINATION:
		return log_filter_add(&f->destination, text);
	case KEY_ELEMENT:
		return log_filter_elements(f, text);
	case KEY_LEVEL:
		return log_filter_level(f, text);
	case KEY_SINCE:
		r->since = text;
		break;
	case KEY_UNTIL:
		r->until = text;
		break;
	default:
		return take_last(r->o, text);
	}
	return NULL;
}

/* Options without an argument. */
static void take_flag(struct reading *r, int key)
{
	struct log_options *o = r->o;

	switch (key) {
	case KEY_FOLLOW:
		o->follow = true;
		break;
	case KEY_JSON:
		o->print.format = LOG_JSON;
		r->formats++;
		break;
	case KEY_XML:
		o->print.format = LOG_XML;
		r->formats++;
		break;
	case KEY_SUMMARY:
		o->summary = true;
		r->formats++;
		break;
	case KEY_NO_HEADER:
		o->header = false;
		break;
	default:
		o->print.local = key == KEY_LOCAL;
		break;
	}
}

static bool is_flag(int key)
{
	for (const struct option *o = options; o->name; o++)
		if (o->val == key)
			return o->has_arg == no_argument;
	return false;
}

static int wrong_argument(const char *option, const char *text, const char *what)
{
	fprintf(stderr, "carontectl log: --%s: %s: %s\n", option, text, what);
	return EX_USAGE;
}

static int take_times(const struct reading *r)
{
	static const char what[] = "is no time (2026-11-22T20:13, 20:13, today, -2h)";
	struct log_filter *f = &r->o->filter;
	bool local = r->o->print.local;
	struct timespec now;
	int64_t now_us;

	clock_gettime(CLOCK_REALTIME, &now);
	now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
	if (r->since && !log_time_parse(r->since, now_us, local, &f->since_us))
		return wrong_argument("since", r->since, what);
	if (r->until && !log_time_parse(r->until, now_us, local, &f->until_us))
		return wrong_argument("until", r->until, what);
	return -1;
}

static int misuse(const char *what)
{
	fprintf(stderr, "carontectl log: %s\n", what);
	usage(stderr);
	return EX_USAGE;
}

static int check_together(const struct reading *r)
{
	const struct log_options *o = r->o;

	if (r->formats > 1)
		return misuse("one of --json, --xml and --summary at a time");
	if (o->summary && (o->follow || o->has_last))
		return misuse("--summary counts all records: neither --follow nor --last goes with "
			      "it");
	return take_times(r);
}

int log_options_read(struct log_options *o, int argc, char **argv)
{
	struct reading r = { .o = o };
	const char *wrong;
	int key, index = 0;

	*o = (struct log_options){ .header = true };
	log_filter_init(&o->filter);
	if (!ctl_config_open(&o->where.from, argc))
		return EX_OSERR;
	o->print.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	while ((key = getopt_long(argc, argv, CTL_CONFIG_SHORT "n:fulh", options, &index)) != -1) {
		if (key == KEY_HELP) {
			usage(stdout);
			return EX_OK;
		}
		if (key == '?') {
			usage(stderr);
			return EX_USAGE;
		}
		if (ctl_config_option(&o->where.from, key, optarg))
			continue;
		if (is_flag(key)) {
			take_flag(&r, key);
			continue;
		}
		wrong = take_filter(&r, key, optarg);
		if (wrong)
			return wrong_argument(key == KEY_LAST ? "last" : options[index].name,
					      optarg, wrong);
	}
	o->where.files = argv + optind;
	o->where.count = (size_t)(argc - optind);
	return check_together(&r);
}
