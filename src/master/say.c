/* SPDX-License-Identifier: ISC */
/*
 * say: what the master says: lines on standard error, records of its own, results for whoever
 * waits for one, and the refusal of a reload or an upgrade, which is all of these. None of them
 * holds it up.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "check/pidfile.h"
#include "check/warnings.h"
#include "master/inner.h"
#include "master/notify.h"

uint64_t master_now_ms(void)
{
	struct timespec ts;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t master_clock_us(void)
{
	struct timespec ts;

	CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void master_say(const char *fmt, ...)
{
	char line[1280], whole[sizeof(line) + 16];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	snprintf(whole, sizeof(whole), "caronte: %s\n", line);
	diag_say(whole, strlen(whole));
}

void master_say_lines(const char *text)
{
	size_t n = strlen(text);

	diag_say(text, n);
	if (n > 0 && text[n - 1] != '\n')
		diag_say("\n", 1);
}

void master_fault(struct master *m, const char *what, const char *fmt, ...)
{
	static char detail[ASKED_TEXT];
	va_list ap;

	if (!xmllog_begin(&m->log, XMLLOG_FAULT, NULL))
		return;
	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	xmllog_text(&m->log, XMLLOG_A_WHAT, what);
	xmllog_text(&m->log, XMLLOG_A_DETAIL, detail);
	xmllog_end(&m->log);
}

void master_record(struct master *m, enum xmllog_element e, const char *changed,
		   const char *certificates)
{
	if (!xmllog_begin(&m->log, e, NULL))
		return;
	xmllog_text(&m->log, XMLLOG_A_VERSION, CARONTE_VERSION);
	xmllog_num(&m->log, XMLLOG_A_PID, (uint64_t)getpid());
	if (changed)
		xmllog_text(&m->log, XMLLOG_A_CHANGED, changed);
	if (*certificates)
		xmllog_text(&m->log, XMLLOG_A_CERTIFICATES, certificates);
	xmllog_end(&m->log);
}

/* The results into the file at PATH, which is replaced. 0 or -errno. */
static int write_results(const struct results *r, const char *path)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	int fd = -1, err = -ENOMEM;

	if (!out)
		return err;
	results_print(r, out);
	if (fclose(out) == 0)
		err = pidfile_replace(path, text, n, &fd);
	if (fd >= 0)
		close(fd);
	free(text);
	return err;
}

void master_write_results(struct master *m)
{
	char path[PIDFILE_MAX + sizeof(PIDFILE_RESULT)];
	int err;

	if (m->pid_fd < 0)
		return;
	snprintf(path, sizeof(path), "%s" PIDFILE_RESULT, m->version->config.set.pid_file);
	err = write_results(m->rt.results, path);
	if (err)
		master_fault(m, "result", "%s: %s", path, strerror(-err));
}

void master_begin(struct master *m, enum results_kind kind)
{
	results_begin(m->rt.results, kind);
	master_write_results(m);
}

void master_end(struct master *m, enum results_kind kind, enum results_how how, const char *text)
{
	results_end(m->rt.results, kind, how, text);
	master_write_results(m);
}

void master_refuse(struct master *m, enum results_kind kind, const char *why)
{
	const char *how = kind == RESULTS_UPGRADE ? "SIGUSR2" : "SIGHUP";
	size_t n = strlen(why);

	while (n > 0 && why[n - 1] == '\n')
		n--;
	master_say_lines(why);
	master_say("%s: refused, nothing has changed", how);
	master_fault(m, "configuration", "%s: refused: %.*s", how, (int)n, why);
	master_end(m, kind, RESULTS_REFUSED, why);
	stats_reloaded(m->rt.stats, false, master_clock_us());
	if (m->state == RUNNING && !m->reloading)
		notify_send(NOTIFY_READY, "accepting connections; a reload was refused");
}

void master_warn_guard(struct master *m)
{
	static const char what[] = "everybody may relay through this machine";
	const char *why;
	enum setting s;

	if (!check_is_open(&m->rt.policy, &s, &why))
		return;
	master_say("%s %s: %s", config_name(s), why, what);
	master_fault(m, "relay-guard-off", "%s %s: %s", config_name(s), why, what);
}

void master_name_missing(struct master *m)
{
	for (unsigned i = 0; i < m->rt.route->count; i++) {
		if (!m->version->probe->resolved[i].n)
			master_fault(m, "resolve", "%s does not resolve",
				     m->rt.route->destination[i].name);
	}
}

void master_open_log(struct master *m)
{
	xmllog_open(&m->log, m->rt.rings[0], m->rt.log_wake_fd, m->version->config.set.log_level);
}
