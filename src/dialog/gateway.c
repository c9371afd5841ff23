/* SPDX-License-Identifier: ISC */
/*
 * The dialog of DIALOG_GATEWAY (gateway.h). From the transaction's MAIL on, or of an AUTH, the
 * commands for the destination are held (held.h).
 */
#include "dialog/gateway.h"

#include <stdio.h>

#include "base/diag.h"
#include "dialog/inner.h"
#include "dialog/records.h"
#include "smtp/words.h"

static void begin(struct dialog *d)
{
	struct dialog_gateway *g = &d->gateway;

	dialog_forget_held(d->work);
	g->need = 0;
	g->need_size = 0;
	g->refused = false;
	if (d->link.state == LINK_WANTED)
		link_enter(d, LINK_APART);
	if (!link_talks(&d->link))
		d->link.kind = LINK_ANY;
}

/* ---- what Caronte answers itself ---- */

void dialog_gateway_greet(struct dialog *d)
{
	char text[DIALOG_NAME_MAX + 32];

	snprintf(text, sizeof(text), smtp_words(WORD_GREETING), d->env->name);
	smtp_order_greeted(&d->server, 220);
	dialog_say_good(d, text);
}

static void say_hello(struct dialog *d, bool extended)
{
	struct smtp_offer offer = *d->env->offer;
	struct buf *out = &d->work->to_client;
	size_t before = buf_len(out);
	char text[DIALOG_NAME_MAX + 16];
	int res;

	smtp_order_answered(&d->server, SMTP_VERB_EHLO, 250);
	d->gateway.size_offered = offer.size_max;
	d->server.mechanisms = offer.login;
	if (!extended) {
		snprintf(text, sizeof(text), smtp_words(WORD_HELLO), d->env->name);
		dialog_say_good(d, text);
		return;
	}
	dialog_offer_ours(d, &offer);
	d->server.offered = offer.ext & DIALOG_EXTENSIONS;
	res = smtp_offer_write(&offer, DIALOG_EXTENSIONS, d->env->name, out);
	CHECK(res == 0); /* there is room for any reply: room_for_command() */
	record_reply(d, span_from(buf_span(out), before), "to", "client");
}

/* A command of a transaction or a login, for the destination. */
static void hold(struct dialog *d, const struct smtp_command *cmd)
{
	struct dialog_gateway *g = &d->gateway;

	if (g->refused)
		return;
	dialog_hold(d, cmd);
	g->need |= cmd->verb == SMTP_VERB_AUTH ? (uint32_t)SMTP_EXT_AUTH : cmd->ext;
	if (cmd->has_size)
		g->need_size = cmd->size;
}

/* MAIL is good by its grammar; what the destination thinks of it is known with the first RCPT. */
static void take_mail(struct dialog *d, const struct smtp_command *cmd)
{
	begin(d);
	hold(d, cmd);
	smtp_order_passed(&d->server, cmd);
	smtp_order_answered(&d->server, SMTP_VERB_MAIL, 250);
	dialog_say_good(d, smtp_words(WORD_SENDER));
}

bool dialog_gateway_pass(struct dialog *d, const struct smtp_command *cmd)
{
	switch (cmd->verb) {
	case SMTP_VERB_AUTH:
		begin(d);
		hold(d, cmd);
		return true;
	case SMTP_VERB_RCPT:
	case SMTP_VERB_DATA:
		hold(d, cmd);
		return true;
	case SMTP_VERB_MAIL:
		take_mail(d, cmd);
		return false;
	case SMTP_VERB_HELO:
	case SMTP_VERB_EHLO:
		smtp_order_passed(&d->server, cmd);
		say_hello(d, cmd->verb == SMTP_VERB_EHLO);
		return false;
	case SMTP_VERB_QUIT:
		dialog_end_as(d, END_QUIT, REASON_NONE);
		dialog_say_good(d, smtp_words(WORD_BYE));
		return false;
	default: /* RSET, NOOP, HELP */
		smtp_order_passed(&d->server, cmd);
		dialog_say_good(d, smtp_words(cmd->verb == SMTP_VERB_HELP ? WORD_HELP : WORD_OK));
		return false;
	}
}

const char *dialog_gateway_lacks(const struct dialog *d, const struct smtp_command *cmd)
{
	const struct smtp_owed *c = &d->destination;
	const struct dialog_gateway *g = &d->gateway;
	uint32_t need = cmd->verb == SMTP_VERB_BDAT ? (uint32_t)SMTP_EXT_CHUNKING : cmd->ext;
	uint64_t size = cmd->has_size ? cmd->size : 0;
	bool bound = !g->on || d->link.state == LINK_TOGETHER;

	if (!d->env->offer)
		return NULL;
	if (g->size_offered && size > g->size_offered)
		return smtp_words(WORD_TOO_BIG);
	if (!bound || smtp_offer_covers(c->ext, c->size_max, need, size))
		return NULL;
	return smtp_words(WORD_UNCOVERED);
}

/* ---- refusals that answer every RCPT ---- */

/* The transaction is not to be: REPLY, the destination's or our own, answers its recipients. */
static void refuse(struct dialog *d, struct span reply)
{
	struct dialog_work *w = d->work;

	CHECK(reply.n <= sizeof(w->saved));
	memcpy(w->saved, reply.p, reply.n);
	w->saved_len = (uint16_t)reply.n;
	dialog_forget_held(w);
	d->gateway.refused = true;
}

/* Answers what the destination was not given, or cannot answer any more, as far as there is room
 * for it: a long refusal fills the buffer many times over. */
static void answer_refused(struct dialog *d)
{
	const struct dialog_pending *p;

	while (d->end == END_RUNS && (p = dialog_oldest(d->work)) &&
	       p->answered_by == ANSWERED_BY_DESTINATION &&
	       (!link_talks(&d->link) || !smtp_owed_owes(&d->destination)) && dialog_has_room(d)) {
		struct smtp_reply reply = dialog_saved(d);

		if (p->verb == SMTP_VERB_DATA)
			reply = (struct smtp_reply){ 554, 1, span_str(smtp_words(WORD_NONE_LEFT)) };
		dialog_answer(d, &reply, false);
	}
}

/* ---- the connection ---- */

void dialog_gateway_connected(struct dialog *d, const struct addr *destination)
{
	d->destination_addr = *destination;
	link_meets_as(d, LINK_FRESH, LINK_GREETED, 0);
	d->gateway.hello = SMTP_HELLO_GREETING;
	smtp_owed_start(&d->destination);
	dialog_learn_nothing(d);
}

void dialog_gateway_taken(struct dialog *d, const struct addr *destination,
			  const struct smtp_owed *can, uint32_t refusals)
{
	d->destination_addr = *destination;
	link_meets_as(d, LINK_USED, LINK_TOGETHER, refusals);
	d->destination = *can;
	dialog_gateway_step(d);
}

void dialog_gateway_parted(struct dialog *d)
{
	link_enter(d, LINK_APART);
	d->destination = (struct smtp_owed){ 0 };
	d->partial = false;
	if (d->work) {
		buf_clear(&d->work->to_destination);
		dialog_give_again(d->work);
	}
	dialog_gateway_step(d);
}

bool dialog_gateway_clean(const struct dialog *d)
{
	return !smtp_owed_owes(&d->destination) && !d->partial &&
	       (!d->work || buf_len(&d->work->to_destination) == 0);
}

bool dialog_gateway_owes(const struct dialog *d)
{
	return d->gateway.refused && d->work->count > 0;
}

bool dialog_gateway_gathers(const struct dialog *d)
{
	const struct link *l = &d->link;

	return d->gateway.on && d->end == END_RUNS && l->state == LINK_TOGETHER &&
	       l->heard == LINK_HEARD_NOTHING && d->work->count > 0 && dialog_has_room(d);
}

/* What a connection of the pool was given goes over a fresh one. */
static bool again(struct dialog *d)
{
	struct link *l = &d->link;

	if (!d->gateway.on || l->state != LINK_TOGETHER || l->kind != LINK_USED)
		return false;
	link_part(d, LINK_CLOSES);
	l->kind = LINK_FRESH;
	dialog_give_again(d->work);
	return true;
}

void dialog_gateway_wants_fresh(struct dialog *d)
{
	d->link.kind = LINK_FRESH;
}

bool dialog_gateway_again(struct dialog *d, bool timeout)
{
	return d->link.heard == LINK_HEARD_NOTHING && !timeout && again(d);
}

bool dialog_gateway_again_after(struct dialog *d, enum smtp_owes owed)
{
	return d->link.heard != LINK_HEARD_REPLY && owed != SMTP_OWES_NOTHING && again(d);
}

/* ---- giving ---- */

/* Gives the destination what it may be given now. */
static void give(struct dialog *d)
{
	dialog_give_held(d);
	if (d->link.heard == LINK_HEARD_REPLY)
		dialog_forget_given(d->work);
}

/* True when the dialog has done with its connection: the transaction is over, the attempt to log in
 * has failed, or nothing more will come of it. */
static bool is_over(const struct dialog *d)
{
	return !smtp_owed_owes(&d->destination) && !d->partial && d->work->count == 0 &&
	       (d->server.state == SMTP_ORDER_READY || d->server.state == SMTP_ORDER_START ||
		d->gateway.refused);
}

struct span dialog_gateway_login(const struct dialog *d)
{
	bool held = d->work && d->gateway.on && d->server.state == SMTP_ORDER_AUTH;

	return span_str(held ? d->work->auth_mechanism : "");
}

/* The connection at hand can do what is held for it. */
static bool is_covered(const struct dialog *d)
{
	const struct smtp_owed *c = &d->destination;
	struct span login = dialog_gateway_login(d);

	return smtp_offer_covers(c->ext, c->size_max, d->gateway.need, d->gateway.need_size) &&
	       (login.n == 0 || smtp_mechanisms_have(&c->mechanisms, login));
}

/* A connection is wanted while something is held that it is to have. */
static void want(struct dialog *d)
{
	bool wants = d->work->count > 0 && !d->gateway.refused && d->work->held.count > 0;
	enum link_state state = wants ? LINK_WANTED : LINK_APART;

	if (d->link.state != state)
		link_enter(d, state);
}

static void go_on(struct dialog *d)
{
	const struct link *l = &d->link;

	give(d);
	if (is_over(d))
		link_part(d, link_is_worn(l)		      ? LINK_CLOSES
			     : l->given != LINK_GIVEN_NOTHING ? LINK_GIVES_BEGUN
							      : LINK_GIVES_CLEAN);
}

/* MAIL is the next that the destination is to be given, and cannot go there. */
static bool may_not_have_mail(const struct dialog *d)
{
	const struct held *h = &d->work->held;

	return h->given == 0 && h->count > 0 && h->commands[h->head].verb == SMTP_VERB_MAIL &&
	       !dialog_can_forward(d);
}

void dialog_gateway_step(struct dialog *d)
{
	struct dialog_gateway *g = &d->gateway;
	const struct link *l = &d->link;
	const struct held *held;

	if (!g->on || d->end != END_RUNS || !d->work)
		return;
	held = &d->work->held;
	if (d->server.logged_in) {
		g->on = false; /* the connection is this client's until the end */
		dialog_forget_held(d->work);
		return;
	}
	if (l->state == LINK_TOGETHER && l->heard == LINK_HEARD_NOTHING && !g->refused &&
	    held->given == 0 && held->count > 0 && !is_covered(d))
		refuse(d, span_str(smtp_words(WORD_UNCOVERED)));
	if (l->state == LINK_TOGETHER && may_not_have_mail(d))
		dialog_cannot_forward(d);
	if (g->refused)
		answer_refused(d);
	if (d->end != END_RUNS)
		return;
	if (l->state == LINK_APART || l->state == LINK_WANTED)
		want(d);
	else if (l->state == LINK_TOGETHER)
		go_on(d);
}

/* ---- answers to what the client has not asked ---- */

static void give_hello(struct dialog *d)
{
	struct smtp_command cmd = {
		.verb = smtp_hello_says(d->gateway.hello),
		.arg = span_str(dialog_own_name(d)),
	};

	dialog_give(d, &cmd);
}

/* The destination will have none of us: its words answer the recipients, or the AUTH. */
static void turned_away(struct dialog *d, const struct smtp_reply *reply)
{
	refuse(d, reply->text);
	link_part(d, LINK_CLOSES);
}

static void hello_answered(struct dialog *d, const struct smtp_reply *reply)
{
	struct dialog_gateway *g = &d->gateway;
	struct smtp_offer offer;

	switch (smtp_hello_next(&g->hello, reply->code)) {
	case SMTP_HELLO_ON:
		give_hello(d);
		link_enter(d, LINK_HELLO);
		break;
	case SMTP_HELLO_GOOD:
		if (g->hello == SMTP_HELLO_EHLO)
			dialog_learn(d, reply, &offer);
		link_enter(d, LINK_TOGETHER);
		break;
	case SMTP_HELLO_BAD:
		turned_away(d, reply);
		break;
	}
}

bool dialog_gateway_answer(struct dialog *d, const struct smtp_reply *reply)
{
	struct dialog_gateway *g = &d->gateway;

	if (g->on && link_meets(&d->link)) {
		hello_answered(d, reply);
		return true;
	}
	if (!g->on || d->link.given != LINK_GIVEN_MAIL)
		return false;
	d->link.given = LINK_GIVEN_BEGUN;
	if (reply->code / 100 != 2)
		refuse(d, reply->text);
	return true;
}
