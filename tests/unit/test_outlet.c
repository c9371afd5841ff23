/* SPDX-License-Identifier: ISC */
/* outlet: what the system's log is sent, and what is known of who is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "xmllog/outlet.h"

#define CHANCES 100

static char dir[] = "/tmp/caronte-outlet-XXXXXX";
static struct sockaddr_un at = { .sun_family = AF_UNIX };

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/log", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

static int listener(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	assert_return_code(bind(fd, (struct sockaddr *)&at, sizeof(at)), errno);
	return fd;
}

static void leave(int fd)
{
	close(fd);
	unlink(at.sun_path);
}

static void assert_receives(int fd, const char *line)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got), 0);

	assert_int_equal(n, strlen(line));
	assert_memory_equal(got, line, (size_t)n);
}

static void test_lines(void **state)
{
	struct outlet o;
	int fd = listener();

	(void)state;
	outlet_init(&o, at.sun_path);
	assert_int_equal(outlet_lines(&o, SPAN("<start a=\"1\" />\n<command a=\"2\" />\n\n"
					       "<fault a=\"3\" />\n")),
			 0);
	assert_true(o.met);
	assert_receives(fd, "<22>caronte: <start a=\"1\" />");
	assert_receives(fd, "<20>caronte: <fault a=\"3\" />");
	outlet_close(&o);
	leave(fd);
}

static void test_none_is_wanted(void **state)
{
	struct outlet o;

	(void)state;
	outlet_init(&o, "");
	assert_int_equal(outlet_lines(&o, SPAN("<start a=\"1\" />\n")), 0);
	assert_false(o.met);
}

static void test_reader_comes_and_goes(void **state)
{
	struct outlet o;
	struct span line = SPAN("<start a=\"1\" />\n");
	int fd;

	(void)state;
	outlet_init(&o, at.sun_path);
	assert_int_equal(outlet_lines(&o, line), -ENOENT);
	assert_false(o.met);
	for (int i = 0; i < 2; i++) {
		fd = listener();
		assert_int_equal(outlet_lines(&o, line), 0);
		assert_true(o.met);
		o.met = false;
		assert_int_equal(outlet_lines(&o, line), 0);
		assert_false(o.met); /* who was there already */
		leave(fd);
		assert_int_equal(outlet_lines(&o, line), -ENOENT);
		assert_false(o.met);
	}
}

static void *read_one(void *arg)
{
	int fd = *(int *)arg;
	char octet;

	assert_return_code(recv(fd, &octet, 1, 0), errno);
	leave(fd);
	return NULL;
}

/* Nobody is there at the end of a batch, but somebody was at its beginning. */
static void test_reader_goes_within_a_batch(void **state)
{
	static const char line[] = "<start a=\"1\" />\n";
	const size_t n = sizeof(line) - 1, lines = 20000;
	char *text = malloc(n * lines);
	struct outlet o;
	int rc = 0;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < lines; i++)
		memcpy(text + i * n, line, n);
	outlet_init(&o, at.sun_path);
	for (int i = 0; i < CHANCES && rc == 0; i++) {
		int fd = listener();
		pthread_t reader;

		assert_int_equal(pthread_create(&reader, NULL, read_one, &fd), 0);
		o.met = false;
		rc = outlet_lines(&o, span_of(text, n * lines));
		assert_true(o.met);
		assert_int_equal(pthread_join(reader, NULL), 0);
		outlet_close(&o);
	}
	assert_true(rc == -ENOENT || rc == -ECONNREFUSED);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_none_is_wanted),
		cmocka_unit_test(test_reader_comes_and_goes),
		cmocka_unit_test(test_reader_goes_within_a_batch),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
