/* SPDX-License-Identifier: ISC */
/* Accepting: see inner.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "io/net.h"
#include "worker/inner.h"

#define ACCEPT_PAUSE_MS 100
#define LOOK_MAX	64 /* connections; the worker that is woken for more takes them */

static bool is_in(const struct policy_networks *networks, const struct addr *a)
{
	return networks && policy_networks_match(networks, a);
}

/* What the networks say of CLIENT's address, whoever has said that it is that. */
static void look_up(const struct worker *w, struct session_client *client)
{
	const struct policy *policy = &w->ctx.rt->policy;

	client->in_network = is_in(policy->networks, &client->addr);
	client->may_rename = is_in(policy->renamers, &client->addr);
	client->known = client->in_network || client->may_rename;
}

/* It is known who comes. */
static void begin(struct worker *w, struct session_client *client)
{
	look_up(w, client);
	stress_admit(w, client);
	stress_look(w);
}

static void enter(struct door *d, const struct door_client *known)
{
	struct worker *w = container_of(d, struct worker, door);
	struct session_client client = {
		.stream = stream_of(known->fd),
		.addr = known->addr,
		.proxy = known->proxy,
		.to = known->to,
		.tls_first = known->tls_first,
	};

	begin(w, &client);
}

void worker_renamed(struct context *ctx, struct session_heir *heir)
{
	struct worker *w = container_of(ctx, struct worker, ctx);

	look_up(w, &heir->client);
	if (w->told)
		stream_close(ctx->io, &heir->client.stream);
	else
		(void)worker_admit(w, &heir->client, true);
	pool_put(&ctx->heirs, heir);
}

static void left(struct door *d)
{
	worker_look(container_of(d, struct worker, door));
}

int worker_door(struct worker *w)
{
	return door_init(&w->door, &w->ctx, enter, left);
}

static void serve(const struct listener *l, int fd)
{
	struct worker *w = l->worker;
	struct session_client client = {
		.stream = stream_of(fd),
		.addr = l->peer,
		.tls_first = l->tls_first,
	};

	/* Ours were prepared before they listened, what waits in another's may be older than we. */
	if (w->ctx.rt->listen_handed)
		net_prepare(fd);
	if (!list_linked(&w->tick_timer.link))
		io_timer_set(w->ctx.io, &w->tick_timer, WORKER_TICK_MS);

	if (is_in(w->ctx.rt->policy.balancers, &l->peer))
		door_take(&w->door, fd, &l->peer, l->tls_first);
	else
		begin(w, &client);
}

static void accept_again(struct io_timer *t)
{
	struct listener *l = container_of(t, struct listener, pause);

	l->accepting = true;
	io_accept(l->worker->ctx.io, &l->op, l->fd, &l->peer, l->worker->ctx.rt->listen_handed);
}

/*
 * A look at a socket that others accept on too: the last one, since a connection that has woken the
 * cancelled accept, and nobody else, would wait there for the next one to come; or one now and
 * then.
 */
static void accept_rest(struct listener *l)
{
	int fd;

	for (unsigned i = 0; i < LOOK_MAX && (fd = net_accept(l->fd, &l->peer)) >= 0; i++)
		serve(l, fd);
}

void worker_accept_rest(struct worker *w)
{
	for (unsigned i = 0; i < w->listener_count; i++)
		if (list_linked(&w->listeners[i].pause.link))
			accept_rest(&w->listeners[i]); /* no accept is there to be cancelled */
}

/* See io_accept(): who shares sockets does not rely on being woken. */
static void on_look(struct io_timer *t)
{
	struct worker *w = container_of(t, struct worker, look_timer);

	if (w->ctx.draining)
		return;
	for (unsigned i = 0; i < w->listener_count; i++)
		if (w->listeners[i].accepting)
			accept_rest(&w->listeners[i]);
	io_timer_set(w->ctx.io, t, WORKER_TICK_MS);
}

/* The record of a want (descriptors, memory) that is over: one for its beginning, one for its end.
 */
static void accepts_again(struct listener *l)
{
	char detail[64];

	if (l->failures == 0)
		return;
	snprintf(detail, sizeof(detail), "Accepting again after %u failures", l->failures);
	context_fault_record(&l->worker->ctx, "accept", detail);
	l->failures = 0;
}

static void on_accept(struct io_op *op, int res)
{
	struct listener *l = container_of(op, struct listener, op);
	struct worker *w = l->worker;

	if (res >= 0) {
		accepts_again(l);
		/* One that was let in at the last moment is served as long as the others. */
		if (w->told)
			io_close(w->ctx.io, res);
		else
			serve(l, res);
	} else if (res != -ECANCELED && res != -ECONNABORTED && res != -EINVAL) {
		/* (EINVAL: the master has shut the socket down, and its signal is on the way.) */
		if (l->failures++ == 0)
			context_fault_record(&w->ctx, "accept", strerror(-res));
	}
	if (op->more)
		return;
	l->accepting = false;
	if (w->ctx.draining && !w->stopping)
		accept_rest(l);
	worker_look(w);
	/* Out of descriptors or memory: a pause instead of a spin; what waits in the queue stays.
	 */
	if (!w->ctx.draining)
		io_timer_set(w->ctx.io, &l->pause, res == -ECONNABORTED ? 0 : ACCEPT_PAUSE_MS);
}

/* The port says what is spoken there: it is the same for as long as the daemon runs. */
static bool is_tls_first(const struct worker *w, int fd)
{
	struct addr at;

	net_local(fd, &at);
	return at.family && at.port == w->ctx.rt->config->set.listen_tls_port;
}

void worker_accept(struct worker *w)
{
	const struct runtime *rt = w->ctx.rt;

	CHECK(rt->listen_count <= LISTEN_MAX);
	w->listener_count = rt->listen_count;
	for (unsigned i = 0; i < rt->listen_count; i++) {
		struct listener *l = &w->listeners[i];

		l->worker = w;
		l->fd = rt->listen_fds[w->ctx.slot % rt->workers * rt->listen_count + i];
		l->tls_first = is_tls_first(w, l->fd);
		l->op.done = on_accept;
		io_timer_init(&l->pause, accept_again);
		accept_again(&l->pause);
	}
	io_timer_init(&w->look_timer, on_look);
	if (rt->listen_handed)
		io_timer_set(w->ctx.io, &w->look_timer, WORKER_TICK_MS);
}

void worker_accept_end(struct worker *w)
{
	stress_end(w);
	for (unsigned i = 0; i < w->listener_count; i++) {
		io_timer_stop(w->ctx.io, &w->listeners[i].pause);
		io_cancel(w->ctx.io, &w->listeners[i].op);
	}
}

bool worker_accepts(const struct worker *w)
{
	for (unsigned i = 0; i < w->listener_count; i++)
		if (w->listeners[i].accepting)
			return true;
	return false;
}
