/* SPDX-License-Identifier: ISC */
/*
 * The engine's suite: every case over io_uring, epoll and the seeded fake. An io_uring that this
 * kernel or sandbox refuses is skipped, with the reason. CARONTE_SEED=N runs the fake with that
 * seed alone, to repeat a failure.
 */
#include "harness.h"

#include "../unit/machine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define SEEDS_USUAL 12
#define TESTS_MAX   2000

struct test {
	const struct engine_case *what;
	const struct io_backend *backend;
	uint64_t seed;
	bool old; /* io_uring as on the oldest kernel that has what is needed */
	char name[80];
};

static struct test tests[TESTS_MAX];
static unsigned test_count;

static void run_case(void **state)
{
	static struct io_uring_less less = { .setup_flags = true, .cqe_skip = true };
	struct test *t = *state;
	const char *why = NULL;
	void *arg = NULL;
	struct io_limits limits = { .ops = t->what->ops ? t->what->ops : 256,
				    .block_size = BLOCK_SIZE,
				    .block_count = BLOCK_COUNT };
	struct env e = { .backend = t->backend, .random = t->seed };
	unsigned before = open_descriptors();

	e.faults = t->backend == &fake_backend && t->what->fail;
	e.rates = (struct fake_rates){ .seed = t->seed,
				       .shorten = (unsigned)(t->seed * 13 % 100),
				       .delay = (unsigned)(t->seed * 29 % 80),
				       .fail = t->what->fail };
	if (t->backend == &fake_backend)
		arg = &e.rates;
	else if (t->old)
		arg = &less;
	if (io_create_with(&e.io, t->backend, &limits, arg, &why) < 0) {
		print_message("%s: %s\n", t->name, why ? why : "no engine");
		assert_ptr_equal(t->backend, &io_backend_uring);
		skip();
	}
	t->what->run(&e);
	assert_int_equal(e.io->in_flight, 0);
	assert_false(list_linked(&e.io->tasks));
	e.rates.fail = 0;
	all_blocks_are_back(&e);
	io_destroy(e.io);
	assert_int_equal(open_descriptors(), before);
}

static void add(const struct engine_case *c, const struct io_backend *backend, uint64_t seed,
		bool old)
{
	struct test *t = &tests[test_count++];

	assert_true(test_count <= TESTS_MAX);
	*t = (struct test){ .what = c, .backend = backend, .seed = seed, .old = old };
	if (backend == &fake_backend)
		snprintf(t->name, sizeof(t->name), "fake(%u) %s", (unsigned)seed, c->name);
	else
		snprintf(t->name, sizeof(t->name), "%s%s %s", old ? "old " : "", backend->name,
			 c->name);
}

static void add_all(const struct engine_case *cases)
{
	const char *text = getenv("CARONTE_SEED");
	uint64_t only = text ? strtoull(text, NULL, 10) : 0;

	for (const struct engine_case *c = cases; c->name; c++) {
		unsigned seeds = c->seeds ? c->seeds : SEEDS_USUAL;

		if (!only) {
			add(c, &io_backend_uring, 1, false);
			add(c, &io_backend_uring, 1, true);
			add(c, &io_backend_epoll, 1, false);
		}
		for (uint64_t s = only ? only : 1; s <= (only ? only : seeds); s++)
			add(c, &fake_backend, s, false);
	}
}

int main(void)
{
	static struct CMUnitTest units[TESTS_MAX];
	struct rlimit r;

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	add_all(basic_cases);
	add_all(connect_cases);
	add_all(cancel_cases);
	add_all(loop_cases);
	add_all(splice_cases);
	add_all(stream_cases);
	add_all(local_cases);
	add_all(tls_cases);
	add_all(load_cases);
	for (unsigned i = 0; i < test_count; i++)
		units[i] = (struct CMUnitTest){ .name = tests[i].name,
						.test_func = run_case,
						.initial_state = &tests[i] };
	return _cmocka_run_group_tests("engine", units, test_count, NULL, NULL);
}
