/* SPDX-License-Identifier: ISC */
/* held: see held.h. */
#include "dialog/held.h"

#include "base/diag.h"
#include "dialog/inner.h"
#include "dialog/records.h"
#include "smtp/build.h"
#include "smtp/identity.h"

uint32_t dialog_usable(const struct dialog *d)
{
	uint32_t offered = d->server.offered;

	return d->gateway.on ? offered : offered & d->destination.ext;
}

static enum smtp_owes owed_for(enum smtp_verb verb)
{
	switch (verb) {
	case SMTP_VERB_DATA:
		return SMTP_OWES_DATA;
	case SMTP_VERB_BDAT:
		return SMTP_OWES_BODY;
	case SMTP_VERB_AUTH:
		return SMTP_OWES_AUTH;
	case SMTP_VERB_XFORWARD:
		return SMTP_OWES_FORWARD;
	default:
		return SMTP_OWES_COMMAND;
	}
}

/* Appends CMD as the destination gets it. */
static struct held_command rebuild(const struct dialog *d, const struct smtp_command *cmd,
				   struct buf *out)
{
	struct smtp_rebuild how = {
		.ext = dialog_usable(d),
		.logged_in = d->server.logged_in,
		.trusted = d->server.logged_in || d->who.in_network,
	};
	size_t before = buf_len(out), n;
	int res = smtp_command_build(cmd, &how, out);

	CHECK(res == 0);
	n = buf_len(out) - before;
	return (struct held_command){
		.verb = (uint8_t)cmd->verb,
		.n = (uint16_t)n,
		.shown = (uint16_t)record_shows(cmd, n - 2),
	};
}

/* C, with its octets LINE, is in `to_destination`. */
static void given(struct dialog *d, const struct held_command *c, struct span line)
{
	enum smtp_verb verb = (enum smtp_verb)c->verb;

	smtp_owed_queued(&d->destination, owed_for(verb));
	record_given(d, span_of(line.p, line.n - 2), c->shown);
	link_was_given(&d->link, verb);
}

/* … as the last that is there. */
static void given_last(struct dialog *d, const struct held_command *c)
{
	struct span all = buf_span(&d->work->to_destination);

	given(d, c, span_from(all, all.n - c->n));
}

/* What goes with a command of this VERB, before it. */
static void give_ahead(struct dialog *d, enum smtp_verb verb)
{
	size_t n = verb == SMTP_VERB_MAIL ? dialog_forward(d) : 0;
	struct held_command c = {
		.verb = SMTP_VERB_XFORWARD,
		.n = (uint16_t)n,
		.shown = (uint16_t)(n - 2),
	};

	if (n > 0)
		given_last(d, &c);
}

void dialog_give(struct dialog *d, const struct smtp_command *cmd)
{
	give_ahead(d, cmd->verb);
	struct held_command c = rebuild(d, cmd, &d->work->to_destination);

	given_last(d, &c);
}

void dialog_give_continuation(struct dialog *d, struct span line)
{
	struct held_command c = { .verb = SMTP_VERB_AUTH, .n = (uint16_t)(line.n + 2) };
	struct buf *out = &d->work->to_destination;
	int res = buf_put(out, line);

	if (res == 0)
		res = buf_put(out, SPAN("\r\n"));
	CHECK(res == 0);
	given_last(d, &c);
}

/* ---- those that are kept ---- */

_Static_assert(DIALOG_OUT_MAX <= UINT16_MAX, "a command's octets are counted in 16 bits");

static struct held_command *at(struct held *h, unsigned i)
{
	return &h->commands[(h->head + i) % SMTP_OPEN_MAX];
}

void dialog_hold(struct dialog *d, const struct smtp_command *cmd)
{
	struct held *h = &d->work->held;

	/* A command of the client's is open for each but MAIL, and one place is left of those. */
	CHECK(h->count < SMTP_OPEN_MAX);
	*at(h, h->count) = rebuild(d, cmd, &h->octets);
	h->count++;
}

static size_t octets_given(struct held *h)
{
	size_t n = 0;

	for (unsigned i = 0; i < h->given; i++)
		n += at(h, i)->n;
	return n;
}

/* The connection may have one more command. */
static bool may_have(const struct dialog *d)
{
	if (smtp_owed_full(&d->destination))
		return false;
	return (d->destination.ext & SMTP_EXT_PIPELINING) ||
	       !(smtp_owed_owes(&d->destination) || d->partial);
}

void dialog_give_held(struct dialog *d)
{
	struct held *h = &d->work->held;
	struct span rest = span_from(buf_span(&h->octets), octets_given(h));

	while (h->given < h->count && may_have(d)) {
		const struct held_command *c = at(h, h->given);
		struct buf *out = &d->work->to_destination;

		if (buf_space(out) < c->n + (size_t)SMTP_IDENTITY_LINE_MAX)
			return;
		give_ahead(d, (enum smtp_verb)c->verb);
		int res = buf_put(out, span_of(rest.p, c->n));

		CHECK(res == 0);
		h->given++;
		given(d, c, span_of(rest.p, c->n));
		rest = span_from(rest, c->n);
	}
}

void dialog_give_again(struct dialog_work *w)
{
	w->held.given = 0;
}

void dialog_forget_given(struct dialog_work *w)
{
	struct held *h = &w->held;

	buf_consume(&h->octets, octets_given(h));
	h->head = (uint8_t)((h->head + h->given) % SMTP_OPEN_MAX);
	h->count = (uint8_t)(h->count - h->given);
	h->given = 0;
}

void dialog_forget_held(struct dialog_work *w)
{
	buf_clear(&w->held.octets);
	w->held.head = w->held.count = w->held.given = 0;
}
