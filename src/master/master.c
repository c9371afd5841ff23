/* SPDX-License-Identifier: ISC */
/*
 * master: see master.h. One thread, one loop over poll(2): signals by signalfd, the pipe on which
 * workers report that they are ready, their channels, and the time. Four states, in this order and
 * never back:
 *
 *   STARTING  until every worker is ready; one that ends before that ends the start
 *   RUNNING   what dies is started again
 *   STOPPING  workers were told to end and are killed at a deadline; the log writer still runs
 *   CLOSING   no worker is left: the log writer drains its rings and ends
 *
 * A program that has taken the place of another begins with STARTING too; the old workers serve
 * until the new ones are ready, however long that takes.
 *
 * Owns every child. Must not die: a failed call here is said in the log and tried again.
 */
#include "master/master.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "route/note.h"
#include "status/control.h"
#include "master/inner.h"
#include "tls/ticket.h"
#include "master/notify.h"

#define TICK_MS	       500   /* how often names to resolve are looked for */
#define TELL_MS	       1000  /* between two times that a worker is told to go */
#define STOP_MARGIN_MS 5000  /* what workers get above STOP_GRACE, to leave politely */
#define CLOSE_MS       10000 /* what the log writer gets to write the rest */

/* What the log says of each start, and of each program that has taken over. */
static void log_notes(struct master *m)
{
	const struct settings *set = &m->version->config.set;

	if (set->engine == ENGINE_AUTO && m->rt.engine != IO_ENGINE_URING)
		master_fault(m, "engine", "epoll is used, for io_uring does not work here: %s",
			     m->version->probe->engine_why);
	if (set->tls_kernel == TLS_KERNEL_AUTO && !m->rt.kernel_tls)
		master_fault(m, "kernel-tls", "OpenSSL makes all records of TLS: %s",
			     m->version->probe->kernel_tls_why);
	master_warn_guard(m);
	master_name_missing(m);
}

static void log_start(struct master *m)
{
	master_record(m, XMLLOG_START, NULL, "");
	log_notes(m);
}

static void close_one(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* ---- stopping ---- */

static void signal_workers(const struct master *m, int sig)
{
	for (unsigned i = 0; i < m->rt.slots; i++)
		if (m->children[i].process.pid)
			kill(m->children[i].process.pid, sig);
}

/* The workers from before the upgrade stop accepting only now that others accept on the same
 * sockets: none was ever without. */
static bool retire_others(const struct master *m)
{
	bool any = false;

	CHECK(m->rt.workers > 0);
	for (unsigned i = 0; i < m->rt.slots; i++) {
		const struct child *c = &m->children[i];

		if (i / m->rt.workers == m->generation || !c->process.pid)
			continue;
		kill(c->process.pid, SIGUSR2);
		any = true;
	}
	return any;
}

/*
 * Workers obey their master alone. Where somebody else sends them the same signal at the same time,
 * the kernel may keep that one only: so they are told again until they have gone.
 */
static void tell_again(struct master *m, uint64_t now)
{
	bool any = m->state == STOPPING;

	if (!m->tell_ms || now < m->tell_ms)
		return;
	if (any)
		signal_workers(m, m->stop_signal);
	else if (m->state == RUNNING)
		any = retire_others(m);
	m->tell_ms = any ? now + TELL_MS : 0;
}

static uint64_t longest_grace_ms(const struct master *m)
{
	int longest = m->version->config.set.stop_grace;

	for (unsigned i = 0; i < m->rt.slots; i++)
		if (m->children[i].process.pid && children_grace(m, i) > longest)
			longest = children_grace(m, i);
	return (uint64_t)longest * 1000;
}

/* SIG to the workers; they have AFTER_MS until they are killed. */
static void stop(struct master *m, int sig, uint64_t after_ms)
{
	uint64_t deadline = master_now_ms() + after_ms;

	if (m->state == CLOSING)
		return;
	signal_workers(m, sig);
	m->stop_signal = sig;
	m->tell_ms = master_now_ms() + TELL_MS;
	if (m->state == STOPPING) {
		if (m->deadline_ms > deadline)
			m->deadline_ms = deadline;
		return;
	}
	notify_send(NOTIFY_STOPPING, "sessions are ending");
	m->state = STOPPING;
	stats_count_ends(m->rt.stats, m->stopped_before);
	master_begin(m, RESULTS_STOP);
	m->deadline_ms = deadline;
	/* With the sockets open, clients would still be let into a queue that nobody serves. But
	 * sockets that were handed to us are another's, who keeps the queue for the next start. */
	if (!m->source.handed)
		listen_end(m->listen_fds, (size_t)m->rt.workers * m->rt.listen_count);
	if (m->resolver.pid)
		kill(m->resolver.pid, SIGKILL);
	if (m->asked.pid)
		kill(m->asked.pid, SIGKILL);
}

/* ---- what has ended ---- */

/* Nobody takes seats from a table of another layout any more: it counts no more. */
static void forget_other_seats(struct master *m, struct seats *seats)
{
	for (unsigned i = 0; i < m->rt.slots; i++)
		if (m->children[i].process.pid && m->children[i].seats == seats)
			return;
	for (unsigned i = 0; i < m->other_count; i++) {
		if (m->other[i].seats != seats)
			continue;
		seats_close(seats, m->rt.seats, PARTING_MS);
		close(m->other[i].fd);
		/* It stays mapped: the seats of this process still look at it. */
		m->other[i] = m->other[--m->other_count];
		return;
	}
}

/* As with a connection that a worker has ended (parting.h), its destination has yet to see it. */
static unsigned free_seats(struct master *m, const struct child *c, unsigned slot)
{
	if (c->seats == m->rt.seats)
		return seats_release_worker(m->rt.seats, slot, PARTING_MS);
	forget_other_seats(m, c->seats);
	return 0;
}

/* (A worker of an earlier generation may have been told by an earlier program.) */
static bool ended_as_asked(const struct master *m, unsigned slot, int status)
{
	bool earlier = slot / m->rt.workers != m->generation;

	return (m->state >= STOPPING || earlier) && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void worker_ended(struct master *m, unsigned slot, int status)
{
	struct child *c = &m->children[slot];
	bool was_ready = c->ready;
	unsigned seats;
	char text[PROCESS_STATUS_TEXT];

	process_status(status, text);
	process_ended(&c->process, master_now_ms());
	seats = free_seats(m, c, slot);
	route_note_release(m->rt.route_shared, slot);
	stats_ended(m->rt.stats, slot, seats);
	close_one(c->channel);
	c->channel = -1;
	c->ready = false;
	if (ended_as_asked(m, slot, status))
		return;
	if (slot / m->rt.workers == m->generation)
		signing_worker_died(m, slot % m->rt.workers);
	master_fault(m, "worker-died", "worker %u: %s, %u sessions lost", slot, text, seats);
	if (m->state != STARTING || was_ready || m->upgraded)
		return;
	master_say("worker %u could not start: %s", slot, text);
	m->exit_status = WIFEXITED(status) && WEXITSTATUS(status) >= EX__BASE ? WEXITSTATUS(status)
									      : EX_SOFTWARE;
	stop(m, SIGINT, STOP_MARGIN_MS);
}

static void writer_ended(struct master *m, int status)
{
	char text[PROCESS_STATUS_TEXT];
	bool asked = m->writer_leaves;

	process_status(status, text);
	process_ended(&m->writer, master_now_ms());
	m->writer_leaves = false;
	if (m->state == CLOSING && !asked) {
		/* Killed before it had written the rest: one more try. */
		m->over = !WIFSIGNALED(status) || m->writer_failed || !m->deadline_ms;
		m->writer_failed = true;
		return;
	}
	if (asked)
		m->writer = (struct process){ 0 };
	else
		master_fault(m, "log-writer-died", "%s", text);
}

static void control_ended(struct master *m, int status)
{
	char text[PROCESS_STATUS_TEXT];
	bool asked = m->control_leaves;

	process_status(status, text);
	process_ended(&m->control, master_now_ms());
	m->control_leaves = false;
	if (asked)
		m->control = (struct process){ 0 };
	else if (m->state < STOPPING)
		master_fault(m, "status-process-died", "%s", text);
}

static void name_records(struct master *m, uint64_t names, const char *what)
{
	for (unsigned i = 0; i < m->rt.route->count; i++)
		if (names >> i & 1)
			master_fault(m, "resolve", "%s %s", m->rt.route->destination[i].name, what);
}

static void resolver_over(struct master *m)
{
	uint64_t lost, found;

	resolver_ended(&m->resolver, master_now_ms(), &lost, &found);
	if (m->state >= STOPPING)
		return;
	name_records(m, lost, "does not resolve any more");
	name_records(m, found, "resolves again");
}

static void asked_over(struct master *m, int status)
{
	enum asked_for what = m->asked_for;

	asked_ended(&m->asked);
	m->asked_for = ASKED_NOTHING;
	if (what == ASKED_RELOAD)
		reload_answered(m, status);
	else if (what == ASKED_UPGRADE)
		upgrade_answered(m, status);
	else if (what == ASKED_FOLLOW)
		following_answered(m, status);
}

static void reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == m->writer.pid) {
			writer_ended(m, status);
		} else if (pid == m->control.pid) {
			control_ended(m, status);
		} else if (pid == m->signing.process.pid) {
			signing_ended(m, status);
		} else if (pid == m->resolver.pid) {
			resolver_over(m);
		} else if (pid == m->asked.pid) {
			asked_over(m, status);
		} else {
			for (unsigned i = 0; i < m->rt.slots; i++)
				if (pid == m->children[i].process.pid)
					worker_ended(m, i, status);
		}
	}
}

static void on_signal(struct master *m, uint32_t sig)
{
	switch (sig) {
	case SIGTERM:
		if (m->state < STOPPING)
			stop(m, SIGTERM, longest_grace_ms(m) + STOP_MARGIN_MS);
		break;
	case SIGINT:
		stop(m, SIGINT, STOP_MARGIN_MS);
		break;
	case SIGUSR1:
		if (m->writer.pid)
			kill(m->writer.pid, SIGUSR1);
		break;
	case SIGHUP:
		reload_ask(m);
		break;
	case SIGUSR2:
		upgrade_ask(m);
		break;
	default: /* SIGCHLD: reap() runs in every turn */
		break;
	}
}

/* ---- being ready ---- */

static void become_ready(struct master *m)
{
	char text[ADDR_TEXT_MAX];

	m->state = RUNNING;
	if (m->upgraded) {
		if (retire_others(m))
			m->tell_ms = master_now_ms() + TELL_MS;
		master_record(m, XMLLOG_RELOAD, "program", "");
		stats_reloaded(m->rt.stats, true, master_clock_us());
		log_notes(m);
		master_say("upgraded, this is version %s", CARONTE_VERSION);
		master_end(m, RESULTS_UPGRADE, RESULTS_DONE,
			   "upgraded, this is version " CARONTE_VERSION "\n");
	}
	for (unsigned i = 0; i < m->version->listen->count && !m->upgraded; i++) {
		addr_format(&m->version->listen->addr[i], text);
		master_say("ready, listening on %s", text);
	}
	notify_send(NOTIFY_READY, "accepting connections");
}

static void take_ready(struct master *m)
{
	unsigned slot;

	while (read(m->ready[0], &slot, sizeof(slot)) == (ssize_t)sizeof(slot))
		if (slot < m->rt.slots)
			m->children[slot].ready = true;
	if (m->state != STARTING)
		return;
	for (unsigned i = 0; i < m->rt.workers; i++)
		if (!master_current(m, i)->ready)
			return;
	become_ready(m);
}

/* ---- the loop ---- */

static bool due(const struct process *p, uint64_t now)
{
	return !p->pid && now >= p->due_ms;
}

/* The status process serves as long as there is anything to tell of. */
static bool has_control(const struct master *m)
{
	return m->state < CLOSING && (m->control_fd >= 0 || m->metrics_fd >= 0);
}

/* A reload or an upgrade was asked for while another one was under way, which is over now. */
static bool is_next(const struct master *m)
{
	return m->state == RUNNING && m->asked_for == ASKED_NOTHING && !m->reloading &&
	       (m->reload_again || m->upgrade_again);
}

static void begin_next(struct master *m)
{
	if (!is_next(m))
		return;
	if (m->reload_again) {
		m->reload_again = false;
		reload_ask(m);
	} else {
		m->upgrade_again = false;
		upgrade_ask(m);
	}
}

static void run_serving(struct master *m, uint64_t now)
{
	int err;

	for (unsigned i = 0; i < m->rt.workers; i++)
		if (due(&master_current(m, i)->process, now))
			children_start_worker(m, i);
	err = resolver_run(&m->resolver, now, children_resolver, m);
	if (err)
		master_fault(m, "fork", "resolver: %s", strerror(-err));
	begin_next(m);
	reload_run(m);
	expiring_run(m, now);
	following_run(m, now);
}

static void tell_stopped(struct master *m)
{
	unsigned long long cut, all;
	char text[128];
	uint64_t ends[2];

	stats_count_ends(m->rt.stats, ends);
	all = ends[0] - m->stopped_before[0];
	cut = ends[1] - m->stopped_before[1];
	snprintf(text, sizeof(text),
		 "stopped; sessions that ended by themselves: %llu, that were cut off: %llu\n",
		 all - cut, cut);
	master_end(m, RESULTS_STOP, RESULTS_DONE, text);
}

static void run_ending(struct master *m, uint64_t now)
{
	bool any = false;

	for (unsigned i = 0; i < m->rt.slots; i++)
		any |= m->children[i].process.pid != 0;
	if (m->state == STOPPING && !any) {
		master_record(m, XMLLOG_STOP, NULL, "");
		tell_stopped(m);
		close(m->life[1]);
		m->life[1] = -1;
		m->state = CLOSING;
		m->deadline_ms = now + CLOSE_MS;
		if (m->control.pid)
			kill(m->control.pid, SIGTERM);
		if (m->signing.process.pid)
			kill(m->signing.process.pid, SIGKILL);
	}
	if (!m->deadline_ms || now < m->deadline_ms)
		return;
	if (m->state == STOPPING)
		signal_workers(m, SIGKILL);
	else if (m->writer.pid)
		kill(m->writer.pid, SIGKILL);
	m->deadline_ms = 0;
}

static void run_state(struct master *m, uint64_t now)
{
	if (due(&m->writer, now) && !m->over)
		children_start_writer(m);
	if (has_control(m) && due(&m->control, now))
		children_start_control(m);
	signing_run(m, now);
	if (m->state <= RUNNING)
		run_serving(m, now);
	else
		run_ending(m, now);
	tell_again(m, now);
}

static void sooner(uint64_t *until, uint64_t when)
{
	if (when < *until)
		*until = when;
}

static bool has_tickets(const struct master *m)
{
	return m->version->chains.n > 0 && m->version->config.set.tls_ticket_hours > 0;
}

static void turn_tickets(struct master *m, uint64_t now)
{
	if (has_tickets(m) && now >= m->tickets_ms)
		m->tickets_ms = ticket_turn(m->rt.tickets,
					    (unsigned)m->version->config.set.tls_ticket_hours, now);
}

/* Milliseconds until something is due whatever happens; -1: nothing is. */
static int wait_ms(struct master *m, uint64_t now)
{
	uint64_t until = UINT64_MAX;

	if (!m->writer.pid)
		sooner(&until, m->writer.due_ms);
	if (has_control(m) && !m->control.pid)
		sooner(&until, m->control.due_ms);
	if (signing_any(m) && !m->signing.process.pid)
		sooner(&until, m->signing.process.due_ms);
	if (m->state <= RUNNING) {
		for (unsigned i = 0; i < m->rt.workers; i++)
			if (!master_current(m, i)->process.pid)
				sooner(&until, master_current(m, i)->process.due_ms);
		if (m->resolver.names)
			sooner(&until, now + TICK_MS);
		if (m->asked.pid && m->asked.until_ms)
			sooner(&until, m->asked.until_ms);
		if (is_next(m))
			sooner(&until, now);
		if (has_tickets(m))
			sooner(&until, m->tickets_ms);
		if (expiring_any(m))
			sooner(&until, m->expiry_ms);
		if (following_any(m))
			sooner(&until, m->watch.due_ms);
		if (reload_wait_ms(m) >= 0)
			sooner(&until, now + (uint64_t)reload_wait_ms(m));
	} else if (m->deadline_ms) {
		sooner(&until, m->deadline_ms);
	}
	if (m->tell_ms)
		sooner(&until, m->tell_ms);
	if (until == UINT64_MAX)
		return -1;
	return until <= now ? 0 : (int)(until - now < INT32_MAX ? until - now : INT32_MAX);
}

enum { POLL_SIGNAL, POLL_READY, POLL_ASKED, POLL_CHANNELS };

static void supervise(struct master *m)
{
	size_t n = POLL_CHANNELS + m->rt.workers;
	struct signalfd_siginfo info;

	while (!m->over) {
		run_state(m, master_now_ms());
		turn_tickets(m, master_now_ms());
		m->polled[POLL_SIGNAL] = (struct pollfd){ m->signal_fd, POLLIN, 0 };
		m->polled[POLL_READY] = (struct pollfd){ m->ready[0], POLLIN, 0 };
		m->polled[POLL_ASKED] = (struct pollfd){ m->asked.fd, POLLIN, 0 };
		for (unsigned i = 0; i < m->rt.workers; i++)
			m->polled[POLL_CHANNELS + i] =
				(struct pollfd){ master_current(m, i)->channel, POLLIN, 0 };
		if (poll(m->polled, n, wait_ms(m, master_now_ms())) < 0 && errno != EINTR) {
			master_fault(m, "poll", "%s", strerror(errno));
			usleep(PROCESS_PAUSE_MS * 1000);
		}
		take_ready(m);
		asked_read(&m->asked);
		asked_look(&m->asked, master_now_ms());
		reload_hear(m);
		while (read(m->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
			on_signal(m, info.ssi_signo);
		reap(m);
	}
}

int master_live(struct master *m)
{
	m->polled = calloc(POLL_CHANNELS + m->rt.workers, sizeof(*m->polled));
	CHECK(m->polled);
	if (!m->writer.pid)
		children_start_writer(m);
	if (!m->upgraded)
		log_start(m);
	supervise(m);
	if (m->control_fd >= 0)
		control_remove(m->version->config.set.control_socket, m->control_fd);
	if (m->pid_fd >= 0)
		pidfile_remove(m->version->config.set.pid_file, m->pid_fd);
	free(m->polled);
	free(m->children);
	free(m->listen_fds);
	return m->exit_status;
}
