/* SPDX-License-Identifier: ISC */
/*
 * Streams over Unix sockets: connecting, with room in the listener's queue and without; what is
 * known of octets that were sent; the clock of the gate.
 */
#include "harness.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/net.h"
#include "io/stream.h"

struct pair {
	struct stream st; /* ours */
	int peer;
};

struct place {
	char dir[64], path[80];
	int listener;
};

static struct place make_place(int backlog)
{
	struct place p = { .dir = "/tmp/caronte-local-XXXXXX" };

	assert_non_null(mkdtemp(p.dir));
	snprintf(p.path, sizeof(p.path), "%s/socket", p.dir);
	p.listener = net_listen_path(p.path, backlog, 0666);
	assert_true(p.listener >= 0);
	return p;
}

static void leave_place(struct env *e, struct place *p)
{
	if (p->listener >= 0)
		io_close(e->io, p->listener);
	unlink(p->path);
	assert_int_equal(rmdir(p->dir), 0);
}

static struct pair make(void)
{
	int sv[2];

	unix_pair(sv);
	return (struct pair){ stream_of_local(sv[0]), sv[1] };
}

static void end(struct env *e, struct pair *p)
{
	stream_close(e->io, &p->st);
	if (p->peer >= 0)
		close(p->peer);
}

static void say(struct pair *p, const char *text)
{
	stream_say(&p->st, text, strlen(text));
}

static void take(struct pair *p, size_t n)
{
	char buf[64];

	assert_int_equal(recv(p->peer, buf, n, 0), n);
}

/* ---- connecting ---- */

static void local_connects(struct env *e)
{
	struct place at = make_place(8);
	struct stream st = stream_of(-1);
	struct watch w;
	char buf[4];

	watch_init(&w);
	assert_int_equal(stream_connect_path(e->io, &st, &w.op, at.path), 0);
	assert_int_equal(w.calls, 0);
	assert_int_equal(await(e, &w), 0);
	assert_true(stream_is_open(&st) && st.is_local);

	int in = accept(at.listener, NULL, NULL);

	assert_true(in >= 0);
	assert_int_equal(send(in, "220", 3, 0), 3);
	watch_again(&w);
	stream_recv(e->io, &st, &w.op, buf, sizeof(buf));
	assert_int_equal(await(e, &w), 3);
	watch_again(&w);
	stream_send(e->io, &st, &w.op, "QUIT", 4, 0);
	assert_int_equal(await(e, &w), 4);
	assert_int_equal(recv(in, buf, sizeof(buf), 0), 4);
	close(in);
	stream_close(e->io, &st);
	leave_place(e, &at);
}

static void refused(struct env *e, const char *path, int error)
{
	struct stream st = stream_of(-1);
	struct watch w;

	watch_init(&w);
	assert_int_equal(stream_connect_path(e->io, &st, &w.op, path), 0);
	assert_int_equal(await(e, &w), error);
	stream_close(e->io, &st);
}

static void local_is_refused(struct env *e)
{
	struct place at = make_place(1);
	char other[96], longest[ADDR_PATH_MAX + 2];

	snprintf(other, sizeof(other), "%s/none", at.dir);
	refused(e, other, -ENOENT);
	snprintf(other, sizeof(other), "%s/below", at.path);
	refused(e, other, -ENOTDIR);
	io_close(e->io, at.listener);
	at.listener = -1;
	refused(e, at.path, -ECONNREFUSED);
	refused(e, "", -EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[ADDR_PATH_MAX + 1] = '\0';
	refused(e, longest, -EINVAL);
	longest[ADDR_PATH_MAX] = '\0';
	refused(e, longest, -ENOENT);
	leave_place(e, &at);
}

/* Connections that nobody accepts, until there is no room for another. */
static unsigned fill(const char *path, int *fds, unsigned cap)
{
	unsigned n = 0;

	for (int res = 0; res == 0; n++) {
		assert_true(n < cap);
		fds[n] = net_path_socket();
		assert_true(fds[n] >= 0);
		res = net_connect_path(fds[n], path);
		assert_true(res == 0 || res == -EAGAIN);
	}
	return n;
}

static void accept_one(int listener)
{
	int fd = accept(listener, NULL, NULL);

	assert_true(fd >= 0);
	close(fd);
}

/* It waits without turning the loop, and comes in once there is room: each at its socket. */
static void local_waits_for_room(struct env *e)
{
	struct place full = make_place(0), other = make_place(0);
	struct stream st[3] = { stream_of(-1), stream_of(-1), stream_of(-1) };
	struct watch w[3];
	int fds[2][16];
	unsigned n[2] = { fill(full.path, fds[0], 16), fill(other.path, fds[1], 16) };
	const char *where[3] = { full.path, full.path, other.path };

	for (int i = 0; i < 3; i++) {
		watch_init(&w[i]);
		assert_int_equal(stream_connect_path(e->io, &st[i], &w[i].op, where[i]), 0);
	}
	run_for(e, 60);
	assert_true(w[0].calls == 0 && w[1].calls == 0 && w[2].calls == 0);
	accept_one(other.listener);
	assert_int_equal(await(e, &w[2]), 0);
	assert_int_equal(w[0].calls, 0);
	accept_one(full.listener);
	run_for(e, 60);
	assert_int_equal(w[0].calls + w[1].calls, 1); /* there was room for one */
	accept_one(full.listener);
	run_until(e, &w[0].over);
	run_until(e, &w[1].over);
	assert_true(w[0].res == 0 && w[1].res == 0);
	for (int i = 0; i < 3; i++)
		stream_close(e->io, &st[i]);
	for (int p = 0; p < 2; p++)
		while (n[p])
			close(fds[p][--n[p]]);
	leave_place(e, &full);
	leave_place(e, &other);
}

/* What waits for room ends when it is cancelled, and when the listener goes. */
static void local_waits_in_vain(struct env *e)
{
	struct place full = make_place(0);
	struct stream st[2] = { stream_of(-1), stream_of(-1) };
	struct watch w[2];
	int fds[16];
	unsigned n = fill(full.path, fds, 16);

	for (int i = 0; i < 2; i++) {
		watch_init(&w[i]);
		assert_int_equal(stream_connect_path(e->io, &st[i], &w[i].op, full.path), 0);
	}
	run_for(e, 1);
	stream_cancel(e->io, &st[0], &w[0].op);
	assert_int_equal(w[0].calls, 0);
	assert_int_equal(await(e, &w[0]), -ECANCELED);
	io_close(e->io, full.listener);
	full.listener = -1;
	assert_int_equal(await(e, &w[1]), -ECONNREFUSED);
	/* Cancelled before the loop says that it is over. */
	watch_again(&w[0]);
	stream_close(e->io, &st[0]);
	assert_int_equal(stream_connect_path(e->io, &st[0], &w[0].op, full.path), 0);
	stream_cancel(e->io, &st[0], &w[0].op);
	assert_int_equal(await(e, &w[0]), -ECANCELED);
	for (int i = 0; i < 2; i++)
		stream_close(e->io, &st[i]);
	while (n)
		close(fds[--n]);
	leave_place(e, &full);
}

/* A server that was killed leaves its socket: the next one takes its place, and no other's. A file
 * that is no socket stays what it is. */
static void local_is_listened_on(struct env *e)
{
	struct place at = make_place(1);
	char file[sizeof(at.dir) + 8];
	struct stat st;

	assert_int_equal(stat(at.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	assert_int_equal(net_listen_path(at.path, 1, 0666), -EADDRINUSE);
	io_close(e->io, at.listener);
	at.listener = net_listen_path(at.path, 1, 0666);
	assert_true(at.listener >= 0);
	assert_int_equal(net_listen_path("", 1, 0666), -EINVAL);
	assert_int_equal(net_listen_path(at.dir, 1, 0666), -EADDRINUSE);
	snprintf(file, sizeof(file), "%s/file", at.dir);
	assert_true(mknod(file, S_IFREG | 0600, 0) == 0);
	assert_int_equal(net_listen_path(file, 1, 0666), -EADDRINUSE);
	assert_true(stat(file, &st) == 0 && S_ISREG(st.st_mode));
	unlink(file);
	leave_place(e, &at);
}

/* ---- what was sent ---- */

static void local_is_read(struct env *e)
{
	struct pair p = make();

	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_ALL);
	stream_mark(&p.st);
	say(&p, "abcdef");
	stream_count(&p.st, 6);
	/* The kernel has it, and the program has not: not all is read; "nothing" is never said. */
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_SOME);
	take(&p, 3);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_SOME);
	take(&p, 3);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_ALL);
	/* What is only looked at is not read. */
	char c;

	say(&p, "x");
	assert_int_equal(recv(p.peer, &c, 1, MSG_PEEK), 1);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_SOME);
	end(e, &p);
}

/* A peer that has read all and closes has read all. */
static void local_closes_after_reading(struct env *e)
{
	struct pair p = make();
	char buf[8];

	say(&p, "QUIT\r\n");
	take(&p, 6);
	assert_int_equal(send(p.peer, "221\r\n", 5, 0), 5);
	close(p.peer);
	p.peer = -1;
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_ALL);
	assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 5);
	assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 0);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_ALL);
	assert_true(stream_gone(&p.st));
	end(e, &p);
}

/* One that closes without having read has not, though nothing waits any more; what it said before
 * is received. The fault is there once: whoever takes it says so. */
static void local_closes_unread(struct env *e)
{
	struct pair p = make();
	struct watch w;
	char buf[8];

	say(&p, "DATA\r\n");
	assert_int_equal(send(p.peer, "421\r\n", 5, 0), 5);
	close(p.peer);
	p.peer = -1;
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_SOME);
	assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 5);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_SOME);
	watch_init(&w);
	stream_recv(e->io, &p.st, &w.op, buf, sizeof(buf));
	assert_int_equal(await(e, &w), -ECONNRESET);
	stream_failed(&p.st);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_SOME);

	struct stream moved = stream_move(&p.st);

	assert_int_equal(stream_acked(&moved), STREAM_ACKED_SOME);
	p.st = moved;
	end(e, &p);
}

static void local_skips(struct env *e)
{
	static char lots[9000];
	struct pair p = make();
	char c;

	assert_int_equal(send(p.peer, lots, sizeof(lots), 0), sizeof(lots));
	assert_int_equal(send(p.peer, "yz", 2, 0), 2);
	stream_skip(&p.st, sizeof(lots) + 1);
	assert_int_equal(stream_unread(&p.st), 1);
	assert_int_equal(stream_peek(&p.st, &c, 1), 1);
	assert_int_equal(c, 'z');
	stream_skip(&p.st, 100); /* no more than there is */
	assert_int_equal(stream_take(&p.st, &c, 1), -EAGAIN);
	end(e, &p);
}

/* Octets out of band stay in line, and stop nothing. */
static void local_is_urged(struct env *e)
{
	struct place at = make_place(1);
	struct stream st = stream_of(-1);
	struct watch w;
	char buf[8];
	int in;

	watch_init(&w);
	assert_int_equal(stream_connect_path(e->io, &st, &w.op, at.path), 0);
	assert_int_equal(await(e, &w), 0);
	in = accept(at.listener, NULL, NULL);
	assert_int_equal(send(in, "a", 1, 0), 1);
	if (send(in, "b", 1, MSG_OOB) == 1) { /* before Linux 5.15 there are none */
		size_t got = 0;

		assert_int_equal(send(in, "c", 1, 0), 1);
		while (got < 3) {
			watch_again(&w);
			stream_recv(e->io, &st, &w.op, buf + got, sizeof(buf) - got);
			int res = await(e, &w);

			assert_true(res > 0);
			got += (size_t)res;
		}
		assert_memory_equal(buf, "abc", 3);
	}
	close(in);
	stream_close(e->io, &st);
	leave_place(e, &at);
}

/* ---- the clock ---- */

static void time_is(struct env *e, struct pair *p, bool all, uint32_t least_ms, uint32_t most_ms)
{
	struct stream_timing t;

	assert_int_equal(stream_timing(e->io, &p->st, &t), 0);
	assert_int_equal(t.all_acked, all);
	assert_true(t.quiet_ms >= least_ms && t.quiet_ms <= most_ms);
	assert_int_equal(t.resend_us, 0);
}

/* It begins with the first look that finds all read, and begins anew with what is sent then. */
static void local_knows_the_time(struct env *e)
{
	struct pair p = make();
	struct watch w;

	say(&p, "one");
	run_for(e, 30);
	time_is(e, &p, false, 0, 0);
	take(&p, 3);
	run_for(e, 30);
	time_is(e, &p, true, 0, 0);
	run_for(e, 50);
	time_is(e, &p, true, 50, 20000);
	watch_init(&w);
	stream_send(e->io, &p.st, &w.op, "two", 3, 0);
	assert_int_equal(await(e, &w), 3);
	time_is(e, &p, false, 0, 0);
	take(&p, 3);
	time_is(e, &p, true, 0, 0);
	run_for(e, 50);
	time_is(e, &p, true, 50, 20000);
	end(e, &p);
}

/* ---- splice ---- */

/* Takes what is there of the stream PATTERN, whose octet *AT is the next. */
static void take_pattern(int fd, uint64_t *at)
{
	uint8_t buf[4096];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], pattern(5, (*at)++));
}

/* From TCP to it, in steps, more than its queue holds. */
static void local_splices(struct env *e)
{
	static uint8_t octets[50000];
	struct moved m = { .s.done = moved };
	struct pair to = make();
	uint64_t put = 0, got = 0;
	struct io_pipes pipes;
	struct io_pipe *pipe;
	struct stream from;
	int tcp[2];

	tcp_pair(tcp);
	from = stream_of(tcp[0]);
	small_buffer(to.st.fd);
	assert_int_equal(io_pipes_init(&pipes, 1), 0);
	pipe = io_pipe_get(&pipes);
	assert_true(pipe && stream_can_splice(&from, &to.st));
	for (int step = 0; step < 4; step++) {
		for (size_t i = 0; i < sizeof(octets); i++)
			octets[i] = pattern(5, put++);
		assert_int_equal(send(tcp[1], octets, sizeof(octets), 0), sizeof(octets));
		m.over = false;
		stream_splice(e->io, &m.s, pipe, &from, &to.st, sizeof(octets));
		while (!m.over) {
			assert_int_equal(io_run_once(e->io, 1), 0);
			take_pattern(to.peer, &got);
		}
		assert_int_equal(m.res, 0);
	}
	take_pattern(to.peer, &got);
	assert_int_equal(got, put);
	assert_int_equal(stream_acked(&to.st), STREAM_ACKED_ALL);
	io_pipe_put(&pipes, pipe);
	io_pipes_destroy(&pipes);
	stream_close(e->io, &from);
	close(tcp[1]);
	end(e, &to);
}

const struct engine_case local_cases[] = {
	{ .name = "local connects", .run = local_connects },
	{ .name = "local is refused", .run = local_is_refused, .seeds = 1 },
	{ .name = "local waits for room", .run = local_waits_for_room, .seeds = 1 },
	{ .name = "local waits in vain", .run = local_waits_in_vain, .seeds = 1 },
	{ .name = "local is listened on", .run = local_is_listened_on, .seeds = 1 },
	{ .name = "local is read", .run = local_is_read, .seeds = 1 },
	{ .name = "local closes after reading", .run = local_closes_after_reading, .seeds = 1 },
	{ .name = "local closes unread", .run = local_closes_unread },
	{ .name = "local skips", .run = local_skips, .seeds = 1 },
	{ .name = "local is urged", .run = local_is_urged },
	{ .name = "local knows the time", .run = local_knows_the_time, .seeds = 1 },
	{ .name = "local splices", .run = local_splices, .seeds = 1 },
	{ 0 },
};
