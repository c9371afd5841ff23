/* SPDX-License-Identifier: ISC */
/*
 * log: `carontectl log`. Prints what log_read.c reads; follows the last file. The exit status is 1
 * where something was damaged or could not be read.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/diag.h"
#include "ctl/inner.h"
#include "ctl/log.h"
#include "ctl/log_archive.h"
#include "ctl/log_file.h"
#include "ctl/log_read.h"
#include "ctl/log_summary.h"

#define STATUS_DAMAGED 1
#define LOOK_EVERY_MS  100
#define FOLLOW_LAST    10 /* records of the past that --follow begins with */

struct run {
	struct log_options o;
	struct log_read read;
	struct log_summary summary;
	struct log_text out;
	/* The last records, as they will be printed: a ring of o.last, KEPT since the start. */
	struct log_text *last;
	uint64_t kept;
	bool following;
	bool headed;
};

static volatile sig_atomic_t stopped;

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

/* Standard output is gone or full: nothing can be done but to end. */
static void put(struct run *k, const struct log_text *t)
{
	if (t->failed) {
		fputs("carontectl log: no memory\n", stderr);
		exit(EX_OSERR);
	}
	if (!k->headed && (k->o.header || k->o.print.format == LOG_XML)) {
		struct log_text head = { 0 };

		k->headed = true;
		log_print_head(&k->o.print, &head);
		put(k, &head);
		log_text_free(&head);
	}
	if (t->n && fwrite(t->p, 1, t->n, stdout) != t->n) {
		fprintf(stderr, "carontectl log: standard output: %s\n", strerror(errno));
		exit(EX_IOERR);
	}
}

static void on_record(void *ctx, const struct log_record *r)
{
	struct run *k = ctx;
	struct log_text *t = &k->out;

	if (!log_filter_match(&k->o.filter, r))
		return;
	if (k->o.summary) {
		log_summary_add(&k->summary, r);
		return;
	}
	if (k->last && !k->following && k->o.last)
		t = &k->last[k->kept++ % k->o.last];
	else if (k->last && !k->following)
		return;
	t->n = 0;
	log_print_record(&k->o.print, r, t);
	if (t == &k->out)
		put(k, t);
}

static void put_last(struct run *k)
{
	uint64_t n = k->kept < k->o.last ? k->kept : k->o.last;

	for (uint64_t i = k->kept - n; i < k->kept; i++)
		put(k, &k->last[i % k->o.last]);
	for (size_t i = 0; k->last && i < k->o.last; i++)
		log_text_free(&k->last[i]);
	k->following = true;
}

/* Waits a moment; false when nobody reads standard output any more, or a signal says stop. */
static bool pause_following(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	fflush(stdout);
	if (!stopped)
		poll(&out, 1, LOOK_EVERY_MS);
	return !stopped && !(out.revents & (POLLERR | POLLNVAL));
}

/* Logs that were begun and rotated since, between OLD, a rotated one, and the file NEXT. */
static void read_between(struct run *k, const char *old, const struct log_file *next)
{
	struct log_archive a;
	char dir[PATH_MAX];
	int err;

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(old, '/') - old), old);
	err = log_archive_open(&a, dir, INT64_MIN);
	if (err)
		log_read_complain(&k->read, dir, err);
	/* NEXT may be there too by now. */
	for (size_t i = log_archive_after(&a, old); i < a.n; i++) {
		if (!log_file_moved(next, a.path[i]))
			break;
		log_read_rotated(&k->read, a.path[i], next);
	}
	log_archive_close(&a);
}

/*
 * The file has been moved away: reads its end, then goes on with the one in its place. It may be
 * more than one rotation ago, so where the file has gone to is looked at too.
 */
static bool follow_to_next(struct run *k, struct log_file *f, const char *path)
{
	char old[PATH_MAX];
	bool any, archived;
	int err = log_file_read(f, &k->read.parse, false, &any);

	if (err)
		log_read_complain(&k->read, path, err);
	log_read_end(&k->read);
	archived = log_file_where(f, old, sizeof(old)) && log_archive_is(old);
	log_file_close(f);
	/* Between two renames there may be none for a moment. */
	while ((err = log_file_open(f, path)) == -ENOENT)
		if (!pause_following())
			return false;
	if (err) {
		log_read_complain(&k->read, path, err);
		return false;
	}
	if (archived)
		read_between(k, old, f);
	log_read_begin(&k->read, path);
	return true;
}

static void follow(struct run *k, struct log_file *f, const char *path)
{
	bool going = true;

	log_read_begin(&k->read, path);
	while (going) {
		bool any = false;
		int err = log_file_read(f, &k->read.parse, true, &any);

		if (err) {
			log_read_complain(&k->read, path, err);
			break;
		}
		if (!k->following)
			put_last(k);
		if (log_file_moved(f, path)) {
			going = follow_to_next(k, f, path);
		} else if (log_file_cut(f)) {
			log_read_damage(&k->read, k->read.parse.line,
					"has become shorter, and is read again");
			log_file_close(f);
			going = log_read_open_file(&k->read, f, path);
			log_read_begin(&k->read, path);
		} else {
			going = pause_following();
		}
	}
	log_read_end(&k->read);
	log_file_close(f);
}

static void read_all(struct run *k)
{
	size_t last = k->o.where.count - 1;
	const char *path = k->o.where.files[last];

	if (!k->o.follow) {
		log_read_all(&k->read, k->o.where.files, k->o.where.count);
	} else {
		bool open = log_read_open_newest(&k->read, path);

		log_read_paths(&k->read, k->o.where.files, last);
		if (open)
			follow(k, &k->read.newest, path);
	}
	if (!k->following)
		put_last(k);
}

/* Ended by a signal, the output is still whole. */
static void catch_signals(void)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
}

static int check_followed(const struct log_options *o)
{
	const char *path = o->where.files[o->where.count - 1];
	bool is_file = strcmp(path, "-") != 0;
	struct stat st;

	/* What cannot be looked at cannot be read either, and that is said then. */
	if (is_file && (stat(path, &st) != 0 || S_ISREG(st.st_mode)))
		return -1;
	fprintf(stderr, "carontectl log: --follow: %s: is no regular file\n", path);
	return EX_USAGE;
}

/* -1: go on; else the exit status. */
static int prepare(struct run *k)
{
	struct log_options *o = &k->o;

	if (o->follow && !o->has_last) {
		o->has_last = o->filter.since_us == INT64_MIN;
		o->last = FOLLOW_LAST;
	}
	/* What comes through a pipe may come live. */
	for (size_t i = 0; i < o->where.count; i++)
		if (strcmp(o->where.files[i], "-") == 0)
			setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	if (o->has_last)
		k->last = calloc(o->last + 1, sizeof(*k->last));
	k->read = (struct log_read){ .title = "carontectl log",
				     .user = o->where.user,
				     .since_us = o->filter.since_us,
				     .record = on_record,
				     .ctx = k };
	if ((o->has_last && !k->last) || !log_filter_ready(&o->filter) ||
	    !log_read_open(&k->read)) {
		fputs("carontectl log: no memory\n", stderr);
		return EX_OSERR;
	}
	if (!o->follow)
		return -1;
	catch_signals();
	return check_followed(o);
}

static void finish(struct run *k)
{
	k->out.n = 0;
	if (k->o.summary) {
		k->o.header = false;
		log_summary_print(&k->summary, &k->o.print, &k->out);
	} else {
		log_print_foot(&k->o.print, &k->out);
	}
	if (k->out.n)
		put(k, &k->out);
}

int ctl_log(int argc, char **argv)
{
	static struct run k;
	int status;

	setlocale(LC_CTYPE, "");
	status = log_options_read(&k.o, argc, argv);
	/* What is followed from now on needs nothing of the past. */
	if (status < 0)
		status = log_where_find(&k.o.where, "carontectl log",
					k.o.follow && k.o.filter.since_us == INT64_MIN &&
						!k.o.has_last);
	if (status < 0)
		status = prepare(&k);
	if (status < 0) {
		read_all(&k);
		finish(&k);
		status = k.read.faulty ? STATUS_DAMAGED : EX_OK;
	}
	log_read_close(&k.read);
	log_filter_free(&k.o.filter);
	log_text_free(&k.out);
	free(k.last);
	log_where_close(&k.o.where);
	return status;
}
