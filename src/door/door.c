/* SPDX-License-Identifier: ISC */
/* door: see door.h. A header may come in pieces: those that are no whole one yet are taken off and
 * kept. The last piece is looked at where it stands, and so much of it is taken off as belongs to
 * the header. */
#include "door/door.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "smtp/proxy.h"

struct guest {
	struct door *door;
	struct list link;
	struct stream stream;
	struct io_op op;
	struct io_timer timer;
	struct addr peer;
	bool tls_first;
	uint16_t n;
	uint8_t mem[SMTP_PROXY_MAX + 1]; /* one octet more than a header can have */
};

/* The guest has left; its stream is closed, or somebody else's. */
static void gone(struct guest *g)
{
	struct door *d = g->door;

	io_timer_stop(d->ctx->io, &g->timer);
	list_del(&g->link);
	pool_put(&d->guests, g);
	d->left(d);
}

static void tell(struct door *d, const struct addr *peer, const char *what)
{
	char detail[128];

	snprintf(detail, sizeof(detail), "PROXY_FROM: %s", what);
	context_client_fault(d->ctx, "proxy-header", NULL, peer, detail);
}

/* WHAT is wrong; NULL: nothing. */
static void turn_out(struct guest *g, const char *what)
{
	if (what)
		tell(g->door, &g->peer, what);
	stream_close(g->door->ctx->io, &g->stream);
	gone(g);
}

static void enter(struct guest *g, const struct smtp_proxy *header)
{
	struct door *d = g->door;
	const struct door_client client = {
		.fd = g->stream.fd,
		.addr = header->local ? g->peer : header->from,
		.proxy = g->peer,
		.to = header->local ? (struct addr){ 0 } : header->to,
		.tls_first = g->tls_first,
	};

	gone(g);
	d->enter(d, &client);
}

/* N octets more stand in the socket, and behind those that were kept: a whole header, or not. */
static bool look_at(struct guest *g, size_t n)
{
	struct span in = span_of(g->mem, g->n + n);
	struct smtp_proxy header;
	const char *why;
	char what[96];

	switch (smtp_proxy_parse(in, &header, &why)) {
	case SMTP_PROXY_OK:
		stream_skip(&g->stream, header.n - g->n);
		enter(g, &header);
		return true;
	case SMTP_PROXY_MORE:
		stream_skip(&g->stream, n);
		g->n = (uint16_t)(g->n + n);
		return false;
	case SMTP_PROXY_BAD:
		break;
	}
	snprintf(what, sizeof(what), "a wrong header: %s", why);
	turn_out(g, what);
	return true;
}

static void await(struct guest *g)
{
	stream_await(g->door->ctx->io, &g->stream, &g->op);
}

static void look(struct guest *g)
{
	size_t room = sizeof(g->mem) - g->n;
	ssize_t n = stream_peek(&g->stream, g->mem + g->n, room);

	if (n == -EAGAIN)
		await(g);
	else if (n <= 0)
		turn_out(g, g->n ? "closed in the middle of a header" : NULL);
	else if (!look_at(g, (size_t)n))
		await(g);
}

static void awaited(struct io_op *op, int res)
{
	struct guest *g = container_of(op, struct guest, op);

	if (res == -ECANCELED)
		turn_out(g, g->door->ctx->draining ? NULL : "no header in 5 seconds");
	else
		look(g);
}

static void out_of_time(struct io_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);

	stream_cancel(g->door->ctx->io, &g->stream, &g->op);
}

int door_init(struct door *d, struct context *ctx,
	      void (*enter)(struct door *d, const struct door_client *client),
	      void (*left)(struct door *d))
{
	d->ctx = ctx;
	d->enter = enter;
	d->left = left;
	list_init(&d->waiting);
	return pool_init(&d->guests, sizeof(struct guest), DOOR_MAX);
}

void door_take(struct door *d, int fd, const struct addr *peer, bool tls_first)
{
	struct guest *g = pool_get(&d->guests);
	struct stream st = stream_of(fd);

	if (!g) {
		tell(d, peer, "too many connections wait for their header");
		stream_close(d->ctx->io, &st);
		return;
	}
	*g = (struct guest){
		.door = d,
		.stream = st,
		.op.done = awaited,
		.peer = *peer,
		.tls_first = tls_first,
	};
	io_timer_init(&g->timer, out_of_time);
	list_init(&g->link);
	list_add_tail(&d->waiting, &g->link);
	io_timer_set(d->ctx->io, &g->timer, DOOR_MS);
	look(g);
}

void door_end(struct door *d)
{
	struct list *pos, *tmp;

	list_for_each (pos, tmp, &d->waiting)
		out_of_time(&container_of(pos, struct guest, link)->timer);
}
