/* SPDX-License-Identifier: ISC */
/* steer_ask: see steer.h. Here: asking, by socket or by signal, and waiting. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "ctl/steer.h"
#include "check/pidfile.h"

#define PATIENCE_S 10 /* for an answer; the daemon lets nobody wait for longer than half of it */
#define PAUSE_MS   50
#define TRIES	   100 /* with the pauses: five seconds */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- the daemon's process ---- */

static void begin(struct steer *s)
{
	s->until_ms = s->limit_s ? now_ms() + (uint64_t)s->limit_s * 1000 : UINT64_MAX;
	/* Its end is seen by this, whoever we are, and whoever gets its number afterwards. */
	s->pidfd = s->pid > 0 ? (int)syscall(SYS_pidfd_open, s->pid, 0) : -1;
}

static bool is_late(const struct steer *s)
{
	return now_ms() >= s->until_ms;
}

bool steer_gone(const struct steer *s, bool wait)
{
	struct pollfd fd = { .fd = s->pidfd, .events = POLLIN };
	uint64_t now = now_ms(), left = s->until_ms > now ? s->until_ms - now : 0;
	int wait_ms = !wait ? 0 : left < 86400000 ? (int)left : -1;

	if (s->pidfd >= 0)
		return poll(&fd, 1, wait_ms) == 1;
	return s->pid <= 0 || (kill(s->pid, 0) != 0 && errno == ESRCH);
}

static void pause_a_little(void)
{
	const struct timespec ts = { .tv_nsec = PAUSE_MS * 1000000L };

	nanosleep(&ts, NULL);
}

/* ---- by its socket ---- */

/* Seconds for one answer: no more than there is time for, but for a stop, which takes its time. */
static unsigned patience(const struct steer *s)
{
	uint64_t now = now_ms(), left = s->until_ms > now ? (s->until_ms - now + 999) / 1000 : 1;

	if (s->until_ms == UINT64_MAX)
		return s->kind == RESULTS_STOP ? 0 : PATIENCE_S;
	return s->kind == RESULTS_STOP || left < PATIENCE_S ? (unsigned)left : PATIENCE_S;
}

static bool nobody_listens(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED;
}

/* What is there before anything is asked for; *ERR. */
static char *look(struct steer *s, int *err)
{
	char *text = NULL;

	*err = -ENOENT;
	for (s->at = 0; s->at < STEER_SOCKETS; s->at++) {
		if (!s->socket[s->at])
			continue;
		*err = -EPROTO;
		/* Another's reload may have ended the process that was asked: the next one answers.
		 */
		for (unsigned i = 0; i < TRIES && !text && *err == -EPROTO; i++) {
			if (i > 0)
				pause_a_little();
			text = ask_once(s->socket[s->at], "results", PATIENCE_S, &s->pid, err);
		}
		if (text || !nobody_listens(*err))
			return text;
	}
	s->at = 0;
	return NULL;
}

static enum steer_end wait_by_socket(struct steer *s, struct result *r, int *status)
{
	char request[64];
	int err;

	snprintf(request, sizeof(request), "%s", results_name(s->kind));
	for (;;) {
		char *text = ask_once(s->socket[s->at], request, patience(s), NULL, &err);
		bool parsed = text && results_parse(text, s->kind, r);

		free(text);
		if (text && !parsed) {
			*status = ask_foreign(s->socket[s->at]);
			return STEER_FAILED;
		}
		if (parsed && r->ended >= s->ended)
			return STEER_RESULT;
		if (!text && (s->pid > 0 ? steer_gone(s, false) : nobody_listens(err)))
			return STEER_GONE;
		if (is_late(s))
			return STEER_LATE;
		/* A new configuration may have moved it. */
		if (nobody_listens(err) && s->socket[!s->at])
			s->at = !s->at;
		if (!text)
			pause_a_little();
		/* What was asked for is under way: this only asks what became of it. */
		snprintf(request, sizeof(request), "wait %s %llu", results_name(s->kind),
			 (unsigned long long)s->ended);
	}
}

static uint64_t awaited(const struct steer *s, const struct result *r)
{
	return s->kind == RESULTS_STOP ? 1 : r->begun + 1;
}

enum steer_end steer_by_socket(struct steer *s, struct result *r, int *status)
{
	int err;
	char *text = look(s, &err);
	bool parsed = text && results_parse(text, s->kind, r);

	free(text);
	*status = 0;
	if (!text && nobody_listens(err))
		return STEER_FAILED;
	if (!parsed) {
		*status = text ? ask_foreign(s->socket[s->at]) : ask_failed(s->socket[s->at], err);
		return STEER_FAILED;
	}
	s->ended = awaited(s, r);
	begin(s);
	return wait_by_socket(s, r, status);
}

/* ---- by its PID_FILE ---- */

/* The results in the file; false: there are none. */
static bool read_results(const struct steer *s, struct result *r)
{
	static char text[RESULTS_DOC_MAX];
	char path[PIDFILE_MAX + sizeof(PIDFILE_RESULT)];
	FILE *in;
	size_t n;

	snprintf(path, sizeof(path), "%s" PIDFILE_RESULT, s->pid_file);
	in = fopen(path, "re");
	if (!in)
		return false;
	n = fread(text, 1, sizeof(text) - 1, in);
	fclose(in);
	text[n] = '\0';
	return results_parse(text, s->kind, r);
}

static enum steer_end wait_by_file(struct steer *s, struct result *r)
{
	for (;;) {
		bool gone = steer_gone(s, false);

		if (read_results(s, r) && r->ended >= s->ended)
			return STEER_RESULT;
		if (gone)
			return STEER_GONE;
		if (is_late(s))
			return STEER_LATE;
		pause_a_little();
	}
}

static enum steer_end refuse(const struct steer *s, const char *why, int *status, int is)
{
	fprintf(stderr, "carontectl: %s: %s\n", s->pid_file, why);
	*status = is;
	return STEER_FAILED;
}

enum steer_end steer_by_file(struct steer *s, struct result *r, int *status)
{
	static const int signals[RESULTS_KINDS] = { SIGHUP, SIGUSR2, SIGTERM };

	s->pid = pidfile_owner(s->pid_file);
	if (s->pid == -ENOENT)
		return refuse(s, "there is no such file: no daemon runs with this PID_FILE", status,
			      EX_UNAVAILABLE);
	if (s->pid < 0)
		return refuse(s,
			      s->pid == -ESRCH ? "the daemon runs in another container"
					       : strerror(-s->pid),
			      status, s->pid == -EACCES ? EX_NOPERM : EX_UNAVAILABLE);
	if (s->pid == 0)
		return refuse(s, "no daemon runs with this PID_FILE: a dead one left it", status,
			      EX_UNAVAILABLE);
	if (!read_results(s, r))
		return refuse(s, "the results beside it (" PIDFILE_RESULT ") cannot be read",
			      status, EX_UNAVAILABLE);
	s->ended = awaited(s, r);
	begin(s);
	if (kill(s->pid, signals[s->kind]) != 0)
		return refuse(s,
			      errno == EPERM ? "the daemon is another user's: only that user and "
					       "root may signal it"
					     : strerror(errno),
			      status, errno == EPERM ? EX_NOPERM : EX_UNAVAILABLE);
	return wait_by_file(s, r);
}
