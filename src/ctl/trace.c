/* SPDX-License-Identifier: ISC */
/*
 * trace: `carontectl trace`: what became of a message, from the log. The log is read twice: the
 * first time finds the sessions of which any record matches, of which the last ones are kept; the
 * second time collects all that the log says of these. So memory is bounded however many match, and
 * a session is whole whichever of its records it was that did.
 */
#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "ctl/inner.h"
#include "ctl/log_read.h"
#include "ctl/log_time.h"
#include "ctl/log_where.h"
#include "ctl/trace_ids.h"
#include "ctl/trace_lines.h"
#include "ctl/trace_story.h"
#include "ctl/trace_tell.h"

#define TITLE	       "carontectl trace"
#define STATUS_NONE    1 /* nothing was found, or something could not be read */
#define STORIES	       20
#define STORIES_MOST   1000
#define STRAYS	       20			  /* faults that are told */
#define SINCE_SLACK_US (24 * INT64_C(3600000000)) /* how much earlier a session may have begun */
#define SPOOL_BUF      65536

struct run {
	struct log_where where;
	struct story_teller teller;
	struct trace_match match;
	struct log_filter time; /* --since and --until */
	const char *since, *until, *what;
	size_t last;
	bool json;

	struct trace_ids ids;  /* of the sessions that match */
	uint64_t strays, told; /* faults outside of sessions that do, and those told so far */
	struct log_text stray; /* the last of them */
	struct story *stories; /* one for each of them, the second time */
	struct log_text out;
	bool failed; /* no memory */
	bool level2; /* the log has records of recipients or messages */
	uint64_t records;
	char first[32], newest[32]; /* times of them */
	FILE *spool;		    /* what has come through a pipe */
	char input[32];		    /* its path */
};

static void usage(FILE *out)
{
	fputs("usage: carontectl trace [OPTION]... WHAT [FILE]...\n"
	      "Tells all that the log knows of the sessions that had to do with WHAT, oldest first.\n"
	      "WHAT is the queue id that the destination gave a message, its Message-ID, the mail\n"
	      "address of a sender or a recipient (@DOMAIN: any of it, <>: the empty sender), a\n"
	      "client's IP address, or a session.\n"
	      "FILE is a log, a directory of rotated logs, or - for standard input; without one, the\n"
	      "configuration's LOG_ARCHIVE_DIR and LOG_FILE.\n"
	      "      --since TIME         what matches must be from this time on: 2026-11-22T20:13,\n"
	      "                           20:13, today, yesterday, -30m, -2h, -7d\n"
	      "      --until TIME         and from before this time\n"
	      "  -n, --last N             the last N sessions (20)\n"
	      "  -j, --json               their records, a JSON object a line\n"
	      "  -u, --utc                times are UTC (default)\n"
	      "  -l, --local              times are local ones\n" CTL_CONFIG_USAGE
	      "  -h, --help               print this, end\n"
	      "Exits 0: found, 1: nothing was found, or not all could be read.\n",
	      out);
}

static int misuse(const char *text, const char *what)
{
	fprintf(stderr, TITLE ": %s: %s\n", text, what);
	return EX_USAGE;
}

static bool take_last(struct run *k, const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	k->last = n;
	return !errno && *text >= '0' && *text <= '9' && !*end && n >= 1 && n <= STORIES_MOST;
}

/* -1: go on; else the exit status. */
static int take_option(struct run *k, int c)
{
	switch (c) {
	case 'S':
		k->since = optarg;
		return -1;
	case 'U':
		k->until = optarg;
		return -1;
	case 'n':
		return take_last(k, optarg) ? -1
					    : misuse(optarg, "a number from 1 to 1000 is wanted");
	case 'j':
		k->json = true;
		return -1;
	case 'u':
	case 'l':
		k->teller.print.local = c == 'l';
		return -1;
	case 'h':
		usage(stdout);
		return EX_OK;
	default:
		if (ctl_config_option(&k->where.from, c, optarg))
			return -1;
		usage(stderr);
		return EX_USAGE;
	}
}

static int take_times(struct run *k)
{
	static const char what[] = "is no time (2026-11-22T20:13, 20:13, today, -2h)";
	bool local = k->teller.print.local;
	struct timespec now;
	int64_t now_us;

	clock_gettime(CLOCK_REALTIME, &now);
	now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
	if (k->since && !log_time_parse(k->since, now_us, local, &k->time.since_us))
		return misuse(k->since, what);
	if (k->until && !log_time_parse(k->until, now_us, local, &k->time.until_us))
		return misuse(k->until, what);
	return -1;
}

static int read_arguments(struct run *k, int argc, char **argv)
{
	static const struct option options[] = {
		CTL_CONFIG_LONG,
		{ "since", required_argument, NULL, 'S' },
		{ "until", required_argument, NULL, 'U' },
		{ "last", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "utc", no_argument, NULL, 'u' },
		{ "local", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c, status = -1;

	while (status < 0 &&
	       (c = getopt_long(argc, argv, CTL_CONFIG_SHORT "n:julh", options, NULL)) != -1)
		status = take_option(k, c);
	if (status >= 0)
		return status;
	if (optind == argc || !*argv[optind]) {
		fputs(TITLE ": WHAT is wanted: a queue id, an address, a session ...\n", stderr);
		usage(stderr);
		return EX_USAGE;
	}
	k->what = argv[optind++];
	k->where.files = argv + optind;
	k->where.count = (size_t)(argc - optind);
	return take_times(k);
}

/* A pipe can be read once only. */
static bool spool_input(struct run *k)
{
	char buf[SPOOL_BUF];
	size_t n;

	k->spool = tmpfile();
	while (k->spool && (n = fread(buf, 1, sizeof(buf), stdin)) > 0)
		if (fwrite(buf, 1, n, k->spool) != n)
			return false;
	return k->spool && !ferror(stdin) && fflush(k->spool) == 0;
}

/* -1: go on; else the exit status. */
static int replace_input(struct run *k)
{
	for (size_t i = 0; i < k->where.count; i++) {
		if (strcmp(k->where.files[i], "-") != 0)
			continue;
		if (!k->spool && !spool_input(k)) {
			fprintf(stderr, TITLE ": standard input cannot be kept: %s\n",
				strerror(errno));
			return EX_IOERR;
		}
		snprintf(k->input, sizeof(k->input), "/proc/self/fd/%d", fileno(k->spool));
		k->where.files[i] = k->input;
	}
	return -1;
}

/* ---- the first time ---- */

static void copy_time(char out[32], const struct log_record *r)
{
	struct span v = log_record_get(r, "time");
	int64_t us;

	if (log_time_record(v, &us))
		snprintf(out, 32, "%.*s", (int)v.n, v.p);
}

/* A fault that matches, of no session: a connection ended before there was one. */
static bool is_stray(const struct run *k, const struct log_record *r)
{
	return span_eq(r->element, SPAN("fault")) && !log_record_get(r, "session").p &&
	       log_filter_match(&k->time, r) && trace_match(&k->match, r);
}

static void on_search(void *ctx, const struct log_record *r)
{
	struct run *k = ctx;
	struct trace_id id;

	if (!log_filter_match(&k->time, r))
		return;
	if (k->records++ == 0)
		copy_time(k->first, r);
	copy_time(k->newest, r);
	k->level2 |= log_element_level(r->element) == 2;
	k->strays += is_stray(k, r);
	if (!trace_match(&k->match, r) || !trace_id_parse(log_record_get(r, "session"), &id))
		return;
	id.whole = trace_match_proxy(&k->match, r);
	if (!trace_ids_add(&k->ids, id))
		k->failed = true;
}

/* ---- the second time ---- */

static void put(struct run *k)
{
	if (k->out.n && fwrite(k->out.p, 1, k->out.n, stdout) != k->out.n) {
		fprintf(stderr, TITLE ": standard output: %s\n", strerror(errno));
		exit(EX_IOERR);
	}
	k->failed |= k->out.failed;
	k->out.n = 0;
}

/* The last ones. */
static void tell_stray(struct run *k, const struct log_record *r)
{
	if (k->told++ + STRAYS < k->strays)
		return;
	if (k->json) {
		log_print_record(&k->teller.print, r, &k->out);
		put(k);
	} else {
		story_tell_stray(&k->teller, r, &k->stray);
	}
}

static void on_collect(void *ctx, const struct log_record *r)
{
	struct run *k = ctx;
	struct trace_id id;
	size_t i = SIZE_MAX;

	if (trace_id_parse(log_record_get(r, "session"), &id))
		i = trace_ids_find(&k->ids, id);
	if (is_stray(k, r))
		tell_stray(k, r);
	if (!k->json) {
		story_look(&k->teller, r);
		if (i != SIZE_MAX)
			story_add(&k->teller, &k->stories[i], r, k->ids.id[i].whole);
	} else if (i != SIZE_MAX) {
		log_print_record(&k->teller.print, r, &k->out);
		put(k);
	}
}

static int by_start(const void *one, const void *other, void *ctx)
{
	const struct story *stories = ctx;
	size_t a = *(const size_t *)one, b = *(const size_t *)other;
	int64_t left = stories[a].first_us, right = stories[b].first_us;

	return left != right ? (left > right) - (left < right) : (a > b) - (a < b);
}

static void tell_strays(struct run *k)
{
	if (!k->strays)
		return;
	log_text_str(&k->out, k->ids.n ? "\noutside of sessions\n" : "outside of sessions\n");
	if (k->strays > STRAYS)
		trace_add(&k->out, "              and %" PRIu64 " earlier ones\n",
			  k->strays - STRAYS);
	log_text_add(&k->out, k->stray.p, k->stray.n);
	k->failed |= k->stray.failed;
	put(k);
}

static void tell_all(struct run *k)
{
	size_t *order = calloc(k->ids.n + 1, sizeof(*order));
	char name[32];

	if (!order) {
		k->failed = true;
		return;
	}
	for (size_t i = 0; i < k->ids.n; i++)
		order[i] = i;
	qsort_r(order, k->ids.n, sizeof(*order), by_start, k->stories);
	for (size_t i = 0; i < k->ids.n; i++) {
		const struct trace_id *id = &k->ids.id[order[i]];

		if (i)
			log_text_str(&k->out, "\n");
		snprintf(name, sizeof(name), "%" PRIx64 "-%" PRIx32, id->epoch, id->serial);
		story_tell(&k->teller, &k->stories[order[i]], name, &k->out);
		put(k);
	}
	free(order);
	tell_strays(k);
}

/* ---- all ---- */

/* Whether all could be read. */
static bool read_log(struct run *k, void (*record)(void *ctx, const struct log_record *r),
		     int64_t since_us)
{
	struct log_read read = {
		.title = TITLE,
		.quiet = record == on_collect,
		.user = k->where.user,
		.since_us = since_us,
		.record = record,
		.ctx = k,
	};

	if (log_read_open(&read))
		log_read_all(&read, k->where.files, k->where.count);
	else
		k->failed = true;
	log_read_close(&read);
	return !read.faulty;
}

static void say_nothing_found(const struct run *k)
{
	fprintf(stderr, TITLE ": nothing about %s in", k->what);
	for (size_t i = 0; i < k->where.count; i++)
		fprintf(stderr, "%s %s", i ? "," : "", k->where.files[i]);
	if (k->records)
		fprintf(stderr, ": %" PRIu64 " records from %s to %s\n", k->records, k->first,
			k->newest);
	else
		fprintf(stderr, ": no records%s\n",
			k->since || k->until ? " of the time that was asked for" : "");
	if (k->records && !k->level2)
		fputs(TITLE ": there are no records of recipients and messages: LOG_LEVEL is 1, or "
			    "there were none\n",
		      stderr);
}

static void say_more(const struct run *k)
{
	fprintf(k->json ? stderr : stdout,
		"%s%" PRIu64 " earlier session%s had to do with it too, see --last and --until\n%s",
		k->json ? TITLE ": " : "", k->ids.forgotten, k->ids.forgotten == 1 ? "" : "s",
		k->json ? "" : "\n");
}

static int trace(struct run *k)
{
	int64_t since_us = k->time.since_us;
	bool whole = read_log(k, on_search, since_us);

	if (!k->ids.n && !k->strays && !k->failed) {
		say_nothing_found(k);
		return STATUS_NONE;
	}
	trace_ids_keep(&k->ids, k->last);
	k->stories = calloc(k->ids.n + 1, sizeof(*k->stories));
	if (!k->stories || k->failed)
		return EX_OSERR;
	if (k->ids.forgotten)
		say_more(k);
	if (since_us != INT64_MIN)
		since_us -= SINCE_SLACK_US;
	whole &= read_log(k, on_collect, since_us);
	if (!k->json)
		tell_all(k);
	if (k->failed)
		return EX_OSERR;
	return whole ? EX_OK : STATUS_NONE;
}

static int run(struct run *k)
{
	int status = log_where_find(&k->where, TITLE, false);

	if (status < 0)
		status = replace_input(k);
	if (status >= 0)
		return status;
	status = trace_match_init(&k->match, k->what) ? trace(k) : EX_OSERR;
	if (status == EX_OSERR)
		fputs(TITLE ": no memory\n", stderr);
	return status;
}

static void release(struct run *k)
{
	for (size_t i = 0; k->stories && i < k->ids.n; i++)
		story_free(&k->stories[i]);
	free(k->stories);
	trace_ids_free(&k->ids);
	trace_match_free(&k->match);
	story_teller_free(&k->teller);
	log_text_free(&k->stray);
	log_text_free(&k->out);
	if (k->spool)
		fclose(k->spool);
	log_where_close(&k->where);
}

int ctl_trace(int argc, char **argv)
{
	static struct run k = { .last = STORIES };
	int status = EX_OSERR;

	setlocale(LC_CTYPE, "");
	k.teller.match = &k.match;
	k.teller.states.started_us = INT64_MIN;
	k.teller.print.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	log_filter_init(&k.time);
	if (!ctl_config_open(&k.where.from, argc))
		return status;
	status = read_arguments(&k, argc, argv);
	k.teller.print.format = k.json ? LOG_JSON : LOG_TABLE;
	if (status < 0)
		status = run(&k);
	release(&k);
	return status;
}
