/* SPDX-License-Identifier: ISC */
/* The body mover and its pipes. */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/net.h"
#include "io/pipe.h"

/* A client that sends, the mover, a destination that reads. */
struct relay {
	struct io_splice s;
	struct io_pipes pool;
	struct io_pipe *pipe;
	unsigned calls;
	bool over;
	int res;
	int src[2], dst[2]; /* [0] is ours */
	uint64_t fed, got;
};

static void on_moved(struct io_splice *s, int res)
{
	struct relay *r = container_of(s, struct relay, s);

	r->calls++;
	r->over = true;
	r->res = res;
}

static void relay_make(struct relay *r, bool tcp)
{
	*r = (struct relay){ .s.done = on_moved };
	assert_int_equal(io_pipes_init(&r->pool, 2), 0);
	r->pipe = io_pipe_get(&r->pool);
	assert_non_null(r->pipe);
	if (tcp) {
		tcp_pair(r->src);
		tcp_pair(r->dst);
	} else {
		unix_pair(r->src);
		unix_pair(r->dst);
	}
}

static void relay_end(struct env *e, struct relay *r)
{
	assert_int_equal(r->calls, 1);
	io_pipe_put(&r->pool, r->pipe);
	io_pipes_destroy(&r->pool);
	io_close(e->io, r->src[0]);
	io_close(e->io, r->dst[0]);
	if (r->src[1] >= 0)
		close(r->src[1]);
	if (r->dst[1] >= 0)
		close(r->dst[1]);
}

static void feed(struct relay *r, uint64_t up_to)
{
	uint8_t data[30000];

	while (r->fed < up_to) {
		size_t n = up_to - r->fed < sizeof(data) ? up_to - r->fed : sizeof(data);
		ssize_t done;

		fill_pattern(data, n, 9, r->fed);
		done = send(r->src[1], data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (done <= 0)
			return;
		r->fed += (uint64_t)done;
	}
}

static void take(struct relay *r)
{
	uint8_t data[30000];
	ssize_t n;

	while ((n = recv(r->dst[1], data, sizeof(data), MSG_DONTWAIT)) > 0) {
		assert_true(has_pattern(data, (size_t)n, 9, r->got));
		r->got += (uint64_t)n;
	}
}

static void relay_run(struct env *e, struct relay *r, uint64_t up_to)
{
	for (int turns = 0; !r->over; turns++) {
		assert_true(turns < 100000);
		feed(r, up_to);
		assert_int_equal(io_run_once(e->io, 5), 0);
		take(r);
	}
	assert_int_equal(r->calls, 1);
}

static void exact_count(struct env *e, bool tcp, uint64_t count)
{
	struct relay r;
	char rest[16];
	ssize_t n = 0;

	relay_make(&r, tcp);
	io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], count);
	assert_int_equal(r.calls, 0);
	if (count >= 100)
		run_for(e, 2);
	/* Seven octets more than it may move are in the same queue. */
	relay_run(e, &r, count + 7);
	assert_int_equal(r.res, 0);
	assert_int_equal(r.s.moved, count);
	assert_int_equal(r.s.in_pipe, 0);
	for (int i = 0; i < 1000 && r.got < count; i++) {
		take(&r);
		run_for(e, 1);
	}
	assert_int_equal(r.got, count);
	feed(&r, count + 7);
	for (int i = 0; i < 1000 && n < 7; i++) {
		ssize_t more = recv(r.src[0], rest + n, sizeof(rest) - (size_t)n, MSG_DONTWAIT);

		n += more > 0 ? more : 0;
		if (n < 7)
			run_for(e, 1);
	}
	assert_int_equal(n, 7);
	assert_true(has_pattern((uint8_t *)rest, 7, 9, count));
	relay_end(e, &r);
}

static void splice_moves_the_count(struct env *e)
{
	static const uint64_t counts[] = { 0, 1, 4095, 65536, PIPE_WANTED + 1, 3 << 20 };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		exact_count(e, true, counts[i]);
		exact_count(e, false, counts[i]);
	}
}

static void splice_to_a_slow_reader(struct env *e)
{
	const uint64_t count = e->backend == &fake_backend ? 400000 : 4 << 20;
	struct relay r;

	for (int half = 0; half < 2; half++) {
		relay_make(&r, true);
		small_buffer(r.dst[0]);
		if (half)
			shutdown(r.dst[1], SHUT_WR);
		io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], count);
		for (int i = 0; i < 10; i++) {
			feed(&r, count);
			run_for(e, 2);
		}
		if (!half)
			assert_false(r.over && e->backend != &fake_backend);
		relay_run(e, &r, count);
		assert_int_equal(r.res, 0);
		for (int i = 0; i < 1000 && r.got < count; i++) {
			take(&r);
			run_for(e, 1);
		}
		assert_int_equal(r.got, count);
		relay_end(e, &r);
	}
}

static void splice_meets_the_end(struct env *e)
{
	struct relay r;

	relay_make(&r, true);
	io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], 9000);
	run_for(e, 1);
	feed(&r, 5000);
	io_close(e->io, r.src[1]);
	r.src[1] = -1;
	run_until(e, &r.over);
	assert_int_equal(r.res, -ENODATA);
	assert_int_equal(r.s.side, IO_SPLICE_FROM);
	assert_int_equal(r.s.moved, 5000);
	assert_int_equal(r.s.in_pipe, 0);
	relay_end(e, &r);
}

/* What it has taken before the end reaches a destination that is slow to take it. */
static void splice_delivers_before_the_end(struct env *e)
{
	struct relay r;
	size_t stuffed, taken = 0;

	relay_make(&r, true);
	stuffed = stuff(r.dst[0]);
	feed(&r, 5000);
	io_close(e->io, r.src[1]);
	r.src[1] = -1;
	io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], 9000);
	run_for(e, 5);
	assert_int_equal(r.calls, 0);
	while (!r.over) {
		taken += discard(r.dst[1]);
		assert_int_equal(io_run_once(e->io, 5), 0);
	}
	assert_int_equal(r.res, -ENODATA);
	assert_int_equal(r.s.moved, 5000);
	assert_int_equal(r.s.in_pipe, 0);
	for (int i = 0; i < 30000 && taken < stuffed + 5000; i++) {
		taken += discard(r.dst[1]);
		run_for(e, 1);
	}
	assert_int_equal(taken, stuffed + 5000);
	relay_end(e, &r);
}

/* The mark stops it, also with the peer's end behind it; the rest is for recv(). */
static void splice_stops_at_urgent_data(struct env *e)
{
	struct relay r;
	char rest[16];

	for (int how = 0; how < 4; how++) {
		relay_make(&r, true);
		if (how & 1) {
			io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], 100);
			run_for(e, 1);
		}
		feed(&r, 30);
		assert_int_equal(send(r.src[1], "U", 1, MSG_OOB), 1);
		assert_int_equal(send(r.src[1], "def", 3, 0), 3);
		if (how & 2)
			shutdown(r.src[1], SHUT_WR);
		run_for(e, 1);
		if (!(how & 1))
			io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], 100);
		run_until(e, &r.over);
		assert_int_equal(r.res, -ESTRPIPE);
		assert_int_equal(r.s.side, IO_SPLICE_FROM);
		assert_int_equal(r.s.moved, 30);
		assert_int_equal(r.s.in_pipe, 0);
		assert_true(net_at_mark(r.src[0]));
		assert_int_equal(recv(r.src[0], rest, sizeof(rest), MSG_DONTWAIT), 4);
		assert_memory_equal(rest, "Udef", 4);
		run_for(e, 1);
		take(&r);
		assert_int_equal(r.got, 30);
		relay_end(e, &r);
	}
}

static void splice_from_a_reset(struct env *e)
{
	struct relay r;

	relay_make(&r, true);
	io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], 1000);
	feed(&r, 10);
	run_for(e, 2);
	reset(e, r.src[1]);
	r.src[1] = -1;
	run_until(e, &r.over);
	assert_int_equal(r.res, -ECONNRESET);
	assert_int_equal(r.s.side, IO_SPLICE_FROM);
	relay_end(e, &r);
}

/* No SIGPIPE, and what is left in the pipe is told and never handed out again. */
static void splice_to_a_reset(struct env *e)
{
	struct relay r;
	struct io_pipe *again;
	bool left;

	for (int how = 0; how < 2; how++) {
		relay_make(&r, true);
		small_buffer(r.dst[0]);
		if (how)
			stuff(r.dst[0]);
		io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], 1 << 20);
		feed(&r, 100000);
		run_for(e, 5);
		reset(e, r.dst[1]);
		r.dst[1] = -1;
		feed(&r, 200000);
		run_until(e, &r.over);
		assert_true(r.res == -EPIPE || r.res == -ECONNRESET);
		assert_int_equal(r.s.side, IO_SPLICE_TO);
		left = r.s.in_pipe > 0;
		if (how)
			assert_true(left);
		assert_int_equal(r.pipe->filled, r.s.in_pipe);
		io_pipe_put(&r.pool, r.pipe);
		assert_int_equal(r.pool.made, left ? 0 : 1);
		again = io_pipe_get(&r.pool);
		assert_non_null(again);
		assert_int_equal(again->filled, 0);
		assert_int_equal(read(again->rd, &left, 1), -1);
		r.pipe = again;
		relay_end(e, &r);
	}
}

static void splice_cancel(struct env *e)
{
	struct relay r;

	/* Before its first step; while it waits for octets; while it waits for room. */
	for (int how = 0; how < 3; how++) {
		relay_make(&r, true);
		if (how == 2) {
			stuff(r.dst[0]);
			feed(&r, 20000);
		}
		io_splice_start(e->io, &r.s, r.pipe, r.src[0], r.dst[0], 1 << 20);
		while (how == 2 && r.pipe->filled == 0)
			assert_int_equal(io_run_once(e->io, 5), 0);
		if (how)
			run_for(e, 3);
		assert_int_equal(r.calls, 0);
		io_splice_cancel(&r.s);
		io_splice_cancel(&r.s);
		assert_int_equal(r.calls, 0);
		run_until(e, &r.over);
		assert_int_equal(r.res, -ECANCELED);
		assert_int_equal(r.s.moved, 0);
		if (how == 2)
			assert_true(r.s.in_pipe > 0);
		run_for(e, 2);
		relay_end(e, &r);
	}
}

/* The pool. */

static void pipes_are_counted(struct env *e)
{
	struct io_pipes pool;
	struct io_pipe *one, *two;
	int rd;

	(void)e;
	assert_int_equal(io_pipes_init(&pool, 2), 0);
	assert_int_equal(pool.made, 0);
	one = io_pipe_get(&pool);
	two = io_pipe_get(&pool);
	assert_true(one && two && one != two);
	assert_true(one->size >= 65536);
	assert_int_equal(pool.made, 2);
	assert_null(io_pipe_get(&pool));
	/* An empty one is used again as it is. */
	rd = one->rd;
	io_pipe_put(&pool, one);
	one = io_pipe_get(&pool);
	assert_int_equal(one->rd, rd);
	assert_int_equal(pool.made, 2);
	/* One that holds an octet that nobody has counted is not. */
	assert_int_equal(write(one->wr, "x", 1), 1);
	io_pipe_put(&pool, one);
	assert_int_equal(pool.made, 1);
	one = io_pipe_get(&pool);
	assert_int_equal(read(one->rd, &rd, 1), -1);
	assert_int_equal(errno, EAGAIN);
	io_pipe_put(&pool, one);
	io_pipe_put(&pool, two);
	io_pipe_put(&pool, NULL);
	io_pipes_destroy(&pool);
	assert_int_equal(io_pipes_init(&pool, 0), 0);
	assert_null(io_pipe_get(&pool));
	io_pipes_destroy(&pool);
}

#define MANY 2000

/* In a child that is nobody. 0: the kernel's limit was met, and every pipe was as promised. */
static int use_up_pipes(void)
{
	struct io_pipes pool;
	struct io_pipe *p, *last = NULL;
	unsigned n = 0;

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 2;
	if (io_pipes_init(&pool, MANY) < 0)
		return 3;
	while ((p = io_pipe_get(&pool))) {
		if (p->size < 65536)
			return 4;
		last = p;
		n++;
	}
	if (n == MANY || !last)
		return 5;
	/* Refused again, no descriptor is lost, and one given back can be had. */
	if (io_pipe_get(&pool) || pool.made != n)
		return 6;
	io_pipe_put(&pool, last);
	return io_pipe_get(&pool) == last ? 0 : 7;
}

static void pipes_that_the_kernel_refuses(struct env *e)
{
	unsigned long soft = 0;
	FILE *f = fopen("/proc/sys/fs/pipe-user-pages-soft", "r");
	int status = 0;
	pid_t child;

	(void)e;
	if (f && fscanf(f, "%lu", &soft) != 1)
		soft = 0;
	if (f)
		fclose(f);
	/* Without a limit, or with one that MANY do not reach, there is nothing to see. */
	if (soft == 0 || soft > MANY * 16)
		return;
	child = fork();
	if (child == 0)
		_exit(use_up_pipes());
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

const struct engine_case splice_cases[] = {
	{ .name = "splice moves the count", .run = splice_moves_the_count, .seeds = 6 },
	{ .name = "splice to a slow reader", .run = splice_to_a_slow_reader, .seeds = 2 },
	{ .name = "splice meets the end", .run = splice_meets_the_end },
	{ .name = "splice delivers before the end", .run = splice_delivers_before_the_end },
	{ .name = "splice stops at urgent data", .run = splice_stops_at_urgent_data },
	{ .name = "splice from a reset", .run = splice_from_a_reset },
	{ .name = "splice to a reset", .run = splice_to_a_reset },
	{ .name = "splice cancel", .run = splice_cancel },
	{ .name = "pipes are counted", .run = pipes_are_counted, .seeds = 1 },
	{ .name = "pipes that the kernel refuses",
	  .run = pipes_that_the_kernel_refuses,
	  .seeds = 1 },
	{ 0 },
};
