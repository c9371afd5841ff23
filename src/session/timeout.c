/* SPDX-License-Identifier: ISC */
/* timeout: see timeout.h. */
#include "session/timeout.h"

#include "session/deadline.h"
#include "session/ends.h"
#include "session/gateway.h"
#include "session/leave.h"
#include "session/reach.h"
#include "session/work.h"

static void timed_out(struct session *s)
{
	switch (s->wait) {
	case WAIT_SEAT:
		if (!session_client_gone(s))
			session_connect(s);
		return;
	case WAIT_GREETING:
	case WAIT_REPLY:
	case WAIT_DONE:
	case WAIT_BODY:
		session_borrow(s);
		dialog_destination_lost(&s->dialog, true);
		break;
	case WAIT_GATE:
		gate_timed_out(s);
		break;
	case WAIT_COMMAND:
	case WAIT_BLOCK:
	case WAIT_TLS:
		s->state = SESSION_RUNNING;
		session_borrow(s);
		dialog_client_timeout(&s->dialog);
		break;
	case WAIT_LEAVE:
		session_close_all(s);
		return;
	case WAIT_CONNECT:
	case WAIT_NOTHING:
		return;
	}
	session_changed(s);
}

static void look(struct session *s)
{
	if (s->wait == WAIT_BLOCK)
		transfer_stalled(s);
	else if (!session_client_gone(s))
		(void)session_gateway_dead(s);
}

static void fire(struct io_timer *t)
{
	struct session *s = container_of(t, struct session, timer);

	switch (session_deadline_rang(s)) {
	case RING_LOOK:
		look(s);
		session_deadline_goes_on(s);
		break;
	case RING_WINDOW:
		break;
	case RING_OVER:
		timed_out(s);
		break;
	}
}

void session_timer_init(struct session *s)
{
	io_timer_init(&s->timer, fire);
}
