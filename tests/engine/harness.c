/* SPDX-License-Identifier: ISC */
/* harness: see harness.h. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "io/net.h"

#define PATIENCE_MS 300000 /* nothing hangs; how long it takes, the machine says */

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void on_watch(struct io_op *op, int res)
{
	struct watch *w = container_of(op, struct watch, op);

	assert_false(w->over);
	w->calls++;
	w->res = res;
	w->over = !op->more;
	assert_int_equal(op->active, op->more);
}

void watch_init(struct watch *w)
{
	*w = (struct watch){ .op.done = on_watch };
}

void watch_again(struct watch *w)
{
	w->calls = 0;
	w->over = false;
}

void run_until(struct env *e, const bool *flag)
{
	uint64_t deadline = clock_ms() + PATIENCE_MS;

	while (!*flag) {
		assert_int_equal(io_run_once(e->io, 1000), 0);
		assert_true(clock_ms() < deadline);
	}
}

int await(struct env *e, struct watch *w)
{
	assert_int_equal(w->calls, 0);
	run_until(e, &w->over);
	assert_int_equal(w->calls, 1);
	return w->res;
}

void run_for(struct env *e, unsigned ms)
{
	uint64_t end = clock_ms() + ms;
	uint64_t now;

	/* The last turn begins after the end, however late that is: it sees all that was due. */
	do {
		now = clock_ms();
		assert_int_equal(io_run_once(e->io, now < end ? (int)(end - now) : 0), 0);
	} while (now < end);
}

void all_blocks_are_back(struct env *e)
{
	struct watch w[BLOCK_COUNT];
	int sv[2];

	unix_pair(sv);
	for (int i = 0; i < BLOCK_COUNT; i++) {
		watch_init(&w[i]);
		assert_int_equal(write(sv[1], "x", 1), 1);
		io_recv_block(e->io, &w[i].op, sv[0]);
		assert_int_equal(await(e, &w[i]), 1);
	}
	for (int i = 0; i < BLOCK_COUNT; i++)
		io_block_put(e->io, &w[i].op.block);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

/* Sockets. */

void set_nonblock(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

int tcp_listener(struct addr *addr)
{
	int fd;

	assert_int_equal(addr_parse_ip(addr, "127.0.0.1"), 0);
	fd = net_listen(addr, false, 1024);
	assert_true(fd >= 0);
	net_local(fd, addr);
	assert_true(addr->port > 0);
	return fd;
}

void tcp_pair(int sv[2])
{
	struct sockaddr_storage ss;
	struct addr addr;
	int listener = tcp_listener(&addr);
	socklen_t len = addr_to_sockaddr(&addr, &ss);

	sv[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(sv[0] >= 0);
	net_prepare(sv[0]);
	assert_int_equal(connect(sv[0], (struct sockaddr *)&ss, len), 0);
	set_nonblock(listener);
	do
		sv[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (sv[1] < 0 && errno == EAGAIN);
	assert_true(sv[1] >= 0);
	set_nonblock(sv[0]);
	close(listener);
}

struct one_accept {
	struct io_op op;
	struct addr peer;
	int fd;
	bool over;
};

static void on_one(struct io_op *op, int res)
{
	struct one_accept *a = container_of(op, struct one_accept, op);

	if (op->more)
		a->fd = res;
	a->over = !op->more;
}

void engine_pair(struct env *e, int sv[2])
{
	struct one_accept a = { .op.done = on_one, .fd = -1 };
	struct addr addr;
	struct watch w;
	int listener = tcp_listener(&addr);

	sv[0] = net_socket(&addr);
	assert_true(sv[0] >= 0);
	watch_init(&w);
	io_connect(e->io, &w.op, sv[0], &addr);
	io_accept(e->io, &a.op, listener, &a.peer, true);
	assert_int_equal(await(e, &w), 0);
	while (a.fd < 0)
		assert_int_equal(io_run_once(e->io, 100), 0);
	io_cancel(e->io, &a.op);
	run_until(e, &a.over);
	sv[1] = a.fd;
	io_close(e->io, listener);
}

void unix_pair(int sv[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
}

void reset(struct env *e, int fd)
{
	struct linger linger = { .l_onoff = 1 };

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	io_close(e->io, fd);
}

void small_buffer(int fd)
{
	int size = 32768;

	/* Of the sender alone: a small window makes TCP itself wait for its timers. */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
}

size_t discard(int fd)
{
	static uint8_t waste[65536];
	size_t all = 0;
	ssize_t n;

	while ((n = recv(fd, waste, sizeof(waste), MSG_DONTWAIT)) > 0)
		all += (size_t)n;
	return all;
}

static const uint8_t stuffing[65536];

static size_t send_some(int fd, size_t n)
{
	ssize_t done = send(fd, stuffing, n < sizeof(stuffing) ? n : sizeof(stuffing),
			    MSG_DONTWAIT | MSG_NOSIGNAL);

	return done > 0 ? (size_t)done : 0;
}

/*
 * Octets that the peer's window has room for, beyond those under way. *STILL: none is under way, or
 * the peer drops them again and again, as it does where the window promises more than its memory.
 */
static size_t room_at_peer(int fd, bool *still)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	int unacked = 0;

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	assert_int_equal(ioctl(fd, SIOCOUTQ, &unacked), 0);
	*still = unacked == 0 || info.tcpi_backoff >= 2;
	return info.tcpi_snd_wnd > (unsigned)unacked ? info.tcpi_snd_wnd - (unsigned)unacked : 0;
}

/*
 * First the peer's window, to the last octet: what remains of it would be filled by the timer of a
 * closed window, a fifth of a second later, and make room here. Then our own buffer, which must not
 * grow any more.
 */
size_t stuff(int fd)
{
	size_t all = 0, n;
	bool still = false;

	for (unsigned i = 0; !still; i++) {
		assert_true(i < 100000);
		while ((n = room_at_peer(fd, &still)) > 0 && (n = send_some(fd, n)) > 0)
			all += n;
		if (!still)
			usleep(200);
	}
	small_buffer(fd);
	while ((n = send_some(fd, sizeof(stuffing))) > 0)
		all += n;
	return all;
}

void moved(struct io_splice *s, int res)
{
	struct moved *m = container_of(s, struct moved, s);

	m->over = true;
	m->res = res;
}

uint8_t pattern(uint64_t seed, uint64_t i)
{
	uint64_t z = (i + seed * 0x10001) * 0x9e3779b97f4a7c15u;

	return (uint8_t)(z >> 56);
}

void fill_pattern(uint8_t *buf, size_t n, uint64_t seed, uint64_t from)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = pattern(seed, from + i);
}

bool has_pattern(const uint8_t *buf, size_t n, uint64_t seed, uint64_t from)
{
	for (size_t i = 0; i < n; i++)
		if (buf[i] != pattern(seed, from + i))
			return false;
	return true;
}
