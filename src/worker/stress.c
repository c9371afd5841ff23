/* SPDX-License-Identifier: ISC */
/* stress: see stress.h. */
#include "worker/stress.h"

#include <stdio.h>

#include "base/diag.h"
#include "session/deadline.h"
#include "session/seat.h"
#include "session/session.h"
#include "worker/inner.h"

/* How soon a seat that another worker asks for is given up, and how long one is waited for. */
#define TICK_MS 50
#define WAIT_MS 2000

static void record_stress(struct worker *w)
{
	char detail[128];

	snprintf(detail, sizeof(detail), "%u of %d sessions: strangers are waited for %s",
		 seats_sessions(w->ctx.rt->seats), w->ctx.rt->config->set.max_sessions,
		 seats_stressed(w->ctx.rt->seats) ? "a tenth as long" : "as long as before");
	context_fault_record(&w->ctx, "stress", detail);
}

static void run_timer(struct worker *w)
{
	if (!list_linked(&w->stress.timer.link))
		io_timer_set(w->ctx.io, &w->stress.timer, TICK_MS);
}

/* Whether there is stress concerns all workers, and those too that have no news of their own. */
void stress_look(struct worker *w)
{
	struct list *pos, *tmp;

	if (seats_stress_turned(w->ctx.rt->seats))
		record_stress(w);
	if (seats_stressed(w->ctx.rt->seats))
		run_timer(w);
	if (w->ctx.stressed == seats_stressed(w->ctx.rt->seats))
		return;
	w->ctx.stressed = !w->ctx.stressed;
	list_for_each (pos, tmp, &w->ctx.open)
		session_deadline_again(container_of(pos, struct session, link));
}

/* ---- seats that newcomers take ---- */

static void look_at_asked(struct worker *w)
{
	uint32_t asked = seats_asked(w->ctx.rt->seats);
	struct list *pos, *tmp;

	if (asked == w->stress.asked)
		return;
	w->stress.asked = asked;
	list_for_each (pos, tmp, &w->ctx.open)
		session_seat_asked(container_of(pos, struct session, link));
}

void stress_tick(struct worker *w)
{
	look_at_asked(w);
	stress_look(w);
}

/* On behalf of a newcomer. */
static bool ask(struct worker *w)
{
	if (!seats_stressed(w->ctx.rt->seats) || !seats_ask(w->ctx.rt->seats, SEATS_IDLE_MS))
		return false;
	run_timer(w);
	return true;
}

static bool may_wait(const struct worker *w)
{
	unsigned waiting = w->stress.waiting_count;

	return !w->ctx.draining && waiting < STRESS_WAITING &&
	       w->ctx.refused + waiting < WORKER_REFUSALS;
}

void stress_admit(struct worker *w, const struct session_client *client)
{
	struct stress *st = &w->stress;
	enum seats_verdict verdict = worker_admit(w, client, false);
	bool asked = verdict != SEATS_ADDRESS_FULL && ask(w);

	if (verdict != SEATS_FULL)
		return;
	if (!asked || !may_wait(w)) {
		(void)worker_admit(w, client, true);
		return;
	}
	st->waiting[st->waiting_count++] = (struct stress_newcomer){
		.client = *client,
		.until_ms = io_now_ms(w->ctx.io) + WAIT_MS,
	};
}

/* Those for whom there is a seat now, or no more time, are admitted or refused. */
static void admit_waiting(struct worker *w, bool all)
{
	struct stress *st = &w->stress;
	unsigned n = st->waiting_count, kept = 0;

	for (unsigned i = 0; i < n; i++) {
		struct stress_newcomer each = st->waiting[i];
		bool last = all || io_now_ms(w->ctx.io) >= each.until_ms;

		if (worker_admit(w, &each.client, last) == SEATS_FULL && !last)
			st->waiting[kept++] = each;
	}
	st->waiting_count = kept;
}

void stress_end(struct worker *w)
{
	admit_waiting(w, true);
}

static void on_timer(struct io_timer *t)
{
	struct worker *w = container_of(t, struct worker, stress.timer);

	look_at_asked(w);
	admit_waiting(w, false);
	if (w->stress.waiting_count || (seats_stressed(w->ctx.rt->seats) && w->ctx.open_count))
		run_timer(w);
}

void stress_init(struct worker *w)
{
	io_timer_init(&w->stress.timer, on_timer);
	w->stress.asked = seats_asked(w->ctx.rt->seats);
}
