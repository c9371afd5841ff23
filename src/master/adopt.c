/* SPDX-License-Identifier: ISC */
/*
 * adopt: the program that takes the place of a running one (upgrade.c, step 3), and its check
 * before that (step 1). What the old program knows comes by a descriptor (state.h). Children,
 * descriptors and memory are there already, and nothing that could fail is tried but what the check
 * has tried.
 */
#include "master/adopt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "route/busy.h"
#include "route/note.h"
#include "route/shared.h"
#include "status/control.h"
#include "master/inner.h"
#include "status/metrics.h"
#include "shared/memory.h"

static int fail(const char *what, int err)
{
	master_say("taking over: %s: %s", what, strerror(-err));
	return EX_SOFTWARE;
}

/* Where the running daemon listens. */
static void listen_addresses(const struct state *s, struct listen_set *set)
{
	*set = (struct listen_set){ 0 };
	for (unsigned i = 0; i < s->listen_count; i++)
		(void)listen_add_socket(set, s->listen_fds[i]); /* where it has listened before */
}

static int check_only(const struct master_start *start, const struct state *s)
{
	static struct check check;
	struct check_source source = start->source;
	struct listen_set listen;
	struct slots slots = s->slots;
	uint8_t slot[DESTINATIONS_MAX];
	struct config *c;
	int status, err;

	listen_addresses(s, &listen);
	source.running = s->fixed;
	source.handed = s->handed ? &listen : NULL;
	status = check_load(&check, &c, &source, stderr);
	if (!status &&
	    runtime_assign_slots(&slots, &check.route, s->number + 1, state_oldest(s), slot) != 0) {
		master_say("DESTINATIONS: sessions of earlier configurations still have %d "
			   "destinations between them; try again when they have ended",
			   SEATS_DESTINATIONS);
		status = EX_TEMPFAIL;
	}
	if (!status) {
		/* WORKERS is what it was, so the number is too, whatever processors there are. */
		check.workers = s->workers;
		if (check.listen.count != s->listen_count) {
			master_say("other addresses than those that the daemon listens on: needs a "
				   "restart");
			status = EX_CONFIG;
		}
	}
	if (!status)
		check_print_notes(&check, c, stderr);
	err = status ? 0 : version_write(&s->found, c, &check);
	config_free(c);
	return err ? fail("memory", err) : status;
}

static struct seats *table_of(struct master *m, const struct state *s, int fd)
{
	if (fd == s->files.seats && m->rt.files.seats == fd)
		return m->rt.seats;
	for (unsigned i = 0; i < m->other_count; i++)
		if (m->other[i].fd == fd)
			return m->other[i].seats;
	return NULL;
}

/* Tables that earlier programs have left, and that of the last one where it is not ours. */
static int adopt_tables(struct master *m, const struct state *s, struct seats *last)
{
	for (unsigned i = 0; i < s->other_count; i++) {
		struct seats *t = shared_attach(s->other_seats[i], 1, true, NULL);

		if (!t || !seats_count_with(t))
			return -EPROTO;
		m->other[m->other_count++] = (struct other_seats){ t, s->other_seats[i] };
	}
	if (!last)
		return 0;
	if (m->other_count == STATE_OTHER_TABLES || !seats_count_with(last))
		return -EPROTO;
	m->other[m->other_count++] = (struct other_seats){ last, s->files.seats };
	return 0;
}

static void adopt_children(struct master *m, const struct state *s)
{
	for (unsigned i = 0; i < s->worker_count; i++) {
		struct child *c = &m->children[s->worker[i].slot];

		process_started(&c->process, s->worker[i].pid, master_now_ms());
		c->ready = true;
		c->oldest = s->worker[i].oldest; /* it does not say any more */
		c->grace_s = s->worker[i].grace_s;
		c->seats = table_of(m, s, s->worker[i].seats);
	}
	if (s->writer) {
		process_started(&m->writer, s->writer, master_now_ms());
		children_change_writer(m);
	}
}

static bool is_among(const char *name, unsigned count, const char names[][DESTINATION_NAME_MAX])
{
	unsigned i = 0;

	while (i < count && strcmp(name, names[i]) != 0)
		i++;
	return i < count;
}

/* Pauses begin anew; that it is busy was said. */
static void adopt_busy(struct master *m, const struct state *s)
{
	for (unsigned d = 0; d < m->rt.route->count; d++)
		for (unsigned i = 0; i < s->busy_count; i++)
			if (strcmp(s->busy[i].name, m->rt.route->destination[d].name) == 0)
				route_turned_away(m->rt.route_shared, d, master_now_ms(),
						  master_now_ms(), (const char *)s->busy[i].text);
}

static void adopt_destinations(struct master *m, const struct state *s)
{
	for (unsigned d = 0; d < m->rt.route->count; d++) {
		const char *name = m->rt.route->destination[d].name;

		if (is_among(name, s->drained_count, s->drained))
			route_drain(m->rt.route_shared, d, true);
		/* Its pauses begin anew; that it is down was said. */
		if (is_among(name, s->down_count, s->down))
			route_failed(m->rt.route_shared, NULL, d, master_now_ms());
		/* That too; its end has yet to be. */
		if (is_among(name, s->unwell_count, s->unwell))
			route_check_found(m->rt.route_shared, d, false);
	}
	adopt_busy(m, s);
}

/* The note may be of a time when it was spoken to in clear: that counts for nothing over TLS. */
static bool is_of(const struct route_destination *d, const char *name)
{
	return d->secure.tls == ROUTE_TLS_NONE && strcmp(d->name, name) == 0;
}

/* They are due all the same: what has changed is learnt at once where it can be. */
static void adopt_notes(struct master *m, const struct state *s)
{
	for (unsigned d = 0; d < m->rt.route->count; d++)
		for (unsigned i = 0; i < s->note_count; i++)
			if (is_of(&m->rt.route->destination[d], s->note[i].name))
				route_note_write(m->rt.route_shared, d,
						 span_of(s->note[i].text, s->note[i].n));
}

/* Of names that do not resolve just now. */
static void adopt_addresses(struct master *m, const struct state *s)
{
	for (unsigned d = 0; d < m->rt.route->count; d++) {
		struct addr a[ROUTE_ADDRESSES];
		unsigned n = 0;

		if (m->version->probe->resolved[d].n)
			continue;
		for (unsigned i = 0; i < s->address_count && n < ROUTE_ADDRESSES; i++)
			if (strcmp(s->address[i].name, m->rt.route->destination[d].name) == 0)
				a[n++] = s->address[i].addr;
		route_set_addresses(m->rt.route_shared, d, a, n);
	}
}

static int adopt_version(struct master *m, const struct state *s)
{
	struct seats *last;
	int err;

	m->version = calloc(1, sizeof(*m->version));
	if (!m->version)
		return -ENOMEM;
	m->files = s->found;
	err = version_map(m->version, m->files.image);
	if (!err)
		err = runtime_adopt(&m->rt, m->version, &s->files, s->wake_fd, &last);
	if (!err)
		err = adopt_tables(m, s, last);
	m->rt.number = s->number + 1;
	m->slots = s->slots;
	if (!err)
		err = runtime_assign_slots(&m->slots, m->rt.route, m->rt.number, state_oldest(s),
					   m->rt.slot);
	if (!err)
		reload_forget_figures(m, &s->slots);
	return err ? err : start_route(m, NULL);
}

static void status_fault(struct master *m, const char *why)
{
	master_say("%s", why);
	master_fault(m, "status", "%s", why);
}

static void take_descriptors(struct master *m, struct state *s)
{
	memcpy(m->life, s->life, sizeof(m->life));
	m->control_fd = s->control_fd;
	m->metrics_fd = s->metrics_fd;
	m->last_epoch_us = s->last_epoch_us;
	m->listen_fds = s->listen_fds;
	s->listen_fds = NULL;
}

/* CONTROL_SOCKET and METRICS_ADDRESS may be others now. What cannot be opened is said, and the rest
 * goes on without. */
static void adopt_controls(struct master *m, const struct state *s)
{
	const struct settings *set = &m->version->config.set;
	char why[512];

	if (strcmp(s->control_at, set->control_socket) != 0) {
		if (m->control_fd >= 0)
			control_remove(s->control_at, m->control_fd);
		master_close_fd(&m->control_fd);
		if (*set->control_socket &&
		    control_open(set->control_socket, &m->control_fd, why, sizeof(why)))
			status_fault(m, why);
	}
	if (strcmp(s->metrics_at, set->metrics_address) != 0) {
		master_close_fd(&m->metrics_fd);
		if (m->version->metrics.family &&
		    metrics_listen(&m->version->metrics, &m->metrics_fd, why, sizeof(why)))
			status_fault(m, why);
	}
}

/* The lock went with the program before; the process id is the same. */
static void adopt_pid_file(struct master *m, const struct state *s)
{
	const char *is = m->version->config.set.pid_file;
	char why[512];

	if (*s->pid_at && strcmp(s->pid_at, is) != 0)
		unlink(s->pid_at);
	if (*is && pidfile_take(is, &m->pid_fd, why, sizeof(why)))
		status_fault(m, why);
	results_continue(m->rt.results, s->results);
	master_write_results(m);
}

static int adopt(struct master *m, struct state *s)
{
	int err;

	if (!state_keep_descriptors(s, false))
		return -EBADF;
	if (s->handed) {
		listen_addresses(s, &m->handed);
		m->source.handed = &m->handed;
	}
	err = adopt_version(m, s);
	take_descriptors(m, s);
	if (!err)
		err = start_tools(m);
	if (err)
		return err;
	adopt_children(m, s);
	adopt_destinations(m, s);
	adopt_addresses(m, s);
	adopt_notes(m, s);
	master_open_log(m);
	adopt_controls(m, s);
	adopt_pid_file(m, s);
	m->reload_again = s->reload;
	m->upgrade_again = s->upgrade;
	m->generation = m->rt.generation = children_free_generation(m);
	runtime_begin_generation(&m->rt, m->generation);
	m->upgraded = true;
	return 0;
}

int master_adopt(const struct master_start *start, int fd, bool only_check)
{
	static struct master m;
	struct state s;
	int status;

	if (!state_read(&s, fd)) {
		state_free(&s);
		master_say("the running daemon cannot be taken over by this program: its state is "
			   "of another layout; stop it and start this one");
		return EX_CONFIG;
	}
	if (only_check) {
		status = check_only(start, &s);
		state_free(&s);
		return status;
	}
	close(fd);
	prctl(PR_SET_NAME, "caronte");
	start_nothing(&m, start);
	status = adopt(&m, &s);
	state_free(&s);
	return status ? fail("state", status) : master_live(&m);
}
