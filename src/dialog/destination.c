/* SPDX-License-Identifier: ISC */
/* The dialog's destination side: its replies (dialog.h). */
#include "dialog/inner.h"

#include <stdio.h>

#include "base/diag.h"
#include "dialog/records.h"
#include "shared/stats.h"
#include "smtp/ehlo.h"
#include "smtp/words.h"

static void on_auth_answer(struct dialog *d, const struct smtp_reply *reply)
{
	struct dialog_work *w = d->work;

	if (reply->code == 334)
		return;
	record_login(d, d->server.logged_in, reply->text);
	if (!d->server.logged_in)
		return;
	d->who.logged_in = true;
	dialog_note_login(d, span_str(w->auth_name[0] ? w->auth_name : w->auth_mechanism));
}

/* The first of them are named in the message's record. */
static void note_recipient(struct dialog *d, const char *address)
{
	struct dialog_letter *l = &d->work->letter;
	size_t n = strlen(address);

	if (d->recipients++ >= DIALOG_TO_MAX)
		return;
	if (l->to_len)
		l->to[l->to_len++] = ' ';
	memcpy(l->to + l->to_len, address, n);
	l->to_len = (uint16_t)(l->to_len + n);
}

static void on_rcpt_answer(struct dialog *d, const struct dialog_pending *p,
			   const struct smtp_reply *reply)
{
	bool good = reply->code / 100 == 2;

	d->useful += good;
	if (good)
		note_recipient(d, p->address);
	else
		d->refusals++;
	record_recipient(d, p->address, (enum policy_rule)p->rule, reply->text, good);
}

void dialog_learn(struct dialog *d, const struct smtp_reply *reply, struct smtp_offer *offer)
{
	struct smtp_owed *c = &d->destination;

	smtp_offer_read(offer, reply);
	offer->size_max = smtp_size_bound(offer->size_max, d->env->message_max);
	c->ext = offer->ext;
	c->size_max = offer->size_max;
	c->mechanisms = offer->login;
}

/* (A SIZE that the connection has told before still holds.) */
void dialog_learn_nothing(struct dialog *d)
{
	struct smtp_owed *c = &d->destination;

	c->ext = 0;
	c->size_max = smtp_size_bound(c->size_max, d->env->message_max);
	c->mechanisms = (struct smtp_mechanisms){ 0 };
}

bool dialog_size_is_ours(const struct dialog *d)
{
	return d->env->message_max && d->destination.size_max == d->env->message_max;
}

enum reason dialog_size_reason(const struct dialog *d)
{
	return dialog_size_is_ours(d) ? REASON_MAX_MESSAGE : REASON_SIZE;
}

/* EHLO's answer goes to the client filtered, all others to the letter. */
static void on_ehlo_answer(struct dialog *d, const struct smtp_reply *reply)
{
	struct buf *out = &d->work->to_client;
	size_t before = buf_len(out);
	struct smtp_offer offer;

	dialog_learn(d, reply, &offer);
	int res = smtp_ehlo_filter(reply, &offer, DIALOG_EXTENSIONS, out);

	CHECK(res == 0);
	d->server.offered = offer.ext & DIALOG_EXTENSIONS;
	d->server.mechanisms = offer.login;
	d->gateway.size_offered = offer.size_max;
	record_reply(d, span_from(buf_span(out), before), "to", "client");
}

/* The client has said HELO: its answer is the first line of the answer to our EHLO. */
static void on_helo_answer(struct dialog *d, const struct smtp_reply *reply, bool as_ehlo)
{
	char text[SMTP_REPLY_LINE_MAX + 1];
	struct smtp_offer offer;
	struct span first;
	size_t at = 0;
	int n;

	if (!as_ehlo) {
		dialog_learn_nothing(d);
		dialog_say(d, reply->text, dialog_told);
		return;
	}
	dialog_learn(d, reply, &offer);
	d->server.mechanisms = offer.login;
	d->gateway.size_offered = offer.size_max;
	CHECK(smtp_reply_line(reply, &at, &first));
	n = snprintf(text, sizeof(text), "%u %.*s\r\n", reply->code, (int)first.n,
		     (const char *)first.p);
	CHECK(n > 0 && (size_t)n < sizeof(text));
	dialog_say(d, span_of(text, (size_t)n), dialog_told);
}

/* The destination refuses the EHLO that stands for the client's HELO: it gets the HELO. */
static void say_helo(struct dialog *d, struct dialog_pending *p)
{
	struct smtp_command helo = { .verb = SMTP_VERB_HELO, .arg = span_str(dialog_helo(d)) };

	dialog_give(d, &helo); /* nothing else is passed on before it is answered */
	p->as_ehlo = false;
}

/* 354: the client's turn, or no recipient is left and nothing may be sent at all. */
static void on_go_ahead(struct dialog *d, const struct smtp_reply *reply, struct dialog_asked what)
{
	if (d->server.state == SMTP_ORDER_BODY) {
		dialog_message_begins(d, MESSAGE_BY_DATA);
		dialog_go_ahead(d, reply->text);
		return;
	}
	/* A lone dot would deliver to whomever the destination thinks of: close without one. */
	link_part(d, LINK_CLOSES);
	what.destination = false;
	dialog_say(d, span_str(smtp_words(WORD_NONE_LEFT)), what);
	dialog_say_closing(d, REASON_NO_RECIPIENTS);
}

/* True: with REPLY the open command P is not answered. */
static bool is_no_answer(struct dialog *d, struct dialog_pending *p, const struct smtp_reply *reply)
{
	if (p->verb == SMTP_VERB_AUTH && d->server.auth_cancelled && reply->code / 100 < 4) {
		/* The client took its attempt back (RFC 4954 4). */
		dialog_desync(d, reply->text, REASON_OUT_OF_ORDER);
		return true;
	}
	if (p->as_ehlo && reply->code / 100 != 2) {
		say_helo(d, p);
		return true;
	}
	return false;
}

/* What the answer to P tells us, and the log. */
static void take_in(struct dialog *d, const struct dialog_pending *p,
		    const struct smtp_reply *reply)
{
	switch (p->verb) {
	case SMTP_VERB_AUTH:
		on_auth_answer(d, reply);
		break;
	case SMTP_VERB_RCPT:
		on_rcpt_answer(d, p, reply);
		break;
	case SMTP_VERB_BDAT:
		dialog_chunk_answered(d, reply);
		break;
	case SMTP_VERB_EHLO:
		if (reply->code / 100 == 5)
			dialog_greeting_refused(d, reply);
		break;
	default:
		break;
	}
}

/* What the client gets as the answer to VERB. */
static void pass_back(struct dialog *d, enum smtp_verb verb, bool as_ehlo,
		      const struct smtp_reply *reply, struct dialog_asked what)
{
	bool good = reply->code / 100 == 2;

	if (verb == SMTP_VERB_EHLO && good)
		on_ehlo_answer(d, reply);
	else if (verb == SMTP_VERB_HELO && good)
		on_helo_answer(d, reply, as_ehlo);
	else if (verb == SMTP_VERB_DATA && reply->code == 354)
		on_go_ahead(d, reply, what);
	else
		dialog_say(d, reply->text, what);
	if (verb == SMTP_VERB_QUIT)
		dialog_end_as(d, END_QUIT, REASON_NONE);
}

/* For the record of a refusal: what the answer to P answers. */
static struct dialog_asked asked_by(const struct dialog *d, const struct dialog_pending *p,
				    bool destination)
{
	struct dialog_asked what = dialog_asked(d, (enum smtp_verb)p->verb, destination);

	if (p->verb == SMTP_VERB_RCPT || d->auth_open ||
	    (p->verb == SMTP_VERB_BDAT && message_is_open(&d->message)))
		what.command = RECORD_TOLD;
	return what;
}

void dialog_answer(struct dialog *d, const struct smtp_reply *reply, bool destination)
{
	struct dialog_pending *p = dialog_oldest(d->work);
	struct smtp_reply refusal;

	CHECK(p && p->answered_by == ANSWERED_BY_DESTINATION);
	if (p->verb == SMTP_VERB_RCPT && d->gateway.on && d->gateway.refused) {
		refusal = dialog_gateway_refusal(d);
		reply = &refusal;
	}
	if (is_no_answer(d, p, reply))
		return;

	enum smtp_verb verb = (enum smtp_verb)p->verb;
	struct dialog_asked what = asked_by(d, p, destination);
	bool as_ehlo = p->as_ehlo;

	smtp_order_answered(&d->server, verb, reply->code);
	take_in(d, p, reply);
	dialog_take_oldest(d->work);
	pass_back(d, verb, as_ehlo, reply, what);
	dialog_drain(d);
}

static void on_message_answer(struct dialog *d, const struct smtp_reply *reply)
{
	bool good = reply->code / 100 == 2;

	smtp_order_message_answered(&d->server);
	dialog_gateway_message(d, good);
	d->messages += good;
	d->useful += good;
	if (good)
		d->idle_commands = 0;
	dialog_record_message(d, reply->text);
	dialog_say(d, reply->text, dialog_told);
	dialog_drain(d);
}

static void on_closing(struct dialog *d, const struct smtp_reply *reply)
{
	if (dialog_in_body(d)) {
		dialog_discard_body(d, reply->text, true, REASON_CLOSING);
		return;
	}
	d->turned_away = d->turned_away || d->begun == SMTP_OWES_GREETING;
	struct dialog_asked what = dialog_asked_now(d, true);

	if (dialog_record_cut_off(d, reply->text))
		what.command = RECORD_TOLD;
	dialog_end_as(d, END_LOST_DESTINATION, REASON_CLOSING);
	dialog_say(d, reply->text, what);
}

static void on_reply(struct dialog *d, const struct smtp_reply *reply)
{
	enum smtp_owes owed = (enum smtp_owes)d->begun;

	record_reply(d, reply->text, "from", "destination");
	dialog_greeting_reply(d, reply);
	switch (smtp_owed_judge(&d->destination, reply, owed)) {
	case SMTP_OWED_ANSWER:
		dialog_gateway_replied(d);
		dialog_gateway_counts(d, reply, owed);
		if (dialog_gateway_answer(d, reply)) {
			break;
		} else if (owed == SMTP_OWES_GREETING) {
			link_enter(d, LINK_TOGETHER);
			smtp_order_greeted(&d->server, reply->code);
			d->turned_away = reply->code / 100 != 2;
			dialog_say(d, reply->text,
				   (struct dialog_asked){ .command = RECORD_CONNECT,
							  .destination = true });
		} else if (owed == SMTP_OWES_EOD) {
			on_message_answer(d, reply);
		} else if (owed != SMTP_OWES_CHUNK) { /* (the client has not asked for that one) */
			dialog_answer(d, reply, true);
		}
		break;
	case SMTP_OWED_EARLY:
		dialog_discard_body(d, reply->text, false, REASON_REFUSED_DATA);
		break;
	case SMTP_OWED_CLOSING:
		if (!dialog_gateway_again_after(d, owed))
			on_closing(d, reply);
		break;
	case SMTP_OWED_DESYNC:
		dialog_desync(d, reply->text, REASON_OUT_OF_ORDER);
		break;
	}
}

bool dialog_has_room(const struct dialog *d)
{
	/* A reply is said together with the local answers that follow it. */
	return buf_space(&d->work->to_client) >= SMTP_REPLY_MAX + SMTP_OPEN_MAX * 96;
}

size_t dialog_from_destination(struct dialog *d, struct span in)
{
	size_t consumed = 0;

	if (in.n > 0)
		dialog_gateway_heard(d);
	while (d->end == END_RUNS && link_talks(&d->link) && consumed < in.n) {
		struct smtp_reply reply;
		size_t n;

		if (!d->partial) {
			d->partial = true;
			d->begun = (uint8_t)smtp_owed_oldest(&d->destination);
		}
		if (!dialog_has_room(d))
			break;
		enum smtp_reply_result result =
			smtp_reply_parse(span_from(in, consumed), &reply, &n);

		if (result == SMTP_REPLY_MORE)
			break;
		d->partial = false;
		if (result == SMTP_REPLY_BAD) {
			dialog_greeting_malformed(d, span_from(in, consumed));
			dialog_desync(d, span_from(in, consumed), REASON_MALFORMED_REPLY);
			break;
		}
		consumed += n;
		on_reply(d, &reply);
		dialog_gateway_step(d);
	}
	return consumed;
}
