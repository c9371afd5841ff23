/* SPDX-License-Identifier: ISC */
/* channel: what the two ends say to each other, and what is heard of an end that is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/channel.h"

static int pair[2];

static int setup(void **state)
{
	(void)state;
	return channel_open(pair);
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
	return 0;
}

static void tell(uint64_t number)
{
	struct channel_news news = { .number = number };
	int fd = memfd_create("news", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(channel_tell(pair[0], &news, &(struct channel_files){ fd, fd, -1 }), 0);
	close(fd);
}

static void assert_heard(uint64_t number)
{
	struct channel_news news;
	struct channel_files files;

	assert_int_equal(channel_hear(pair[1], &news, &files), 1);
	assert_int_equal(news.number, number);
	assert_int_equal(files.keys, -1);
	assert_int_equal(close(files.image), 0);
	assert_int_equal(close(files.state), 0);
}

static int hear(void)
{
	struct channel_news news;
	struct channel_files files;

	return channel_hear(pair[1], &news, &files);
}

static void the_master_goes(void)
{
	close(pair[0]);
	pair[0] = -1;
}

static void each_hears_the_other(void **state)
{
	struct channel_report report = { .newest = 3, .oldest = 1 };

	(void)state;
	assert_int_equal(hear(), -EAGAIN);
	assert_false(channel_reported(pair[0], &report));
	tell(2);
	tell(3);
	assert_heard(2);
	assert_heard(3);
	assert_int_equal(hear(), -EAGAIN);
	channel_report(pair[1], &report);
	report.oldest = 2;
	channel_report(pair[1], &report);
	assert_true(channel_reported(pair[0], &report));
	assert_int_equal(report.oldest, 2);
	assert_false(channel_reported(pair[0], &report));
}

static void the_end_comes_behind_the_news(void **state)
{
	(void)state;
	tell(2);
	the_master_goes();
	assert_heard(2);
	assert_int_equal(hear(), 0);
}

/* As an upgrade leaves the channel where a session has ended just before. */
static void reports_that_were_not_read_are_no_fault(void **state)
{
	const struct channel_report report = { .newest = 2, .oldest = 2 };

	(void)state;
	tell(2);
	channel_report(pair[1], &report);
	the_master_goes();
	assert_heard(2);
	assert_int_equal(hear(), 0);
	assert_int_equal(hear(), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_hears_the_other),
		TEST(the_end_comes_behind_the_news),
		TEST(reports_that_were_not_read_are_no_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
