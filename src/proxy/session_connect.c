/* SPDX-License-Identifier: ISC */
/*
 * A session's way to its destination: picks one, takes a seat there, connects, and goes on to the
 * next for a TCP connection that failed and for nothing else (the contract, "What a client sees").
 */
#include <string.h>

#include "base/diag.h"
#include "io/net.h"
#include "proxy/deadline.h"
#include "proxy/session.h"

static const char reply_no_destination[] = "421 4.3.2 No destination is available, try later\r\n";

struct counts {
	struct route_counts counts;
	struct session *session;
};

static unsigned count_sessions(struct route_counts *c, unsigned dest)
{
	struct session *s = container_of(c, struct counts, counts)->session;

	return seats_of_destination(s->worker->rt->seats, dest);
}

static bool take_seat(struct route_counts *c, unsigned dest, unsigned max)
{
	struct session *s = container_of(c, struct counts, counts)->session;

	return seats_at_destination(s->worker->rt->seats, s->seat, dest, max);
}

/* An attempt has failed: the one reason to go on to the next (the contract). */
static void attempt_failed(struct session *s, int error)
{
	struct worker *w = s->worker;

	if (route_failed(w->rt->route_shared, &s->search, s->dest_index, io_now_ms(w->io)))
		worker_destination_record(w, s->dest_index, false, strerror(-error));
	session_connect(s);
}

static void connected(struct io_op *op, int res)
{
	struct session *s = container_of(op, struct session, dest.send);
	struct worker *w = s->worker;

	s->dest.sending = false;
	if (s->state != SESSION_CONNECTING) {
		session_changed(s);
		return;
	}
	if (res < 0) {
		io_close(w->io, s->dest.fd);
		s->dest.fd = -1;
		session_forget_destination(s);
		attempt_failed(s, res == -ECANCELED ? -ETIMEDOUT : res);
		return;
	}
	if (route_connected(w->rt->route_shared, s->dest_index, io_now_ms(w->io)))
		worker_destination_record(w, s->dest_index, true, "connected");
	dialog_connected(&s->dialog, &s->connecting);
	s->state = SESSION_RUNNING;
	session_changed(s);
}

static void connect_to(struct session *s)
{
	struct worker *w = s->worker;

	s->dest.fd = net_socket(&s->connecting);
	if (s->dest.fd < 0) {
		/* Ours, not the destination's fault: out of descriptors. */
		s->dest.fd = -1;
		session_forget_destination(s);
		session_refuse(s, reply_no_destination, DIALOG_LIMIT);
		return;
	}
	s->progress++;
	s->dest.sending = true;
	s->dest.send.done = connected;
	io_connect(w->io, &s->dest.send, s->dest.fd, &s->connecting);
	session_deadline(s);
}

void session_connect(struct session *s)
{
	struct worker *w = s->worker;
	struct counts counts = { { count_sessions, take_seat }, s };
	uint64_t now = io_now_ms(w->io);

	s->waits_for_seat = false;
	switch (route_pick(w->rt->route, w->rt->route_shared, &s->search, &counts.counts,
			   &s->dialog.client_addr, now, &s->dest_index, &s->connecting)) {
	case ROUTE_PICKED:
		connect_to(s);
		break;
	case ROUTE_FULL:
		if (now >= s->patience_ms) {
			session_refuse(s, reply_no_destination, DIALOG_LIMIT);
			break;
		}
		s->waits_for_seat = true;
		s->progress++;
		session_deadline(s);
		break;
	case ROUTE_NONE:
		session_refuse(s, reply_no_destination, DIALOG_LOST_DESTINATION);
		break;
	}
}
