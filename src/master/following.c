/* SPDX-License-Identifier: ISC */
/*
 * following: certificates that change on disk are taken without a signal (check/follow.h). Each
 * look is a child's: the master reads no file and no key. What it finds good is taken as at a
 * reload, and what not is told and changes nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check/follow.h"
#include "master/inner.h"
#include "shared/memory.h"

static uint64_t every_ms(const struct master *m)
{
	return (uint64_t)m->version->config.set.tls_follow_seconds * 1000;
}

void following_begin(struct master *m)
{
	watch_begin(&m->watch, m->version->probe->looks, master_now_ms(), every_ms(m));
}

bool following_any(const struct master *m)
{
	return m->state == RUNNING && m->asked_for == ASKED_NOTHING && !m->reloading &&
	       every_ms(m) > 0 && m->version->chains.n > 0;
}

static void fault(struct master *m, const char *why)
{
	master_say("certificate: %s", why);
	master_fault(m, "certificate", "%s", why);
}

static _Noreturn void look_child(struct master *m, uint64_t quiet)
{
	struct follow_ask ask = {
		.version = m->version,
		.in_use = m->watch.in_use,
		.quiet = quiet,
		.files = m->asked_files,
	};

	m->asked_files = (struct version_files){ -1, -1 };
	children_close(m);
	follow_look(&ask, m->answer);
	_exit(0);
}

/* 0 or -errno. */
static int begin_look(struct master *m, uint64_t now_ms)
{
	uint64_t quiet = watch_quiet(&m->watch, now_ms);
	pid_t pid;

	if (!m->answer)
		m->answer = shared_map(sizeof(*m->answer));
	if (!m->answer)
		return -ENOMEM;
	m->answer->found = FOLLOW_FAILED;
	pid = version_make_files(&m->asked_files);
	if (pid == 0)
		pid = asked_fork(&m->asked, "caronte-check", now_ms);
	if (pid == 0)
		look_child(m, quiet);
	if (pid < 0) {
		version_close_files(&m->asked_files);
		return pid;
	}
	m->asked_for = ASKED_FOLLOW;
	return 0;
}

void following_run(struct master *m, uint64_t now_ms)
{
	int err;

	if (!following_any(m) || now_ms < m->watch.due_ms)
		return;
	if (!m->watch.due_ms) { /* a program that has just begun */
		following_begin(m);
		return;
	}
	err = begin_look(m, now_ms);
	if (!err)
		return;
	m->watch.due_ms = now_ms + every_ms(m);
	master_fault(m, "fork", "certificates: %s", strerror(-err));
}

/* What the child has found; FOLLOW_FAILED with the reason where it has not come to its end. */
static enum follow_found hear(struct master *m, int status)
{
	struct follow_answer *a = m->answer;
	char ended[PROCESS_STATUS_TEXT];

	a->why[FOLLOW_WHY - 1] = '\0';
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return a->found;
	process_status(status, ended);
	snprintf(a->why, FOLLOW_WHY, "the process that looks whether they have changed: %s", ended);
	return FOLLOW_FAILED;
}

/* For the status. What nothing is known of stays as it was. */
static void note(struct master *m, enum follow_found found)
{
	if (found == FOLLOW_SAME)
		stats_renewed(m->rt.stats, true);
	else if (found > FOLLOW_TORN || (found == FOLLOW_TORN && watch_told(&m->watch, found)))
		stats_renewed(m->rt.stats, false);
}

static void take(struct master *m, struct version_files *files)
{
	char why[1024];
	bool good = reload_take(m, files, true, why, sizeof(why)) == 0;

	stats_renewed(m->rt.stats, good);
	if (!good && watch_tells(&m->watch, FOLLOW_NEW))
		fault(m, why);
}

void following_answered(struct master *m, int status)
{
	enum follow_found found = hear(m, status);
	struct version_files files = m->asked_files;

	m->asked_files = (struct version_files){ -1, -1 };
	if (m->state >= STOPPING) {
		version_close_files(&files);
		return;
	}
	if (watch_saw(&m->watch, found, m->answer->looks, master_now_ms(), every_ms(m)))
		fault(m, m->answer->why);
	note(m, found);
	if (found == FOLLOW_NEW)
		take(m, &files);
	else
		version_close_files(&files);
}
