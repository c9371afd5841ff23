/* SPDX-License-Identifier: ISC */
/*
 * What becomes of a message, or of a session, that cannot go on: the destination is lost, disagrees
 * or refuses, or a limit is reached (discard.h).
 */
#include "dialog/discard.h"

#include "base/diag.h"
#include "dialog/inner.h"
#include "dialog/records.h"
#include "smtp/words.h"

/* ---- the records of what is cut off ---- */

/* Recipients that the destination has not answered, and never will. */
static bool record_unanswered(struct dialog *d, struct span reply)
{
	const struct dialog_work *w = d->work;
	bool any = false;

	for (unsigned i = 0; i < w->count; i++) {
		const struct dialog_pending *p = &w->pending[(w->head + i) % SMTP_OPEN_MAX];

		if (p->answered_by != ANSWERED_BY_DESTINATION || p->verb != SMTP_VERB_RCPT)
			continue;
		d->refusals++;
		record_recipient(d, p->address, (enum policy_rule)p->rule, reply, false);
		any = true;
	}
	return any;
}

bool dialog_record_cut_off(struct dialog *d, struct span reply)
{
	bool login = d->auth_open, any = record_unanswered(d, reply);

	if (d->server.state == SMTP_ORDER_EOD || dialog_chunk_awaits(d)) {
		any = any || message_is_open(&d->message);
		dialog_record_message(d, reply);
	}
	record_login(d, false, reply);
	return any || login;
}

/* ---- a message that does not go through ---- */

/* The session ends with REPLY, which answers what is open, or nothing. */
static void end_with(struct dialog *d, const char *reply, enum session_end end, enum reason why)
{
	struct dialog_asked what = dialog_asked_now(d, false);

	if (dialog_record_cut_off(d, span_str(reply)))
		what.command = RECORD_TOLD;
	dialog_end_as(d, end, why);
	dialog_say(d, span_str(reply), what);
}

/* How a session ends that cannot go on without the destination's connection: a message beyond a
 * limit is not the destination's fault. */
static enum session_end end_for(enum reason why)
{
	return reason_is_limit(why) ? END_LIMIT : END_LOST_DESTINATION;
}

void dialog_say_closing(struct dialog *d, enum reason why)
{
	if (!d->gateway.on && d->end == END_RUNS)
		end_with(d, smtp_words(WORD_CLOSING), end_for(why), why);
}

void dialog_answer_untaken(struct dialog *d, struct span reply, bool ends, enum reason why)
{
	struct dialog_asked what = dialog_asked(d, SMTP_VERB_DATA, false);

	if (message_is_open(&d->message))
		what = dialog_told;

	dialog_record_message(d, reply);
	if (ends)
		dialog_end_as(d, end_for(why), why);
	dialog_say(d, reply, what);
	/* The destination's connection is gone with the body, and with it what it knew of us. */
	dialog_say_closing(d, why);
}

/* REPLY waits for the end of what comes. */
static void discard(struct dialog *d, enum message_discard how, struct span reply, enum reason why)
{
	struct dialog_work *w = d->work;

	dialog_message_is_refused(d, how, why);
	CHECK(reply.n <= sizeof(w->saved));
	memcpy(w->saved, reply.p, reply.n);
	w->saved_len = (uint16_t)reply.n;
}

static void chunk_cut_off(struct dialog *d, struct span reply, bool ends, enum reason why)
{
	CHECK(dialog_chunk_awaits(d));
	dialog_take_oldest(d->work);
	smtp_order_answered(&d->server, SMTP_VERB_BDAT, 550);
	dialog_answer_untaken(d, reply, ends, why);
}

void dialog_discard_body(struct dialog *d, struct span reply, bool ends, enum reason why)
{
	enum message_discard how = ends ? DISCARD_AND_END : DISCARD_MESSAGE;

	link_part(d, LINK_CLOSES);
	if (message_is_refused(&d->message))
		return;
	if (dialog_chunk_awaits(d)) {
		chunk_cut_off(d, reply, ends, why);
		return;
	}
	if (d->server.state == SMTP_ORDER_EOD) {
		/* It has come already; its octets are on their way and are not waited for. */
		smtp_order_message_answered(&d->server);
		dialog_answer_untaken(d, reply, ends, why);
		return;
	}
	discard(d, message_is_discarded(&d->message) ? DISCARD_LONE_AND_END : how, reply, why);
}

void dialog_discard_chunk(struct dialog *d, const char *reply)
{
	discard(d, DISCARD_LONE_CHUNK, span_str(reply), REASON_NONE);
}

void dialog_discard_over(struct dialog *d)
{
	struct span saved = span_of(d->work->saved, d->work->saved_len);
	struct message *m = &d->message;
	bool ends = m->discard == DISCARD_AND_END || m->discard == DISCARD_LONE_AND_END;

	if (!message_is_open(m)) /* there is no record of it */
		dialog_message_is_given_up(d);
	if (m->discard == DISCARD_LONE_CHUNK) {
		dialog_say(d, saved, dialog_asked(d, SMTP_VERB_BDAT, false));
		return;
	}
	if (d->server.state == SMTP_ORDER_EOD)
		smtp_order_message_answered(&d->server);
	else if (d->server.state == SMTP_ORDER_CHUNKED)
		smtp_order_answered(&d->server, SMTP_VERB_BDAT, 550);
	dialog_answer_untaken(d, saved, ends, (enum reason)m->why);
}

/* ---- the session ---- */

void dialog_close(struct dialog *d, const char *reply, enum session_end end, enum reason why)
{
	if (d->end != END_RUNS)
		return;
	if (dialog_in_body(d) && end == END_LOST_DESTINATION) {
		dialog_discard_body(d, span_str(reply), true, why);
		return;
	}
	end_with(d, reply, end, why);
}

void dialog_note_odd(struct dialog *d, struct span said)
{
	struct dialog_work *w = d->work;

	w->odd_len = (uint16_t)(said.n < sizeof(w->odd) ? said.n : sizeof(w->odd));
	if (w->odd_len)
		memcpy(w->odd, said.p, w->odd_len);
}

void dialog_desync(struct dialog *d, struct span said, enum reason why)
{
	dialog_note_odd(d, said);
	link_part(d, LINK_CLOSES);
	dialog_close(d, smtp_words(why == REASON_MALFORMED_REPLY ? WORD_MALFORMED : WORD_DESYNC),
		     END_LOST_DESTINATION, why);
}
