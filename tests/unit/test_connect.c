/* SPDX-License-Identifier: ISC */
/*
 * connect: what the end of an attempt says about the destination, against sockets on loopback. Of
 * each case: the result, whether the destination is up afterwards, and the records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "machine.h"
#include "ringcheck.h"
#include "io/net.h"
#include "route/parse.h"
#include "route/shared.h"
#include "shared/memory.h"
#include "upstream/connect.h"

#define LONG_MS 10000

static struct world {
	struct context ctx;
	struct context_version version;
	struct route route;
	struct xmllog_ring *ring;
	struct take take;
	struct connect connect;
	unsigned calls;
	enum connect_result how;
	struct stream stream;
} w;

static void done(struct connect *c, enum connect_result how)
{
	assert_ptr_equal(c, &w.connect);
	assert_false(connect_is_under_way(c));
	w.calls++;
	w.how = how;
	w.stream = stream_move(&c->stream);
}

static int setup(void **state)
{
	struct io_limits limits = { .ops = 16, .block_size = 4096, .block_count = 2 };

	(void)state;
	w = (struct world){ .stream = stream_of(-1) };
	w.route = (struct route){ .cooperation = ROUTE_SINGLE, .count = 1 };
	w.route.destination[0] =
		(struct route_destination){ .name = "mx.example:25", .weight = 1, .max = 1 };
	w.version.rt.route = &w.route;
	w.version.rt.route_shared = shared_map(route_shared_room());
	w.version.rt.seats = shared_map(seats_room(10));
	route_shared_init(w.version.rt.route_shared, &w.route);
	assert_int_equal(seats_init(w.version.rt.seats, 10), 0);
	w.ring = ring_new(4096);
	xmllog_open(&w.ctx.log, w.ring, -1, 1);
	assert_int_equal(take_open(&w.take, &w.ring, 1), 0);
	w.ctx.rt = &w.version.rt;
	return io_create(&w.ctx.io, IO_ENGINE_EPOLL, &limits, NULL);
}

static int teardown(void **state)
{
	(void)state;
	io_destroy(w.ctx.io);
	take_close(&w.take);
	ring_free(w.ring);
	shared_unmap(w.version.rt.route_shared, route_shared_room());
	shared_unmap(w.version.rt.seats, seats_room(10));
	return 0;
}

/* A listening socket on 127.0.0.1, with room for one connection that nobody accepts. */
static int listener(struct addr *a)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_int_equal(addr_parse_ip(a, "127.0.0.1"), 0);
	a->port = 0;
	len = addr_to_sockaddr(a, &ss);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(a, &ss);
	return fd;
}

/* Nobody listens there. */
static struct addr closed_port(void)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, "127.0.0.1"), 0);
	a.port = free_port();
	return a;
}

/* Connects to the listener at A, which then answers nobody else. */
static int fill(const struct addr *a)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

static void destination(const struct addr *a, unsigned n, enum connect_purpose purpose)
{
	route_set_addresses(w.version.rt.route_shared, 0, a, n);
	connect_init(&w.connect, &w.ctx, &w.version, purpose, done);
	assert_true(connect_first(&w.connect, 0));
}

static void wait_for(enum connect_result how)
{
	for (unsigned i = 0; i < 1000 && w.calls == 0; i++)
		assert_int_equal(io_run_once(w.ctx.io, 10), 0);
	assert_int_equal(w.calls, 1);
	assert_int_equal(w.how, how);
	assert_int_equal(stream_is_open(&w.stream),
			 how == CONNECT_REACHED || how == CONNECT_CANCELLED);
	w.calls = 0;
	stream_close(w.ctx.io, &w.stream);
}

static void attempt(enum connect_result how)
{
	connect_to(&w.connect, LONG_MS);
	wait_for(how);
}

/* One record of the destination, with this state and reason; NULL: none. */
static void record_says(const char *is, const char *why)
{
	struct record r;

	take_begin(&w.take);
	if (is) {
		assert_true(take_next(&w.take, &r));
		assert_int_equal(r.element, XMLLOG_DESTINATION);
		assert_true(span_eq(r.attr[1].text, span_str(is)));
		assert_true(span_eq(r.attr[2].text, span_str(why)));
	}
	assert_false(take_next(&w.take, &r));
	commit(&w.take);
}

static bool is_up(void)
{
	return route_up(w.version.rt.route_shared, 0);
}

static void reaches(void **state)
{
	struct addr a;
	int fd = listener(&a);

	(void)state;
	destination(&a, 1, CONNECT_MAIL);
	attempt(CONNECT_REACHED);
	record_says(NULL, NULL); /* it was up before */
	close(accept(fd, NULL, NULL));
	route_failed(w.version.rt.route_shared, NULL, 0, io_now_ms(w.ctx.io));
	assert_false(is_up());
	attempt(CONNECT_REACHED);
	assert_true(is_up());
	record_says("up", "connected");
	close(fd);
}

static void next_address(void **state)
{
	struct addr a[3] = { closed_port(), closed_port() };
	int fd = listener(&a[2]);

	(void)state;
	destination(a, 3, CONNECT_MAIL);
	attempt(CONNECT_FAILED);
	assert_true(connect_next(&w.connect));
	attempt(CONNECT_FAILED);
	assert_true(connect_next(&w.connect));
	attempt(CONNECT_REACHED);
	assert_true(is_up());
	record_says(NULL, NULL);
	close(fd);
}

static void no_address_left(void **state)
{
	struct addr a[2] = { closed_port(), closed_port() };

	(void)state;
	destination(a, 2, CONNECT_VISIT);
	attempt(CONNECT_FAILED);
	assert_true(is_up());
	record_says(NULL, NULL);
	assert_true(connect_next(&w.connect));
	attempt(CONNECT_FAILED);
	assert_false(connect_next(&w.connect));
	assert_false(is_up());
	record_says("down", "Connection refused");
}

static void no_address_at_all(void **state)
{
	(void)state;
	connect_init(&w.connect, &w.ctx, &w.version, CONNECT_VISIT, done);
	assert_false(connect_first(&w.connect, 0));
	connect_init(&w.connect, &w.ctx, &w.version, CONNECT_TRY, done);
	assert_false(connect_first(&w.connect, 0));
}

/* An address for which the kernel has no socket is one that failed, and the next one may do. */
static void no_such_socket(void **state)
{
	struct addr a;
	int fd = listener(&a);

	(void)state;
	destination(&a, 1, CONNECT_VISIT);
	w.connect.addr.family = 0;
	connect_to(&w.connect, LONG_MS);
	assert_int_equal(w.calls, 1);
	wait_for(CONNECT_FAILED);
	assert_false(is_up());
	close(fd);
}

static void no_descriptor(void **state)
{
	struct rlimit was, none;
	struct addr a;
	int fd = listener(&a);

	(void)state;
	destination(&a, 1, CONNECT_MAIL);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = (struct rlimit){ 0, was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	connect_to(&w.connect, LONG_MS);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	wait_for(CONNECT_NO_MEANS);
	assert_true(is_up());
	record_says(NULL, NULL);
	close(fd);
}

/*
 * Taken, and reset before the engine has looked: no reason to go elsewhere. The first packet finds
 * no room; the kernel sends it again after a second, and the loop is not run meanwhile.
 */
static void reset_at_once(void **state)
{
	struct linger at_once = { 1, 0 };
	struct addr a;
	int fd = listener(&a), other = fill(&a), got;
	struct pollfd waits = { .fd = fd, .events = POLLIN };

	(void)state;
	destination(&a, 1, CONNECT_MAIL);
	connect_to(&w.connect, LONG_MS);
	assert_int_equal(io_run_once(w.ctx.io, 0), 0);
	close(accept(fd, NULL, NULL));
	close(other);
	assert_int_equal(poll(&waits, 1, LONG_MS), 1);
	got = accept(fd, NULL, NULL);
	assert_true(got >= 0);
	assert_int_equal(setsockopt(got, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(got);
	wait_for(CONNECT_REACHED);
	assert_true(is_up());
	close(fd);
}

static void out_of_time(void **state)
{
	struct addr a;
	int fd = listener(&a), other = fill(&a);

	(void)state;
	destination(&a, 1, CONNECT_MAIL);
	connect_to(&w.connect, 50);
	wait_for(CONNECT_FAILED);
	assert_false(is_up());
	record_says("down", "Connection timed out");
	assert_true(io_now_us(w.ctx.io) - w.connect.began_us >= 50000);
	close(other);
	close(fd);
}

static void cancelled(void **state)
{
	struct addr a;
	int fd = listener(&a), other = fill(&a);

	(void)state;
	destination(&a, 1, CONNECT_MAIL);
	connect_to(&w.connect, LONG_MS);
	assert_true(connect_is_under_way(&w.connect));
	connect_cancel(&w.connect);
	assert_int_equal(w.calls, 0);
	wait_for(CONNECT_CANCELLED);
	assert_true(is_up());
	record_says(NULL, NULL);
	/* The next attempt knows nothing of that; without one, there is nothing to cancel. */
	connect_cancel(&w.connect);
	connect_to(&w.connect, LONG_MS);
	connect_expire(&w.connect);
	wait_for(CONNECT_FAILED);
	record_says("down", "Connection timed out");
	close(other);
	close(fd);
}

/* ---- a Unix socket ---- */

static char dir[64], name[96];

static void at_path(enum connect_purpose purpose)
{
	strcpy(dir, "/tmp/caronte-connect-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(name, sizeof(name), "unix:%s/s", dir);
	strcpy(w.route.destination[0].name, name);
	route_shared_init(w.version.rt.route_shared, &w.route);
	connect_init(&w.connect, &w.ctx, &w.version, purpose, done);
	assert_true(connect_first(&w.connect, 0));
}

static int listen_there(int backlog)
{
	int fd = net_listen_path(route_path(name), backlog, 0666);

	assert_true(fd >= 0);
	return fd;
}

static void leave_path(void)
{
	unlink(route_path(name));
	assert_int_equal(rmdir(dir), 0);
}

static void reaches_a_socket(void **state)
{
	int fd;

	(void)state;
	at_path(CONNECT_MAIL);
	fd = listen_there(4);
	attempt(CONNECT_REACHED);
	record_says(NULL, NULL);
	close(fd);
	connect_init(&w.connect, &w.ctx, &w.version, CONNECT_VISIT, done);
	assert_true(connect_first(&w.connect, 0));
	attempt(CONNECT_FAILED);
	assert_false(connect_next(&w.connect));
	record_says("down", "Connection refused");
	fd = listen_there(4);
	connect_init(&w.connect, &w.ctx, &w.version, CONNECT_TRY, done);
	assert_true(connect_first(&w.connect, 0));
	attempt(CONNECT_REACHED);
	record_says("up", "connected");
	close(fd);
	leave_path();
}

static void no_socket_there(void **state)
{
	(void)state;
	at_path(CONNECT_MAIL);
	attempt(CONNECT_FAILED);
	record_says("down", "No such file or directory");
	leave_path();
}

/* Its queue is full: it is waited for, for the time of an attempt. */
static void socket_is_full(void **state)
{
	int fd, other = net_path_socket(), in;

	(void)state;
	at_path(CONNECT_MAIL);
	fd = listen_there(0);
	assert_int_equal(net_connect_path(other, route_path(name)), 0);
	connect_to(&w.connect, 80);
	wait_for(CONNECT_FAILED);
	assert_true(io_now_us(w.ctx.io) - w.connect.began_us >= 80000);
	record_says("down", "Connection timed out");
	connect_to(&w.connect, LONG_MS);
	assert_int_equal(io_run_once(w.ctx.io, 30), 0);
	assert_int_equal(w.calls, 0);
	in = accept(fd, NULL, NULL);
	assert_true(in >= 0);
	wait_for(CONNECT_REACHED);
	record_says("up", "connected");
	close(in);
	close(other);
	close(fd);
	leave_path();
}

/* It is down already, so that a try's failure is no news; the next try takes the next address. */
static void tries(void **state)
{
	struct addr a[2], first[ROUTE_ADDRESSES];
	int fd = listener(&a[0]);

	(void)state;
	a[1] = closed_port();
	destination(a, 2, CONNECT_TRY);
	assert_int_equal(w.connect.addr.port, a[0].port);
	route_failed(w.version.rt.route_shared, NULL, 0, io_now_ms(w.ctx.io));
	(void)route_to_resolve(w.version.rt.route_shared, &w.route);
	while (w.connect.addr.port != a[1].port)
		assert_true(connect_first(&w.connect, 0));
	attempt(CONNECT_FAILED);
	assert_false(connect_next(&w.connect));
	assert_int_equal(route_to_resolve(w.version.rt.route_shared, &w.route), 0);
	record_says(NULL, NULL);
	assert_true(connect_first(&w.connect, 0));
	assert_int_equal(w.connect.addr.port, a[0].port);
	attempt(CONNECT_REACHED);
	assert_true(is_up());
	record_says("up", "connected");
	/* Sessions begin where it was reached. */
	assert_int_equal(route_get_addresses(w.version.rt.route_shared, 0, first), 2);
	assert_int_equal(first[0].port, a[0].port);
	close(fd);
}

static void places(void **state)
{
	uint32_t place, other;
	bool has_place;

	(void)state;
	assert_true(connect_place(&w.ctx, &w.version.rt, 0, &has_place, &place));
	assert_true(has_place);
	assert_false(connect_place(&w.ctx, &w.version.rt, 0, &has_place, &other));
	assert_false(has_place);
	assert_int_equal(seats_of_destination(w.version.rt.seats, 0), 1);
	seats_release(w.version.rt.seats, place);
	w.route.destination[0].max = 0;
	assert_true(connect_place(&w.ctx, &w.version.rt, 0, &has_place, &place));
	assert_false(has_place);
	assert_int_equal(seats_of_destination(w.version.rt.seats, 0), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(reaches),	       CASE(next_address),
		CASE(no_address_left), CASE(no_address_at_all),
		CASE(no_such_socket),  CASE(no_descriptor),
		CASE(reset_at_once),   CASE(out_of_time),
		CASE(cancelled),       CASE(tries),
		CASE(places),	       CASE(reaches_a_socket),
		CASE(no_socket_there), CASE(socket_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
