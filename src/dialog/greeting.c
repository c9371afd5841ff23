/* SPDX-License-Identifier: ISC */
/*
 * What a destination's greeting says about it, for the sessions that come later (greeting.h). In
 * DIALOG_SNIFF that is the greeting alone. In DIALOG_GATEWAY the destination has to answer our EHLO
 * or HELO too before it is of use. Nothing here changes what this session's client gets.
 */
#include <stdio.h>
#include <string.h>

#include "dialog/inner.h"
#include "smtp/greeting.h"

static void turned_away(struct dialog *d, const struct smtp_reply *reply)
{
	smtp_greeting_refusal(d->work->words, sizeof(d->work->words), reply, d->lmtp);
	d->greeting = DIALOG_TURNED_AWAY;
}

void dialog_greeting_reply(struct dialog *d, const struct smtp_reply *reply)
{
	enum smtp_hello_step step = d->gateway.on ? d->gateway.hello : SMTP_HELLO_GREETING;
	bool good = reply->code / 100 == 2;

	if (!link_meets(&d->link))
		return;
	if (step == SMTP_HELLO_GREETING)
		d->lmtp = false;
	d->lmtp = d->lmtp || smtp_greeting_is_lmtp(reply);
	if (step == SMTP_HELLO_EHLO && !good && reply->code / 100 != 3 && reply->code != 421)
		return; /* HELO may do */
	if (!good)
		turned_away(d, reply);
	else if (d->gateway.on ? step != SMTP_HELLO_GREETING : !d->lmtp)
		d->greeting = DIALOG_WELCOMED;
}

/* (What the client calls itself may stand in the refusal, and is no word of the destination's.) */
void dialog_greeting_refused(struct dialog *d, const struct smtp_reply *reply)
{
	const char *helo = dialog_helo(d);

	if (!strcasestr(helo, "LMTP") && !strcasestr(helo, "LHLO"))
		d->lmtp = d->lmtp || smtp_greeting_is_lmtp(reply);
	if (!d->gateway.on && d->lmtp)
		turned_away(d, reply);
}

void dialog_greeting_malformed(struct dialog *d, struct span in)
{
	if (!link_meets(&d->link))
		return;
	smtp_greeting_malformed(d->work->words, sizeof(d->work->words), in);
	d->greeting = DIALOG_TURNED_AWAY;
}

void dialog_greeting_lost(struct dialog *d, bool timeout)
{
	if (!link_meets(&d->link) || !d->work)
		return;
	snprintf(d->work->words, sizeof(d->work->words), "%s",
		 timeout ? smtp_greeting_none : smtp_greeting_closed);
	d->greeting = DIALOG_TURNED_AWAY;
}
