/* SPDX-License-Identifier: ISC */
/*
 * children: the processes that the master forks, and what each of them does not keep open. A
 * descriptor that stays open in the wrong process would say that somebody is there who is not: a
 * listening socket, the life pipe, a worker's channel.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "runtime/channel.h"
#include "status/control.h"
#include "master/inner.h"
#include "worker/worker.h"
#include "xmllog/writer.h"

/* Microseconds since 1970, never the same twice: it names the sessions of one life of a worker. */
static uint64_t next_epoch(struct master *m)
{
	struct timespec ts;
	uint64_t us;

	CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0);
	us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	if (us <= m->last_epoch_us)
		us = m->last_epoch_us + 1;
	m->last_epoch_us = us;
	return us;
}

static void close_one(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* In every child: what only the master has a use for. */
static void close_masters(struct master *m)
{
	close(m->signal_fd);
	close_one(m->pid_fd);
	close(m->ready[0]);
	close_one(m->asked.fd);
	close_one(m->asked_files.image);
	close_one(m->asked_files.keys);
	close_one(m->asked_program);
	/* Or a configuration's memory would last as long as this process. */
	close_one(m->files.image);
	close_one(m->files.keys);
	signing_close(m);
	close_one(m->route_fd);
	for (unsigned i = 0; i < m->rt.slots; i++)
		close_one(m->children[i].channel);
}

static void close_controls(struct master *m)
{
	close_one(m->control_fd);
	close_one(m->metrics_fd);
}

/* A listening socket or the life pipe left open in such a child would lie about who is there. */
static void close_workers(struct master *m)
{
	size_t sockets = (size_t)m->rt.workers * m->rt.listen_count;

	close_masters(m);
	close_one(m->life[1]);
	for (size_t i = 0; i < sockets; i++)
		close(m->listen_fds[i]); /* a socket may stand there several times */
}

void children_close(struct master *m)
{
	close_workers(m);
	close_controls(m);
}

/* The rings that anything can be in: those of the generations that were used. */
static size_t used_rings(struct master *m, struct xmllog_ring **rings)
{
	size_t n = 0;

	rings[n++] = m->rt.rings[0];
	rings[n++] = m->rt.rings[m->rt.ring_count - 1];
	for (unsigned i = 0; i < m->rt.slots; i++)
		if (i / m->rt.workers <= m->generation || xmllog_ring_ready(m->rt.rings[1 + i]))
			rings[n++] = m->rt.rings[1 + i];
	return n;
}

/* The writer lives longer than configurations, and needs but these words of one. */
static bool keep_words(struct master *m, struct xmllog_writer_config *c)
{
	c->file = strdup(c->file);
	c->archive_dir = strdup(c->archive_dir);
	c->syslog = strdup(c->syslog);
	c->json = strdup(c->json);
	version_unmap(m->version);
	runtime_forget_route(m->rt.route_shared);
	return c->file && c->archive_dir && c->syslog && c->json;
}

static _Noreturn void writer_child(struct master *m)
{
	struct xmllog_writer_config c = probe_log_config(&m->version->config.set);
	struct xmllog_ring **rings = calloc(m->rt.ring_count, sizeof(struct xmllog_ring *));

	children_close(m);
	close(m->ready[1]);
	if (!keep_words(m, &c) || !rings)
		_exit(EX_OSERR);
	_exit(xmllog_writer_main(&c, rings, used_rings(m, rings), m->rt.log_wake_fd, m->life[0]));
}

void children_start_writer(struct master *m)
{
	pid_t pid = process_fork("caronte-log", 0);

	if (pid == 0)
		writer_child(m);
	if (pid < 0)
		master_fault(m, "fork", "log writer: %s", strerror(-pid));
	process_started(&m->writer, pid, master_now_ms());
}

void children_change_writer(struct master *m)
{
	if (!m->writer.pid)
		return;
	m->writer_leaves = true;
	kill(m->writer.pid, SIGUSR2);
}

void children_change_control(struct master *m)
{
	siginfo_t info;

	if (!m->control.pid)
		return;
	m->control_leaves = true;
	kill(m->control.pid, SIGKILL);
	while (waitid(P_PID, (id_t)m->control.pid, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR)
		;
}

/* The descriptor, which is not closed with the others. */
static int keep(int *fd)
{
	int kept = *fd;

	*fd = -1;
	return kept;
}

static _Noreturn void worker_child(struct master *m, unsigned slot, uint64_t epoch, int channel)
{
	if (signing_apart(m))
		m->rt.signer_fd = keep(&m->signing.pair[slot % m->rt.workers].worker);
	else
		m->rt.keys_fd = keep(&m->files.keys);
	/* Other workers' ends too: theirs must see it when the master is gone. */
	close_masters(m);
	close_controls(m);
	close(m->life[0]);
	m->rt.channel_fd = channel;
	_exit(worker_main(&m->rt, slot, epoch));
}

void children_start_worker(struct master *m, unsigned i)
{
	unsigned slot = m->generation * m->rt.workers + i;
	struct child *c = &m->children[slot];
	uint64_t epoch = next_epoch(m);
	int pair[2] = { -1, -1 };
	char name[32];
	pid_t pid = channel_open(pair);

	snprintf(name, sizeof(name), "caronte-w%u", slot);
	if (pid == 0)
		pid = process_fork(name, SIGTERM);
	if (pid == 0) {
		close(pair[0]);
		worker_child(m, slot, epoch, pair[1]);
	}
	close_one(pair[1]);
	if (pid < 0) {
		close_one(pair[0]);
		master_fault(m, "fork", "worker %u: %s", slot, strerror(-pid));
	} else {
		c->channel = pair[0];
		c->told = c->newest = c->oldest = m->rt.number;
		c->seats = m->rt.seats;
	}
	process_started(&c->process, pid, master_now_ms());
}

/* The resolver's child holds nothing open that others wait for. */
void children_resolver(void *ctx)
{
	children_close(ctx);
}

void children_start_control(struct master *m)
{
	pid_t pid = process_fork("caronte-status", SIGTERM);

	if (pid == 0) {
		close_workers(m);
		close(m->life[0]);
		close(m->ready[1]);
		_exit(control_main(&m->rt, m->control_fd, m->metrics_fd));
	}
	if (pid < 0)
		master_fault(m, "fork", "status process: %s", strerror(-pid));
	process_started(&m->control, pid, master_now_ms());
}

unsigned children_free_generation(const struct master *m)
{
	unsigned free = 0;

	for (unsigned slot = 0; slot < m->rt.slots; slot++) {
		if (slot / m->rt.workers == free && m->children[slot].process.pid) {
			free++;
			slot = free * m->rt.workers - 1;
		}
	}
	return free;
}

int children_grace(const struct master *m, unsigned slot)
{
	return slot / m->rt.workers == m->generation ? m->version->config.set.stop_grace
						     : m->children[slot].grace_s;
}
