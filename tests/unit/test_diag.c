/* SPDX-License-Identifier: ISC */
/* diag: what is said while a daemon runs holds nobody up, whatever standard error is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/diag.h"

#define PATIENCE_S 60
#define LINE	   "a line of forty octets, with its own end\n"

static int ends[2]; /* read, write */

static int open_pipe(void **state)
{
	(void)state;
	return pipe(ends);
}

static int open_socket(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
}

static int close_ends(void **state)
{
	(void)state;
	close(ends[0]);
	close(ends[1]);
	return 0;
}

/* Says N octets in a process whose standard error is FD; how that ended. */
static int say(int fd, const char *text, size_t n)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		alarm(PATIENCE_S);
		signal(SIGPIPE, SIG_IGN);
		dup2(fd, STDERR_FILENO);
		diag_say(text, n);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* What waits to be read. */
static size_t waiting(char *out, size_t cap)
{
	size_t n = 0;
	ssize_t k;

	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	while ((k = read(ends[0], out + n, cap - n)) > 0)
		n += (size_t)k;
	return n;
}

static void what_finds_room_is_said(void **state)
{
	static char text[3 * PIPE_BUF], got[sizeof(text)];

	(void)state;
	memset(text, 'x', sizeof(text)); /* a line longer than one write */
	memcpy(text, LINE, strlen(LINE));
	text[sizeof(text) - 1] = '\n';
	assert_int_equal(say(ends[1], text, sizeof(text)), 0);
	assert_int_equal(waiting(got, sizeof(got)), sizeof(text));
	assert_memory_equal(got, text, sizeof(text));
}

/* More than it holds, said again and again: what got there are whole lines. */
static void what_does_not_is_dropped(void **state)
{
	static char text[256 * (sizeof(LINE) - 1)], got[1u << 20];
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(text); i += strlen(LINE))
		memcpy(text + i, LINE, strlen(LINE));
	for (int i = 0; i < 40; i++)
		assert_int_equal(say(ends[1], text, sizeof(text)), 0);
	assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
	n = waiting(got, sizeof(got));
	assert_true(n > PIPE_BUF && n < 40 * sizeof(text));
	assert_int_equal(n % strlen(LINE), 0);
	for (size_t i = 0; i < n; i += strlen(LINE))
		assert_memory_equal(got + i, LINE, strlen(LINE));
	/* There is room again. */
	assert_int_equal(say(ends[1], LINE, strlen(LINE)), 0);
	assert_int_equal(waiting(got, sizeof(got)), strlen(LINE));
}

static void nobody_is_there_to_read(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	close(ends[0]);
	ends[0] = -1;
	assert_int_equal(say(ends[1], LINE, strlen(LINE)), 0);
	assert_int_equal(say(fd, LINE, strlen(LINE)), 0);
	close(fd);
}

static void a_file_takes_all(void **state)
{
	int fd = memfd_create("said", MFD_CLOEXEC);
	static char text[100000];

	(void)state;
	memset(text, '\n', sizeof(text));
	assert_int_equal(say(fd, text, sizeof(text)), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), sizeof(text));
	close(fd);
}

/* A fault of the program ends it, also where its last words find no room. */
static void a_fault_ends_the_process(void **state)
{
	static char text[1u << 20];
	int status;
	pid_t pid;

	(void)state;
	memset(text, '\n', sizeof(text));
	assert_int_equal(say(ends[1], text, sizeof(text)), 0);
	pid = fork();
	if (pid == 0) {
		alarm(PATIENCE_S);
		dup2(ends[1], STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		CHECK(pid != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

#define PIPE(f)	  cmocka_unit_test_setup_teardown(f, open_pipe, close_ends)
#define SOCKET(f) cmocka_unit_test_setup_teardown(f, open_socket, close_ends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIPE(what_finds_room_is_said),	    SOCKET(what_finds_room_is_said),
		PIPE(what_does_not_is_dropped),	    SOCKET(what_does_not_is_dropped),
		PIPE(nobody_is_there_to_read),	    SOCKET(nobody_is_there_to_read),
		PIPE(a_fault_ends_the_process),	    SOCKET(a_fault_ends_the_process),
		cmocka_unit_test(a_file_takes_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
