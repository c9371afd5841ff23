/* SPDX-License-Identifier: ISC */
/*
 * body: a message by DATA (RFC 5321 4.1.1.4) or by chunks (BDAT, RFC 3030), with the places at
 * which the script wants something done, and the end of its transaction. A position counts octets
 * of the body as they came, over all chunks of a message.
 */
#include <stdio.h>

#include "sink/inner.h"

static void next_rule(struct sink_session *s)
{
	struct sink_moment m = {
		.event = SINK_EV_BODY,
		.connection = s->number,
		.nth = s->message_number,
	};

	s->body_rule = sink_script_body(&s->sink->opt->script, s->body_rule, &m);
}

void sink_body_begin(struct sink_session *s)
{
	s->in_message = true;
	s->message_number++;
	s->body_octets = 0;
	s->scan = (struct sink_scan){ .lax = s->sink->opt->line_ends == SINK_LAX };
	s->body_rule = NULL;
	next_rule(s);
	sink_message_begin(&s->message, s->sink->store, s->number, s->message_number);
}

void sink_transaction_reset(struct sink_session *s)
{
	s->mail = s->binary = s->chunked = s->chunk_failed = false;
	s->recipients = 0;
	if (s->in_message) {
		sink_note(s, 'N', "message broken off after %llu octets",
			  (unsigned long long)s->body_octets);
		sink_message_discard(&s->message);
		s->sink->stats->broken_messages++;
		s->in_message = false;
	}
}

/* Does what the script wants at this place; false: nothing. */
static bool at_rule(struct sink_session *s)
{
	const struct sink_rule *r = s->body_rule;
	struct sink_choice c = { 0 };

	if (!r || s->body_octets < r->at)
		return false;
	next_rule(s);
	c.wait_ms = r->ms;
	c.stall = r->deed == SINK_STALL;
	c.drop = r->deed == SINK_DROP ? r->ending : SINK_GO_ON;
	if (r->deed == SINK_SAY) {
		c.steps = r->steps;
		c.count = r->step_count;
	}
	sink_commit(s, &c);
	return true;
}

/* What may be looked at before the script wants something. */
static struct span up_to_rule(const struct sink_session *s)
{
	struct span in = buf_span(&s->in);

	if (s->body_rule && in.n > s->body_rule->at - s->body_octets)
		in.n = (size_t)(s->body_rule->at - s->body_octets);
	return in;
}

static void remember_digest(struct sink_session *s)
{
	struct sink_shared *sh = s->sink->shared;
	uint64_t at = atomic_fetch_add(&sh->digest_count, 1);
	struct sink_digest *d = &sh->digests[at];

	if (at >= SINK_DIGESTS_MAX)
		return;
	d->connection = s->number;
	d->message = s->message_number;
	d->octets = s->message.octets;
	memcpy(d->sha256, s->message.sha256, sizeof(d->sha256));
	atomic_store(&d->ready, true);
}

static void count_message(struct sink_session *s)
{
	struct sink_stats *st = s->sink->stats;

	st->messages++;
	st->octets += s->message.octets;
	st->last_us = sink_clock_us();
	if (!st->first_us)
		st->first_us = st->last_us;
	if (s->sink->opt->digest)
		remember_digest(s);
	sink_limit_count(s->sink);
}

static struct span own_verdict(struct sink_session *s)
{
	int n;

	if (s->sink->opt->size_max && s->message.octets > s->sink->opt->size_max)
		return SPAN("552 5.3.4 Message too big\r\n");
	n = snprintf(s->text, sizeof(s->text), "250 2.0.0 Ok: queued as C%lluM%u\r\n",
		     (unsigned long long)s->number, s->message_number);
	return span_of(s->text, (size_t)n);
}

/* A whole message has come. It is kept when the answer to it begins with 2, before that is said. */
static void whole_message(struct sink_session *s, enum sink_event event, struct span line)
{
	struct sink_choice c;

	c = sink_choose(s, event, line, own_verdict(s));
	if (c.digit == '2' && sink_message_keep(&s->message) < 0) {
		sink_note(s, 'N', "not kept: %s", strerror(-s->message.error));
		s->own.octets = SPAN("451 4.3.0 The message could not be stored\r\n");
		c = (struct sink_choice){ .steps = &s->own, .count = 1, .digit = '4' };
	}
	if (c.digit == '2') {
		count_message(s);
	} else {
		sink_message_discard(&s->message);
		s->sink->stats->refused_messages++;
	}
	s->in_message = false;
	sink_commit(s, &c);
	s->phase = SINK_COMMAND;
	sink_transaction_reset(s);
}

/* Takes the eighth bit off the first of these octets, in COPY of CAP octets. */
static struct span seven_bits(struct span in, uint8_t *copy, size_t cap)
{
	size_t n = in.n < cap ? in.n : cap;

	for (size_t i = 0; i < n; i++)
		copy[i] = in.p[i] & 0x7f;
	return span_of(copy, n);
}

bool sink_body_data_step(struct sink_session *s)
{
	uint8_t copy[4096];
	struct span in, content;
	size_t n, used = 0;
	bool end = false;

	if (at_rule(s))
		return true;
	in = up_to_rule(s);
	if (in.n == 0)
		return false;
	if (s->seven)
		in = seven_bits(in, copy, sizeof(copy));
	while (used < in.n && !end) {
		n = sink_scan_next(&s->scan, span_from(in, used), &content, &end);
		sink_message_add(&s->message, content);
		used += n;
	}
	sink_message_flush(&s->message);
	buf_consume(&s->in, used);
	s->body_octets += used;
	if (!end)
		return true;
	s->seen[SINK_EV_EOD]++;
	sink_note(s, 'B', "%llu", (unsigned long long)s->message.octets);
	whole_message(s, SINK_EV_EOD, SPAN(""));
	return true;
}

void sink_chunk_begin(struct sink_session *s, uint64_t octets, bool last)
{
	s->phase = SINK_CHUNK;
	s->chunk_size = s->chunk_left = octets;
	s->chunk_last = last;
	s->chunk_void = !s->mail || !s->recipients || s->chunk_failed;
	if (s->chunk_void || s->chunked)
		return;
	s->chunked = true;
	sink_body_begin(s);
}

/* The answer to the last chunk is the one to the end of data, where the script has a word on that.
 */
static enum sink_event last_event(struct sink_session *s, struct span line)
{
	struct sink_choice c = sink_choose(s, SINK_EV_EOD, line, SPAN(""));

	return c.steps != &s->own || c.wait_ms ? SINK_EV_EOD : SINK_EV_BDAT;
}

static void whole_chunk(struct sink_session *s)
{
	char text[48];
	struct span line, own;
	int n;

	n = snprintf(text, sizeof(text), "BDAT %llu%s", (unsigned long long)s->chunk_size,
		     s->chunk_last ? " LAST" : "");
	line = span_of(text, (size_t)n);
	sink_note(s, 'B', "%llu", (unsigned long long)s->chunk_size);
	s->phase = SINK_COMMAND;
	if (s->chunk_void) {
		sink_answer(s, SINK_EV_BDAT, line, SPAN("503 5.5.1 Bad sequence of commands\r\n"));
		return;
	}
	if (s->chunk_last) {
		s->seen[SINK_EV_EOD]++;
		whole_message(s, last_event(s, line), line);
		return;
	}
	n = snprintf(s->text, sizeof(s->text), "250 2.0.0 %llu octets\r\n",
		     (unsigned long long)s->chunk_size);
	own = span_of(s->text, (size_t)n);
	if (sink_answer(s, SINK_EV_BDAT, line, own) == '2')
		return;
	s->chunk_failed = true; /* RFC 3030 2: only RSET helps now */
	s->in_message = false;
	sink_message_discard(&s->message);
	s->sink->stats->refused_messages++;
}

bool sink_body_chunk_step(struct sink_session *s)
{
	struct span in;

	if (!s->chunk_void && at_rule(s))
		return true;
	if (s->chunk_left == 0) {
		whole_chunk(s);
		return true;
	}
	in = s->chunk_void ? buf_span(&s->in) : up_to_rule(s);
	if (in.n > s->chunk_left)
		in.n = (size_t)s->chunk_left;
	if (in.n == 0)
		return false;
	if (!s->chunk_void) {
		sink_message_add(&s->message, in);
		sink_message_flush(&s->message);
		s->body_octets += in.n;
	}
	buf_consume(&s->in, in.n);
	s->chunk_left -= in.n;
	return true;
}
