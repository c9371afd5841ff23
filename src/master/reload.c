/* SPDX-License-Identifier: ISC */
/*
 * reload: HUP. A child reads and judges the configuration, and what it finds good comes back as an
 * image (version.h); so a slow name server or a large table never holds up the master, and a fault
 * of the reader ends nothing. The new version is taken whole or not at all: everything that can
 * fail is done before anything is changed. Workers are told over their channels; the `reload`
 * record is written when all of them give it to new sessions.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/diag.h"
#include "route/shared.h"
#include "runtime/channel.h"
#include "status/control.h"
#include "master/inner.h"
#include "status/metrics.h"
#include "master/notify.h"

#define TELL_AGAIN_MS 100  /* where its channel is full */
#define TELL_LATER_MS 1000 /* where it could not take it */
/* A worker that has not answered by then is not waited for: it may have stopped (SIGSTOP). */
#define PATIENCE_MS 10000

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- the child ---- */

static _Noreturn void check_child(struct master *m)
{
	static struct check check;
	char running[CHECK_FIXED_MAX];
	struct version_files files = m->asked_files;
	struct config *c;
	int status, err;

	m->asked_files = (struct version_files){ -1, -1 };
	children_close(m);
	m->source.running = running;
	if (!check_fixed(&m->version->config.set, m->version->fewer_sessions, running,
			 sizeof(running)))
		_exit(EX_SOFTWARE);
	status = check_load(&check, &c, &m->source, stderr);
	if (status)
		_exit(status);
	check_print_notes(&check, c, stderr);
	err = version_write(&files, c, &check);
	if (err)
		fprintf(stderr, "caronte: memory for the configuration: %s\n", strerror(-err));
	_exit(err ? EX_OSERR : 0);
}

void reload_ask(struct master *m)
{
	pid_t pid;

	if (m->state >= STOPPING)
		return;
	/* Once the workers have started, and after what is under way. */
	if (m->state == STARTING || m->asked_for != ASKED_NOTHING || m->reloading) {
		m->reload_again = true;
		return;
	}
	master_begin(m, RESULTS_RELOAD);
	notify_send(NOTIFY_RELOADING, "reading the configuration");
	pid = version_make_files(&m->asked_files);
	if (pid == 0)
		pid = asked_fork(&m->asked, "caronte-check", master_now_ms());
	if (pid == 0)
		check_child(m);
	if (pid < 0) {
		version_close_files(&m->asked_files);
		master_refuse(m, RESULTS_RELOAD, strerror(-pid));
		return;
	}
	m->asked_for = ASKED_RELOAD;
}

/* ---- taking it ---- */

/* What a reload makes before it changes anything. */
struct next {
	struct version *version;
	struct runtime rt;
	struct slots slots;
	struct version_files files;
	int route_fd, control_fd, metrics_fd, pid_fd;
	bool control_changes, metrics_change, pid_changes;
	bool follows; /* see reload_take() */
};

static void give_up(struct next *n)
{
	runtime_forget_route(n->rt.route_shared);
	version_close_files(&n->files);
	close_one(&n->route_fd);
	if (n->control_changes)
		close_one(&n->control_fd);
	if (n->metrics_change)
		close_one(&n->metrics_fd);
	if (n->pid_changes && n->pid_fd >= 0)
		pidfile_remove(n->version->config.set.pid_file, n->pid_fd);
	if (n->version)
		version_unmap(n->version);
	free(n->version);
}

static int take_pid_file(struct next *n, const struct version *old, char *why, size_t cap)
{
	const char *was = old->config.set.pid_file, *is = n->version->config.set.pid_file;

	n->pid_changes = strcmp(was, is) != 0 || (n->pid_fd < 0 && *is);
	if (!n->pid_changes)
		return 0;
	n->pid_fd = -1;
	return *is ? pidfile_take(is, &n->pid_fd, why, cap) : 0;
}

static int open_controls(struct next *n, const struct version *old, char *why, size_t cap)
{
	const struct settings *was = &old->config.set, *is = &n->version->config.set;
	int status = 0;

	/* What could not be opened at an upgrade is tried again. */
	n->control_changes = strcmp(was->control_socket, is->control_socket) != 0 ||
			     (n->control_fd < 0 && *is->control_socket);
	n->metrics_change = strcmp(was->metrics_address, is->metrics_address) != 0 ||
			    (n->metrics_fd < 0 && n->version->metrics.family);
	if (n->metrics_change) {
		n->metrics_fd = -1;
		if (n->version->metrics.family)
			status = metrics_listen(&n->version->metrics, &n->metrics_fd, why, cap);
	}
	if (n->control_changes) {
		n->control_fd = -1;
		if (!status && *is->control_socket)
			status = control_open(is->control_socket, &n->control_fd, why, cap);
	}
	return status ? status : take_pid_file(n, old, why, cap);
}

/* The image has addresses from when the configuration was read; these are of now. */
static void keep_addresses(struct next *n, const struct runtime *before)
{
	for (unsigned i = 0; i < n->rt.route->count; i++) {
		struct addr a[ROUTE_ADDRESSES];
		unsigned count = route_get_addresses(before->route_shared, i, a);

		(void)route_set_addresses(n->rt.route_shared, i, a, count);
	}
}

/* 0, or a status with WHY. */
static int make_next(struct master *m, struct next *n, char *why, size_t cap)
{
	int err;

	n->rt = m->rt;
	n->rt.number = m->rt.number + 1;
	n->rt.route_shared = NULL;
	n->slots = m->slots;
	n->version = calloc(1, sizeof(*n->version));
	err = n->version ? version_map(n->version, n->files.image) : -ENOMEM;
	if (!err) {
		runtime_use(&n->rt, n->version);
		err = runtime_assign_slots(&n->slots, n->rt.route, n->rt.number, reload_oldest(m),
					   n->rt.slot);
	}
	if (err == -ENOSPC) {
		snprintf(why, cap,
			 "caronte: DESTINATIONS: sessions of earlier configurations still have %d "
			 "destinations between them; try again when they have ended",
			 SEATS_DESTINATIONS);
		return EX_TEMPFAIL;
	}
	if (!err) {
		children_change_control(m); /* nothing is drained any more that would be missed */
		n->route_fd = runtime_route(n->version, &m->rt, &n->rt.route_shared);
		err = n->route_fd < 0 ? n->route_fd : 0;
		if (!err && n->follows)
			keep_addresses(n, &m->rt);
	}
	if (err) {
		snprintf(why, cap, "caronte: memory: %s", strerror(-err));
		return EX_OSERR;
	}
	return n->follows ? 0 : open_controls(n, m->version, why, cap);
}

static bool log_changes(const struct settings *was, const struct settings *is)
{
	struct xmllog_writer_config a = probe_log_config(was), b = probe_log_config(is);

	return strcmp(a.file, b.file) != 0 || strcmp(a.archive_dir, b.archive_dir) != 0 ||
	       strcmp(a.syslog, b.syslog) != 0 || strcmp(a.json, b.json) != 0 ||
	       a.rotate_mib != b.rotate_mib || a.rotate_hours != b.rotate_hours;
}

static void change_controls(struct master *m, struct next *n)
{
	if (n->control_changes) {
		if (m->control_fd >= 0)
			control_remove(m->version->config.set.control_socket, m->control_fd);
		close_one(&m->control_fd);
		m->control_fd = n->control_fd;
	}
	if (n->metrics_change) {
		close_one(&m->metrics_fd);
		m->metrics_fd = n->metrics_fd;
	}
	if (n->pid_changes) {
		if (m->pid_fd >= 0)
			pidfile_remove(m->version->config.set.pid_file, m->pid_fd);
		m->pid_fd = n->pid_fd;
	}
}

static void change_resolver(struct master *m, bool follows)
{
	uint64_t silent = m->resolver.silent;

	if (m->resolver.pid)
		kill(m->resolver.pid, SIGKILL);
	resolver_change(&m->resolver, m->rt.route, m->rt.route_shared, m->version->listen);
	for (unsigned i = 0; i < m->rt.route->count; i++)
		if (follows ? silent >> i & 1 : !m->version->probe->resolved[i].n)
			resolver_missing(&m->resolver, i);
}

void reload_forget_figures(struct master *m, const struct slots *was)
{
	for (unsigned i = 0; i < SEATS_DESTINATIONS; i++)
		if (*was->slot[i].name && strcmp(was->slot[i].name, m->slots.slot[i].name) != 0)
			stats_forget(m->rt.stats, i);
}

/* From here on nothing fails. */
static void change(struct master *m, struct next *n)
{
	struct version *old = m->version;
	struct route_shared *old_state = m->rt.route_shared;
	struct slots old_slots = m->slots;
	bool new_log = log_changes(&old->config.set, &n->version->config.set);

	change_controls(m, n);
	m->version = n->version;
	m->tickets_ms = 0; /* TLS_TICKET_HOURS may be another */
	if (n->follows)
		expiring_go_on(m, old);
	else
		expiring_begin(m);
	following_begin(m);
	m->rt = n->rt;
	m->slots = n->slots;
	m->log.level = m->version->config.set.log_level;
	version_close_files(&m->files);
	close_one(&m->route_fd);
	m->files = n->files;
	m->route_fd = n->route_fd;
	reload_forget_figures(m, &old_slots);
	signing_take(m, reload_oldest(m));
	change_resolver(m, n->follows);
	if (!n->follows)
		master_name_missing(m);
	if (new_log)
		children_change_writer(m);
	runtime_forget_route(old_state);
	version_unmap(old);
	free(old);
	m->reloading = true;
	m->follows = n->follows;
	m->told_ms = master_now_ms();
	reload_run(m);
}

int reload_take(struct master *m, const struct version_files *files, bool follows, char *why,
		size_t cap)
{
	struct next n = { .files = *files, .route_fd = -1, .follows = follows };
	int status;

	n.control_fd = m->control_fd;
	n.metrics_fd = m->metrics_fd;
	n.pid_fd = m->pid_fd;
	status = make_next(m, &n, why, cap);
	if (status) {
		give_up(&n);
		return status;
	}
	version_changes(m->version, n.version, m->changed, sizeof(m->changed));
	renewal_words(m->version->chains, n.version->chains, m->renewed);
	if (m->asked.said) /* no faults: a name that does not resolve now */
		master_say_lines(m->asked.text);
	change(m, &n);
	return 0;
}

void reload_answered(struct master *m, int status)
{
	struct version_files files = m->asked_files;
	char why[1024];

	m->asked_files = (struct version_files){ -1, -1 };
	if (m->state >= STOPPING) {
		version_close_files(&files);
	} else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		process_status(status, why);
		master_refuse(m, RESULTS_RELOAD, m->asked.said ? m->asked.text : why);
		version_close_files(&files);
	} else if (reload_take(m, &files, false, why, sizeof(why)) != 0) {
		master_refuse(m, RESULTS_RELOAD, why);
	}
}

/* ---- telling the workers ---- */

uint64_t reload_oldest(const struct master *m)
{
	uint64_t oldest = m->rt.number;

	for (unsigned i = 0; i < m->rt.slots; i++) {
		const struct child *c = &m->children[i];

		if (c->process.pid && c->oldest < oldest)
			oldest = c->oldest;
	}
	return oldest;
}

static void tell(struct master *m, struct child *c)
{
	struct channel_news news = { .number = m->rt.number };
	const struct channel_files from = { m->files.image, m->route_fd,
					    signing_apart(m) ? -1 : m->files.keys };
	int err;

	_Static_assert(sizeof(news.slot) == sizeof(m->rt.slot), "the same numbers");
	memcpy(news.slot, m->rt.slot, sizeof(news.slot));
	err = channel_tell(c->channel, &news, &from);
	if (!err)
		c->told = m->rt.number;
	else if (err != -EAGAIN && err != -EPIPE && err != -ECONNRESET)
		master_fault(m, "reload", "worker %u cannot be told: %s",
			     (unsigned)(c - m->children), strerror(-err));
}

#define RESULT_WORDS (sizeof(((struct master *)NULL)->changed) + RENEWAL_WORDS + 64)

/* With what was said of the configuration: a name that does not resolve now. */
static void tell_result(struct master *m, const char words[RESULT_WORDS])
{
	char text[RESULT_WORDS + ASKED_TEXT]; /* what is too long is cut off there */

	snprintf(text, sizeof(text), "%s\n%s", words, m->asked.said ? m->asked.text : "");
	master_end(m, RESULTS_RELOAD, RESULTS_DONE, text);
}

static void all_have_it(struct master *m)
{
	char words[RESULT_WORDS];

	m->reloading = false;
	master_record(m, XMLLOG_RELOAD, m->changed, m->renewed);
	snprintf(words, sizeof(words), "reloaded%s%s%s%s",
		 *m->changed ? ", changed: " : ", nothing has changed", m->changed,
		 *m->renewed ? "; certificates: " : "", m->renewed);
	master_say("%s", words);
	if (m->follows) /* of the configuration there is no news */
		return;
	stats_reloaded(m->rt.stats, true, master_clock_us());
	master_warn_guard(m);
	notify_send(NOTIFY_READY, "accepting connections");
	tell_result(m, words);
}

/* A worker that could not take the news is told again. */
static bool is_to_be_told(const struct master *m, const struct child *c)
{
	return c->process.pid && c->channel >= 0 && c->told < m->rt.number;
}

void reload_run(struct master *m)
{
	uint64_t now = master_now_ms();
	bool missing = m->writer_leaves; /* the record goes into the log that goes on */

	for (unsigned i = 0; i < m->rt.workers; i++) {
		struct child *c = master_current(m, i);

		if (is_to_be_told(m, c) && now >= c->tell_ms)
			tell(m, c);
		missing |= c->process.pid && c->newest < m->rt.number;
	}
	if (m->reloading && (!missing || now - m->told_ms >= PATIENCE_MS))
		all_have_it(m);
}

void reload_hear(struct master *m)
{
	struct channel_report report;

	for (unsigned i = 0; i < m->rt.workers; i++) {
		struct child *c = master_current(m, i);

		if (c->channel < 0 || !channel_reported(c->channel, &report))
			continue;
		c->newest = report.newest;
		c->oldest = report.oldest;
		if (c->newest < c->told) {
			c->told = c->newest;
			c->tell_ms = master_now_ms() + TELL_LATER_MS;
		}
	}
}

int reload_wait_ms(const struct master *m)
{
	bool untold = false;

	for (unsigned i = 0; i < m->rt.workers; i++)
		untold |= is_to_be_told(m, &m->children[m->generation * m->rt.workers + i]);
	return m->reloading || untold ? TELL_AGAIN_MS : -1;
}
