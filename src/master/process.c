/* SPDX-License-Identifier: ISC */
/* process: see process.h. */
#include "master/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define PAUSE_FIRST_MS 10

pid_t process_fork(const char *name, int death_signal)
{
	pid_t master = getpid();
	pid_t pid = fork();
	sigset_t chld;

	if (pid != 0)
		return pid < 0 ? -errno : pid;
	/* A master that died before this line sends nothing any more: ask. */
	if (death_signal && (prctl(PR_SET_PDEATHSIG, death_signal) != 0 || getppid() != master))
		_exit(EX_OSERR);
	prctl(PR_SET_NAME, name);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &chld, NULL);
	return 0;
}

static void put_off(struct process *p, uint64_t now_ms)
{
	p->due_ms = now_ms + p->pause_ms;
	p->pause_ms = p->pause_ms ? p->pause_ms * 2 : PAUSE_FIRST_MS;
	if (p->pause_ms > PROCESS_PAUSE_MS)
		p->pause_ms = PROCESS_PAUSE_MS;
}

void process_started(struct process *p, pid_t pid, uint64_t now_ms)
{
	if (pid < 0) {
		if (!p->pause_ms)
			p->pause_ms = PAUSE_FIRST_MS;
		put_off(p, now_ms);
		return;
	}
	p->pid = pid;
	p->started_ms = now_ms;
}

void process_ended(struct process *p, uint64_t now_ms)
{
	p->pid = 0;
	if (now_ms - p->started_ms >= PROCESS_YOUNG_MS)
		p->pause_ms = 0;
	put_off(p, now_ms);
}

void process_status(int status, char *out)
{
	if (WIFSIGNALED(status))
		snprintf(out, PROCESS_STATUS_TEXT, "signal %d", WTERMSIG(status));
	else
		snprintf(out, PROCESS_STATUS_TEXT, "exit status %d", WEXITSTATUS(status));
}

int process_signals(void)
{
	static const int mine[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
	struct sigaction usual = { .sa_handler = SIG_DFL };
	struct sigaction ignored = { .sa_handler = SIG_IGN };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(mine) / sizeof(mine[0]); i++) {
		sigaddset(&set, mine[i]);
		/* An ignored signal is thrown away, never queued (a shell's `&` ignores INT). */
		if (sigaction(mine[i], &usual, NULL) != 0)
			return -errno;
	}
	if (sigaction(SIGPIPE, &ignored, NULL) != 0 || sigprocmask(SIG_SETMASK, &set, NULL) != 0)
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}
