/* SPDX-License-Identifier: ISC */
/* What the destination offers, and its limits. */
#include "dialog/inner.h"

#include "smtp/identity.h"

void dialog_learn(struct dialog *d, const struct smtp_reply *reply, struct smtp_offer *offer)
{
	struct smtp_owed *c = &d->destination;

	smtp_offer_read(offer, reply);
	offer->size_max = smtp_size_bound(offer->size_max, d->env->message_max);
	c->ext = offer->ext;
	c->size_max = offer->size_max;
	c->mechanisms = offer->login;
	c->forward = smtp_identity_offered(reply, SPAN("XFORWARD"));
	c->xclient = smtp_identity_offered(reply, SPAN("XCLIENT"));
}

/* (A SIZE that the connection has told before still holds.) */
void dialog_learn_nothing(struct dialog *d)
{
	struct smtp_owed *c = &d->destination;

	c->ext = 0;
	c->size_max = smtp_size_bound(c->size_max, d->env->message_max);
	c->mechanisms = (struct smtp_mechanisms){ 0 };
	c->forward = c->xclient = 0;
}

bool dialog_size_is_ours(const struct dialog *d)
{
	return d->env->message_max && d->destination.size_max == d->env->message_max;
}

enum reason dialog_size_reason(const struct dialog *d)
{
	return dialog_size_is_ours(d) ? REASON_MAX_MESSAGE : REASON_SIZE;
}
