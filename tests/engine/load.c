/* SPDX-License-Identifier: ISC */
/* Many connections at once, each checked octet by octet; and the same where operations fail. */
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MESSAGES    3
#define MESSAGE_MAX 3000

struct party {
	struct io_op in, out;
	uint8_t buf[MESSAGE_MAX];
	int fd;
	bool leaving, dead;
};

/* A client that sends messages one after the other, and a server that sends back what it gets. */
struct echo {
	struct env *e;
	struct party client, server;
	uint64_t id, sent, got;
	size_t len;
	unsigned message;
	unsigned *left;
	bool *all;
};

/* Closes a party as soon as nothing of it is in flight. */
static void leave(struct echo *c, struct party *p)
{
	p->leaving = true;
	if (p->dead)
		return;
	if (p->in.active || p->out.active) {
		io_cancel(c->e->io, &p->in);
		io_cancel(c->e->io, &p->out);
		return;
	}
	p->dead = true;
	io_close(c->e->io, p->fd);
	if (c->client.dead && c->server.dead)
		*c->all = --*c->left == 0;
}

/* True when a completion leaves nothing more to do than to leave. */
static bool ends(struct echo *c, struct party *p, int res)
{
	if (res > 0 && !p->leaving)
		return false;
	assert_true(p->leaving || c->e->faults || (p == &c->server && res == 0));
	leave(c, p);
	return true;
}

/* Sends and receives at the same time: an echo that is not read would hold up the sending. */
static void client_next(struct echo *c)
{
	struct party *p = &c->client;

	if (c->message++ == MESSAGES) {
		leave(c, p);
		return;
	}
	c->len = 1 + fake_below(&c->e->random, MESSAGE_MAX);
	fill_pattern(p->buf, c->len, c->id, c->sent);
	c->sent += c->len;
	io_send(c->e->io, &p->out, p->fd, p->buf, c->len, 0);
	io_recv_block(c->e->io, &p->in, p->fd);
}

static void on_client_out(struct io_op *op, int res)
{
	struct echo *c = container_of(op, struct echo, client.out);

	/* All of it may have come back before the sending was reported. */
	if (!ends(c, &c->client, res) && !c->client.in.active)
		client_next(c);
}

static void on_client_in(struct io_op *op, int res)
{
	struct echo *c = container_of(op, struct echo, client.in);

	if (res == -ENOBUFS && !c->client.leaving) {
		io_recv_block(c->e->io, op, c->client.fd);
		return;
	}
	if (res > 0) {
		assert_true(has_pattern(op->block.data, (size_t)res, c->id, c->got));
		io_block_put(c->e->io, &op->block);
		c->got += (uint64_t)res;
		assert_true(c->got <= c->sent);
	}
	if (ends(c, &c->client, res))
		return;
	if (c->got < c->sent)
		io_recv_block(c->e->io, op, c->client.fd);
	else if (!c->client.out.active)
		client_next(c);
}

static void on_server_in(struct io_op *op, int res)
{
	struct echo *c = container_of(op, struct echo, server.in);
	struct party *p = &c->server;

	if (!ends(c, p, res))
		io_send(c->e->io, &p->out, p->fd, p->buf, (size_t)res, 0);
}

static void on_server_out(struct io_op *op, int res)
{
	struct echo *c = container_of(op, struct echo, server.out);
	struct party *p = &c->server;

	if (!ends(c, p, res))
		io_recv(c->e->io, &p->in, p->fd, p->buf, sizeof(p->buf));
}

static void echo_many(struct env *e, unsigned pairs)
{
	struct echo *all = calloc(pairs, sizeof(*all));
	unsigned left = pairs;
	bool over = false;

	assert_non_null(all);
	for (unsigned i = 0; i < pairs; i++) {
		struct echo *c = &all[i];
		int sv[2];

		unix_pair(sv);
		*c = (struct echo){ .e = e, .id = i, .left = &left, .all = &over };
		c->client.fd = sv[0];
		c->server.fd = sv[1];
		c->client.in.done = on_client_in;
		c->client.out.done = on_client_out;
		c->server.in.done = on_server_in;
		c->server.out.done = on_server_out;
		io_recv(e->io, &c->server.in, sv[1], c->server.buf, sizeof(c->server.buf));
		client_next(c);
	}
	run_until(e, &over);
	for (unsigned i = 0; i < pairs && !e->faults; i++) {
		assert_true(all[i].got == all[i].sent && all[i].message == MESSAGES + 1);
		assert_true(all[i].got >= MESSAGES);
	}
	free(all);
}

static void thousands_of_connections(struct env *e)
{
	unsigned pairs = e->backend == &fake_backend ? 200 : 2000;
	struct rlimit r;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
	if (r.rlim_cur < 2 * pairs + 64)
		pairs = (unsigned)r.rlim_cur / 2 - 64;
	echo_many(e, pairs);
}

static void operations_that_fail(struct env *e)
{
	echo_many(e, 50);
}

const struct engine_case load_cases[] = {
	{ .name = "thousands of connections",
	  .run = thousands_of_connections,
	  .ops = 8192,
	  .seeds = 3 },
	{ .name = "operations that fail", .run = operations_that_fail, .seeds = 30, .fail = 3 },
	{ 0 },
};
