/* SPDX-License-Identifier: ISC */
/* The whole of a story, with what destinations and the daemon did meanwhile. */
#include "ctl/trace_tell.h"

#include <inttypes.h>

#include "ctl/log_time.h"
#include "ctl/trace_lines.h"

#define AFTER_US 1000000 /* a state may be told so long after the session that met it has ended */

void story_look(struct story_teller *t, const struct log_record *r)
{
	struct story_states *all = &t->states;
	struct story_state *s = &all->state[all->n % STORY_STATES_KEPT];
	struct span address = log_record_get(r, "address"), state = log_record_get(r, "state");
	int64_t us;

	if (!log_time_record(log_record_get(r, "time"), &us))
		return;
	if (span_eq(r->element, SPAN("start")))
		all->started_us = us;
	if (!span_eq(r->element, SPAN("destination")) || !address.p)
		return;
	all->n++;
	s->us = us;
	s->up = span_eq(state, SPAN("up"));
	s->address.n = s->line.n = 0;
	log_text_add(&s->address, address.p, address.n);
	trace_time(&t->print, r, &s->line);
	trace_value(&t->print, "destination ", address, "", &s->line);
	trace_value(&t->print, " is ", state, "", &s->line);
	trace_value(&t->print, ": ", log_record_get(r, "why"), "", &s->line);
	log_text_str(&s->line, "\n");
}

/* Whether nothing newer is known of its address up to US. */
static bool is_latest(const struct story_states *all, uint64_t i, int64_t us)
{
	const struct story_state *s = &all->state[i % STORY_STATES_KEPT];
	struct span address = span_of(s->address.p, s->address.n);

	for (uint64_t j = i + 1; j < all->n; j++) {
		const struct story_state *later = &all->state[j % STORY_STATES_KEPT];

		if (later->us <= us &&
		    span_eq(address, span_of(later->address.p, later->address.n)))
			return false;
	}
	return true;
}

/*
 * Whether S still held at US. A start makes all destinations up and drains none, whichever they
 * are; started_us is the latest start before US, since the log is read in its order.
 */
static bool outlives_start(const struct story_states *all, const struct story_state *s, int64_t us)
{
	return all->started_us > us || s->us >= all->started_us;
}

/* A destination that was not up when the session began, and what changed until it ended. */
static void tell_states(const struct story_teller *t, const struct story *s, struct log_text *out)
{
	const struct story_states *all = &t->states;
	uint64_t i = all->n > STORY_STATES_KEPT ? all->n - STORY_STATES_KEPT : 0;
	unsigned told = 0;

	for (; i < all->n && told < STORY_STATES; i++) {
		const struct story_state *state = &all->state[i % STORY_STATES_KEPT];
		char date[LOG_TIME_TEXT];

		if (state->us > s->last_us + AFTER_US ||
		    (state->us <= s->first_us && (state->up || !is_latest(all, i, s->first_us) ||
						  !outlives_start(all, state, s->first_us))))
			continue;
		told++;
		if (state->us <= s->first_us && log_time_text(state->us, t->print.local, date))
			trace_add(out, "(since %.10s) ", date);
		log_text_add(out, state->line.p, state->line.n);
	}
}

static void tell_end(const struct story_teller *t, const struct story *s, struct log_text *out)
{
	if (s->ended)
		log_text_add(out, s->end.p, s->end.n);
	else if (t->states.started_us > s->last_us)
		log_text_str(out,
			     "              no end is in the log: it was lost with the daemon, "
			     "which was started again later\n");
	else
		log_text_str(out, "              no end is in the log: it is still running, or was "
				  "lost with its worker\n");
}

void story_tell(const struct story_teller *t, struct story *s, const char *session,
		struct log_text *out)
{
	char date[LOG_TIME_TEXT] = "?";

	/* What is open of one that still runs is told too. */
	story_close(s);
	log_time_text(s->first_us, t->print.local, date);
	trace_add(out, "session %s, %s %s\n", session, date, t->print.local ? "local time" : "UTC");
	log_text_str(out, "              ");
	log_text_add(out, s->client.p, s->client.n);
	log_text_str(out, "\n");
	log_text_add(out, s->body.p, s->body.n);
	if (s->untold)
		trace_add(out,
			  "              and %" PRIu64 " other message%s of this session: "
			  "carontectl log --session %s\n",
			  s->untold, s->untold == 1 ? "" : "s", session);
	if (s->notes_hidden)
		trace_add(out,
			  "              and %" PRIu64 " more logins, refusals and faults: "
			  "carontectl log --session %s\n",
			  s->notes_hidden, session);
	tell_end(t, s, out);
	if (s->trouble)
		tell_states(t, s, out);
	out->failed |= s->client.failed || s->open.failed || s->body.failed || s->end.failed;
}

void story_teller_free(struct story_teller *t)
{
	for (size_t i = 0; i < STORY_STATES_KEPT; i++) {
		log_text_free(&t->states.state[i].address);
		log_text_free(&t->states.state[i].line);
	}
}
