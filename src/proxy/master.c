/* SPDX-License-Identifier: ISC */
/*
 * master: see master.h. One thread, one loop over poll(2): signals by signalfd, the pipe on which
 * workers report that they are ready, and the time. Four states, in this order and never back:
 *
 *   STARTING  until every worker is ready; one that ends before that ends the start
 *   RUNNING   what dies is started again
 *   STOPPING  workers were told to end and are killed at a deadline; the log writer still runs
 *   CLOSING   no worker is left: the log writer drains its rings and ends
 *
 * Owns every child. Must not die: a failed call here is said in the log and tried again.
 */
#include "proxy/master.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "proxy/process.h"
#include "proxy/resolver.h"
#include "proxy/runtime.h"
#include "xmllog/writer.h"

#define TICK_MS	       500   /* how often names to resolve are looked for */
#define STOP_MARGIN_MS 5000  /* what workers get above STOP_GRACE, to leave politely */
#define CLOSE_MS       10000 /* what the log writer gets to write the rest */

enum master_state { STARTING, RUNNING, STOPPING, CLOSING };

struct worker {
	struct process process;
	bool ready; /* has reported at least once */
};

struct master {
	const struct config *config;
	const struct check *check;
	struct runtime rt;
	struct xmllog log;
	struct resolver resolver;
	struct process writer;
	struct worker *workers;
	int *listen_fds;
	int signal_fd;
	int life[2];  /* its end of file tells the log writer that nobody is left */
	int ready[2]; /* numbers of workers that accept connections */
	enum master_state state;
	uint64_t deadline_ms; /* STOPPING, CLOSING: who is left is killed; 0: was done */
	uint64_t last_epoch_us;
	bool writer_failed; /* CLOSING: has died once by a signal and was started again */
	bool over;
	int exit_status;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

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

/* A line on standard error, whole. */
__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char line[1280];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "caronte: %s\n", line);
}

__attribute__((format(printf, 3, 4))) static void log_fault(struct master *m, const char *what,
							    const char *fmt, ...)
{
	char detail[1280];
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

static void log_start(struct master *m)
{
	const char *lack = m->check->probe.engine_why;

	if (xmllog_begin(&m->log, XMLLOG_START, NULL)) {
		xmllog_text(&m->log, XMLLOG_A_VERSION, CARONTE_VERSION);
		xmllog_num(&m->log, XMLLOG_A_PID, (uint64_t)getpid());
		xmllog_end(&m->log);
	}
	if (m->config->set.engine == ENGINE_AUTO && m->rt.engine != IO_ENGINE_URING)
		log_fault(m, "engine", "epoll is used, for io_uring does not work here: %s", lack);
	if (!m->config->set.relay_guard) {
		say("RELAY_GUARD is off: everybody may relay through this machine");
		log_fault(m, "relay-guard-off", "everybody may relay through this machine");
	}
	for (unsigned i = 0; i < m->rt.route->count; i++) {
		if (!m->check->probe.resolved[i].n)
			log_fault(m, "resolve", "%s does not resolve",
				  m->rt.route->destination[i].name);
	}
}

static void log_stop(struct master *m)
{
	if (!xmllog_begin(&m->log, XMLLOG_STOP, NULL))
		return;
	xmllog_text(&m->log, XMLLOG_A_VERSION, CARONTE_VERSION);
	xmllog_num(&m->log, XMLLOG_A_PID, (uint64_t)getpid());
	xmllog_end(&m->log);
}

/* In every child: what only the master has a use for. */
static void close_masters(struct master *m)
{
	close(m->signal_fd);
	close(m->ready[0]);
}

/* The log writer lives longest: a listening socket or the life pipe left open in it would lie about
 * who is there. */
static _Noreturn void writer_child(struct master *m)
{
	struct xmllog_writer_config c = probe_log_config(&m->config->set);

	close_masters(m);
	close(m->ready[1]);
	if (m->life[1] >= 0)
		close(m->life[1]);
	for (size_t i = 0; i < (size_t)m->rt.workers * m->rt.listen_count; i++)
		close(m->listen_fds[i]);
	_exit(xmllog_writer_main(&c, m->rt.rings, 1 + m->rt.workers, m->rt.log_wake_fd,
				 m->life[0]));
}

static void start_writer(struct master *m)
{
	pid_t pid = process_fork("caronte-log", 0);

	if (pid == 0)
		writer_child(m);
	if (pid < 0)
		log_fault(m, "fork", "log writer: %s", strerror(-pid));
	process_started(&m->writer, pid, now_ms());
}

static void start_worker(struct master *m, unsigned i)
{
	uint64_t epoch = next_epoch(m);
	char name[32];
	pid_t pid;

	snprintf(name, sizeof(name), "caronte-w%u", i);
	pid = process_fork(name, SIGTERM);
	if (pid == 0) {
		close_masters(m);
		close(m->life[0]);
		_exit(worker_main(&m->rt, i, epoch));
	}
	if (pid < 0)
		log_fault(m, "fork", "worker %u: %s", i, strerror(-pid));
	process_started(&m->workers[i].process, pid, now_ms());
}

/* The resolver's child holds nothing open that others wait for. */
static void resolver_child(void *ctx)
{
	struct master *m = ctx;

	close_masters(m);
	close(m->life[1]);
	for (size_t i = 0; i < (size_t)m->rt.workers * m->rt.listen_count; i++)
		close(m->listen_fds[i]);
}

static void signal_workers(const struct master *m, int sig)
{
	for (unsigned i = 0; i < m->rt.workers; i++)
		if (m->workers[i].process.pid)
			kill(m->workers[i].process.pid, sig);
}

/* SIG to the workers; they have AFTER_MS until they are killed. */
static void stop(struct master *m, int sig, uint64_t after_ms)
{
	uint64_t deadline = now_ms() + after_ms;

	if (m->state == CLOSING)
		return;
	signal_workers(m, sig);
	if (m->state == STOPPING) {
		if (m->deadline_ms > deadline)
			m->deadline_ms = deadline;
		return;
	}
	m->state = STOPPING;
	m->deadline_ms = deadline;
	/* With the sockets open, clients would still be let into a queue that nobody serves. */
	listen_end(m->listen_fds, (size_t)m->rt.workers * m->rt.listen_count);
	if (m->resolver.pid)
		kill(m->resolver.pid, SIGKILL);
}

static void worker_ended(struct master *m, unsigned i, int status)
{
	struct worker *w = &m->workers[i];
	char text[PROCESS_STATUS_TEXT];
	unsigned seats = seats_release_worker(m->rt.seats, i);

	process_status(status, text);
	process_ended(&w->process, now_ms());
	if (m->state >= STOPPING && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	log_fault(m, "worker-died", "worker %u: %s, %u sessions lost", i, text, seats);
	if (m->state != STARTING || w->ready)
		return;
	say("worker %u could not start: %s", i, text);
	m->exit_status = WIFEXITED(status) && WEXITSTATUS(status) >= EX__BASE ? WEXITSTATUS(status)
									      : EX_SOFTWARE;
	stop(m, SIGINT, STOP_MARGIN_MS);
}

static void writer_ended(struct master *m, int status)
{
	char text[PROCESS_STATUS_TEXT];

	process_status(status, text);
	process_ended(&m->writer, now_ms());
	if (m->state == CLOSING) {
		/* Killed before it had written the rest: one more try. */
		m->over = !WIFSIGNALED(status) || m->writer_failed || !m->deadline_ms;
		m->writer_failed = true;
		return;
	}
	log_fault(m, "log-writer-died", "%s", text);
}

static void name_records(struct master *m, uint64_t names, const char *what)
{
	for (unsigned i = 0; i < m->rt.route->count; i++)
		if (names >> i & 1)
			log_fault(m, "resolve", "%s %s", m->rt.route->destination[i].name, what);
}

static void reap(struct master *m)
{
	uint64_t lost, found;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == m->writer.pid) {
			writer_ended(m, status);
		} else if (pid == m->resolver.pid) {
			resolver_ended(&m->resolver, now_ms(), &lost, &found);
			if (m->state >= STOPPING)
				continue;
			name_records(m, lost, "does not resolve any more");
			name_records(m, found, "resolves again");
		} else {
			for (unsigned i = 0; i < m->rt.workers; i++)
				if (pid == m->workers[i].process.pid)
					worker_ended(m, i, status);
		}
	}
}

static void on_signal(struct master *m, uint32_t sig)
{
	static const char no_reload[] =
		"SIGHUP: the configuration cannot be read again while running; restart instead";

	switch (sig) {
	case SIGTERM:
		if (m->state < STOPPING)
			stop(m, SIGTERM,
			     (uint64_t)m->config->set.stop_grace * 1000 + STOP_MARGIN_MS);
		break;
	case SIGINT:
		stop(m, SIGINT, STOP_MARGIN_MS);
		break;
	case SIGUSR1:
		if (m->writer.pid)
			kill(m->writer.pid, SIGUSR1);
		break;
	case SIGHUP:
		say("%s", no_reload);
		log_fault(m, "configuration", "%s", no_reload);
		break;
	default: /* SIGCHLD: reap() runs in every turn */
		break;
	}
}

static void say_ready(struct master *m)
{
	char text[ADDR_TEXT_MAX];

	m->state = RUNNING;
	for (unsigned i = 0; i < m->check->listen.count; i++) {
		addr_format(&m->check->listen.addr[i], text);
		say("ready, listening on %s", text);
	}
}

static void take_ready(struct master *m)
{
	unsigned worker;

	while (read(m->ready[0], &worker, sizeof(worker)) == (ssize_t)sizeof(worker))
		if (worker < m->rt.workers)
			m->workers[worker].ready = true;
	if (m->state != STARTING)
		return;
	for (unsigned i = 0; i < m->rt.workers; i++)
		if (!m->workers[i].ready)
			return;
	say_ready(m);
}

static bool due(const struct process *p, uint64_t now)
{
	return !p->pid && now >= p->due_ms;
}

static void run_state(struct master *m, uint64_t now)
{
	bool any = false;
	int err;

	if (due(&m->writer, now) && !m->over)
		start_writer(m);
	if (m->state <= RUNNING) {
		for (unsigned i = 0; i < m->rt.workers; i++)
			if (due(&m->workers[i].process, now))
				start_worker(m, i);
		err = resolver_run(&m->resolver, now, resolver_child, m);
		if (err)
			log_fault(m, "fork", "resolver: %s", strerror(-err));
		return;
	}
	for (unsigned i = 0; i < m->rt.workers; i++)
		any |= m->workers[i].process.pid != 0;
	if (m->state == STOPPING && !any) {
		log_stop(m);
		close(m->life[1]);
		m->life[1] = -1;
		m->state = CLOSING;
		m->deadline_ms = now + CLOSE_MS;
	}
	if (m->deadline_ms && now >= m->deadline_ms) {
		if (m->state == STOPPING)
			signal_workers(m, SIGKILL);
		else if (m->writer.pid)
			kill(m->writer.pid, SIGKILL);
		m->deadline_ms = 0;
	}
}

static void sooner(uint64_t *until, uint64_t when)
{
	if (when < *until)
		*until = when;
}

/* Milliseconds until something is due whatever happens; -1: nothing is. */
static int wait_ms(const struct master *m, uint64_t now)
{
	uint64_t until = UINT64_MAX;

	if (!m->writer.pid)
		sooner(&until, m->writer.due_ms);
	if (m->state <= RUNNING) {
		for (unsigned i = 0; i < m->rt.workers; i++)
			if (!m->workers[i].process.pid)
				sooner(&until, m->workers[i].process.due_ms);
		if (m->resolver.names)
			sooner(&until, now + TICK_MS);
	} else if (m->deadline_ms) {
		sooner(&until, m->deadline_ms);
	}
	if (until == UINT64_MAX)
		return -1;
	return until <= now ? 0 : (int)(until - now < INT32_MAX ? until - now : INT32_MAX);
}

static void supervise(struct master *m)
{
	struct pollfd fds[] = { { .fd = m->signal_fd, .events = POLLIN },
				{ .fd = m->ready[0], .events = POLLIN } };
	struct signalfd_siginfo info;

	while (!m->over) {
		run_state(m, now_ms());
		if (poll(fds, 2, wait_ms(m, now_ms())) < 0 && errno != EINTR) {
			log_fault(m, "poll", "%s", strerror(errno));
			usleep(PROCESS_PAUSE_MS * 1000);
		}
		take_ready(m);
		while (read(m->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
			on_signal(m, info.ssi_signo);
		reap(m);
	}
}

/* Says WHAT and returns STATUS. */
static int refuse(int status, const char *what, int err)
{
	if (err)
		say("%s: %s", what, strerror(-err));
	else
		say("%s", what);
	return status;
}

static int make_descriptors(struct master *m)
{
	m->signal_fd = process_signals();
	if (m->signal_fd < 0)
		return m->signal_fd;
	if (pipe2(m->life, O_CLOEXEC) != 0 || pipe2(m->ready, O_CLOEXEC) != 0 ||
	    fcntl(m->ready[0], F_SETFL, O_NONBLOCK) != 0)
		return -errno;
	return 0;
}

/* Everything up to the first fork. 0 or an exit status, said. */
static int prepare(struct master *m)
{
	const struct check *k = m->check;
	struct xmllog_writer_config log;
	char why[512];
	int status, err;

	m->workers = calloc(k->workers, sizeof(*m->workers));
	m->listen_fds = calloc((size_t)k->workers * k->listen.count, sizeof(int));
	if (!m->workers || !m->listen_fds)
		return refuse(EX_OSERR, "memory", -ENOMEM);
	status = listen_open(&k->listen, k->workers, m->listen_fds, why, sizeof(why));
	if (status)
		return refuse(status, why, 0);
	err = runtime_make(&m->rt, m->config, k);
	if (!err)
		err = resolver_init(&m->resolver, m->rt.route, m->rt.route_shared, &k->listen);
	if (err)
		return refuse(EX_OSERR, "shared memory", err);
	err = make_descriptors(m);
	if (err)
		return refuse(EX_OSERR, "signals and pipes", err);
	m->rt.listen_fds = m->listen_fds;
	m->rt.ready_fd = m->ready[1];
	for (unsigned i = 0; i < m->rt.route->count; i++)
		if (!k->probe.resolved[i].n)
			resolver_missing(&m->resolver, i);
	if (privilege_drop(&k->id, why, sizeof(why)) != 0)
		return refuse(EX_NOPERM, why, 0);
	log = probe_log_config(&m->config->set);
	if (xmllog_writer_busy(&log))
		return refuse(EX_CONFIG, "LOG_FILE: another process writes this log", 0);
	return 0;
}

int master_run(const struct config *c, const struct check *k)
{
	static struct master m; /* in reach as long as the process is */
	int status;

	m = (struct master){ .config = c, .check = k };
	status = prepare(&m);
	if (status)
		return status;
	xmllog_open(&m.log, m.rt.rings[0], m.rt.log_wake_fd, c->set.log_level);
	start_writer(&m);
	log_start(&m);
	supervise(&m);
	free(m.workers);
	free(m.listen_fds);
	free(m.rt.rings);
	return m.exit_status;
}
