/* SPDX-License-Identifier: ISC */
/*
 * start: the master's way from a good check to its loop: sockets, what is shared, and the end of
 * all privilege, in this order. What fails here ends the start, with one line that says why.
 */
#include "master/start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "status/control.h"
#include "master/inner.h"
#include "status/metrics.h"
#include "xmllog/check.h"
#include "xmllog/writer.h"

/* Says WHAT, however long that takes: nothing runs yet. Returns STATUS. */
static int refuse(int status, const char *what, int err)
{
	if (err)
		fprintf(stderr, "caronte: %s: %s\n", what, strerror(-err));
	else
		fprintf(stderr, "caronte: %s\n", what);
	return status;
}

void start_nothing(struct master *m, const struct master_start *start)
{
	*m = (struct master){
		.source = start->source,
		.program = start->program,
		.files = { -1, -1 },
		.route_fd = -1,
		.control_fd = -1,
		.metrics_fd = -1,
		.pid_fd = -1,
		.signal_fd = -1,
		.life = { -1, -1 },
		.ready = { -1, -1 },
		.asked = { .fd = -1 },
		.asked_files = { -1, -1 },
		.asked_program = -1,
	};
	if (m->source.handed) {
		m->handed = *start->source.handed;
		m->source.handed = &m->handed;
	}
}

int start_tools(struct master *m)
{
	m->children = calloc(m->rt.slots, sizeof(*m->children));
	if (!m->children)
		return -ENOMEM;
	for (unsigned i = 0; i < m->rt.slots; i++)
		m->children[i].channel = -1;
	m->signal_fd = process_signals();
	if (m->signal_fd < 0)
		return m->signal_fd;
	if (pipe2(m->ready, O_CLOEXEC) != 0 || fcntl(m->ready[0], F_SETFL, O_NONBLOCK) != 0)
		return -errno;
	m->rt.listen_fds = m->listen_fds;
	m->rt.listen_handed = m->source.handed;
	m->rt.master = getpid();
	m->rt.ready_fd = m->ready[1];
	return signing_begin(m);
}

int start_route(struct master *m, const struct runtime *before)
{
	int err;

	m->route_fd = runtime_route(m->version, before, &m->rt.route_shared);
	if (m->route_fd < 0)
		return m->route_fd;
	err = resolver_init(&m->resolver, m->rt.route, m->rt.route_shared, m->version->listen);
	for (unsigned i = 0; i < m->rt.route->count && !err; i++)
		if (!m->version->probe->resolved[i].n)
			resolver_missing(&m->resolver, i);
	return err;
}

/* The check's findings as every process will see them. */
static int make_version(struct master *m, const struct config *c, struct check *k)
{
	int err;

	m->version = calloc(1, sizeof(*m->version));
	if (!m->version)
		return -ENOMEM;
	err = version_make_files(&m->files);
	if (!err)
		err = version_write(&m->files, c, k);
	check_release(k);
	return err ? err : version_map(m->version, m->files.image);
}

static int open_sockets(struct master *m, const struct check *k, const int *handed, char *why,
			size_t cap)
{
	int status = 0;

	m->listen_fds = calloc((size_t)k->workers * k->listen.count, sizeof(int));
	if (!m->listen_fds) {
		snprintf(why, cap, "no memory");
		return EX_OSERR;
	}
	if (!handed)
		status = listen_open(&k->listen, k->workers, m->listen_fds, why, cap);
	/* Fewer than workers: all of them accept on the same. */
	for (unsigned i = 0; handed && i < k->workers * k->listen.count; i++)
		m->listen_fds[i] = handed[i % k->listen.count];
	if (!status && k->metrics.family)
		status = metrics_listen(&k->metrics, &m->metrics_fd, why, cap);
	return status;
}

static int make_shared(struct master *m, const struct config *c, struct check *k)
{
	int err = make_version(m, c, k);

	if (!err)
		err = runtime_make(&m->rt, m->version);
	if (!err)
		err = runtime_assign_slots(&m->slots, m->rt.route, m->rt.number, m->rt.number,
					   m->rt.slot);
	if (!err)
		err = start_route(m, NULL);
	return err;
}

static int take_pid_file(struct master *m, char *why, size_t cap)
{
	const struct settings *set = &m->version->config.set;
	int status;

	if (!*set->pid_file)
		return 0;
	status = pidfile_take(set->pid_file, &m->pid_fd, why, cap);
	if (status && m->control_fd >= 0)
		control_remove(set->control_socket, m->control_fd);
	if (!status)
		master_write_results(m);
	return status;
}

/* Everything up to the first fork. 0 or an exit status, said. */
static int prepare(struct master *m, const struct config *c, struct check *k, const int *handed)
{
	const struct privilege_id id = k->id;
	struct xmllog_writer_config log;
	char why[1024];
	int status, err;

	status = open_sockets(m, k, handed, why, sizeof(why));
	if (status)
		return refuse(status, why, 0);
	err = make_shared(m, c, k);
	if (err)
		return refuse(EX_OSERR, "shared memory", err);
	err = start_tools(m);
	if (!err && pipe2(m->life, O_CLOEXEC) != 0)
		err = -errno;
	if (err)
		return refuse(EX_OSERR, "signals and pipes", err);
	if (privilege_drop(&id, why, sizeof(why)) != 0)
		return refuse(EX_NOPERM, why, 0);
	log = probe_log_config(&m->version->config.set);
	if (xmllog_writer_busy(&log))
		return refuse(EX_CONFIG, "LOG_FILE: another process writes this log", 0);
	if (*m->version->config.set.control_socket)
		status = control_open(m->version->config.set.control_socket, &m->control_fd, why,
				      sizeof(why));
	if (!status)
		status = take_pid_file(m, why, sizeof(why));
	master_open_log(m);
	return status ? refuse(status, why, 0) : 0;
}

int master_run(const struct master_start *start, const struct config *c, struct check *k)
{
	static struct master m;
	int status;

	start_nothing(&m, start);
	status = prepare(&m, c, k, start->handed_fds);
	return status ? status : master_live(&m);
}
