/* SPDX-License-Identifier: ISC */
/*
 * answer: what is really said at a moment, and what is done beside it (a delay, a stall, an end of
 * the connection): by a rule of the script, or the server's own words. The choice is put into the
 * session, whose loop says it. This file knows nothing of commands and bodies.
 */
#include "sink/inner.h"

struct sink_choice sink_choose(struct sink_session *s, enum sink_event event, struct span line,
			       struct span text)
{
	const struct sink_script *script = &s->sink->opt->script;
	const struct sink_rule *r;
	struct sink_choice c = { 0 };
	struct sink_moment m = {
		.event = event,
		.connection = s->number,
		.nth = s->seen[event],
		.any = event < SINK_EV_VERBS ? s->commands : 0,
		.line = line,
	};

	r = sink_script_find(script, SINK_DELAY, &m);
	c.wait_ms = r ? r->ms : 0;
	r = sink_script_find(script, SINK_STALL, &m);
	c.stall = r != NULL;
	r = sink_script_find(script, SINK_DROP, &m);
	c.drop = r ? r->ending : SINK_GO_ON;
	if (c.stall || c.drop)
		return c;
	r = sink_script_find(script, SINK_REPLY, &m);
	s->own = (struct sink_step){ .octets = text };
	c.steps = r ? r->steps : &s->own;
	c.count = r ? r->step_count : 1;
	c.digit = c.steps->octets.n ? c.steps->octets.p[0] : 0;
	return c;
}

void sink_commit(struct sink_session *s, const struct sink_choice *c)
{
	s->wait_ms = c->wait_ms;
	s->stall = c->stall;
	s->ending = c->drop;
	if (c->drop)
		s->why = "dropped";
	s->steps = c->steps;
	s->steps_left = c->count;
	s->step_at = 0;
	if (c->digit == '4' || c->digit == '5')
		s->sink->stats->refusals++;
}

uint8_t sink_answer(struct sink_session *s, enum sink_event event, struct span line,
		    struct span text)
{
	struct sink_choice c = sink_choose(s, event, line, text);

	sink_commit(s, &c);
	return c.digit;
}
