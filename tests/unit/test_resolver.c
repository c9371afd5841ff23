/* SPDX-License-Identifier: ISC */
/*
 * resolver: which names are asked when, and what is done with answers. No network: names are those
 * of /etc/hosts, or ones that cannot be asked at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/net.h"
#include "check/resolver.h"
#include "route/shared.h"
#include "shared/memory.h"

static struct route route;
static struct route_shared *shared;
static struct listen_set nowhere;

static void destinations(unsigned n, const char *const *names)
{
	route = (struct route){ .cooperation = ROUTE_CLUSTER, .count = n };
	for (unsigned i = 0; i < n; i++) {
		snprintf(route.destination[i].name, DESTINATION_NAME_MAX, "%s", names[i]);
		route.destination[i].weight = 1;
	}
	shared = shared_map(route_shared_room());
	assert_non_null(shared);
	route_shared_init(shared, &route);
}

static int teardown(void **state)
{
	(void)state;
	if (shared)
		shared_unmap(shared, route_shared_room());
	shared = NULL;
	return 0;
}

static void literals(void **state)
{
	static const char *const names[] = {
		"localhost:25",
		"192.0.2.1",
		"192.0.2.1:",
		"192.0.2.1:0",
		":25",
		"[::1:25",
		"[]:25",
		"192.0.2.1:65536",
		"192.0.2:25",
		"192.0.2.1:+25",
		"192.0.2.1:25x",
		"[mx.example]:25",
		"",
		"192.0.2.1:-1",
		"192.0.2.256:25",
		"::1:25",
		"2001:db8::1:25",
		"[192.0.2.1]:25",
		"192.0.2.1:0025",
	};
	char text[ADDR_TEXT_MAX];
	struct addr a;

	(void)state;
	assert_true(resolver_literal("192.0.2.1:2525", &a));
	addr_format(&a, text);
	assert_string_equal(text, "192.0.2.1:2525");
	assert_true(resolver_literal("[2001:db8::1]:65535", &a));
	addr_format(&a, text);
	assert_string_equal(text, "[2001:db8::1]:65535");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (resolver_literal(names[i], &a))
			fail_msg("%s", names[i]);
}

static void init_nothing(void *ctx)
{
	(void)ctx;
}

static void await(struct resolver *r, uint64_t now_ms, uint64_t *lost, uint64_t *found)
{
	int status;

	assert_int_not_equal(r->pid, 0);
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	assert_int_equal(status, 0);
	resolver_ended(r, now_ms, lost, found);
	assert_int_equal(r->pid, 0);
}

static void addresses_are_never_asked(void **state)
{
	static const char *const names[] = { "192.0.2.1:25", "[::1]:25" };
	struct route_search search = { 0 };
	struct resolver r;

	(void)state;
	destinations(2, names);
	assert_int_equal(resolver_init(&r, &route, shared, &nowhere), 0);
	assert_int_equal(r.names, 0);
	resolver_missing(&r, 0);
	route_failed(shared, &search, 0, 1000);
	assert_int_equal(resolver_run(&r, 1000, init_nothing, NULL), 0);
	assert_int_equal(r.pid, 0);
}

static void missing_names_are_asked_until_found(void **state)
{
	/* The second cannot be a host name, so no server is asked for it. */
	static const char *const names[] = { "192.0.2.1:25", "no host:25", "localhost:2525" };
	struct addr a[ROUTE_ADDRESSES];
	uint64_t lost, found;
	struct resolver r;

	(void)state;
	destinations(3, names);
	if (net_resolve("localhost:2525", a) <= 0) {
		print_message("skipped: localhost does not resolve here\n");
		skip();
	}
	assert_int_equal(resolver_init(&r, &route, shared, &nowhere), 0);
	assert_int_equal(r.names, 6);
	resolver_missing(&r, 1);
	resolver_missing(&r, 2);
	assert_int_equal(resolver_run(&r, 1000, init_nothing, NULL), 0);
	pid_t pid = r.pid;
	/* One child at a time. */
	assert_int_equal(resolver_run(&r, 1000, init_nothing, NULL), 0);
	assert_int_equal(r.pid, pid);
	await(&r, 2000, &lost, &found);
	assert_int_equal(lost, 0);
	assert_int_equal(found, 4);
	assert_true(route_get_addresses(shared, 2, a) >= 1);
	assert_int_equal(a[0].port, 2525);
	assert_int_equal(route_get_addresses(shared, 1, a), 0);
	/* The other one again after a pause, not before. */
	assert_int_equal(resolver_run(&r, 2000 + RESOLVER_PAUSE_MS - 1, init_nothing, NULL), 0);
	assert_int_equal(r.pid, 0);
	assert_int_equal(resolver_run(&r, 2000 + RESOLVER_PAUSE_MS, init_nothing, NULL), 0);
	assert_int_equal(r.asked, 2);
	await(&r, 9000, &lost, &found);
	assert_int_equal(lost | found, 0);
}

static void failed_destinations_are_asked(void **state)
{
	static const char *const names[] = { "localhost:2525", "no host:25" };
	struct addr a[ROUTE_ADDRESSES], old;
	uint64_t lost, found;
	struct resolver r;

	(void)state;
	destinations(2, names);
	assert_int_equal(resolver_init(&r, &route, shared, &nowhere), 0);
	assert_int_equal(addr_parse_ip(&old, "192.0.2.9"), 0);
	old.port = 25;
	for (unsigned i = 0; i < 2; i++)
		route_set_addresses(shared, i, &old, 1);
	assert_int_equal(resolver_run(&r, 1000, init_nothing, NULL), 0);
	assert_int_equal(r.pid, 0);
	for (unsigned i = 0; i < 2; i++) {
		struct route_search search = { .tried_any = 1, .dest = i };

		route_failed(shared, &search, i, 1000);
	}
	assert_int_equal(resolver_run(&r, 1000, init_nothing, NULL), 0);
	assert_int_equal(r.asked, 3);
	await(&r, 2000, &lost, &found);
	/* What does not resolve keeps the addresses that it had. */
	assert_int_equal(lost & 2, 2);
	assert_int_equal(route_get_addresses(shared, 1, a), 1);
	assert_true(addr_same_ip(&a[0], &old));
	if (net_resolve("localhost:2525", a) > 0) {
		assert_int_equal(lost, 2);
		assert_true(route_get_addresses(shared, 0, a) >= 1);
		assert_false(addr_same_ip(&a[0], &old));
	}
}

/* A name that comes to mean the daemon itself is as good as one that does not resolve. */
static void never_resolves_to_the_listener(void **state)
{
	static const char *const names[] = { "localhost:2525" };
	struct listen_set everywhere = {
		.count = 2, .addr = { { .family = 4, .port = 2525 }, { .family = 6, .port = 2525 } }
	};
	struct addr a[ROUTE_ADDRESSES];
	uint64_t lost, found;
	struct resolver r;

	(void)state;
	destinations(1, names);
	assert_int_equal(resolver_init(&r, &route, shared, &everywhere), 0);
	resolver_missing(&r, 0);
	assert_int_equal(resolver_run(&r, 1000, init_nothing, NULL), 0);
	await(&r, 2000, &lost, &found);
	assert_int_equal(found, 0);
	assert_int_equal(route_get_addresses(shared, 0, a), 0);
}

/* Addresses change while the old ones answer: a name is asked again now and then without a fault.
 */
static void names_are_asked_now_and_then(void **state)
{
	static const char *const names[] = { "192.0.2.1:25", "localhost:2525" };
	uint64_t lost, found, now = 1000;
	struct resolver r;

	(void)state;
	destinations(2, names);
	assert_int_equal(resolver_init(&r, &route, shared, &nowhere), 0);
	assert_int_equal(resolver_run(&r, now, init_nothing, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		now += RESOLVER_REFRESH_MS;
		assert_int_equal(resolver_run(&r, now - 1, init_nothing, NULL), 0);
		assert_int_equal(r.pid, 0);
		assert_int_equal(resolver_run(&r, now, init_nothing, NULL), 0);
		assert_int_equal(r.asked, 2);
		await(&r, now, &lost, &found);
		r.wanted = 0; /* where localhost does not resolve */
	}
}

/* The C library's, but for a name that nobody answers for: it takes all the time that there is. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	static int (*usual)(const char *node, const char *service, const struct addrinfo *hints,
			    struct addrinfo **res);

	if (!usual)
		usual = (__typeof__(usual))dlsym(RTLD_NEXT, "getaddrinfo");
	if (strcmp(node, "hangs.test") == 0)
		raise(SIGALRM);
	if (strcmp(node, "answers.test") == 0)
		node = "192.0.2.7";
	return usual(node, service, hints, res);
}

static void await_killed(struct resolver *r, uint64_t now_ms, uint64_t *lost, uint64_t *found)
{
	int status;

	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
	resolver_ended(r, now_ms, lost, found);
}

/* One that takes all our patience stands in the way of none of the others, and what was not asked
 * for was not lost. */
static void name_that_hangs(void **state)
{
	static const char *const names[] = { "answers.test:25", "hangs.test:25",
					     "answers.test:26" };
	uint64_t lost, found, now = 1000;
	struct addr a[ROUTE_ADDRESSES];
	struct resolver r;

	(void)state;
	destinations(3, names);
	assert_int_equal(resolver_init(&r, &route, shared, &nowhere), 0);
	assert_int_equal(resolver_run(&r, now, init_nothing, NULL), 0);
	now += RESOLVER_REFRESH_MS;
	assert_int_equal(resolver_run(&r, now, init_nothing, NULL), 0);
	assert_int_equal(r.asked, 7);
	await_killed(&r, now, &lost, &found);
	assert_int_equal(lost, 2);
	assert_int_equal(found, 0);
	assert_int_equal(route_get_addresses(shared, 2, a), 0);
	now += RESOLVER_PAUSE_MS;
	assert_int_equal(resolver_run(&r, now, init_nothing, NULL), 0);
	assert_int_equal(r.asked, 6);
	await_killed(&r, now, &lost, &found);
	assert_int_equal(lost, 0);
	assert_int_equal(found, 0);
	assert_int_equal(route_get_addresses(shared, 2, a), 1);
	assert_int_equal(a[0].port, 26);
}

static void end_at_once(void *ctx)
{
	(void)ctx;
	_exit(0);
}

/* A child that ends before its first question has found and lost nothing. */
static void child_that_ends_early(void **state)
{
	static const char *const names[] = { "localhost:2525" };
	uint64_t lost, found;
	struct resolver r;

	(void)state;
	destinations(1, names);
	assert_int_equal(resolver_init(&r, &route, shared, &nowhere), 0);
	resolver_missing(&r, 0);
	r.silent = 0;
	assert_int_equal(resolver_run(&r, 1000, end_at_once, NULL), 0);
	await(&r, 1000, &lost, &found);
	assert_int_equal(lost, 0);
	assert_int_equal(found, 0);
	assert_int_equal(r.wanted, 1);
}

#define TEST(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(literals),
		TEST(addresses_are_never_asked),
		TEST(missing_names_are_asked_until_found),
		TEST(failed_destinations_are_asked),
		TEST(never_resolves_to_the_listener),
		TEST(name_that_hangs),
		TEST(child_that_ends_early),
		TEST(names_are_asked_now_and_then),
	};

	return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
