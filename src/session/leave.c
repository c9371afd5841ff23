/* SPDX-License-Identifier: ISC */
/* leave: see leave.h. */
#include "session/leave.h"

#include <errno.h>

#include "dialog/records.h"
#include "session/reach.h"
#include "session/secure.h"
#include "session/tap.h"
#include "session/work.h"

/* A peer that is told goodbye may go on sending for so long (invariant 10). */
#define LEAVE_BYTES	(64u << 20)
#define PROXY_HEADER_US (60 * 1000000ull) /* between two records of a PROXY header */

void session_close_destination(struct session *s)
{
	struct link *l = &s->dialog.link;

	link_part(&s->dialog, LINK_CLOSES);
	if (session_is_connecting(s))
		connect_cancel(&s->reach->connect);
	if (!stream_is_open(&s->dest.stream))
		return;
	if (l->state == LINK_PARTING)
		link_enter(&s->dialog, LINK_CLOSING);
	if (s->transfer.splice) {
		io_splice_cancel(&s->transfer.splice->io);
		return;
	}
	if (io_in_flight(&s->dest.recv))
		stream_cancel(s->ctx->io, &s->dest.stream, &s->dest.recv);
	if (io_in_flight(&s->dest.send))
		stream_cancel(s->ctx->io, &s->dest.stream, &s->dest.send);
	if (io_in_flight(&s->dest.recv) || io_in_flight(&s->dest.send))
		return;
	session_part(s);
	/* In the gateway dialog a session that goes on sees to it: session_gateway_reach(). */
	if (l->state == LINK_CLOSING && (!s->dialog.gateway.on || s->dialog.end != END_RUNS))
		link_enter(&s->dialog, LINK_APART);
}

/* Whoever sends a PROXY header stands between us and the clients, and all of them have its address:
 * in RELAY_NETWORKS, it would make the whole world a relay client. Told once a minute. */
static void record_proxy_header(struct session *s)
{
	struct context *ctx = s->ctx;
	uint64_t now = io_now_us(ctx->io);
	char client[ADDR_TEXT_MAX], detail[256];

	if (ctx->proxy_header_us && now - ctx->proxy_header_us < PROXY_HEADER_US)
		return;
	ctx->proxy_header_us = now;
	addr_format(&s->dialog.client_addr, client);
	snprintf(detail, sizeof(detail),
		 "%s sends a PROXY header, and is not in PROXY_FROM: the clients' addresses are "
		 "not known, and it must not stand in RELAY_NETWORKS",
		 client);
	context_client_fault(ctx, "proxy-header", &s->dialog.id, &s->dialog.client_addr, detail);
}

static void record_end(struct session *s)
{
	session_secure_ends(s);
	if (s->dialog.messages > 0 && s->dialog.reason != REASON_IDENTITY)
		route_note_unidentified(s->rt->route_shared, s->dest_index, false);
	if (s->dialog.proxy_header)
		record_proxy_header(s);
	record_session(&s->dialog, io_now_us(s->ctx->io) - s->started_us);
}

static void release(struct session *s)
{
	struct context *ctx = s->ctx;
	struct context_version *version = s->version;
	struct session_heir *heir = s->heir;

	if (session_has_seat(s))
		seats_release(s->rt->seats, s->seat);
	else
		ctx->refused--;
	stream_close(ctx->io, &s->client.stream);
	io_timer_stop(ctx->io, &s->timer);
	io_undefer(&s->task);
	tap_end(s);
	transfer_return(s);
	session_return_work(s);
	transfer_settle(s);
	pool_put(&ctx->letters, s->letter);
	pool_put(&ctx->reaches, s->reach);
	dialog_release(&s->dialog);
	list_del(&s->link);
	pool_put(&ctx->sessions, s);
	context_version_put(ctx, version);
	ctx->open_count--;
	stats_now(ctx->stats, open, ctx->open_count);
	if (heir)
		ctx->session_renamed(ctx, heir);
	ctx->session_gone(ctx);
}

void session_ends(struct session *s)
{
	record_end(s);
	s->state = SESSION_LEAVING;
}

void session_close_all(struct session *s)
{
	if (s->state < SESSION_LEAVING)
		record_end(s);
	s->state = SESSION_CLOSING;
	session_changed(s);
}

void session_finish_closing(struct session *s)
{
	struct session_side *c = &s->client;

	session_close_destination(s);
	if (s->transfer.splice)
		return;
	if (io_in_flight(&c->recv))
		stream_cancel(s->ctx->io, &c->stream, &c->recv);
	if (io_in_flight(&c->send))
		stream_cancel(s->ctx->io, &c->stream, &c->send);
	if (io_in_flight(&c->recv) || io_in_flight(&c->send) || stream_is_open(&s->dest.stream) ||
	    session_is_connecting(s))
		return;
	release(s);
}

static void left_received(struct io_op *op, int res);

/* The last words have gone out. What the client still sends is thrown away until it has read them,
 * or a close would turn into a reset that destroys them (invariant 10). */
void session_leave(struct session *s)
{
	bool quiet = s->dialog.end == END_QUIT && (!s->work || buf_len(&s->work->client_in) == 0) &&
		     stream_unread(&s->client.stream) == 0;

	if (quiet && s->state == SESSION_LEAVING)
		stream_goodbye(&s->client.stream);
	if (s->client.eof || s->client.broken || quiet || s->dialog.end == END_LOST_CLIENT ||
	    s->left_bytes > LEAVE_BYTES) {
		session_close_all(s);
		return;
	}
	if (s->state == SESSION_LEAVING) {
		s->state = SESSION_LINGERING;
		stream_half_close(&s->client.stream);
	}
	if (!io_in_flight(&s->client.recv)) {
		s->client.recv.done = left_received;
		stream_recv_block(s->ctx->io, &s->client.stream, &s->client.recv);
	}
}

static void left_received(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, client.recv);

	if (res > 0) {
		s->left_bytes += (uint64_t)res;
		io_block_put(s->ctx->io, &op->block);
	} else if (res != -ENOBUFS) {
		s->client.eof = true;
	}
	session_changed(s);
}
