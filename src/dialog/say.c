/* SPDX-License-Identifier: ISC */
/* say: see say.h. */
#include "dialog/say.h"

#include "dialog/inner.h"
#include "dialog/records.h"
#include "smtp/words.h"

void dialog_end_as(struct dialog *d, enum session_end end, enum reason why)
{
	if (d->turned_away &&
	    (end == END_QUIT || end == END_LOST_CLIENT || end == END_LOST_DESTINATION)) {
		end = END_REFUSED; /* whoever goes first then */
		why = REASON_NONE;
	}
	if (d->end == END_RUNS) {
		d->end = end;
		d->reason = why;
		/* An attempt that a reset or a deadline ends is an attempt too. */
		record_login(d, false, (struct span){ 0 });
	}
	link_part(d, LINK_CLOSES);
}

static unsigned code_of(struct span reply)
{
	return (unsigned)(reply.p[0] - '0') * 100 + (unsigned)(reply.p[1] - '0') * 10 +
	       (unsigned)(reply.p[2] - '0');
}

void dialog_say(struct dialog *d, struct span reply, struct dialog_asked what)
{
	if (buf_put(&d->work->to_client, reply) < 0) {
		/* Room is kept for every answer that can come; a client for which even that is used
		 * up has not read any for long, and half an answer is worse than none. */
		dialog_end_as(d, END_LIMIT, REASON_UNREAD_REPLIES);
		return;
	}
	record_reply(d, reply, "to", "client");
	if (code_of(reply) >= 400)
		dialog_refused(d, reply, what);
	if (code_of(reply) / 100 != 5)
		return;
	d->errors++;
	if (d->end != END_RUNS)
		return;
	if (d->env->max_errors && d->errors >= d->env->max_errors) {
		dialog_end_as(d, END_LIMIT, REASON_MAX_ERRORS);
		dialog_say(d, span_str(smtp_words(WORD_ERRORS)),
			   dialog_asked(d, SMTP_VERB_UNKNOWN, false));
	}
}

void dialog_say_good(struct dialog *d, const char *reply)
{
	dialog_say(d, span_str(reply), dialog_told);
}

void dialog_go_ahead(struct dialog *d, struct span reply)
{
	dialog_say(d, reply, dialog_told);
	if (d->client_closed)
		dialog_end_as(d, END_LOST_CLIENT, REASON_NONE);
}

void dialog_drain(struct dialog *d)
{
	struct dialog_pending *p;

	while (d->end == END_RUNS && (p = dialog_oldest(d->work)) &&
	       p->answered_by == ANSWERED_BY_US) {
		const char *text = p->reply;
		struct dialog_asked what = dialog_asked(d, (enum smtp_verb)p->verb, false);
		enum reason why = (enum reason)p->why;

		what.address = p->address;
		if (p->told)
			what.command = RECORD_TOLD;
		dialog_take_oldest(d->work);
		dialog_say(d, span_str(text), what);
		if (why)
			dialog_end_as(d, reason_is_limit(why) ? END_LIMIT : END_PROTOCOL, why);
	}
}

bool dialog_has_room(const struct dialog *d)
{
	/* A reply is said together with the local answers that follow it. */
	return buf_space(&d->work->to_client) >= SMTP_REPLY_MAX + SMTP_OPEN_MAX * 96;
}
