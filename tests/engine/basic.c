/* SPDX-License-Identifier: ISC */
/* Each kind of operation by itself: what it gives, and how it ends. */
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void recv_gives_octets_then_end(struct env *e)
{
	struct watch w;
	char buf[64], all[64];
	size_t got = 0;
	int sv[2], n;

	engine_pair(e, sv);
	watch_init(&w);
	put(sv[1], "hello, world");
	io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	/* Never inside the submission, although it could be done at once. */
	assert_int_equal(w.calls, 0);
	assert_true(w.op.active);
	while ((n = await(e, &w)) > 0) {
		memcpy(all + got, buf, (size_t)n);
		got += (size_t)n;
		if (got == 12)
			shutdown(sv[1], SHUT_WR);
		watch_again(&w);
		io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	}
	assert_int_equal(n, 0);
	assert_memory_equal(all, "hello, world", 12);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

static void recv_waits(struct env *e)
{
	struct watch w;
	char octet;
	int sv[2];

	engine_pair(e, sv);
	watch_init(&w);
	io_recv(e->io, &w.op, sv[0], &octet, 1);
	run_for(e, 5);
	assert_int_equal(w.calls, 0);
	for (int i = 0; i < 5; i++) {
		put(sv[1], "ab");
		assert_int_equal(await(e, &w), 1);
		assert_int_equal(octet, 'a');
		watch_again(&w);
		/* The second has been there before it is asked for. */
		io_recv(e->io, &w.op, sv[0], &octet, 1);
		assert_int_equal(await(e, &w), 1);
		assert_int_equal(octet, 'b');
		watch_again(&w);
		io_recv(e->io, &w.op, sv[0], &octet, 1);
		run_for(e, 2);
		assert_int_equal(w.calls, 0);
	}
	reset(e, sv[1]);
	assert_int_equal(await(e, &w), -ECONNRESET);
	io_close(e->io, sv[0]);
}

/* Octets and the peer's end that arrive together are both seen. */
static void recv_sees_end_behind_octets(struct env *e)
{
	struct watch w;
	char buf[64];
	size_t got = 0;
	int sv[2], n;

	engine_pair(e, sv);
	watch_init(&w);
	io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	run_for(e, 1);
	put(sv[1], "bye");
	io_close(e->io, sv[1]);
	while ((n = await(e, &w)) > 0) {
		got += (size_t)n;
		watch_again(&w);
		io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	}
	assert_int_equal(n, 0);
	assert_int_equal(got, 3);
	io_close(e->io, sv[0]);
}

static void recv_block_lends_and_takes_back(struct env *e)
{
	struct watch w;
	uint8_t data[BLOCK_SIZE];
	uint64_t sent = 0, got = 0;
	int sv[2];

	engine_pair(e, sv);
	watch_init(&w);
	for (int i = 0; i < 4 * BLOCK_COUNT; i++) {
		size_t n = 1 + fake_below(&e->random, BLOCK_SIZE);

		fill_pattern(data, n, 1, sent);
		assert_int_equal(write(sv[1], data, n), n);
		sent += n;
		while (got < sent) {
			watch_again(&w);
			io_recv_block(e->io, &w.op, sv[0]);
			assert_true(await(e, &w) > 0);
			assert_true(w.res <= BLOCK_SIZE);
			assert_true(has_pattern(w.op.block.data, (size_t)w.res, 1, got));
			got += (uint64_t)w.res;
			io_block_put(e->io, &w.op.block);
			assert_null(w.op.block.data);
		}
	}
	io_close(e->io, sv[1]);
	watch_again(&w);
	io_recv_block(e->io, &w.op, sv[0]);
	assert_int_equal(await(e, &w), 0);
	assert_null(w.op.block.data);
	io_close(e->io, sv[0]);
}

/* Every end and fault of a receive gives back the block that it may have chosen. */
static void recv_block_loses_no_block(struct env *e)
{
	struct watch w;
	int sv[2];

	watch_init(&w);
	for (int i = 0; i < 3 * BLOCK_COUNT; i++) {
		tcp_pair(sv);
		watch_again(&w);
		io_recv_block(e->io, &w.op, sv[0]);
		if (i % 3)
			run_for(e, 1);
		if (i % 2)
			reset(e, sv[1]);
		else
			io_close(e->io, sv[1]);
		assert_int_equal(await(e, &w), i % 2 ? -ECONNRESET : 0);
		assert_null(w.op.block.data);
		io_close(e->io, sv[0]);
	}
}

static void blocks_run_out_and_come_back(struct env *e)
{
	struct watch held[BLOCK_COUNT], w;
	int sv[BLOCK_COUNT][2], last[2];

	for (int i = 0; i < BLOCK_COUNT; i++) {
		tcp_pair(sv[i]);
		watch_init(&held[i]);
		io_recv_block(e->io, &held[i].op, sv[i][0]);
		put(sv[i][1], "x");
		assert_int_equal(await(e, &held[i]), 1);
	}
	tcp_pair(last);
	watch_init(&w);
	io_recv_block(e->io, &w.op, last[0]);
	/* Waiting costs no block, and is no fault while there is nothing to receive. */
	run_for(e, 10);
	assert_int_equal(w.calls, 0);
	put(last[1], "yz");
	assert_int_equal(await(e, &w), -ENOBUFS);
	assert_null(w.op.block.data);
	/* Nothing is lost. */
	io_block_put(e->io, &held[3].op.block);
	for (int got = 0; got < 2;) {
		watch_again(&w);
		io_recv_block(e->io, &w.op, last[0]);
		assert_true(await(e, &w) > 0);
		assert_memory_equal(w.op.block.data, &"yz"[got], (size_t)w.res);
		got += w.res;
		io_block_put(e->io, &w.op.block);
	}
	/* A block that comes back while one waits is used for it. */
	watch_again(&w);
	io_recv_block(e->io, &w.op, last[0]);
	run_for(e, 2);
	put(last[1], "!");
	assert_int_equal(await(e, &w), 1);
	io_block_put(e->io, &w.op.block);
	for (int i = 0; i < BLOCK_COUNT; i++) {
		io_block_put(e->io, &held[i].op.block);
		io_close(e->io, sv[i][0]);
		io_close(e->io, sv[i][1]);
	}
	io_close(e->io, last[0]);
	io_close(e->io, last[1]);
}

static void send_and_recv_at_once(struct env *e)
{
	struct watch in, out, gone;
	char buf[16];
	int sv[2];

	engine_pair(e, sv);
	watch_init(&in);
	watch_init(&out);
	watch_init(&gone);
	io_poll(e->io, &gone.op, sv[0], POLLRDHUP);
	io_recv(e->io, &in.op, sv[0], buf, sizeof(buf));
	io_send(e->io, &out.op, sv[0], "ping", 4, 0);
	assert_int_equal(await(e, &out), 4);
	assert_int_equal(out.op.moved, 4);
	assert_int_equal(discard(sv[1]), 4);
	assert_int_equal(in.calls, 0);
	put(sv[1], "p");
	assert_int_equal(await(e, &in), 1);
	assert_int_equal(gone.calls, 0);
	shutdown(sv[1], SHUT_WR);
	assert_int_equal(await(e, &gone) & POLLRDHUP, POLLRDHUP);
	/* Half closed: the other direction goes on. */
	watch_again(&in);
	watch_again(&out);
	io_recv(e->io, &in.op, sv[0], buf, sizeof(buf));
	io_send(e->io, &out.op, sv[0], "still", 5, IO_SEND_MORE);
	assert_int_equal(await(e, &in), 0);
	run_until(e, &out.over);
	assert_int_equal(out.res, 5);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

static void send_to_a_slow_reader(struct env *e)
{
	const size_t size = e->backend == &fake_backend ? 400000 : 10 << 20;
	uint8_t *data = malloc(size), buf[16384];
	struct watch in, out;
	uint64_t got = 0;
	int sv[2];

	tcp_pair(sv);
	small_buffer(sv[0]);
	fill_pattern(data, size, 2, 0);
	watch_init(&in);
	watch_init(&out);
	io_send(e->io, &out.op, sv[0], data, size, 0);
	run_for(e, 5);
	assert_int_equal(out.calls, 0);
	while (got < size) {
		watch_again(&in);
		io_recv(e->io, &in.op, sv[1], buf, 1 + fake_below(&e->random, sizeof(buf)));
		assert_true(await(e, &in) > 0);
		assert_true(has_pattern(buf, (size_t)in.res, 2, got));
		got += (uint64_t)in.res;
	}
	run_until(e, &out.over);
	assert_int_equal(out.calls, 1);
	assert_int_equal(out.res, size);
	assert_int_equal(out.op.moved, size);
	assert_int_equal(discard(sv[1]), 0);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
	free(data);
}

static void send_ends_at_a_reset(struct env *e)
{
	const size_t size = 10 << 20;
	uint8_t *data = calloc(1, size);
	struct watch out;
	size_t got;
	int sv[2];

	tcp_pair(sv);
	small_buffer(sv[0]);
	watch_init(&out);
	io_send(e->io, &out.op, sv[0], data, size, 0);
	for (got = 0; got < 3000; got += discard(sv[1]))
		run_for(e, 1);
	assert_int_equal(out.calls, 0);
	reset(e, sv[1]);
	assert_true(await(e, &out) == -ECONNRESET || out.res == -EPIPE);
	assert_true(out.op.moved >= got && out.op.moved < size);
	/* And again, to a connection that is gone: no SIGPIPE. */
	watch_again(&out);
	io_send(e->io, &out.op, sv[0], data, size, 0);
	assert_int_equal(await(e, &out), -EPIPE);
	assert_int_equal(out.op.moved, 0);
	io_close(e->io, sv[0]);
	free(data);
}

/* A lazy send has completed when the answer to it is seen, and with any other event at the latest.
 */
static void lazy_sends(struct env *e)
{
	struct watch in, out;
	char buf[16];
	int sv[2];

	engine_pair(e, sv);
	watch_init(&in);
	watch_init(&out);
	for (int i = 0; i < 20; i++) {
		watch_again(&in);
		watch_again(&out);
		io_recv(e->io, &in.op, sv[0], buf, sizeof(buf));
		io_send(e->io, &out.op, sv[0], "ping", 4, IO_SEND_LAZY);
		for (int got = 0; got < 4; got += (int)discard(sv[1]))
			run_for(e, 1);
		assert_int_equal(in.calls, 0);
		put(sv[1], "p");
		assert_int_equal(await(e, &in), 1);
		assert_int_equal(out.calls, 1);
		assert_int_equal(out.res, 4);
		assert_int_equal(out.op.moved, 4);
	}
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

/* Where there is no room for all of it, it goes on as any other send; and so it is cancelled. */
static void lazy_send_to_a_slow_reader(struct env *e)
{
	const size_t size = e->backend == &fake_backend ? 400000 : 4 << 20;
	uint8_t *data = malloc(size), buf[16384];
	struct watch in, out;
	uint64_t got = 0;
	int sv[2];

	tcp_pair(sv);
	small_buffer(sv[0]);
	fill_pattern(data, size, 2, 0);
	for (int full = 0; full < 2; full++) {
		watch_init(&in);
		watch_init(&out);
		io_send(e->io, &out.op, sv[0], data, size, IO_SEND_LAZY);
		run_for(e, 5);
		assert_int_equal(out.calls, 0);
		if (full) {
			io_cancel(e->io, &out.op);
			assert_int_equal(await(e, &out), -ECANCELED);
			assert_true(out.op.moved < size);
			break;
		}
		for (got = 0; got < size; got += (uint64_t)in.res) {
			watch_again(&in);
			io_recv(e->io, &in.op, sv[1], buf, sizeof(buf));
			assert_true(await(e, &in) > 0);
			assert_true(has_pattern(buf, (size_t)in.res, 2, got));
		}
		run_until(e, &out.over);
		assert_int_equal(out.calls, 1);
		assert_int_equal(out.res, size);
	}
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
	free(data);
}

static void lazy_send_to_nobody(struct env *e)
{
	struct watch out, later;
	int sv[2];

	tcp_pair(sv);
	watch_init(&out);
	watch_init(&later);
	reset(e, sv[1]);
	run_for(e, 5);
	io_send(e->io, &out.op, sv[0], "ping", 4, IO_SEND_LAZY);
	assert_true(await(e, &out) == -ECONNRESET || out.res == -EPIPE);
	/* Cancelled as soon as it was submitted: all of it, or nothing. */
	watch_again(&out);
	io_send(e->io, &out.op, sv[0], "ping", 4, IO_SEND_LAZY);
	io_cancel(e->io, &out.op);
	assert_true(await(e, &out) == -ECANCELED || out.res == -EPIPE);
	assert_int_equal(out.op.moved, 0);
	io_close(e->io, sv[0]);
}

/* Many small ones in a row arrive in the order of their submission. */
static void sends_in_a_row(struct env *e)
{
	struct watch out;
	uint8_t data[100], buf[100];
	uint64_t sent = 0, got = 0;
	int sv[2];

	tcp_pair(sv);
	watch_init(&out);
	for (int i = 0; i < 50; i++) {
		size_t n = 1 + fake_below(&e->random, sizeof(data));
		ssize_t in;

		fill_pattern(data, n, 3, sent);
		watch_again(&out);
		io_send(e->io, &out.op, sv[0], data, n, i % 3 == 0 && i < 49 ? IO_SEND_MORE : 0);
		assert_int_equal(await(e, &out), n);
		sent += n;
		while ((in = recv(sv[1], buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
			assert_true(has_pattern(buf, (size_t)in, 3, got));
			got += (uint64_t)in;
		}
	}
	for (int i = 0; got < sent && i < 1000; i++) {
		got += discard(sv[1]);
		run_for(e, 1);
	}
	assert_int_equal(got, sent);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

static void poll_tells_what_holds(struct env *e)
{
	struct watch w;
	int sv[2], n;

	tcp_pair(sv);
	watch_init(&w);
	io_poll(e->io, &w.op, sv[0], POLLIN | POLLOUT);
	assert_int_equal(await(e, &w), POLLOUT);
	watch_again(&w);
	io_poll(e->io, &w.op, sv[0], POLLIN);
	run_for(e, 2);
	assert_int_equal(w.calls, 0);
	put(sv[1], "x");
	assert_int_equal(await(e, &w), POLLIN);
	/* It is a level: asked again, it holds again. */
	watch_again(&w);
	io_poll(e->io, &w.op, sv[0], POLLIN);
	assert_int_equal(await(e, &w), POLLIN);
	assert_int_equal(discard(sv[0]), 1);
	watch_again(&w);
	io_poll(e->io, &w.op, sv[0], POLLRDHUP);
	shutdown(sv[1], SHUT_WR);
	assert_int_equal(await(e, &w), POLLRDHUP);
	watch_again(&w);
	io_poll(e->io, &w.op, sv[0], POLLPRI);
	run_for(e, 2);
	assert_int_equal(w.calls, 0);
	reset(e, sv[1]);
	n = await(e, &w);
	assert_true(n > 0 && n & (POLLERR | POLLHUP));
	io_close(e->io, sv[0]);
}

/* A peer that has closed its own direction and reads slowly does not make the waiter spin. */
static void poll_for_room_at_a_half_closed_peer(struct env *e)
{
	struct watch w;
	unsigned turns = 0;
	uint64_t start;
	int sv[2];

	tcp_pair(sv);
	stuff(sv[0]);
	shutdown(sv[1], SHUT_WR);
	watch_init(&w);
	io_poll(e->io, &w.op, sv[0], POLLOUT);
	io_tick(e->io);
	start = io_now_ms(e->io);
	while (io_now_ms(e->io) < start + 100) {
		assert_int_equal(io_run_once(e->io, 20), 0);
		turns++;
	}
	assert_int_equal(w.calls, 0);
	if (!e->rates.delay || e->backend != &fake_backend)
		assert_true(turns < 100);
	while (!w.over) {
		discard(sv[1]);
		assert_int_equal(io_run_once(e->io, 10), 0);
	}
	assert_int_equal(w.res, POLLOUT);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

/* Two waiters on one descriptor, beside a reader that takes what wakes them. */
static void polls_beside_a_reader(struct env *e)
{
	struct watch in, a, b;
	char buf[8];
	int sv[2];

	unix_pair(sv);
	watch_init(&in);
	watch_init(&a);
	watch_init(&b);
	io_poll(e->io, &a.op, sv[0], POLLIN);
	io_poll(e->io, &b.op, sv[0], POLLRDHUP);
	io_recv(e->io, &in.op, sv[0], buf, sizeof(buf));
	run_for(e, 1);
	put(sv[1], "x");
	assert_int_equal(await(e, &in), 1);
	if (!a.over) {
		io_cancel(e->io, &a.op);
		run_until(e, &a.over);
	}
	assert_true(a.res == POLLIN || a.res == -ECANCELED);
	assert_int_equal(b.calls, 0);
	io_close(e->io, sv[1]);
	assert_true(await(e, &b) & POLLRDHUP);
	io_close(e->io, sv[0]);
}

/* A number that a new descriptor takes over carries nothing of the old one's. */
static void numbers_are_used_again(struct env *e)
{
	struct watch w;
	char buf[64];
	int sv[2], first = -1;

	watch_init(&w);
	for (int i = 0; i < 20; i++) {
		if (i % 2)
			unix_pair(sv);
		else
			engine_pair(e, sv);
		if (i % 2 == 0 && first < 0)
			first = sv[0];
		watch_again(&w);
		io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
		if (i % 3)
			run_for(e, 1);
		put(sv[1], "a");
		assert_int_equal(await(e, &w), 1);
		watch_again(&w);
		io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
		if (i % 4 == 0)
			run_for(e, 1);
		io_close(e->io, sv[1]);
		assert_int_equal(await(e, &w), 0);
		io_close(e->io, sv[0]);
	}
}

/* Messages keep their borders, and a short one does not hide the next. */
static void recv_of_messages(struct env *e)
{
	struct watch w;
	char buf[64];
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	watch_init(&w);
	io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	run_for(e, 1);
	for (int i = 0; i < 5; i++)
		put(sv[1], "m");
	for (int i = 0; i < 5; i++) {
		assert_int_equal(await(e, &w), 1);
		watch_again(&w);
		io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	}
	io_close(e->io, sv[1]);
	assert_int_equal(await(e, &w), 0);
	io_close(e->io, sv[0]);
}

/* A read that stops at an urgent mark has more behind it. */
static void recv_past_urgent_data(struct env *e)
{
	struct watch w;
	char buf[64], all[64];
	size_t got = 0;
	int sv[2];

	engine_pair(e, sv);
	watch_init(&w);
	io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	run_for(e, 1);
	put(sv[1], "abc");
	assert_int_equal(send(sv[1], "U", 1, MSG_OOB), 1);
	put(sv[1], "def");
	while (got < 7) {
		assert_true(await(e, &w) > 0);
		memcpy(all + got, buf, (size_t)w.res);
		got += (size_t)w.res;
		watch_again(&w);
		io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	}
	assert_memory_equal(all, "abcUdef", 7);
	io_close(e->io, sv[1]);
	assert_int_equal(await(e, &w), 0);
	io_close(e->io, sv[0]);
}

const struct engine_case basic_cases[] = {
	{ .name = "recv gives octets, then the end", .run = recv_gives_octets_then_end },
	{ .name = "recv waits", .run = recv_waits },
	{ .name = "recv sees the end behind octets", .run = recv_sees_end_behind_octets },
	{ .name = "recv past urgent data", .run = recv_past_urgent_data },
	{ .name = "recv of messages", .run = recv_of_messages },
	{ .name = "recv_block lends and takes back", .run = recv_block_lends_and_takes_back },
	{ .name = "recv_block loses no block", .run = recv_block_loses_no_block },
	{ .name = "blocks run out and come back", .run = blocks_run_out_and_come_back },
	{ .name = "send, recv and poll at once", .run = send_and_recv_at_once },
	{ .name = "send to a slow reader", .run = send_to_a_slow_reader, .seeds = 3 },
	{ .name = "send ends at a reset", .run = send_ends_at_a_reset },
	{ .name = "sends in a row", .run = sends_in_a_row },
	{ .name = "lazy sends", .run = lazy_sends, .seeds = 2 },
	{ .name = "lazy send to a slow reader", .run = lazy_send_to_a_slow_reader, .seeds = 2 },
	{ .name = "lazy send to nobody", .run = lazy_send_to_nobody },
	{ .name = "poll tells what holds", .run = poll_tells_what_holds },
	{ .name = "poll for room at a half-closed peer",
	  .run = poll_for_room_at_a_half_closed_peer,
	  .seeds = 2 },
	{ .name = "polls beside a reader", .run = polls_beside_a_reader },
	{ .name = "numbers are used again", .run = numbers_are_used_again },
	{ 0 },
};
