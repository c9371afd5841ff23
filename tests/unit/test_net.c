/* SPDX-License-Identifier: ISC */
/* Sockets on loopback, and the host:port forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/net.h"

static struct addr loopback(void)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, "127.0.0.1"), 0);
	return a;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static int connect_to(const struct addr *addr)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(addr, &ss);
	int fd = net_socket(addr);

	assert_true(fd >= 0);
	assert_true(connect(fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS);
	return fd;
}

static void ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	assert_int_equal(poll(&p, 1, 5000), 1);
}

static void listening_sockets(void **state)
{
	struct addr a = loopback(), bound, peer;
	int fd = net_listen(&a, false, 16), out, in, again;

	(void)state;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	net_local(fd, &bound);
	assert_true(bound.port > 0 && addr_same_ip(&bound, &a));
	assert_true(net_in_use(&bound));
	again = net_listen(&bound, false, 16);
	assert_int_equal(again, -EADDRINUSE);
	again = net_listen(&bound, true, 16);
	assert_int_equal(again, -EADDRINUSE);

	out = connect_to(&bound);
	ready(fd, POLLIN);
	in = net_accept(fd, &peer);
	assert_true(in >= 0);
	assert_true(fcntl(in, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(in, F_GETFD) & FD_CLOEXEC);
	/* Set before the first octet could be read. */
	assert_int_equal(option(in, SOL_SOCKET, SO_OOBINLINE), 1);
	assert_int_equal(option(in, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option(out, SOL_SOCKET, SO_OOBINLINE), 1);
	assert_int_equal(option(out, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_true(fcntl(out, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(out, F_GETFD) & FD_CLOEXEC);
	net_local(out, &a);
	assert_true(addr_same_ip(&peer, &a) && peer.port == a.port);
	close(fd);
	/* Connections that are left, and their TIME_WAIT, are nobody who listens. */
	assert_false(net_in_use(&bound));
	close(in);
	close(out);
	assert_false(net_in_use(&bound));
	fd = net_listen(&bound, false, 16);
	assert_true(fd >= 0);
	close(fd);
}

static void shared_listening_sockets(void **state)
{
	struct addr a = loopback(), other;
	int one = net_listen(&a, true, 16), two, three;

	(void)state;
	assert_true(one >= 0);
	net_local(one, &a);
	two = net_listen(&a, true, 16);
	assert_true(two >= 0);
	three = net_listen(&a, false, 16);
	assert_int_equal(three, -EADDRINUSE);
	assert_true(net_in_use(&a));
	other = a;
	other.port = 0;
	assert_false(net_in_use(&other));
	close(one);
	assert_true(net_in_use(&a));
	close(two);
	assert_false(net_in_use(&a));
}

static void both_families_beside_each_other(void **state)
{
	struct addr six, four = loopback();
	int a, b;

	(void)state;
	assert_int_equal(addr_parse_ip(&six, "::"), 0);
	a = net_listen(&six, false, 16);
	if (a == -EAFNOSUPPORT || a == -EADDRNOTAVAIL) {
		print_message("no IPv6 here\n");
		skip();
	}
	assert_true(a >= 0);
	net_local(a, &six);
	four.port = six.port;
	memset(four.ip, 0, sizeof(four.ip));
	assert_false(net_in_use(&four));
	b = net_listen(&four, false, 16);
	assert_true(b >= 0);
	assert_true(net_in_use(&six));
	close(a);
	close(b);
}

static void no_address(void **state)
{
	struct addr none = { 0 }, got;
	int fds[2], fd;

	(void)state;
	fd = net_socket(&none);
	assert_int_equal(fd, -EAFNOSUPPORT);
	fd = net_listen(&none, false, 1);
	assert_int_equal(fd, -EAFNOSUPPORT);
	assert_false(net_in_use(&none));
	assert_int_equal(pipe(fds), 0);
	got.family = 9;
	net_local(fds[0], &got);
	assert_int_equal(got.family, 0);
	assert_false(net_at_mark(fds[0]));
	net_prepare(fds[0]);
	close(fds[0]);
	close(fds[1]);
	fd = net_accept(-1, &got);
	assert_int_equal(fd, -EBADF);
	/* An address that is not ours. */
	assert_int_equal(addr_parse_ip(&got, "192.0.2.1"), 0);
	got.port = 2525;
	fd = net_listen(&got, false, 1);
	assert_int_equal(fd, -EADDRNOTAVAIL);
	assert_false(net_in_use(&got));
}

static void urgent_mark(void **state)
{
	struct addr a = loopback();
	int fd = net_listen(&a, false, 1), out, in;
	char buf[8];

	(void)state;
	assert_true(fd >= 0);
	net_local(fd, &a);
	out = connect_to(&a);
	ready(fd, POLLIN);
	in = accept(fd, NULL, NULL);
	assert_true(in >= 0);
	assert_false(net_at_mark(in));
	assert_int_equal(send(out, "ab", 2, 0), 2);
	assert_int_equal(send(out, "!", 1, MSG_OOB), 1);
	ready(in, POLLPRI);
	assert_false(net_at_mark(in));
	assert_int_equal(recv(in, buf, sizeof(buf), 0), 2);
	assert_true(net_at_mark(in));
	assert_int_equal(recv(in, buf, sizeof(buf), 0), 1);
	assert_int_equal(buf[0], '!');
	assert_false(net_at_mark(in));
	close(in);
	close(out);
	close(fd);
}

static void resolve_literals(void **state)
{
	struct addr out[NET_RESOLVE_MAX], want;

	(void)state;
	assert_int_equal(net_resolve("192.0.2.7:25", out), 1);
	assert_int_equal(addr_parse_ip(&want, "192.0.2.7"), 0);
	assert_true(addr_same_ip(&out[0], &want) && out[0].port == 25);
	assert_int_equal(net_resolve("[2001:db8::1]:65535", out), 1);
	assert_int_equal(addr_parse_ip(&want, "2001:db8::1"), 0);
	assert_true(addr_same_ip(&out[0], &want) && out[0].port == 65535);
	/* A mapped address is IPv4 everywhere. */
	assert_int_equal(net_resolve("[::ffff:192.0.2.7]:225", out), 1);
	assert_int_equal(out[0].family, 4);
	assert_int_equal(net_resolve("localhost:225", out) >= 1, 1);
	assert_int_equal(out[0].port, 225);
	/* RFC 6761 6.4: it never resolves. */
	assert_int_equal(net_resolve("caronte.invalid:25", out), -ENOENT);
}

static void resolve_refuses_bad_syntax(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		":25",
		"host",
		"host:",
		"host:0",
		"host:65536",
		"host:99999999999999999999",
		"host:25x",
		"host: 25",
		"host:+25",
		"host:-1",
		"host:0x19",
		"::1:25",
		"2001:db8::1:25",
		"[]:25",
		"[::1]",
		"[::1]:",
		"[::1:25",
		"::1]:25",
		"[127.0.0.1]:25",
		"[host]:25",
		"[::1]x:25",
		"[fe80::1%lo]:25",
		"127.1:25",
		"2130706433:25",
		"0x7f000001:25",
		"0x7f.1:25",
		"127.0.0.01:25",
		"256.0.0.1:25",
		"1.2.3.4.5:25",
		"host.1:25",
		"ho st:25",
		"host\n:25",
		"host/x:25",
		"-\x01:25",
		"h\xc3\xb6st:25",
		".:25",
		".host:25",
		"host..:25",
		" host:25",
		"host:25 ",
		"[[::1]]:25",
	};
	struct addr out[NET_RESOLVE_MAX];
	char longest[300];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (net_resolve(bad[i], out) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
	memset(longest, 'a', sizeof(longest));
	strcpy(longest + 254, ":25");
	assert_int_equal(net_resolve(longest, out), -EINVAL);
	strcpy(longest + 290, ":25");
	assert_int_equal(net_resolve(longest, out), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(listening_sockets),
		cmocka_unit_test(shared_listening_sockets),
		cmocka_unit_test(both_families_beside_each_other),
		cmocka_unit_test(no_address),
		cmocka_unit_test(urgent_mark),
		cmocka_unit_test(resolve_literals),
		cmocka_unit_test(resolve_refuses_bad_syntax),
	};

	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
