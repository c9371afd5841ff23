/* SPDX-License-Identifier: ISC */
/* dialog: see dialog.h. */
#include "dialog/dialog.h"

#include "base/diag.h"
#include "dialog/inner.h"
#include "dialog/records.h"
#include "shared/stats.h"
#include "smtp/words.h"

void dialog_work_init(struct dialog_work *w)
{
	buf_init(&w->to_client, w->client_mem, sizeof(w->client_mem));
	buf_init(&w->to_destination, w->destination_mem, sizeof(w->destination_mem));
	buf_init(&w->held.octets, w->held_mem, sizeof(w->held_mem));
	dialog_forget_held(w);
	w->head = w->count = 0;
	w->letter.sender[0] = '\0';
	w->letter.to_len = 0;
	w->letter.id.n = 0;
	w->odd_len = 0;
	w->auth_mechanism[0] = w->auth_name[0] = '\0';
	w->auth_name_known = false;
	w->saved_len = 0;
	w->words[0] = '\0';
}

void dialog_init(struct dialog *d, const struct dialog_env *env, const struct addr *client,
		 bool in_network, const struct xmllog_session *id)
{
	*d = (struct dialog){ .env = env, .client_addr = *client, .id = *id };
	d->who.in_network = in_network;
	d->gateway.on = env->offer != NULL;
}

void dialog_release(struct dialog *d)
{
	if (d->more)
		pool_put(d->env->more, d->more);
	d->more = NULL;
}

/* ---- names ---- */

const char *dialog_helo(const struct dialog *d)
{
	return d->more ? d->more->helo : d->helo;
}

const char *dialog_login(const struct dialog *d)
{
	return d->more ? d->more->login : d->login;
}

void dialog_borrow_more(struct dialog *d)
{
	if (d->more)
		return;
	d->more = pool_get(d->env->more);
	CHECK(d->more); /* the pool holds one for each dialog */
	memcpy(d->more->helo, d->helo, sizeof(d->helo));
	memcpy(d->more->login, d->login, sizeof(d->login));
	d->more->reply_len = 0;
}

/* Makes room for a name of N octets, whichever it is. */
static void make_room(struct dialog *d, size_t n)
{
	if (n >= DIALOG_NAME_USUAL)
		dialog_borrow_more(d);
}

static size_t length(struct span name)
{
	return name.n < DIALOG_NAME_MAX ? name.n : DIALOG_NAME_MAX - 1;
}

void dialog_copy_name(char *out, struct span name)
{
	if (length(name))
		memcpy(out, name.p, length(name));
	out[length(name)] = '\0';
}

void dialog_note_helo(struct dialog *d, struct span name)
{
	make_room(d, length(name));
	dialog_copy_name(d->more ? d->more->helo : d->helo, name);
}

void dialog_note_login(struct dialog *d, struct span name)
{
	make_room(d, length(name));
	dialog_copy_name(d->more ? d->more->login : d->login, name);
}

/* ---- the destination ---- */

void dialog_connected(struct dialog *d, const struct addr *destination)
{
	d->destination_addr = *destination;
	link_enter(d, LINK_GREETED);
	smtp_owed_start(&d->destination);
	dialog_learn_nothing(d);
}

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

struct dialog_pending *dialog_oldest(struct dialog_work *w)
{
	return w->count ? &w->pending[w->head] : NULL;
}

struct dialog_pending *dialog_add_pending(struct dialog *d, enum smtp_verb verb)
{
	struct dialog_work *w = d->work;

	CHECK(w->count < SMTP_OPEN_MAX);
	struct dialog_pending *p = &w->pending[(w->head + w->count++) % SMTP_OPEN_MAX];

	p->verb = (uint8_t)verb;
	p->answered_by = ANSWERED_BY_DESTINATION;
	p->as_ehlo = false;
	p->address[0] = '\0';
	return p;
}

void dialog_answer_here(struct dialog_pending *p, const char *reply, enum reason why, bool told)
{
	p->answered_by = ANSWERED_BY_US;
	p->reply = reply;
	p->why = (uint8_t)why;
	p->told = told;
}

void dialog_take_oldest(struct dialog_work *w)
{
	w->head = (uint8_t)((w->head + 1) % SMTP_OPEN_MAX);
	w->count--;
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

/* What the destination said against the protocol, or its beginning: its owner tells of it. */
static void note_odd(struct dialog *d, struct span said)
{
	struct dialog_work *w = d->work;

	w->odd_len = (uint16_t)(said.n < sizeof(w->odd) ? said.n : sizeof(w->odd));
	if (w->odd_len)
		memcpy(w->odd, said.p, w->odd_len);
}

void dialog_desync(struct dialog *d, struct span said, enum reason why)
{
	note_odd(d, said);
	link_part(d, LINK_CLOSES);
	dialog_close(d, smtp_words(why == REASON_MALFORMED_REPLY ? WORD_MALFORMED : WORD_DESYNC),
		     END_LOST_DESTINATION, why);
}

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

void dialog_close(struct dialog *d, const char *reply, enum session_end end, enum reason why)
{
	if (d->end != END_RUNS)
		return;
	if (dialog_in_body(d) && end == END_LOST_DESTINATION) {
		dialog_discard_body(d, span_str(reply), true, why);
		return;
	}
	struct dialog_asked what = dialog_asked_now(d, false);

	if (dialog_record_cut_off(d, span_str(reply)))
		what.command = RECORD_TOLD;
	dialog_end_as(d, end, why);
	dialog_say(d, span_str(reply), what);
}

void dialog_client_closed(struct dialog *d)
{
	d->client_closed = true;
	/* A message that was cut off is never delivered. Commands are still answered as far as they
	 * are whole: dialog_from_client() sees to the end. */
	if (d->server.state == SMTP_ORDER_BODY)
		dialog_end_as(d, END_LOST_CLIENT, REASON_NONE);
}

void dialog_client_lost(struct dialog *d)
{
	d->client_closed = true;
	/* A complete message is the destination's already: its answer is awaited for the log. */
	if (d->server.state != SMTP_ORDER_EOD)
		dialog_end_as(d, END_LOST_CLIENT, REASON_NONE);
}

void dialog_client_timeout(struct dialog *d)
{
	dialog_close(d, smtp_words(WORD_CLIENT_SLOW), END_TIMEOUT, REASON_NONE);
}

void dialog_destination_lost(struct dialog *d, bool timeout)
{
	if (d->end != END_RUNS || dialog_gateway_again(d, timeout))
		return;
	dialog_greeting_lost(d, timeout);
	link_part(d, LINK_CLOSES);
	if (message_is_refused(&d->message))
		return;
	if (d->server.state == SMTP_ORDER_QUIT && d->work->count == 1 && !timeout) {
		dialog_end_as(d, END_QUIT, REASON_NONE);
		dialog_say_good(d, smtp_words(WORD_BYE));
		return;
	}
	bool waits = d->work->count > 0 || dialog_in_body(d) || d->server.state == SMTP_ORDER_EOD;
	const char *text = timeout ? smtp_words(waits ? WORD_SLOW : WORD_SLOW_IDLE)
				   : smtp_words(waits ? WORD_LOST : WORD_LOST_IDLE);

	dialog_close(d, text, END_LOST_DESTINATION, timeout ? REASON_TIMEOUT : REASON_CLOSED);
}

bool dialog_idle(const struct dialog *d)
{
	const struct dialog_work *w = d->work;

	if (!w)
		return true;
	if (d->end != END_RUNS)
		return buf_len(&w->to_client) == 0 && !w->to_destination.pinned;
	return w->count == 0 && buf_len(&w->to_client) == 0 && buf_len(&w->to_destination) == 0 &&
	       d->server.state <= SMTP_ORDER_READY && d->server.state != SMTP_ORDER_CONNECT;
}

bool dialog_rests(const struct dialog *d)
{
	const struct dialog_work *w = d->work;

	if (dialog_idle(d))
		return true;
	if (d->end != END_RUNS || w->count > 0 || w->held.count > 0 || w->odd_len ||
	    message_is_discarded(&d->message) || d->gateway.refused || d->partial || d->auth_open ||
	    buf_len(&w->to_client) + buf_len(&w->to_destination) > 0)
		return false;
	switch (d->server.state) {
	case SMTP_ORDER_MAIL:
	case SMTP_ORDER_BODY:
	case SMTP_ORDER_CHUNK:
	case SMTP_ORDER_CHUNKED:
		return true;
	default:
		return false;
	}
}

bool dialog_wants_client(const struct dialog *d)
{
	if (d->end != END_RUNS || d->client_closed || d->chunk_waits)
		return false;
	switch (d->server.state) {
	case SMTP_ORDER_CONNECT:
	case SMTP_ORDER_CHUNK:
	case SMTP_ORDER_EOD:
	case SMTP_ORDER_QUIT:
		return false;
	default:
		return true;
	}
}

void dialog_flushed(struct dialog *d, unsigned n)
{
	smtp_owed_flushed(&d->destination, n);
}
