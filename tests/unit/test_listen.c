/* SPDX-License-Identifier: ISC */
/* listen: the list of addresses, the circle back to ourselves, and the sockets, on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "machine.h"
#include "check/listen.h"
#include "check/privilege.h"

struct said {
	unsigned count;
	char text[8][256];
};

static void on_fault(void *ctx, const char *what)
{
	struct said *s = ctx;

	assert_true(s->count < 8);
	snprintf(s->text[s->count++], sizeof(s->text[0]), "%s", what);
}

static struct listen_set parsed(const char *list, uint16_t port)
{
	struct said said = { 0 };
	struct listen_set set;

	assert_true(listen_parse(&set, list, port, on_fault, &said));
	assert_int_equal(said.count, 0);
	return set;
}

static struct addr address(const char *ip, uint16_t port)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(&a, ip), 0);
	a.port = port;
	return a;
}

static bool has_ipv6(void)
{
	struct addr a = address("::1", 0);
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&a, &ss);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool can = fd >= 0 && bind(fd, (struct sockaddr *)&ss, len) == 0;

	if (fd >= 0)
		close(fd);
	return can;
}

static void lists(void **state)
{
	char text[ADDR_TEXT_MAX];
	struct listen_set set = parsed("  192.0.2.1\t2001:db8::1  ::ffff:192.0.2.2 ", 2525);

	(void)state;
	assert_int_equal(set.count, 3);
	addr_format(&set.addr[0], text);
	assert_string_equal(text, "192.0.2.1:2525");
	addr_format(&set.addr[1], text);
	assert_string_equal(text, "[2001:db8::1]:2525");
	addr_format(&set.addr[2], text);
	assert_string_equal(text, "192.0.2.2:2525");
	for (int i = 0; i < 2; i++) {
		set = parsed(i ? " \t " : "", 25);
		addr_format(&set.addr[0], text);
		assert_string_equal(text, "0.0.0.0:25");
		if (set.count == 2) {
			addr_format(&set.addr[1], text);
			assert_string_equal(text, "[::]:25");
		} else {
			assert_int_equal(set.count, 1);
			assert_true(socket(AF_INET6, SOCK_STREAM, 0) < 0);
		}
	}
}

static void faults_are_all_told(void **state)
{
	static const char list[] =
		"127.0.0.1 mx.example 127.0.0.1 127.0.0.1:25 [::1] 1.2.3 "
		"fe80::1 fec0::1 1111111111111111111111111111111111111111111111111111111111111111111";
	struct said said = { 0 };
	struct listen_set set;

	(void)state;
	assert_false(listen_parse(&set, list, 25, on_fault, &said));
	assert_int_equal(said.count, 7);
	assert_string_equal(said.text[0], "mx.example is no IP address; allowed are addresses like "
					  "192.0.2.1 and 2001:db8::1");
	assert_string_equal(said.text[1], "127.0.0.1 is given twice");
	assert_ptr_equal(strstr(said.text[2], "127.0.0.1:25 is no IP address"), said.text[2]);
	assert_ptr_equal(strstr(said.text[3], "[::1] is no IP address"), said.text[3]);
	assert_ptr_equal(strstr(said.text[4], "1.2.3 is no IP address"), said.text[4]);
	assert_ptr_equal(strstr(said.text[5], "fe80::1 is a link-local address"), said.text[5]);
	assert_non_null(strstr(said.text[6], "too long"));
	assert_int_equal(set.count, 2);
}

static void one_address_too_many(void **state)
{
	char list[LISTEN_MAX * 16 + 96] = "";
	struct said said = { 0 };
	struct listen_set set;

	(void)state;
	for (int i = 0; i < LISTEN_MAX; i++)
		snprintf(list + strlen(list), 24, "127.0.1.%d ", i);
	assert_true(listen_parse(&set, list, 25, on_fault, &said));
	assert_int_equal(set.count, LISTEN_MAX);
	strcat(list, "127.0.2.1");
	assert_false(listen_parse(&set, list, 25, on_fault, &said));
	assert_int_equal(said.count, 1);
	assert_string_equal(said.text[0],
			    "127.0.2.1 is one address too many; at most 64 are allowed");
}

/* Where TLS comes first: the same addresses, another port. */
static void another_port(void **state)
{
	struct listen_set set = parsed("127.0.0.1 192.0.2.1", 25);

	(void)state;
	assert_false(listen_has_port(&set, 465));
	assert_true(listen_add_port(&set, 465));
	assert_int_equal(set.count, 4);
	assert_int_equal(set.addr[1].port, 25);
	assert_int_equal(set.addr[3].port, 465);
	assert_true(addr_same_ip(&set.addr[1], &set.addr[3]));
	assert_true(listen_has_port(&set, 465));
	for (unsigned i = 0; i < 4; i++)
		assert_true(listen_add_port(&set, (uint16_t)(1000 + i)));
	assert_int_equal(set.count, LISTEN_MAX);
	assert_false(listen_add_port(&set, 2000));
	assert_int_equal(set.count, LISTEN_MAX);
}

/* An address of an interface other than loopback; family 0: there is none. */
static struct addr own_address(void)
{
	struct addr a = { 0 };
	struct ifaddrs *list;

	assert_int_equal(getifaddrs(&list), 0);
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		struct sockaddr_storage ss = { 0 };

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
		    i->ifa_flags & IFF_LOOPBACK)
			continue;
		memcpy(&ss, i->ifa_addr, sizeof(struct sockaddr_in));
		addr_from_sockaddr(&a, &ss);
		break;
	}
	freeifaddrs(list);
	return a;
}

static void circles(void **state)
{
	static const struct {
		const char *list, *to;
		uint16_t port;
		bool circle;
	} rows[] = {
		{ "0.0.0.0", "127.0.0.1", 2525, true },
		{ "0.0.0.0", "127.9.9.9", 2525, true },
		{ "0.0.0.0", "0.0.0.0", 2525, true },
		{ "0.0.0.0", "127.0.0.1", 2526, false },
		{ "0.0.0.0", "192.0.2.77", 2525, false },
		{ "0.0.0.0", "::1", 2525, false },
		{ "127.0.0.1", "127.0.0.1", 2525, true },
		{ "127.0.0.1", "127.0.0.2", 2525, false },
		{ "127.0.0.1", "0.0.0.0", 2525, true },
		{ "127.0.0.2", "0.0.0.0", 2525, false },
		{ "127.0.0.1", "::ffff:127.0.0.1", 2525, true },
		{ "::", "::", 2525, true },
		{ "::", "127.0.0.1", 2525, false },
		{ "::1", "::1", 2525, true },
		{ "::1", "::", 2525, true },
		{ "::1", "2001:db8::1", 2525, false },
		{ "192.0.2.1 2001:db8::1", "2001:db8::1", 2525, true },
	};
	struct addr own = own_address();
	struct listen_set set;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr to = address(rows[i].to, rows[i].port);

		set = parsed(rows[i].list, 2525);
		if (listen_reached_by(&set, &to) != rows[i].circle)
			fail_msg("%s to %s:%u", rows[i].list, rows[i].to, rows[i].port);
	}
	if (!own.family) {
		print_message("no interface but loopback: its own address is not tried\n");
		return;
	}
	set = parsed("0.0.0.0", 2525);
	own.port = 2525;
	assert_true(listen_reached_by(&set, &own));
	own.port = 25;
	assert_false(listen_reached_by(&set, &own));
}

/* A socket that somebody else has made: IPv4 comes to [::] too, unless it was told otherwise. */
static void others_sockets(void **state)
{
	struct addr any = address("::", 0), four = address("127.0.0.1", 0), six = address("::1", 0);
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&any, &ss);

	(void)state;
	if (!has_ipv6())
		skip();
	for (int only = 0; only < 2; only++) {
		struct listen_set set = { 0 };
		int fd = socket(AF_INET6, SOCK_STREAM, 0);

		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)), 0);
		assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
		assert_int_equal(listen(fd, 1), 0);
		assert_true(listen_add_socket(&set, fd));
		assert_int_equal(set.count, 1);
		four.port = six.port = set.addr[0].port;
		assert_true(listen_reached_by(&set, &six));
		assert_int_equal(listen_reached_by(&set, &four), !only);
		four.port++;
		assert_false(listen_reached_by(&set, &four));
		close(fd);
	}
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct listen_set set = { 0 };

	assert_false(listen_add_socket(&set, fd));
	assert_int_equal(set.count, 0);
	close(fd);
}

static int connect_to(const struct addr *a)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM, 0);
	int ret = connect(fd, (struct sockaddr *)&ss, len);
	int err = ret < 0 ? -errno : fd;

	if (ret < 0)
		close(fd);
	return err;
}

static void sockets_for_each_worker(void **state)
{
	struct listen_set set = parsed(has_ipv6() ? "127.0.0.1 ::1" : "127.0.0.1", free_port());
	struct pollfd fds[8];
	char why[256];
	int listeners[8];
	size_t n = 4 * set.count;

	(void)state;
	assert_int_equal(listen_open(&set, 4, listeners, why, sizeof(why)), 0);
	for (unsigned i = 0; i < set.count; i++) {
		unsigned awake = 0;
		int fd = connect_to(&set.addr[i]);

		assert_true(fd >= 0);
		for (size_t f = 0; f < n; f++)
			fds[f] = (struct pollfd){ .fd = listeners[f], .events = POLLIN };
		assert_int_equal(poll(fds, n, 2000), 1);
		for (size_t f = 0; f < n; f++)
			if (fds[f].revents) {
				assert_int_equal(f % set.count, i);
				int got = accept(listeners[f], NULL, NULL);

				assert_true(got >= 0);
				close(got);
				awake++;
			}
		assert_int_equal(awake, 1);
		close(fd);
	}
	listen_end(listeners, n);
	for (unsigned i = 0; i < set.count; i++)
		assert_int_equal(connect_to(&set.addr[i]), -ECONNREFUSED);
	for (size_t f = 0; f < n; f++)
		close(listeners[f]);
}

/* Somebody else's socket, with SO_REUSEPORT and without, hides neither itself nor us. */
static void another_daemon_is_seen(void **state)
{
	char why[256], expected[256];

	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		struct listen_set set = parsed("127.0.0.1", free_port());
		struct sockaddr_storage ss;
		socklen_t len = addr_to_sockaddr(&set.addr[0], &ss);
		int other = socket(AF_INET, SOCK_STREAM, 0);
		int fds[2];
		unsigned before;

		assert_int_equal(
			setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
		if (shared)
			assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &(int){ 1 },
						    sizeof(int)),
					 0);
		assert_int_equal(bind(other, (struct sockaddr *)&ss, len), 0);
		assert_int_equal(listen(other, 1), 0);
		before = open_descriptors();
		assert_int_equal(listen_open(&set, 2, fds, why, sizeof(why)), EX_UNAVAILABLE);
		snprintf(expected, sizeof(expected), "127.0.0.1:%u: another program listens there",
			 set.addr[0].port);
		assert_string_equal(why, expected);
		assert_int_equal(open_descriptors(), before);
		close(other);
	}
}

static void foreign_address_is_69(void **state)
{
	struct listen_set set = parsed("127.0.0.1 192.0.2.77", free_port());
	unsigned before = open_descriptors();
	char why[256], expected[256];
	int fds[4];

	(void)state;
	assert_int_equal(listen_open(&set, 2, fds, why, sizeof(why)), EX_UNAVAILABLE);
	snprintf(expected, sizeof(expected), "192.0.2.77:%u: is no address of this machine",
		 set.addr[0].port);
	assert_string_equal(why, expected);
	assert_int_equal(open_descriptors(), before);
}

/* In a network of its own, where low ports are guarded whatever this machine's setting is. */
static void low_port_without_privilege_is_77(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		print_message(
			"skipped: only root can make a network where low ports are guarded\n");
		skip();
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const struct passwd *pw = getpwnam("nobody");
		struct privilege_id id = { .change = true, .uid = pw->pw_uid, .gid = pw->pw_gid };
		struct listen_set set = parsed("0.0.0.0", 25);
		char why[256];
		int fds[1];

		if (unshare(CLONE_NEWNET) != 0)
			_exit(99);
		if (privilege_drop(&id, why, sizeof(why)) != 0)
			_exit(98);
		status = listen_open(&set, 1, fds, why, sizeof(why));
		if (strcmp(why, "0.0.0.0:25: may not be bound: start as root or with "
				"CAP_NET_BIND_SERVICE") != 0)
			_exit(97);
		_exit(status);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 99) {
		print_message("skipped: no network namespace can be made here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), EX_NOPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),
		cmocka_unit_test(faults_are_all_told),
		cmocka_unit_test(one_address_too_many),
		cmocka_unit_test(circles),
		cmocka_unit_test(another_port),
		cmocka_unit_test(others_sockets),
		cmocka_unit_test(sockets_for_each_worker),
		cmocka_unit_test(another_daemon_is_seen),
		cmocka_unit_test(foreign_address_is_69),
		cmocka_unit_test(low_port_without_privilege_is_77),
	};

	return cmocka_run_group_tests_name("listen", tests, NULL, NULL);
}
