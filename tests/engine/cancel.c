/* SPDX-License-Identifier: ISC */
/* Cancelling: in every state, against the operation's own end, and from callbacks. */
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/net.h"

/* When, after its submission, an operation is cancelled. */
enum moment { AT_ONCE, WAITING, MOMENTS };

static void cancel_at(struct env *e, struct watch *w, enum moment when)
{
	if (when == WAITING)
		run_for(e, 2);
	assert_int_equal(w->calls, 0);
	io_cancel(e->io, &w->op);
	/* Not inside the call, and a second one adds nothing. */
	assert_int_equal(w->calls, 0);
	io_cancel(e->io, &w->op);
	assert_int_equal(await(e, w), -ECANCELED);
	/* No effect on what is over. */
	io_cancel(e->io, &w->op);
	run_for(e, 1);
	assert_int_equal(w->calls, 1);
	watch_again(w);
}

static void cancel_each_kind(struct env *e)
{
	struct watch w;
	struct addr addr;
	int listener = tcp_listener(&addr);
	char buf[8];
	int sv[2];

	tcp_pair(sv);
	watch_init(&w);
	for (enum moment when = AT_ONCE; when < MOMENTS; when++) {
		io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
		cancel_at(e, &w, when);
		io_recv_block(e->io, &w.op, sv[0]);
		cancel_at(e, &w, when);
		assert_null(w.op.block.data);
		io_poll(e->io, &w.op, sv[0], POLLIN | POLLRDHUP);
		cancel_at(e, &w, when);
		io_accept(e->io, &w.op, listener, &w.peer, true);
		cancel_at(e, &w, when);
	}
	/* The descriptors are as good as before. */
	io_recv(e->io, &w.op, sv[0], buf, sizeof(buf));
	assert_int_equal(write(sv[1], "a", 1), 1);
	assert_int_equal(await(e, &w), 1);
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
	io_close(e->io, listener);
}

/* A listener whose queue is full leaves a connection waiting. */
static void cancel_connect(struct env *e)
{
	struct addr addr;
	struct watch w;
	int listener, fds[64];
	unsigned n = 0;
	bool waits = false;

	assert_int_equal(addr_parse_ip(&addr, "127.0.0.1"), 0);
	listener = net_listen(&addr, false, 0);
	assert_true(listener >= 0);
	net_local(listener, &addr);
	watch_init(&w);
	while (!waits) {
		assert_true(n < 64);
		fds[n] = net_socket(&addr);
		assert_true(fds[n] >= 0);
		watch_again(&w);
		io_connect(e->io, &w.op, fds[n++], &addr);
		run_for(e, 50);
		waits = !w.over;
	}
	io_cancel(e->io, &w.op);
	assert_int_equal(await(e, &w), -ECANCELED);
	fds[n] = net_socket(&addr);
	watch_again(&w);
	io_connect(e->io, &w.op, fds[n++], &addr);
	cancel_at(e, &w, AT_ONCE);
	while (n)
		io_close(e->io, fds[--n]);
	io_close(e->io, listener);
}

/* What a cancelled send says that it has moved is what the peer has got. */
static void cancel_send(struct env *e)
{
	const size_t size = 8 << 20;
	uint8_t *data = malloc(size), *got = malloc(size);
	struct watch w;
	int sv[2];

	fill_pattern(data, size, 5, 0);
	watch_init(&w);
	for (int i = 0; i < 3; i++) {
		size_t all = 0;
		ssize_t n;

		tcp_pair(sv);
		small_buffer(sv[0]);
		if (i == 2)
			shutdown(sv[1], SHUT_WR);
		watch_again(&w);
		io_send(e->io, &w.op, sv[0], data, size, 0);
		run_for(e, 5);
		if (i == 1) {
			n = recv(sv[1], got, size, MSG_DONTWAIT);
			assert_true(n > 0);
			all = (size_t)n;
			run_for(e, 2);
		}
		io_cancel(e->io, &w.op);
		assert_int_equal(await(e, &w), -ECANCELED);
		assert_true(w.op.moved < size);
		shutdown(sv[0], SHUT_WR);
		do {
			n = recv(sv[1], got + all, size - all, MSG_DONTWAIT);
			if (n > 0)
				all += (size_t)n;
			else if (n < 0)
				run_for(e, 1);
		} while (n != 0);
		assert_int_equal(all, w.op.moved);
		assert_memory_equal(got, data, all);
		io_close(e->io, sv[0]);
		io_close(e->io, sv[1]);
	}
	free(data);
	free(got);
}

/* Both ends of the race are right, and no octet is lost in either. */
static void cancel_races_completion(struct env *e)
{
	struct watch w;
	char buf[4];
	int sv[2];

	engine_pair(e, sv);
	watch_init(&w);
	for (int i = 0; i < 60; i++) {
		bool block = i & 1, first = i & 2, wait = i & 4;
		int taken;

		watch_again(&w);
		if (block)
			io_recv_block(e->io, &w.op, sv[0]);
		else
			io_recv(e->io, &w.op, sv[0], buf, 1);
		if (wait)
			run_for(e, 1);
		if (first)
			io_cancel(e->io, &w.op);
		assert_int_equal(write(sv[1], "x", 1), 1);
		if (!first)
			io_cancel(e->io, &w.op);
		run_until(e, &w.over);
		assert_int_equal(w.calls, 1);
		taken = w.res == 1;
		assert_true(taken || w.res == -ECANCELED);
		if (taken && block)
			io_block_put(e->io, &w.op.block);
		assert_int_equal((size_t)taken + discard(sv[0]), 1);
	}
	io_close(e->io, sv[0]);
	io_close(e->io, sv[1]);
}

/* One callback cancels another operation that is over in the same turn. */
struct rivals {
	struct watch a, b;
	struct io *io;
	bool both;
};

static struct rivals rivals;

static void on_either(struct io_op *op, int res)
{
	struct watch *w = container_of(op, struct watch, op);
	struct watch *other = w == &rivals.a ? &rivals.b : &rivals.a;

	assert_false(w->over);
	w->over = true;
	w->res = res;
	io_cancel(rivals.io, &other->op);
	rivals.both = other->over;
}

static void cancel_in_a_callback(struct env *e)
{
	char x, y;
	int one[2], two[2];

	tcp_pair(one);
	tcp_pair(two);
	for (int i = 0; i < 10; i++) {
		rivals = (struct rivals){ .io = e->io };
		watch_init(&rivals.a);
		watch_init(&rivals.b);
		rivals.a.op.done = rivals.b.op.done = on_either;
		io_recv(e->io, &rivals.a.op, one[0], &x, 1);
		io_recv(e->io, &rivals.b.op, two[0], &y, 1);
		if (i & 1)
			run_for(e, 1);
		assert_int_equal(write(one[1], "x", 1), 1);
		assert_int_equal(write(two[1], "y", 1), 1);
		run_until(e, &rivals.both);
		assert_true(rivals.a.res == 1 || rivals.b.res == 1);
		discard(one[0]);
		discard(two[0]);
	}
	for (int i = 0; i < 2; i++) {
		io_close(e->io, one[i]);
		io_close(e->io, two[i]);
	}
}

/* Cancelled while its own completion reports a connection. */
struct stopper {
	struct io_op op;
	struct addr peer;
	struct io *io;
	unsigned got;
	int fds[8];
	bool over;
	int res;
};

static void on_stopper(struct io_op *op, int res)
{
	struct stopper *s = container_of(op, struct stopper, op);

	assert_false(s->over);
	if (op->more) {
		assert_true(s->got < 8);
		s->fds[s->got++] = res;
		io_cancel(s->io, op);
	} else {
		s->over = true;
		s->res = res;
	}
}

static void cancel_accept_in_its_callback(struct env *e)
{
	struct stopper s = { .op.done = on_stopper, .io = e->io };
	struct sockaddr_storage ss;
	struct addr addr;
	int listener = tcp_listener(&addr), clients[4];
	socklen_t len = addr_to_sockaddr(&addr, &ss);

	for (int i = 0; i < 4; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&ss, len), 0);
	}
	io_accept(e->io, &s.op, listener, &s.peer, true);
	run_until(e, &s.over);
	assert_int_equal(s.res, -ECANCELED);
	assert_true(s.got >= 1);
	/* Those that were not reported are still in the listener's queue. */
	set_nonblock(listener);
	for (unsigned i = s.got; i < 4; i++) {
		int fd = accept(listener, NULL, NULL);

		assert_true(fd >= 0);
		close(fd);
	}
	while (s.got)
		io_close(e->io, s.fds[--s.got]);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	io_close(e->io, listener);
}

/* Random operations, cancellations and peers: each ends exactly once, and no octet goes astray. */
#define CHURN_PAIRS 12

struct churn {
	struct watch in, out;
	int fds[2];
	char buf[32];
	uint8_t data[2000];
	uint64_t sent, got, put;
};

static void churn_reap(struct env *e, struct churn *c)
{
	if (c->in.over) {
		assert_int_equal(c->in.calls, 1);
		if (c->in.res > 0) {
			bool block = c->in.op.block.data;
			const uint8_t *p = block ? c->in.op.block.data : (uint8_t *)c->buf;

			assert_true(has_pattern(p, (size_t)c->in.res, 7, c->got));
			c->got += (uint64_t)c->in.res;
			if (block)
				io_block_put(e->io, &c->in.op.block);
		} else {
			assert_true(c->in.res == -ECANCELED || c->in.res == -ENOBUFS);
		}
		watch_again(&c->in);
	}
	if (c->out.over) {
		assert_true(c->out.res == -ECANCELED || c->out.res == (int)c->out.op.len);
		c->sent += c->out.op.moved;
		watch_again(&c->out);
	}
}

static void churn_step(struct env *e, struct churn *c)
{
	uint8_t data[500];
	size_t n = 1 + fake_below(&e->random, sizeof(data));
	ssize_t done;

	switch (fake_below(&e->random, 8)) {
	case 0:
	case 1:
		if (!c->in.op.active && !c->in.over)
			io_recv(e->io, &c->in.op, c->fds[0], c->buf, sizeof(c->buf));
		break;
	case 2:
		if (!c->in.op.active && !c->in.over)
			io_recv_block(e->io, &c->in.op, c->fds[0]);
		break;
	case 3:
		io_cancel(e->io, &c->in.op);
		break;
	case 4:
		if (!c->out.op.active && !c->out.over) {
			fill_pattern(c->data, sizeof(c->data), 8, c->sent);
			io_send(e->io, &c->out.op, c->fds[0], c->data, sizeof(c->data), 0);
		}
		break;
	case 5:
		io_cancel(e->io, &c->out.op);
		break;
	case 6:
		fill_pattern(data, n, 7, c->put);
		done = send(c->fds[1], data, n, MSG_DONTWAIT);
		c->put += done > 0 ? (uint64_t)done : 0;
		break;
	default:
		discard(c->fds[1]);
	}
}

static void churn_end(struct env *e, struct churn *c)
{
	io_cancel(e->io, &c->in.op);
	io_cancel(e->io, &c->out.op);
	while (c->in.op.active || c->out.op.active)
		assert_int_equal(io_run_once(e->io, 100), 0);
	churn_reap(e, c);
	while (c->got < c->put) {
		io_recv(e->io, &c->in.op, c->fds[0], c->buf, sizeof(c->buf));
		c->in.op.block = (struct io_block){ 0 };
		assert_true(await(e, &c->in) > 0);
		churn_reap(e, c);
	}
	assert_int_equal(c->got, c->put);
	io_close(e->io, c->fds[0]);
	io_close(e->io, c->fds[1]);
}

static void churn(struct env *e)
{
	struct churn *all = calloc(CHURN_PAIRS, sizeof(*all));

	for (int i = 0; i < CHURN_PAIRS; i++) {
		watch_init(&all[i].in);
		watch_init(&all[i].out);
		if (i % 2)
			unix_pair(all[i].fds);
		else
			engine_pair(e, all[i].fds);
	}
	for (int turn = 0; turn < 1500; turn++) {
		unsigned actions = fake_below(&e->random, 20);

		while (actions--)
			churn_step(e, &all[fake_below(&e->random, CHURN_PAIRS)]);
		assert_int_equal(io_run_once(e->io, 0), 0);
		for (int i = 0; i < CHURN_PAIRS; i++)
			churn_reap(e, &all[i]);
	}
	for (int i = 0; i < CHURN_PAIRS; i++)
		churn_end(e, &all[i]);
	assert_int_equal(e->io->in_flight, 0);
	free(all);
}

/* A connection that arrives together with the cancellation is reported, or still waits. */
static void cancel_accept_races_a_client(struct env *e)
{
	struct stopper s;
	struct addr addr;
	int listener = tcp_listener(&addr);

	set_nonblock(listener);
	for (int i = 0; i < 20; i++) {
		struct sockaddr_storage ss;
		socklen_t len = addr_to_sockaddr(&addr, &ss);
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;

		s = (struct stopper){ .op.done = on_stopper, .io = e->io };
		io_accept(e->io, &s.op, listener, &s.peer, true);
		if (i & 1)
			run_for(e, 1);
		if (i & 2)
			io_cancel(e->io, &s.op);
		assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
		io_cancel(e->io, &s.op);
		run_until(e, &s.over);
		assert_int_equal(s.res, -ECANCELED);
		other = s.got ? s.fds[0] : accept(listener, NULL, NULL);
		assert_true(other >= 0 && s.got <= 1);
		io_close(e->io, other);
		close(fd);
	}
	io_close(e->io, listener);
}

const struct engine_case cancel_cases[] = {
	{ .name = "cancel each kind", .run = cancel_each_kind },
	{ .name = "cancel connect", .run = cancel_connect, .seeds = 2 },
	{ .name = "cancel send", .run = cancel_send, .seeds = 4 },
	{ .name = "cancel races completion", .run = cancel_races_completion },
	{ .name = "cancel in a callback", .run = cancel_in_a_callback },
	{ .name = "cancel accept in its callback", .run = cancel_accept_in_its_callback },
	{ .name = "cancel accept races a client", .run = cancel_accept_races_a_client },
	{ .name = "churn", .run = churn },
	{ 0 },
};
