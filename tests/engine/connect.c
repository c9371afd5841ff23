/* SPDX-License-Identifier: ISC */
/* How connections begin: accept and connect. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/net.h"

struct acceptor {
	struct io_op op;
	struct addr peer;
	int fds[64];
	uint16_t ports[64]; /* of the other ends */
	unsigned count, calls;
	bool over, enough;
	unsigned want;
	int res;
};

static void on_accepted(struct io_op *op, int res)
{
	struct acceptor *a = container_of(op, struct acceptor, op);

	assert_false(a->over);
	a->calls++;
	if (op->more) {
		assert_true(res >= 0 && a->count < 64);
		assert_int_equal(a->peer.family, 4);
		a->ports[a->count] = a->peer.port;
		a->fds[a->count++] = res;
		a->enough = a->count >= a->want;
	} else {
		assert_true(res < 0);
		a->res = res;
		a->over = true;
	}
}

static int client(const struct addr *addr)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(addr, &ss);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

static uint16_t local_port(int fd)
{
	struct addr addr;

	net_local(fd, &addr);
	return addr.port;
}

static void accept_several(struct env *e)
{
	struct acceptor a = { .op.done = on_accepted, .want = 5 };
	struct addr addr;
	int listener = tcp_listener(&addr), clients[10];

	/* Some are there before, some come later. */
	for (int i = 0; i < 5; i++)
		clients[i] = client(&addr);
	io_accept(e->io, &a.op, listener, &a.peer, true);
	assert_int_equal(a.calls, 0);
	run_until(e, &a.enough);
	a.enough = false;
	a.want = 10;
	for (int i = 5; i < 10; i++) {
		clients[i] = client(&addr);
		run_for(e, 1);
	}
	run_until(e, &a.enough);
	assert_true(a.op.active);
	io_cancel(e->io, &a.op);
	run_until(e, &a.over);
	assert_int_equal(a.res, -ECANCELED);
	assert_int_equal(a.count, 10);
	for (int i = 0; i < 10; i++) {
		assert_true(fcntl(a.fds[i], F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(a.fds[i], F_GETFD) & FD_CLOEXEC);
		assert_int_equal(a.ports[i], local_port(clients[i]));
		io_close(e->io, a.fds[i]);
		close(clients[i]);
	}
	io_close(e->io, listener);
}

static void accept_without_descriptors(struct env *e)
{
	struct acceptor a = { .op.done = on_accepted, .want = 2 };
	struct rlimit old, low;
	struct addr addr;
	int listener = tcp_listener(&addr);
	int one = client(&addr), two = client(&addr);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)two + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	io_accept(e->io, &a.op, listener, &a.peer, true);
	run_until(e, &a.over);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(a.res, -EMFILE);
	assert_int_equal(a.count, 0);
	assert_false(a.op.active);
	/* Nobody is lost: it is armed again, and both are there. */
	run_for(e, 2);
	assert_int_equal(a.calls, 1);
	a.over = false;
	io_accept(e->io, &a.op, listener, &a.peer, true);
	run_until(e, &a.enough);
	io_cancel(e->io, &a.op);
	run_until(e, &a.over);
	assert_int_equal(a.count, 2);
	io_close(e->io, a.fds[0]);
	io_close(e->io, a.fds[1]);
	io_close(e->io, listener);
	close(one);
	close(two);
}

/* Whoever is gone before is accepted all the same, and it is known who that was. */
static void accept_what_is_reset(struct env *e)
{
	struct acceptor a = { .op.done = on_accepted, .want = 1 };
	struct addr addr;
	struct watch w;
	int listener = tcp_listener(&addr), fd = client(&addr);
	uint16_t port = local_port(fd);
	char octet;

	reset(e, fd);
	io_accept(e->io, &a.op, listener, &a.peer, true);
	run_until(e, &a.enough);
	assert_int_equal(a.ports[0], port);
	watch_init(&w);
	io_recv(e->io, &w.op, a.fds[0], &octet, 1);
	assert_int_equal(await(e, &w), -ECONNRESET);
	io_close(e->io, a.fds[0]);
	io_cancel(e->io, &a.op);
	run_until(e, &a.over);
	io_close(e->io, listener);
}

static void accept_on_no_listener(struct env *e)
{
	struct acceptor a = { .op.done = on_accepted };
	int sv[2];

	tcp_pair(sv);
	io_accept(e->io, &a.op, sv[0], &a.peer, true);
	run_until(e, &a.over);
	assert_int_equal(a.res, -EINVAL);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

/* A poll that waits beside an accept goes on waiting when that ends. */
static void poll_beside_an_accept(struct env *e)
{
	struct acceptor a = { .op.done = on_accepted };
	struct watch w;
	struct addr addr;
	int listener = tcp_listener(&addr), fd;

	watch_init(&w);
	io_accept(e->io, &a.op, listener, &a.peer, true);
	io_poll(e->io, &w.op, listener, POLLIN);
	run_for(e, 2);
	io_cancel(e->io, &a.op);
	run_until(e, &a.over);
	assert_int_equal(a.res, -ECANCELED);
	run_for(e, 2);
	assert_int_equal(w.calls, 0);
	fd = client(&addr);
	assert_int_equal(await(e, &w), POLLIN);
	close(fd);
	io_close(e->io, listener);
}

static void connect_and_be_refused(struct env *e)
{
	struct watch w;
	struct addr addr;
	int listener = tcp_listener(&addr);
	int fd = net_socket(&addr), in;

	watch_init(&w);
	assert_true(fd >= 0);
	io_connect(e->io, &w.op, fd, &addr);
	assert_int_equal(w.calls, 0);
	assert_int_equal(await(e, &w), 0);
	in = accept(listener, NULL, NULL);
	assert_true(in >= 0);
	watch_again(&w);
	io_send(e->io, &w.op, fd, "up", 2, 0);
	assert_int_equal(await(e, &w), 2);
	io_close(e->io, fd);
	close(in);
	io_close(e->io, listener);

	fd = net_socket(&addr);
	watch_again(&w);
	io_connect(e->io, &w.op, fd, &addr);
	assert_int_equal(await(e, &w), -ECONNREFUSED);
	io_close(e->io, fd);
}

const struct engine_case connect_cases[] = {
	{ .name = "accept several", .run = accept_several },
	{ .name = "accept without descriptors", .run = accept_without_descriptors },
	{ .name = "accept what is reset", .run = accept_what_is_reset },
	{ .name = "accept on no listener", .run = accept_on_no_listener },
	{ .name = "poll beside an accept", .run = poll_beside_an_accept },
	{ .name = "connect, and be refused", .run = connect_and_be_refused },
	{ 0 },
};
