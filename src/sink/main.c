/* SPDX-License-Identifier: ISC */
/*
 * caronte-sink: start, signals, workers, the end.
 *
 * With one worker the program is that worker. With more, it opens all sockets (SO_REUSEPORT),
 * forks, and waits: the first worker that ends, or a signal, ends them all. Exit: 0 as asked; 64
 * arguments; 69 the address is taken or none of ours; 77 it may not be bound; 70 a worker died; 73,
 * 74 a record cannot be opened, written.
 */
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "io/net.h"
#include "sink/inner.h"

#define BACKLOG		 4096
#define SESSIONS_DEFAULT 10000
#define OTHER_FILES	 32 /* descriptors of a process beside its sessions' */

static struct sink_options options;

/* Raises the limit of open files, and takes as many sessions as it carries. */
static void fit_sessions(struct sink_options *o)
{
	unsigned asked = o->sessions ? o->sessions : SESSIONS_DEFAULT;
	unsigned each = 1u + (o->raw != NULL) + (o->maildir != NULL);
	struct rlimit files;
	rlim_t fit;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		err(EX_OSERR, "getrlimit");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
		err(EX_OSERR, "setrlimit");
	fit = files.rlim_cur > OTHER_FILES + each ? (files.rlim_cur - OTHER_FILES) / each : 1;
	if (o->sessions && asked > fit)
		errx(EX_USAGE, "--max: %u sessions need %u open files, the limit is %llu", asked,
		     asked * each + OTHER_FILES, (unsigned long long)files.rlim_cur);
	o->sessions = asked < fit ? asked : (unsigned)fit;
}

/* "unix:PATH" or ADDRESS:PORT. */
static const char *where(const struct sink_options *o)
{
	static char text[ADDR_TEXT_MAX + ADDR_PATH_MAX];

	if (o->listen_path)
		snprintf(text, sizeof(text), "unix:%s", o->listen_path);
	else
		addr_format(&o->listen, text);
	return text;
}

static int open_listener(struct sink_options *o, bool shared)
{
	int fd = o->listen_path ? net_listen_path(o->listen_path, BACKLOG, 0666)
				: net_listen(&o->listen, shared, BACKLOG);

	if (fd < 0) {
		errno = -fd;
		err(fd == -EACCES ? EX_NOPERM : EX_UNAVAILABLE, "%s", where(o));
	}
	if (o->rcvbuf && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &o->rcvbuf, sizeof(o->rcvbuf)) < 0)
		err(EX_OSERR, "--rcvbuf");
	if (!o->listen_path)
		net_local(fd, &o->listen);
	return fd;
}

/* A Unix socket is one for all workers. */
static void open_listeners(struct sink_options *o, int *fds)
{
	if (!o->listen_path && o->workers > 1 && o->listen.port && net_in_use(&o->listen))
		errx(EX_UNAVAILABLE, "%s: %s", where(o), strerror(EADDRINUSE));
	for (unsigned i = 0; i < o->workers; i++)
		fds[i] = o->listen_path && i > 0 ? fds[0] : open_listener(o, o->workers > 1);
}

static void say_ready(const struct sink_options *o)
{
	fprintf(stderr, "caronte-sink: ready, listening on %s\n", where(o));
}

static struct sink_shared *make_shared(void)
{
	struct sink_shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (sh == MAP_FAILED)
		err(EX_OSERR, "mmap");
	sh->began_us = sink_clock_us();
	return sh;
}

static void report(const struct sink_shared *sh, const pid_t *workers)
{
	if (options.report)
		sink_report_write(sh, options.report, workers);
	else
		sink_report_say(sh);
}

/* Signals of a worker come as octets of a descriptor, in the loop. */
static void on_signal(struct io_op *op, int res)
{
	struct sink *k = container_of(op, struct sink, signal_op);
	struct signalfd_siginfo info;

	if (res < 0 || read(k->signals, &info, sizeof(info)) != sizeof(info)) {
		io_stop(k->io);
		return;
	}
	if (info.ssi_signo == SIGUSR1) {
		report(k->shared, NULL);
		io_poll(k->io, &k->signal_op, k->signals, POLLIN);
		return;
	}
	io_stop(k->io);
}

static void watch_signals(struct sink *k, const sigset_t *set)
{
	k->signals = signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (k->signals < 0)
		err(EX_OSERR, "signalfd");
	k->signal_op.done = on_signal;
	io_poll(k->io, &k->signal_op, k->signals, POLLIN);
}

/* A worker's whole life. */
static void work(struct sink_shared *sh, unsigned index, int listener, const sigset_t *set)
{
	static struct sink k;
	static struct sink_store store;
	const struct io_limits limits = {
		.ops = options.sessions + 8,
		.timers = options.sessions + 8,
		.block_size = 4096,
		.block_count = 8,
	};
	int res;

	k = (struct sink){ .opt = &options,
			   .shared = sh,
			   .stats = &sh->stats[index],
			   .store = &store,
			   .listener = listener };
	res = sink_store_open(&store, &options);
	if (res < 0) {
		errno = -res;
		err(EX_CANTCREAT, "%s", options.maildir);
	}
	sink_record_open(&k);
	res = io_create(&k.io, options.engine, &limits, NULL);
	if (res == 0) {
		watch_signals(&k, set);
		res = sink_listen_start(&k);
	}
	if (res == 0) {
		if (atomic_fetch_add(&sh->ready, 1) + 1 == options.workers)
			say_ready(&options);
		res = io_run(k.io);
	}
	if (res < 0) {
		errno = -res;
		err(EX_OSERR, "engine");
	}
	sink_sessions_abandon(&k);
	sink_store_close(&store);
	io_destroy(k.io);
	pool_destroy(&k.pool);
}

/* Ends all workers and collects them. */
static void end_workers(pid_t *pids)
{
	for (unsigned i = 0; pids[i]; i++)
		kill(pids[i], SIGTERM);
	for (unsigned i = 0; pids[i]; i++)
		while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			;
	pids[0] = 0;
}

/* Takes one worker that has ended off the list. Its exit status, -1: none has ended. */
static int collect(pid_t *pids)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);
	unsigned i = 0, last = 0;

	if (pid <= 0)
		return -1;
	while (pids[i] && pids[i] != pid)
		i++;
	while (pids[last])
		last++;
	if (pids[i]) {
		pids[i] = pids[last - 1];
		pids[last - 1] = 0;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

static int supervise(struct sink_shared *sh, pid_t *pids, const sigset_t *set)
{
	int status = -1;
	int sig;

	while (status < 0) {
		if (sigwait(set, &sig) != 0)
			continue;
		if (sig == SIGCHLD)
			status = collect(pids);
		else if (sig == SIGUSR1)
			report(sh, pids);
		else
			status = 0;
	}
	end_workers(pids);
	return status;
}

static int run_workers(struct sink_shared *sh, const int *fds, const sigset_t *set)
{
	static pid_t pids[SINK_WORKERS_MAX + 1];
	pid_t parent = getpid();
	sigset_t all = *set;

	sigaddset(&all, SIGCHLD);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (unsigned i = 0; i < options.workers; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			err(EX_OSERR, "fork");
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			if (getppid() != parent)
				exit(0);
			work(sh, i, fds[i], set);
			exit(0);
		}
	}
	return supervise(sh, pids, &all);
}

int main(int argc, char **argv)
{
	static int fds[SINK_WORKERS_MAX];
	struct sink_shared *sh;
	sigset_t set;
	int status = 0;

	sink_options_read(&options, argc, argv);
	fit_sessions(&options);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (options.report && !sink_report_possible(options.report))
		return EX_CANTCREAT;
	open_listeners(&options, fds);
	sh = make_shared();
	if (options.workers == 1)
		work(sh, 0, fds[0], &set);
	else
		status = run_workers(sh, fds, &set);
	if (options.report && !sink_report_write(sh, options.report, NULL))
		status = EX_IOERR;
	sink_report_say(sh);
	munmap(sh, sizeof(*sh));
	return status;
}
