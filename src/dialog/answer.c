/* SPDX-License-Identifier: ISC */
/*
 * The destination's answer to a command of the client's, or what stands for it (inner.h).
 */
#include "dialog/inner.h"

#include <stdio.h>

#include "base/diag.h"
#include "dialog/records.h"
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

static void on_chunk_answer(struct dialog *d, const struct smtp_reply *reply)
{
	if (reply->code / 100 == 2)
		dialog_message_goes_on(d);
	else
		dialog_record_message(d, reply->text);
}

/* EHLO's answer goes to the client filtered, all others to the letter. */
static void on_ehlo_answer(struct dialog *d, const struct smtp_reply *reply)
{
	struct buf *out = &d->work->to_client;
	size_t before = buf_len(out);
	struct smtp_offer offer;

	dialog_learn(d, reply, &offer);
	dialog_offer_ours(d, &offer);
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

/* Takes note of the answer to P: for the session, for its records and for later sessions. */
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
		on_chunk_answer(d, reply);
		break;
	case SMTP_VERB_EHLO:
		if (reply->code / 100 == 5)
			dialog_greeting_refused(d, reply);
		break;
	default:
		break;
	}
}

/* Tells the client the answer to VERB. */
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

/* The answer to each RCPT of a refused transaction. */
struct smtp_reply dialog_saved(const struct dialog *d)
{
	const struct dialog_work *w = d->work;

	return (struct smtp_reply){
		.code = (uint16_t)((w->saved[0] - '0') * 100 + (w->saved[1] - '0') * 10 +
				   (w->saved[2] - '0')),
		.lines = 1,
		.text = span_of(w->saved, w->saved_len),
	};
}

void dialog_answer(struct dialog *d, const struct smtp_reply *reply, bool destination)
{
	struct dialog_pending *p = dialog_oldest(d->work);
	struct smtp_reply refusal;

	CHECK(p && p->answered_by == ANSWERED_BY_DESTINATION);
	if (p->verb == SMTP_VERB_RCPT && d->gateway.on && d->gateway.refused) {
		refusal = dialog_saved(d);
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
