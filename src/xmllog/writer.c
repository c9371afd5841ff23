/* SPDX-License-Identifier: ISC */
/*
 * writer: the log writer's process. A loop of batches: take what is at hand in the rings, format
 * it, put it into the file, free its room in the rings, sleep. Whatever goes wrong with the file (a
 * full disk, a missing directory), the records stay in their rings, and when those are full the
 * producers drop and count; the file is tried again every second. So nothing here ever holds up
 * mail, and the process ends only with its producers.
 */
#include "xmllog/writer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <libxml/parser.h>

#include "base/diag.h"
#include "xmllog/format.h"
#include "xmllog/json.h"
#include "xmllog/jsonfile.h"
#include "xmllog/logfile.h"
#include "xmllog/logopen.h"
#include "xmllog/outlet.h"
#include "xmllog/logpipe.h"
#include "xmllog/take.h"

#define BATCH_OCTETS	(128u << 10) /* of raw records */
#define LINGER_MS	10	     /* after a batch: let the next one become worth its writes */
#define IDLE_MS		2000
#define RETRY_MS	1000
#define LAST_TRIES	10 /* at the end, with pauses of LAST_PAUSE_MS */
#define LAST_PAUSE_MS	250
#define STREAM_MS	1000
#define ROTATE_RETRY_US (60u * 1000000u)
#define HOUR_US		(3600u * (uint64_t)1000000u)

struct writer {
	const struct xmllog_writer_config *c;
	struct take take;
	struct format format;
	struct logfile file;
	struct logpipe stream;
	struct outlet outlet;
	struct format json;
	struct jsonfile json_file;
	bool to_stream;
	bool opened;  /* the file was open at least once: what a dead writer left is dealt with */
	bool failing; /* and that has been said */
	bool alone;   /* nobody is at the outlet, and that has been said */
	bool json_failing; /* the file of JSON cannot be written, and that has been said */
	bool ended;	   /* all producers are gone */
	int wake_fd, life_fd;
	uint64_t rotate_after_us; /* a failed rotation is not tried again before */
	/* A fault of our own that the next batch is to report. */
	const char *note_what;
	bool noted; /* it is in the batch at hand */
	char note_detail[PATH_MAX + 64];
};

static volatile sig_atomic_t reopen_asked, leave_asked; /* by USR1, USR2 */

static void on_usr1(int sig)
{
	(void)sig;
	reopen_asked = 1;
}

static void on_usr2(int sig)
{
	(void)sig;
	leave_asked = 1;
}

/* USR1 and USR2 are let in only while we sleep. */
static void set_signals(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ };
	struct sigaction sa = { .sa_handler = SIG_IGN };
	sigset_t ours;

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		sigaction(ignored[i], &sa, NULL);
	sa.sa_handler = on_usr1;
	sigaction(SIGUSR1, &sa, NULL);
	sa.sa_handler = on_usr2;
	sigaction(SIGUSR2, &sa, NULL);
	sigemptyset(&ours);
	sigaddset(&ours, SIGUSR1);
	sigaddset(&ours, SIGUSR2);
	sigprocmask(SIG_BLOCK, &ours, NULL);
}

static void __attribute__((format(printf, 3, 4)))
note(struct writer *w, const char *what, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->note_detail, sizeof(w->note_detail), fmt, ap);
	va_end(ap);
	w->note_what = what;
	w->noted = false;
}

/* What cannot stand in the log itself. */
static void say(const struct writer *w, const char *what)
{
	char line[PATH_MAX + 128];

	snprintf(line, sizeof(line), "caronte: log: %s: %s\n",
		 w->to_stream ? "standard output" : w->c->file, what);
	diag_say(line, strlen(line));
}

/* Said once for each spell of failing. */
static int failed(struct writer *w, int rc)
{
	if (!w->failing)
		say(w, rc == -EBUSY ? "another process writes it" : strerror(-rc));
	w->failing = true;
	return rc;
}

/* ---- the file of JSON ---- */

/* Said once for each spell. */
static void json_went(struct writer *w, int rc, int rotation)
{
	if (rc == 0 && rotation < 0 && !w->note_what)
		note(w, "log-rotate", "%s to %s: %s", w->c->json, w->c->archive_dir,
		     strerror(-rotation));
	if (rc < 0 && !w->json_failing && !w->note_what) {
		note(w, "log-json", "%s: %s", w->c->json, strerror(-rc));
		w->json_failing = true;
	}
	if (rc == 0)
		w->json_failing = false;
}

/* Lines that were lost are told of where they are missing. */
static int tell_lost(struct writer *w)
{
	uint64_t lost = jsonfile_take_lost(&w->json_file);
	struct format line;
	struct record r;
	int rc;

	if (!lost)
		return 0;
	rc = format_open(&line);
	if (rc < 0)
		return rc;
	record_fault(&r, "log-dropped", NULL, lost);
	rc = json_record(&line, &r);
	if (rc == 0)
		rc = jsonfile_add(&w->json_file, format_text(&line));
	format_close(&line);
	return rc;
}

/* The batch at hand, which is in the log; without one, what an earlier one left over. */
static void write_json(struct writer *w)
{
	struct jsonfile *f = &w->json_file;
	struct span text = format_text(&w->json);
	int rotation, rc, added;

	if (!jsonfile_wanted(f))
		return;
	rc = jsonfile_ready(f, text.n, record_now(), &rotation);
	if (rc == 0)
		rc = jsonfile_flush(f);
	if (rc == 0)
		rc = tell_lost(w);
	if (rc == 0)
		take_prepare_json(&w->take, f->dev, f->ino, f->size);
	added = jsonfile_add(f, text);
	json_went(w, rc < 0 ? rc : added, rotation);
}

/* A killed writer's last batch is in the log: the file of JSON gets what it lacks of it. Our own
 * faults of that batch came last in it, and are not made again. */
static void complete_json(struct writer *w)
{
	struct jsonfile *f = &w->json_file;
	struct record r;
	struct span text;
	uint64_t has;
	int rc;

	if (!jsonfile_wanted(f))
		return;
	format_restart(&w->json);
	rc = jsonfile_open(f);
	while (rc == 0 && take_next(&w->take, &r))
		rc = json_record(&w->json, &r);
	text = format_text(&w->json);
	has = take_json_has(&w->take, f->dev, f->ino, f->size);
	if (rc == 0 && has < text.n) {
		f->torn &= has == 0;
		rc = jsonfile_add(f, span_from(text, (size_t)has));
	}
	json_went(w, rc, 0);
}

/* ---- the file ---- */

static int open_file(struct writer *w)
{
	struct logfile *f = &w->file;
	int rc;

	if (f->fd >= 0)
		return 0;
	rc = logfile_open(f);
	if (rc < 0)
		return rc;
	if (!w->opened && take_recover(&w->take, f->dev, f->ino, f->tail)) {
		complete_json(w);
		take_commit(&w->take);
	}
	w->opened = true;
	if (f->moved[0])
		note(w, "log-not-well-formed", "moved to %s", f->moved);
	return 0;
}

static int add_json(struct writer *w, const struct record *r)
{
	return jsonfile_wanted(&w->json_file) ? json_record(&w->json, r) : 0;
}

static int add_record(struct writer *w, const struct record *r)
{
	int rc = format_record(&w->format, r);

	return rc == 0 ? add_json(w, r) : rc;
}

/* What the writer itself has to say; the number of records. */
static size_t own_faults(struct writer *w, struct record own[2])
{
	uint64_t dropped = take_dropped(&w->take);
	size_t n = 0;

	if (dropped)
		record_fault(&own[n++], "log-dropped", NULL, dropped);
	if (w->note_what) {
		record_fault(&own[n++], w->note_what, w->note_detail, 0);
		w->noted = true;
	}
	return n;
}

/* Formats a batch. 1: there is something to write, 0: nothing, or -errno. In JSON our own faults
 * come last: complete_json() counts on the records of the rings being first. */
static int make_batch(struct writer *w, struct span *text)
{
	struct record r, own[2];
	size_t owns;
	int rc = 0;

	format_restart(&w->format);
	format_restart(&w->json);
	take_begin(&w->take);
	owns = own_faults(w, own);
	for (size_t i = 0; rc == 0 && i < owns; i++)
		rc = format_record(&w->format, &own[i]);
	while (rc == 0 && w->take.octets < BATCH_OCTETS && take_next(&w->take, &r))
		rc = add_record(w, &r);
	while (rc == 0 && take_damage(&w->take, &r))
		rc = add_record(w, &r);
	for (size_t i = 0; rc == 0 && i < owns; i++)
		rc = add_json(w, &own[i]);
	*text = format_text(&w->format);
	return rc < 0 ? rc : text->n > 0;
}

static void rotate(struct writer *w, uint64_t now)
{
	int rc;

	if (now < w->rotate_after_us)
		return;
	rc = logfile_rotate(&w->file);
	if (rc == 0)
		return;
	w->rotate_after_us = now + ROTATE_RETRY_US;
	note(w, "log-rotate", "%s to %s: %s", w->c->file, w->c->archive_dir, strerror(-rc));
}

static bool too_old(const struct writer *w, uint64_t now)
{
	return w->c->rotate_hours && w->file.first_us && now > w->file.first_us &&
	       now - w->file.first_us >= w->c->rotate_hours * HOUR_US;
}

/* The file, open and with room by its limits for N octets. */
static int ready_file(struct writer *w, size_t n)
{
	uint64_t now = record_now();
	int rc;

	if (w->file.fd >= 0 && !logfile_intact(&w->file))
		logfile_close(&w->file);
	rc = open_file(w);
	if (rc == 0 && (logfile_full(&w->file, n) || too_old(w, now))) {
		rotate(w, now);
		rc = open_file(w);
	}
	return rc;
}

static int write_file(struct writer *w, struct span text)
{
	struct logfile *f = &w->file;
	int rc = ready_file(w, text.n);

	if (rc == 0)
		rc = logfile_prepare(f, text.p, text.n);
	if (rc < 0)
		return rc;
	take_prepare(&w->take, f->dev, f->ino, f->next_tail);
	return logfile_commit(f, record_now());
}

static int write_stream(struct writer *w, struct span text)
{
	struct xmllog_ring *first = w->take.src[0].ring;
	int rc = 0;

	if (!first->stream_begun)
		rc = logpipe_add(&w->stream, SPAN(LOGFILE_HEAD));
	if (rc < 0)
		return rc;
	first->stream_begun = 1;
	rc = logpipe_add(&w->stream, text);
	if (rc < 0)
		return rc;
	take_prepare(&w->take, 0, 0, 0);
	return 0;
}

static int flush(struct writer *w)
{
	return logpipe_flush(&w->stream, w->ended ? LAST_PAUSE_MS : STREAM_MS);
}

/* What was written once more, for the system's log; once for each spell it is said that nobody is
 * there. */
static void pass_on(struct writer *w, struct span text)
{
	int rc = outlet_lines(&w->outlet, text);

	if (w->outlet.met)
		w->alone = w->outlet.met = false;
	if (rc < 0 && !w->alone && !w->note_what) {
		note(w, "log-syslog", "%s: %s", w->c->syslog, strerror(-rc));
		w->alone = true;
	}
}

/* One batch. 1: written, 0: there was none, or -errno. */
static int step(struct writer *w)
{
	struct span text = { 0 };
	int rc = w->to_stream ? flush(w) : open_file(w);

	if (rc == 0)
		rc = make_batch(w, &text);
	if (rc == 0 && !w->to_stream)
		rc = ready_file(w, 0); /* an idle log grows old too */
	if (rc < 0)
		return failed(w, rc);
	if (rc == 0) {
		w->failing = false;
		write_json(w);
		return 0;
	}
	rc = w->to_stream ? write_stream(w, text) : write_file(w, text);
	if (rc < 0)
		return failed(w, rc);
	if (w->noted)
		w->note_what = NULL;
	write_json(w);
	take_commit(&w->take);
	pass_on(w, text);
	w->failing = false;
	if (w->to_stream) {
		rc = flush(w);
		return rc < 0 ? failed(w, rc) : 1;
	}
	return 1;
}

/* Sleeps until a producer wakes us (not where WHEN is TAKE_AWAKE), the last one is gone, or MS. */
static void nap(struct writer *w, enum take_wake when, int ms)
{
	struct pollfd p[] = {
		{ .fd = w->wake_fd, .events = POLLIN },
		{ .fd = w->ended ? -1 : w->life_fd, .events = 0 },
	};
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	sigset_t none;
	uint64_t count;

	if (take_wake_at(&w->take, when) && when == TAKE_ASLEEP)
		t = (struct timespec){ 0 };
	sigemptyset(&none);
	if (ppoll(p, 2, &t, &none) > 0) {
		if ((p[0].revents & POLLIN) && read(w->wake_fd, &count, sizeof(count)) < 0)
			p[0].revents = 0; /* another writer's read came first; no harm */
		if (p[1].revents)	  /* POLLHUP is always reported */
			w->ended = true;
	}
	take_wake_at(&w->take, TAKE_AWAKE);
}

static void reopen(struct writer *w)
{
	reopen_asked = 0;
	jsonfile_reopen(&w->json_file);
	if (w->to_stream)
		return;
	logfile_close(&w->file);
	if (open_file(w) < 0)
		w->failing = false; /* the next step tries again and says why */
}

static void run(struct writer *w)
{
	int tries = 0;

	for (;;) {
		int rc;

		if (leave_asked)
			return;
		if (reopen_asked)
			reopen(w);
		rc = step(w);
		if (rc >= 0)
			tries = 0;
		if (w->ended && (rc == 0 || (rc < 0 && ++tries >= LAST_TRIES)))
			return;
		if (rc < 0)
			nap(w, TAKE_AWAKE, w->ended ? LAST_PAUSE_MS : RETRY_MS);
		else if (w->ended)
			nap(w, TAKE_AWAKE, 0);
		else if (rc > 0)
			nap(w, TAKE_HALF_FULL, w->take.octets >= BATCH_OCTETS ? 0 : LINGER_MS);
		else
			nap(w, TAKE_ASLEEP, IDLE_MS);
	}
}

/* Another writer goes on: what is in the rings is its business, what left them is ours. */
static bool hand_over(struct writer *w)
{
	int rc = 0;

	for (int tries = 0; w->to_stream && tries < LAST_TRIES; tries++) {
		rc = flush(w);
		if (rc == 0)
			break;
	}
	if (w->to_stream)
		logpipe_close(&w->stream);
	else
		logfile_close(&w->file);
	return rc == 0;
}

/* A writer before us wrote to standard output; we do not, so its document ends. */
static void end_stream(struct writer *w)
{
	struct xmllog_ring *first = w->take.src[0].ring;

	if (w->to_stream || !first->stream_begun)
		return;
	first->stream_begun = 0;
	if (logpipe_add(&w->stream, SPAN("</caronte-log>\n")) == 0)
		(void)flush(w);
	logpipe_close(&w->stream);
}

/* Whether everything got out. */
static bool finish(struct writer *w)
{
	if (leave_asked)
		return hand_over(w);
	bool left = take_wake_at(&w->take, TAKE_AWAKE) || w->failing;

	if (w->to_stream) {
		if (w->take.src[0].ring->stream_begun &&
		    (logpipe_add(&w->stream, SPAN("</caronte-log>\n")) < 0 || flush(w) < 0))
			left = true;
		logpipe_close(&w->stream);
	} else {
		logfile_close(&w->file);
	}
	return !left;
}

int xmllog_writer_main(const struct xmllog_writer_config *c, struct xmllog_ring *const *rings,
		       size_t n, int wake_fd, int life_fd)
{
	static struct writer w;
	bool good;

	w = (struct writer){ .c = c, .wake_fd = wake_fd, .life_fd = life_fd };
	set_signals();
	xmlInitParser();
	w.to_stream = strcmp(c->file, "-") == 0;
	outlet_init(&w.outlet, c->syslog ? c->syslog : "");
	jsonfile_init(&w.json_file, c->json ? c->json : "", c->archive_dir,
		      (uint64_t)c->rotate_mib << 20, c->rotate_hours * HOUR_US);
	logpipe_init(&w.stream, STDOUT_FILENO);
	logfile_init(&w.file, c->file, c->archive_dir, (uint64_t)c->rotate_mib << 20);
	if (take_open(&w.take, rings, n) < 0 || format_open(&w.format) < 0 ||
	    format_open(&w.json) < 0) {
		say(&w, strerror(ENOMEM));
		take_close(&w.take);
		return EX_OSERR;
	}
	end_stream(&w);
	run(&w);
	good = finish(&w) && jsonfile_flush(&w.json_file) == 0;
	if (!good)
		say(&w, "its last records could not be written");
	outlet_close(&w.outlet);
	jsonfile_close(&w.json_file);
	take_close(&w.take);
	format_close(&w.format);
	format_close(&w.json);
	return good ? EX_OK : EX_IOERR;
}
