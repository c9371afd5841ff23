/* SPDX-License-Identifier: ISC */
/* Connected sockets as io/stream.h has them: what waits, by each engine; what is asked at once. */
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/net.h"
#include "io/stream.h"

#define LOTS 300 /* streams, more than one poll(2) of stream_heard() takes */

struct pair {
	struct stream st; /* ours */
	int peer;
};

static struct pair make(bool tcp)
{
	int sv[2];

	if (tcp)
		tcp_pair(sv);
	else
		unix_pair(sv);
	return (struct pair){ stream_of(sv[0]), sv[1] };
}

static void end(struct env *e, struct pair *p)
{
	stream_close(e->io, &p->st);
	assert_false(stream_is_open(&p->st));
	if (p->peer >= 0)
		close(p->peer);
}

static void put(struct pair *p, const char *text)
{
	assert_int_equal(send(p->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Waits for what the kernel brings on its own account: loopback is quick, not immediate. */
static void until_heard(struct pair *p)
{
	struct pollfd fd = { .fd = p->st.fd, .events = POLLIN };

	assert_int_equal(poll(&fd, 1, 5000), 1);
}

static void until_acked(struct pair *p, int how)
{
	for (int i = 0; i < 5000 && stream_acked(&p->st) != how; i++)
		poll(NULL, 0, 1);
	assert_int_equal(stream_acked(&p->st), how);
}

/* ---- operations ---- */

/* Receives all of TEXT, which an engine may bring in pieces: into memory or by blocks. */
static void expect(struct env *e, struct pair *p, const char *text, bool by_block)
{
	size_t n = strlen(text), got = 0;
	char buf[16];
	struct watch w;

	watch_init(&w);
	while (got < n) {
		if (by_block)
			stream_recv_block(e->io, &p->st, &w.op);
		else
			stream_recv(e->io, &p->st, &w.op, buf, sizeof(buf));
		assert_int_equal(w.calls, 0);
		int res = await(e, &w);

		assert_true(res > 0 && (size_t)res <= n - got);
		assert_memory_equal(by_block ? (void *)w.op.block.data : buf, text + got,
				    (size_t)res);
		io_block_put(e->io, &w.op.block);
		got += (size_t)res;
		watch_again(&w);
	}
}

static void stream_receives(struct env *e)
{
	for (int tcp = 0; tcp < 2; tcp++) {
		struct pair p = make(tcp);
		struct watch w;
		char c;

		put(&p, "abc");
		expect(e, &p, "abc", false);
		put(&p, "defg");
		expect(e, &p, "defg", true);
		watch_init(&w);
		stream_recv(e->io, &p.st, &w.op, &c, 1);
		close(p.peer);
		p.peer = -1;
		assert_int_equal(await(e, &w), 0);
		end(e, &p);
	}
}

static void stream_sends(struct env *e)
{
	for (int tcp = 0; tcp < 2; tcp++) {
		struct pair p = make(tcp);
		char buf[16];
		struct watch w;

		watch_init(&w);
		stream_send(e->io, &p.st, &w.op, "octets", 6, 0);
		assert_int_equal(w.calls, 0);
		assert_int_equal(await(e, &w), 6);
		assert_int_equal(recv(p.peer, buf, sizeof(buf), 0), 6);
		assert_memory_equal(buf, "octets", 6);
		end(e, &p);
	}
}

/* It completes for octets, for the end and for a reset, and leaves them. */
static void stream_awaits(struct env *e)
{
	for (int how = 0; how < 3; how++) {
		struct pair p = make(true);
		struct watch w;
		char c;

		watch_init(&w);
		stream_await(e->io, &p.st, &w.op);
		run_for(e, 2);
		assert_int_equal(w.calls, 0);
		if (how == 0)
			put(&p, "x");
		else if (how == 1)
			shutdown(p.peer, SHUT_WR);
		else
			reset(e, p.peer);
		if (how == 2)
			p.peer = -1;
		assert_true(await(e, &w) > 0);
		assert_int_equal(stream_take(&p.st, &c, 1), how == 0   ? 1
							    : how == 1 ? 0
								       : -ECONNRESET);
		end(e, &p);
	}
}

static void stream_is_cancelled(struct env *e)
{
	struct pair p = make(true);
	struct watch w;
	char c;

	for (int how = 0; how < 3; how++) {
		watch_init(&w);
		if (how == 0)
			stream_recv(e->io, &p.st, &w.op, &c, 1);
		else if (how == 1)
			stream_recv_block(e->io, &p.st, &w.op);
		else
			stream_await(e->io, &p.st, &w.op);
		run_for(e, 1);
		stream_cancel(e->io, &p.st, &w.op);
		assert_int_equal(w.calls, 0);
		assert_int_equal(await(e, &w), -ECANCELED);
	}
	stream_cancel(e->io, &p.st, &w.op); /* over already */
	end(e, &p);
}

static void stream_connects(struct env *e)
{
	struct addr at, none = { 0 };
	int listener = tcp_listener(&at);
	struct stream st = stream_of(-1);
	struct watch w;

	watch_init(&w);
	assert_int_equal(stream_connect(e->io, &st, &w.op, &none), -EAFNOSUPPORT);
	assert_false(stream_is_open(&st));
	assert_false(w.op.active);
	assert_int_equal(stream_connect(e->io, &st, &w.op, &at), 0);
	assert_true(stream_is_open(&st));
	assert_int_equal(await(e, &w), 0);
	stream_close(e->io, &st);
	io_close(e->io, listener);
	watch_again(&w);
	assert_int_equal(stream_connect(e->io, &st, &w.op, &at), 0);
	assert_int_equal(await(e, &w), -ECONNREFUSED);
	stream_close(e->io, &st);
	stream_close(e->io, &st); /* none: nothing happens */
}

static void stream_splices(struct env *e)
{
	struct pair from = make(true), to = make(true);
	struct moved m = { .s.done = moved };
	struct io_pipes pipes;
	struct io_pipe *pipe;
	char buf[16];

	assert_true(stream_can_splice(&from.st, &to.st));
	assert_int_equal(io_pipes_init(&pipes, 1), 0);
	pipe = io_pipe_get(&pipes);
	assert_non_null(pipe);
	put(&from, "moved, not");
	stream_splice(e->io, &m.s, pipe, &from.st, &to.st, 5);
	run_until(e, &m.over);
	assert_int_equal(m.res, 0);
	assert_int_equal(recv(to.peer, buf, sizeof(buf), 0), 5);
	assert_memory_equal(buf, "moved", 5);
	assert_int_equal(stream_take(&from.st, buf, sizeof(buf)), 5);
	assert_memory_equal(buf, ", not", 5);
	io_pipe_put(&pipes, pipe);
	io_pipes_destroy(&pipes);
	end(e, &from);
	end(e, &to);
}

static void stream_moves(struct env *e)
{
	struct pair p = make(true);
	struct stream other;
	char buf[4];
	int fd = p.st.fd;

	stream_count(&p.st, 7);
	other = stream_move(&p.st);
	assert_false(stream_is_open(&p.st));
	assert_false(stream_has_sent(&p.st));
	assert_int_equal(other.fd, fd);
	assert_true(stream_has_sent(&other));
	put(&p, "ab");
	until_heard(&(struct pair){ other, -1 });
	assert_int_equal(stream_take(&other, buf, sizeof(buf)), 2);
	stream_close(e->io, &other);
	end(e, &p);
}

/* ---- what has come ---- */

static void stream_takes(struct env *e)
{
	for (int tcp = 0; tcp < 2; tcp++) {
		struct pair p = make(tcp);
		char buf[16];

		assert_true(stream_can_peek(&p.st));
		assert_int_equal(stream_unread(&p.st), 0);
		assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), -EAGAIN);
		assert_int_equal(stream_peek(&p.st, buf, sizeof(buf)), -EAGAIN);
		put(&p, "0123456789");
		until_heard(&p);
		assert_int_equal(stream_unread(&p.st), 10);
		assert_int_equal(stream_peek(&p.st, buf, 4), 4);
		assert_memory_equal(buf, "0123", 4);
		assert_int_equal(stream_unread(&p.st), 10);
		assert_int_equal(stream_take(&p.st, buf, 3), 3);
		assert_memory_equal(buf, "012", 3);
		assert_int_equal(stream_unread(&p.st), 7);
		shutdown(p.peer, SHUT_WR);
		assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 7);
		assert_memory_equal(buf, "3456789", 7);
		until_heard(&p);
		assert_int_equal(stream_unread(&p.st), 0);
		assert_int_equal(stream_peek(&p.st, buf, sizeof(buf)), 0);
		assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 0);
		end(e, &p);
	}
}

/* No octet more than was said, and an end without waiting where there are fewer. */
static void stream_skips(struct env *e)
{
	struct pair p = make(true);
	char buf[16];

	put(&p, "skipped, kept");
	until_heard(&p);
	stream_skip(&p.st, 0);
	assert_int_equal(stream_unread(&p.st), 13);
	stream_skip(&p.st, 9);
	assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "kept", 4);
	stream_skip(&p.st, 5);
	/* A read stops at an urgent mark, and what was looked at goes on after it. */
	net_prepare(p.st.fd);
	put(&p, "abc");
	assert_int_equal(send(p.peer, "!", 1, MSG_OOB), 1);
	put(&p, "def");
	for (int i = 0; i < 5000 && stream_unread(&p.st) < 7; i++)
		poll(NULL, 0, 1);
	stream_skip(&p.st, 6);
	assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 1);
	assert_int_equal(buf[0], 'f');
	put(&p, "abc");
	until_heard(&p);
	stream_skip(&p.st, 1 << 20);
	assert_int_equal(stream_unread(&p.st), 0);
	end(e, &p);
}

static void stream_is_silent(struct env *e)
{
	struct pair p = make(true), over = make(true), cut = make(true);
	char buf[4];

	assert_true(stream_silent(&p.st));
	put(&p, "x");
	until_heard(&p);
	assert_false(stream_silent(&p.st));
	assert_false(stream_silent(&p.st)); /* a look takes nothing */
	assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 1);
	assert_true(stream_silent(&p.st));
	shutdown(over.peer, SHUT_WR);
	until_heard(&over);
	assert_false(stream_silent(&over.st));
	reset(e, cut.peer);
	cut.peer = -1;
	until_heard(&cut);
	assert_false(stream_silent(&cut.st));
	end(e, &p);
	end(e, &over);
	end(e, &cut);
}

/* Those that said something, ended or failed, and no other; also behind the first poll(2). */
static void many_streams_are_looked_at(struct env *e)
{
	static const unsigned loud[] = { 0, 1, 127, 128, 200, 299 };
	static struct pair p[LOTS];
	static struct stream *st[LOTS];

	assert_int_equal(stream_heard(st, 0), 0);
	for (unsigned i = 0; i < LOTS; i++) {
		p[i] = make(false);
		st[i] = &p[i].st;
	}
	assert_int_equal(stream_heard(st, LOTS), 0);
	for (unsigned i = 0; i < 6; i++) {
		if (i % 2)
			shutdown(p[loud[i]].peer, SHUT_WR);
		else
			put(&p[loud[i]], "421 go away\r\n");
	}
	for (unsigned i = 0; i < LOTS; i++)
		st[i] = &p[i].st;
	assert_int_equal(stream_heard(st, LOTS), 6);
	for (unsigned i = 0; i < 6; i++)
		assert_ptr_equal(st[i], &p[loud[i]].st);
	for (unsigned i = 0; i < LOTS; i++)
		end(e, &p[i]);
}

/* A peer that only says no more is still there. */
static void stream_is_gone(struct env *e)
{
	struct pair p = make(true), cut = make(true);
	char buf[4];

	assert_false(stream_gone(&p.st));
	put(&p, "ab");
	shutdown(p.peer, SHUT_WR);
	until_heard(&p);
	assert_false(stream_gone(&p.st));
	stream_half_close(&p.st);
	for (int i = 0; i < 5000 && !stream_gone(&p.st); i++)
		poll(NULL, 0, 1);
	assert_true(stream_gone(&p.st));
	assert_int_equal(stream_take(&p.st, buf, sizeof(buf)), 2);
	reset(e, cut.peer);
	cut.peer = -1;
	until_heard(&cut);
	assert_true(stream_gone(&cut.st));
	end(e, &p);
	end(e, &cut);
}

/* ---- what was sent ---- */

/* A peer whose kernel takes nothing: its queue is full. */
static struct pair make_deaf(void)
{
	struct pair p = make(true);

	small_buffer(p.peer);
	return p;
}

static void stream_is_acknowledged(struct env *e)
{
	struct pair p = make(true);
	char buf[8];

	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_ALL);
	stream_mark(&p.st);
	stream_say(&p.st, "ab", 2);
	stream_count(&p.st, 2);
	assert_true(stream_has_sent(&p.st));
	until_acked(&p, STREAM_ACKED_ALL); /* the kernel acknowledges, no program reads */
	assert_int_equal(recv(p.peer, buf, sizeof(buf), 0), 2);
	end(e, &p);
}

/* Of what is on its way: nothing since the mark has arrived, or some of it. */
static void stream_is_not_acknowledged(struct env *e)
{
	struct pair p = make_deaf();

	assert_true(stuff(p.st.fd) > 0);
	stream_mark(&p.st);
	assert_false(stream_has_sent(&p.st));
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_NONE);
	stream_count(&p.st, 1);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_NONE);
	stream_count(&p.st, -EPIPE);
	stream_count(&p.st, 0);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_NONE);
	/* More was sent than waits: some of it is acknowledged. */
	stream_count(&p.st, INT32_MAX);
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_SOME);
	stream_count(&p.st, INT32_MAX);
	stream_count(&p.st, 1); /* past what 32 bits hold */
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_SOME);
	for (int i = 0; i < 5000 && stream_acked(&p.st) != STREAM_ACKED_ALL; i++) {
		discard(p.peer);
		poll(NULL, 0, 1);
	}
	assert_int_equal(stream_acked(&p.st), STREAM_ACKED_ALL);
	end(e, &p);
}

/* Whoever asks must not take a fault for an answer. */
static void stream_says_faults(struct env *e)
{
	struct stream none = stream_of(-1);
	struct stream_timing t;
	struct pair p = make(false);
	char c;

	assert_int_equal(stream_acked(&none), -EBADF);
	assert_int_equal(stream_unread(&none), -EBADF);
	assert_int_equal(stream_take(&none, &c, 1), -EBADF);
	assert_int_equal(stream_peek(&none, &c, 1), -EBADF);
	assert_int_equal(stream_timing(e->io, &none, &t), -EBADF);
	assert_int_equal(stream_timing(e->io, &p.st, &t),
			 -EOPNOTSUPP); /* no round trips are known */
	end(e, &p);
}

static void stream_knows_the_time(struct env *e)
{
	struct pair p = make(true), deaf = make_deaf();
	struct stream_timing t;

	stream_say(&p.st, "x", 1);
	until_acked(&p, STREAM_ACKED_ALL);
	poll(NULL, 0, 60);
	assert_int_equal(stream_timing(e->io, &p.st, &t), 0);
	assert_true(t.all_acked);
	assert_true(t.quiet_ms >= 50 && t.quiet_ms < 20000);
	assert_true(t.resend_us > 0);
	assert_true(stuff(deaf.st.fd) > 0);
	assert_int_equal(stream_timing(e->io, &deaf.st, &t), 0);
	assert_false(t.all_acked);
	end(e, &p);
	end(e, &deaf);
}

/* It never waits, whatever is in its way. */
static void stream_says(struct env *e)
{
	struct pair p = make(true), deaf = make_deaf(), cut = make(true);
	char buf[16];

	stream_say(&p.st, "QUIT\r\n", 6);
	assert_int_equal(recv(p.peer, buf, sizeof(buf), 0), 6);
	assert_memory_equal(buf, "QUIT\r\n", 6);
	stuff(deaf.st.fd);
	stream_say(&deaf.st, "QUIT\r\n", 6);
	reset(e, cut.peer);
	cut.peer = -1;
	until_heard(&cut);
	stream_say(&cut.st, "QUIT\r\n", 6);
	end(e, &p);
	end(e, &deaf);
	end(e, &cut);
}

/* ---- ending ---- */

static void stream_ends(struct env *e)
{
	struct pair half = make(true), whole = make(true);
	char buf[8];

	stream_half_close(&half.st);
	assert_int_equal(recv(half.peer, buf, sizeof(buf), 0), 0);
	put(&half, "yes");
	until_heard(&half);
	assert_int_equal(stream_take(&half.st, buf, sizeof(buf)), 3);
	put(&whole, "last");
	until_heard(&whole);
	stream_cut(&whole.st);
	assert_int_equal(recv(whole.peer, buf, sizeof(buf), 0), 0);
	assert_int_equal(stream_take(&whole.st, buf, sizeof(buf)), 4);
	assert_int_equal(stream_take(&whole.st, buf, sizeof(buf)), 0);
	stream_cut(&whole.st); /* of one that is over already */
	stream_half_close(&whole.st);
	end(e, &half);
	end(e, &whole);
}

const struct engine_case stream_cases[] = {
	{ .name = "stream receives", .run = stream_receives },
	{ .name = "stream sends", .run = stream_sends },
	{ .name = "stream awaits", .run = stream_awaits },
	{ .name = "stream is cancelled", .run = stream_is_cancelled },
	{ .name = "stream connects", .run = stream_connects, .seeds = 4 },
	{ .name = "stream splices", .run = stream_splices, .seeds = 4 },
	{ .name = "stream moves", .run = stream_moves, .seeds = 1 },
	{ .name = "stream takes", .run = stream_takes, .seeds = 1 },
	{ .name = "stream skips", .run = stream_skips, .seeds = 1 },
	{ .name = "stream is silent", .run = stream_is_silent, .seeds = 1 },
	{ .name = "many streams are looked at", .run = many_streams_are_looked_at, .seeds = 1 },
	{ .name = "stream is gone", .run = stream_is_gone, .seeds = 1 },
	{ .name = "stream is acknowledged", .run = stream_is_acknowledged, .seeds = 1 },
	{ .name = "stream is not acknowledged", .run = stream_is_not_acknowledged, .seeds = 1 },
	{ .name = "stream says faults", .run = stream_says_faults, .seeds = 1 },
	{ .name = "stream knows the time", .run = stream_knows_the_time, .seeds = 1 },
	{ .name = "stream says", .run = stream_says, .seeds = 1 },
	{ .name = "stream ends", .run = stream_ends, .seeds = 1 },
	{ 0 },
};
