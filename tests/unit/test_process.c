/* SPDX-License-Identifier: ISC */
/* process: pauses between starts, what a child inherits, and what a status is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/process.h"

static void pauses_grow_and_are_forgotten(void **state)
{
	static const unsigned pauses[] = { 0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000 };
	struct process p = { 0 };
	uint64_t now = 5000;

	(void)state;
	for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
		process_started(&p, 77, now);
		assert_int_equal(p.pid, 77);
		now += PROCESS_YOUNG_MS - 1;
		process_ended(&p, now);
		assert_int_equal(p.pid, 0);
		assert_int_equal(p.due_ms, now + pauses[i]);
		now = p.due_ms;
	}
	process_started(&p, 77, now);
	now += PROCESS_YOUNG_MS;
	process_ended(&p, now);
	assert_int_equal(p.due_ms, now);
	process_started(&p, 77, now);
	process_ended(&p, now + 1);
	assert_int_equal(p.due_ms, now + 1 + 10);
}

/* A fork that fails never leads to a loop without a pause. */
static void failed_forks_wait(void **state)
{
	struct process p = { 0 };
	uint64_t now = 100;

	(void)state;
	for (int i = 0; i < 10; i++) {
		process_started(&p, -11, now);
		assert_int_equal(p.pid, 0);
		assert_true(p.due_ms >= now + 10);
		assert_true(p.due_ms <= now + PROCESS_PAUSE_MS);
		now = p.due_ms;
	}
	assert_int_equal(p.pause_ms, PROCESS_PAUSE_MS);
}

static void statuses(void **state)
{
	char text[PROCESS_STATUS_TEXT];
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0)
		_exit(70);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	process_status(status, text);
	assert_string_equal(text, "exit status 70");
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	process_status(status, text);
	assert_string_equal(text, "signal 9");
}

/* Runs in a child of its own, for it changes signals; a number that is not 0 names what is wrong.
 */
static int signals_of_a_child(void)
{
	struct signalfd_siginfo info;
	struct sigaction action;
	char name[32] = "";
	sigset_t mask;
	int fd, death = 0, status;
	pid_t pid;

	signal(SIGINT, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGWINCH);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	fd = process_signals();
	if (fd < 0)
		return 1;
	raise(SIGINT);
	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info) || info.ssi_signo != SIGINT)
		return 2;
	pid = process_fork("some-name", SIGTERM);
	if (pid != 0) {
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
			return 3;
		return WEXITSTATUS(status);
	}
	prctl(PR_GET_NAME, name);
	prctl(PR_GET_PDEATHSIG, &death);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	if (strcmp(name, "some-name") != 0 || death != SIGTERM)
		_exit(4);
	if (!sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGINT) ||
	    !sigismember(&mask, SIGHUP) || !sigismember(&mask, SIGUSR1) ||
	    !sigismember(&mask, SIGUSR2))
		_exit(5);
	if (sigismember(&mask, SIGCHLD) || sigismember(&mask, SIGWINCH))
		_exit(6);
	sigaction(SIGPIPE, NULL, &action);
	if (action.sa_handler != SIG_IGN)
		_exit(7);
	sigaction(SIGCHLD, NULL, &action);
	_exit(action.sa_handler == SIG_DFL ? 0 : 8);
}

static void signals(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(signals_of_a_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* When its master is killed, a child learns it. */
static void death_of_the_master(void **state)
{
	struct pollfd end;
	int fds[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		if (process_fork("orphan", SIGTERM) == 0)
			for (;;)
				pause();
		usleep(50 * 1000);
		raise(SIGKILL);
	}
	close(fds[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	end = (struct pollfd){ .fd = fds[0], .events = POLLIN };
	assert_int_equal(poll(&end, 1, 60000), 1);
	assert_true(end.revents & POLLHUP);
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses_grow_and_are_forgotten),
		cmocka_unit_test(failed_forks_wait),
		cmocka_unit_test(statuses),
		cmocka_unit_test(signals),
		cmocka_unit_test(death_of_the_master),
	};

	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
