/* SPDX-License-Identifier: ISC */
/* asked: what a child says that tries something out, and that it cannot take for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/asked.h"

static struct asked asked;

static int teardown(void **state)
{
	(void)state;
	if (asked.pid) {
		kill(asked.pid, SIGKILL);
		waitpid(asked.pid, NULL, 0);
		asked_ended(&asked);
	}
	return 0;
}

static int await(void)
{
	int status;

	assert_int_equal(waitpid(asked.pid, &status, 0), asked.pid);
	asked_ended(&asked);
	assert_int_equal(asked.pid, 0);
	assert_int_equal(asked.fd, -1);
	return status;
}

static void what_it_says_is_kept(void **state)
{
	int status;

	(void)state;
	if (asked_fork(&asked, "asked", 1000) == 0) {
		fputs("two\nlines\n", stderr);
		_exit(78);
	}
	assert_true(asked.pid > 0);
	status = await();
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 78);
	assert_string_equal(asked.text, "two\nlines\n");
	assert_int_equal(asked.said, strlen(asked.text));
	asked_look(&asked, UINT64_MAX); /* nobody is asked */
	assert_string_equal(asked.text, "two\nlines\n");
}

/* What is more than there is room for is thrown away, and nobody is held up by it. */
static void who_says_too_much(void **state)
{
	(void)state;
	if (asked_fork(&asked, "asked", 1000) == 0) {
		for (int i = 0; i < 4 * ASKED_TEXT; i++)
			fputs("0123456789", stderr);
		_exit(0);
	}
	while (asked.fd >= 0) {
		struct pollfd p = { .fd = asked.fd, .events = POLLIN };

		assert_int_equal(poll(&p, 1, 20000), 1);
		asked_read(&asked);
	}
	assert_true(WIFEXITED(await()));
	assert_int_equal(asked.said, ASKED_TEXT - 1);
	assert_int_equal(strlen(asked.text), ASKED_TEXT - 1);
}

static void who_takes_too_long_is_ended(void **state)
{
	struct pollfd p;
	int status;

	(void)state;
	if (asked_fork(&asked, "asked", 1000) == 0) {
		fputs("wait\n", stderr);
		for (;;)
			pause();
	}
	p = (struct pollfd){ .fd = asked.fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 20000), 1);
	asked_look(&asked, 1000 + ASKED_PATIENCE_MS - 1);
	assert_int_equal(waitpid(asked.pid, &status, WNOHANG), 0);
	asked_look(&asked, 1000 + ASKED_PATIENCE_MS);
	asked_look(&asked, 1000 + ASKED_PATIENCE_MS + 1); /* once is enough */
	status = await();
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_string_equal(asked.text, "wait\ncaronte: no answer in 600 seconds\n");
	assert_int_equal(asked.said, strlen(asked.text));
}

#define TEST(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_it_says_is_kept),
		TEST(who_says_too_much),
		TEST(who_takes_too_long_is_ended),
	};

	return cmocka_run_group_tests_name("asked", tests, NULL, NULL);
}
