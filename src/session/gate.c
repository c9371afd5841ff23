/* SPDX-License-Identifier: ISC */
/*
 * The gate's sockets and time (smtp/gate.h says what it is for): a line of a body that begins like
 * a MAIL command waits until the destination has acknowledged all that is before it, and has then
 * been silent for a while. One that speaks is dealt with as always (dialog.h), and the line never
 * goes to it: a turn takes what has come before it goes on with the body.
 *
 * Refuses to wait for less than that, and to wait for ever: what is not acknowledged in
 * TIMEOUT_DATA is lost. The time is the destination's, and not counted against the client
 * (MIN_RATE); how many lines of a message may wait is bounded (DIALOG_GATES_MAX).
 */
#include "session/gate.h"

#include "session/session.h"
#include "session/window.h"
#include "session/work.h"

#define LEAST_MS 100
#define MOST_MS	 1000

/*
 * How long it must be silent. It has answered when it read what it has acknowledged; the answer
 * needs its time to do so, and may be lost once on its way: then it comes after the time in which
 * the peer sends again. Ours for that is an estimate of its own: twice as long.
 */
static uint32_t silence_ms(const struct stream_timing *sent)
{
	uint32_t ms = 2 * sent->resend_us / 1000;

	return ms < LEAST_MS ? LEAST_MS : ms > MOST_MS ? MOST_MS : ms;
}

/* Something of the destination's is here already, half a reply perhaps. */
static bool has_spoken(struct session *s)
{
	return s->dest.eof || (s->work && buf_len(&s->work->dest_in) > 0) ||
	       !stream_silent(&s->dest.stream);
}

/* How long to wait for the next look; 0: the line may go. */
static uint32_t left_ms(struct session *s)
{
	struct stream_timing sent;
	uint32_t silence;

	/* A broken one's end of stream tells what it said last. */
	if (s->dest.broken || stream_timing(s->ctx->io, &s->dest.stream, &sent) < 0)
		return LEAST_MS;
	silence = silence_ms(&sent);
	if (!sent.all_acked || has_spoken(s))
		return silence;
	return sent.quiet_ms < silence ? silence - sent.quiet_ms : 0;
}

void gate_reset(struct session *s)
{
	s->gate.state = GATE_OPEN;
}

void gate_shut(struct session *s)
{
	s->gate.state = GATE_SHUT;
}

static void go_on(struct session *s)
{
	gate_reset(s);
	s->progress++;
	window_go(s);
}

bool gate_waits(struct session *s)
{
	struct gate *g = &s->gate;

	if (g->state == GATE_OPEN || io_in_flight(&s->dest.send) || s->transfer.splice)
		return g->state != GATE_OPEN;
	if (message_is_discarded(&s->dialog.message) || s->dialog.end != END_RUNS) {
		go_on(s);
		return false;
	}
	if (g->state == GATE_SHUT)
		g->since_ms = io_now_ms(s->ctx->io);
	g->state = GATE_LOOKS;
	window_stand(s);
	g->look_ms = (uint16_t)left_ms(s);
	s->progress++;
	if (g->look_ms)
		return true;
	dialog_gate_open(&s->dialog);
	go_on(s);
	return false;
}

void gate_timed_out(struct session *s)
{
	uint64_t limit = 1000 * (uint64_t)s->rt->config->set.timeout_data;

	/* A turn looks again. */
	if (io_now_ms(s->ctx->io) - s->gate.since_ms < limit)
		return;
	session_borrow(s);
	dialog_destination_lost(&s->dialog, true);
}
