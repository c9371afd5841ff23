/* SPDX-License-Identifier: ISC */
/* asked: see asked.h. */
#include "master/asked.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "master/process.h"

pid_t asked_fork(struct asked *a, const char *name, uint64_t now_ms)
{
	int pipes[2];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return -errno;
	pid = process_fork(name, SIGKILL);
	if (pid == 0) {
		if (dup2(pipes[1], STDERR_FILENO) < 0)
			_exit(EX_OSERR);
		return 0;
	}
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return pid;
	}
	(void)fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	*a = (struct asked){ .pid = pid, .fd = pipes[0], .until_ms = now_ms + ASKED_PATIENCE_MS };
	return pid;
}

void asked_read(struct asked *a)
{
	char rest[512] = { 0 };
	ssize_t n;

	if (a->fd < 0)
		return;
	for (;;) {
		size_t room = sizeof(a->text) - 1 - a->said;

		n = read(a->fd, room ? a->text + a->said : rest, room ? room : sizeof(rest));
		if (n <= 0)
			break;
		if (room)
			a->said += (size_t)n;
	}
	a->text[a->said] = '\0';
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close(a->fd);
	a->fd = -1;
}

void asked_look(struct asked *a, uint64_t now_ms)
{
	size_t room;
	int n;

	if (!a->pid || !a->until_ms || now_ms < a->until_ms)
		return;
	a->until_ms = 0;
	kill(a->pid, SIGKILL);
	asked_read(a);
	room = sizeof(a->text) - a->said;
	n = snprintf(a->text + a->said, room, "caronte: no answer in %d seconds\n",
		     ASKED_PATIENCE_MS / 1000);
	if (n > 0)
		a->said += (size_t)n < room ? (size_t)n : room - 1;
}

void asked_ended(struct asked *a)
{
	asked_read(a);
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
	a->pid = 0;
}
