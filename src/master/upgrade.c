/* SPDX-License-Identifier: ISC */
/*
 * upgrade: USR2. The program on disk takes the place of this one, in this process: same process id,
 * same user, same children. In three steps:
 *
 * 1. The new program is started as a child, to check: whether it understands the state (state.h),
 *    and whether the configuration is good, as at a reload. What it finds it leaves in memory.
 * 2. Only when it says yes does the master execute it. It is the file that was checked, held open,
 *    whatever happens to its name meanwhile; and it takes what was found, so that a file which
 *    changes in between cannot stop it.
 * 3. It starts workers of its own on the same sockets, the next generation. When they accept, the
 *    old ones are told to stop accepting and end with their sessions.
 *
 * Until 2 a failure leaves everything as it is. Behind it there is no way back, and nothing that is
 * tried: descriptors and memory are there already.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "route/busy.h"
#include "route/note.h"
#include "route/shared.h"
#include "status/control.h"
#include "master/inner.h"
#include "status/metrics.h"
#include "master/notify.h"

extern char **environ;

static int seats_fd(const struct master *m, const struct seats *seats)
{
	for (unsigned i = 0; i < m->other_count; i++)
		if (m->other[i].seats == seats)
			return m->other[i].fd;
	return m->rt.files.seats;
}

static void list_busy(const struct master *m, struct state *s)
{
	static const char unknown[] = "?"; /* the words were just being written */

	for (unsigned i = 0; i < m->rt.route->count; i++) {
		struct state_busy *busy = &s->busy[s->busy_count];

		if (route_health(m->rt.route_shared, i) != ROUTE_BUSY)
			continue;
		memcpy(busy->name, m->rt.route->destination[i].name, DESTINATION_NAME_MAX);
		busy->n = route_busy_words(m->rt.route_shared, i, (char *)busy->text);
		if (busy->n == 0) {
			memcpy(busy->text, unknown, sizeof(unknown));
			busy->n = sizeof(unknown) - 1;
		}
		s->busy_count++;
	}
}

static void list_destinations(const struct master *m, struct state *s)
{
	for (unsigned i = 0; i < m->rt.route->count; i++) {
		const char *name = m->rt.route->destination[i].name;

		if (route_drained(m->rt.route_shared, i))
			memcpy(s->drained[s->drained_count++], name, DESTINATION_NAME_MAX);
		if (!route_up(m->rt.route_shared, i))
			memcpy(s->down[s->down_count++], name, DESTINATION_NAME_MAX);
		if (route_unwell(m->rt.route_shared, i))
			memcpy(s->unwell[s->unwell_count++], name, DESTINATION_NAME_MAX);
	}
	list_busy(m, s);
}

/* What names mean: the next program may find no name server that answers. */
static int list_addresses(const struct master *m, struct state *s)
{
	s->address = calloc(STATE_ADDRESSES, sizeof(*s->address));
	if (!s->address)
		return -ENOMEM;
	for (unsigned i = 0; i < m->rt.route->count; i++) {
		const char *name = m->rt.route->destination[i].name;
		struct addr a[ROUTE_ADDRESSES];
		unsigned n = m->resolver.names >> i & 1
				     ? route_get_addresses(m->rt.route_shared, i, a)
				     : 0;

		for (unsigned k = 0; k < n; k++) {
			struct state_address *to = &s->address[s->address_count++];

			memcpy(to->name, name, DESTINATION_NAME_MAX);
			to->addr = a[k];
		}
	}
	return 0;
}

/* What destinations offer: there may be no place at one to ask again. */
static int list_notes(const struct master *m, struct state *s)
{
	s->note = calloc(DESTINATIONS_MAX, sizeof(*s->note));
	if (!s->note)
		return -ENOMEM;
	for (unsigned i = 0; i < m->rt.route->count; i++) {
		struct state_note *note = &s->note[s->note_count];

		note->n = route_note_read(m->rt.route_shared, i, note->text);
		memcpy(note->name, m->rt.route->destination[i].name, DESTINATION_NAME_MAX);
		s->note_count += note->n > 0;
	}
	return 0;
}

static int list_workers(const struct master *m, struct state *s)
{
	s->worker = calloc(m->rt.slots, sizeof(*s->worker));
	if (!s->worker)
		return -ENOMEM;
	for (unsigned i = 0; i < m->rt.slots; i++) {
		const struct child *c = &m->children[i];

		if (c->process.pid)
			s->worker[s->worker_count++] =
				(struct state_worker){ i, c->process.pid, seats_fd(m, c->seats),
						       c->oldest, children_grace(m, i) };
	}
	return 0;
}

/* Where the status process is asked. */
static int list_places(const struct master *m, struct state *s)
{
	const struct settings *set = &m->version->config.set;
	const char *control = m->control_fd >= 0 ? set->control_socket : "";
	const char *metrics = m->metrics_fd >= 0 ? set->metrics_address : "";
	int control_n = snprintf(s->control_at, STATE_PLACE_MAX, "%s", control);
	int metrics_n = snprintf(s->metrics_at, STATE_PLACE_MAX, "%s", metrics);

	int pid_n =
		snprintf(s->pid_at, sizeof(s->pid_at), "%s", m->pid_fd >= 0 ? set->pid_file : "");

	for (enum results_kind kind = 0; kind < RESULTS_KINDS; kind++)
		s->results[kind] = results_begun(m->rt.results, kind);
	return control_n < STATE_PLACE_MAX && metrics_n < STATE_PLACE_MAX &&
			       pid_n < (int)sizeof(s->pid_at)
		       ? 0
		       : -E2BIG;
}

/* S borrows the listening sockets. Its lists are to be freed in any case. */
static int describe(struct master *m, struct state *s)
{
	int err;

	*s = (struct state){
		.last_epoch_us = m->last_epoch_us,
		.number = m->rt.number,
		.workers = m->rt.workers,
		.files = m->rt.files,
		.wake_fd = m->rt.log_wake_fd,
		.life = { m->life[0], m->life[1] },
		.control_fd = m->control_fd,
		.metrics_fd = m->metrics_fd,
		.found = m->asked_files,
		.reload = m->reload_again,
		.upgrade = m->upgrade_again,
		.handed = m->source.handed != NULL,
		.writer = m->writer.pid,
		.listen_count = m->rt.listen_count,
		.listen_fds = m->listen_fds,
		.other_count = m->other_count,
		.slots = m->slots,
	};
	for (unsigned i = 0; i < m->other_count; i++)
		s->other_seats[i] = m->other[i].fd;
	list_destinations(m, s);
	err = list_workers(m, s);
	if (!err)
		err = list_addresses(m, s);
	if (!err)
		err = list_notes(m, s);
	if (!err)
		err = list_places(m, s);
	if (err)
		return err;
	return check_fixed(&m->version->config.set, m->version->fewer_sessions, s->fixed,
			   sizeof(s->fixed))
		       ? 0
		       : -E2BIG;
}

/* Executes the program with the state of now. Returns -errno, with everything as it was. */
static int execute(struct master *m, bool only_check)
{
	size_t n = m->source.override_count, at = 0;
	char **argv = calloc(8 + 2 * n, sizeof(*argv));
	char number[16];
	struct state s = { 0 };
	int fd = memfd_create("caronte-state", MFD_CLOEXEC);
	int err = fd < 0 ? -errno : argv ? describe(m, &s) : -ENOMEM;

	if (!err)
		err = state_write(fd, &s);
	if (!err) {
		argv[at++] = (char *)(uintptr_t)m->program;
		argv[at++] = "-c";
		argv[at++] = (char *)(uintptr_t)m->source.file;
		for (size_t i = 0; i < n; i++) {
			argv[at++] = "-o";
			argv[at++] = (char *)(uintptr_t)m->source.overrides[i];
		}
		snprintf(number, sizeof(number), "%d", fd);
		argv[at++] = "--adopt";
		argv[at++] = number;
		if (only_check)
			argv[at++] = "-t";
		if (fcntl(fd, F_SETFD, 0) == 0 && state_keep_descriptors(&s, true))
			execveat(m->asked_program, "", argv, environ, AT_EMPTY_PATH);
		err = -errno;
		(void)!state_keep_descriptors(&s, false);
	}
	master_close_fd(&fd);
	free(s.worker);
	free(s.address);
	free(s.note);
	free(argv);
	return err;
}

static _Noreturn void check_child(struct master *m)
{
	int err;

	/* Not for longer than it must: nobody may wait for sockets that only this one holds. */
	err = execute(m, true);
	fprintf(stderr, "caronte: %s: %s\n", m->program, strerror(-err));
	_exit(EX_OSERR);
}

static void drop(struct master *m)
{
	version_close_files(&m->asked_files);
	master_close_fd(&m->asked_program);
}

static void refuse(struct master *m, const char *why)
{
	drop(m);
	master_refuse(m, RESULTS_UPGRADE, why);
}

static bool serves(const struct master *m)
{
	return m->state == RUNNING || (m->state == STARTING && m->upgraded);
}

void upgrade_ask(struct master *m)
{
	char why[512];
	pid_t pid;

	if (m->state >= STOPPING)
		return;
	/* After what is under way: one thing at a time. But a program whose workers do not start
	 * can be replaced; the old ones serve still. */
	if (!serves(m) || m->asked_for != ASKED_NOTHING || m->reloading) {
		m->upgrade_again = true;
		return;
	}
	master_begin(m, RESULTS_UPGRADE);
	if (!m->program) {
		refuse(m, "caronte: the path of the program is not known");
		return;
	}
	if (children_free_generation(m) == RUNTIME_GENERATIONS) {
		snprintf(why, sizeof(why),
			 "caronte: workers of %u earlier upgrades still have sessions; try again "
			 "when they have ended",
			 RUNTIME_GENERATIONS - 1);
		refuse(m, why);
		return;
	}
	m->asked_program = open(m->program, O_PATH | O_CLOEXEC);
	pid = m->asked_program < 0 ? -errno : 0;
	if (!pid)
		pid = version_make_files(&m->asked_files);
	if (!pid)
		pid = asked_fork(&m->asked, "caronte-check", master_now_ms());
	if (pid == 0)
		check_child(m);
	if (pid < 0) {
		snprintf(why, sizeof(why), "caronte: %s: %s", m->program, strerror(-pid));
		refuse(m, why);
		return;
	}
	m->asked_for = ASKED_UPGRADE;
}

/* Whatever ends well without a word is not yet one of ours; what it wrote is for its own kind. */
static bool has_image(const struct master *m)
{
	struct stat st;

	return fstat(m->asked_files.image, &st) == 0 && st.st_size > 0;
}

void upgrade_answered(struct master *m, int status)
{
	char why[512];
	int err;

	if (!serves(m)) {
		drop(m);
		return;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		char ended[PROCESS_STATUS_TEXT];

		process_status(status, ended);
		snprintf(why, sizeof(why), "caronte: %s: ended its check with %s", m->program,
			 ended);
		refuse(m, m->asked.said ? m->asked.text : why);
		return;
	}
	if (!has_image(m)) {
		snprintf(why, sizeof(why), "caronte: %s: is no program that can take over",
			 m->program);
		refuse(m, why);
		return;
	}
	if (children_free_generation(m) == RUNTIME_GENERATIONS) {
		refuse(m, "caronte: no slots for other workers");
		return;
	}
	if (m->asked.said) /* no faults: a name that does not resolve now */
		master_say_lines(m->asked.text);
	notify_send(NOTIFY_RELOADING, "another program takes over");
	/* What works for us alone; the next program starts its own. */
	if (m->resolver.pid)
		kill(m->resolver.pid, SIGKILL);
	children_change_control(m);
	err = execute(m, false);
	snprintf(why, sizeof(why), "caronte: %s: %s", m->program, strerror(-err));
	refuse(m, why);
}
