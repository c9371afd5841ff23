/* SPDX-License-Identifier: ISC */
/* Sessions that all workers have: kept, by version, and never a mixture of two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shared/resumption.h"

static void kept_by_version(void **state)
{
	struct resumption *r = resumption_make();
	uint8_t out[RESUMPTION_MAX], most[RESUMPTION_MAX + 1];

	(void)state;
	assert_non_null(r);
	memset(most, 'x', sizeof(most));
	assert_int_equal(resumption_get(r, 3, 1, out), 0);
	resumption_keep(r, 3, 1, SPAN("one"));
	assert_int_equal(resumption_get(r, 3, 1, out), 3);
	assert_memory_equal(out, "one", 3);
	assert_int_equal(resumption_get(r, 3, 2, out), 0);
	assert_int_equal(resumption_get(r, 4, 1, out), 0);
	resumption_keep(r, 3, 2, SPAN("another"));
	assert_int_equal(resumption_get(r, 3, 1, out), 0);
	assert_int_equal(resumption_get(r, 3, 2, out), 7);
	assert_memory_equal(out, "another", 7);
	/* What does not fit changes nothing. */
	resumption_keep(r, 3, 2, span_of(most, sizeof(most)));
	resumption_keep(r, 3, 2, SPAN(""));
	assert_int_equal(resumption_get(r, 3, 2, out), 7);
	resumption_keep(r, 3, 2, span_of(most, RESUMPTION_MAX));
	assert_int_equal(resumption_get(r, 3, 2, out), RESUMPTION_MAX);
	assert_memory_equal(out, most, RESUMPTION_MAX);
}

/* Writes sessions of one octet's kind each, of any length, for as long as it lives. */
static pid_t writer(struct resumption *r, uint8_t kind)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	for (size_t n = 1;; n = n % RESUMPTION_MAX + 1) {
		uint8_t octets[RESUMPTION_MAX];

		memset(octets, kind, n);
		resumption_keep(r, 0, 1, span_of(octets, n));
	}
}

/* Two processes write, one of them is killed again and again: what is read is whole, and there is
 * something to read in the end. */
static void never_a_mixture(void **state)
{
	struct resumption *r = resumption_make();
	pid_t one = writer(r, 'a');
	uint8_t out[RESUMPTION_MAX];
	unsigned got = 0;
	size_t n;

	(void)state;
	for (unsigned turn = 0; turn < 20; turn++) {
		pid_t other = writer(r, 'b');

		for (unsigned i = 0; i < 2000; i++) {
			n = resumption_get(r, 0, 1, out);
			got += n > 0;
			for (size_t k = 1; k < n; k++)
				assert_int_equal(out[k], out[0]);
		}
		kill(other, SIGKILL);
		assert_int_equal(waitpid(other, NULL, 0), other);
	}
	/* On a busy machine no writer may have had its turn yet, or each was cut off in a write. */
	for (unsigned i = 0; i < 3000 && !got; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		got += resumption_get(r, 0, 1, out) > 0;
	}
	kill(one, SIGKILL);
	assert_int_equal(waitpid(one, NULL, 0), one);
	assert_true(got > 0);
	/* One of them may have died while it wrote. */
	for (unsigned i = 0; i < 300 && !resumption_get(r, 0, 2, out); i++) {
		resumption_keep(r, 0, 2, SPAN("the last"));
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	assert_int_equal(resumption_get(r, 0, 2, out), 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_by_version),
		cmocka_unit_test(never_a_mixture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
