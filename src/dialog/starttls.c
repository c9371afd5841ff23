/* SPDX-License-Identifier: ISC */
/* starttls: see starttls.h. */
#include "dialog/inner.h"

#include "smtp/words.h"

void dialog_offer_ours(const struct dialog *d, struct smtp_offer *o)
{
	o->ext &= ~(uint32_t)(SMTP_EXT_STARTTLS | SMTP_EXT_XCLIENT);
	/* A client's chunks are passed on as they come: their header would be all its own. */
	if (d->env->add_received)
		o->ext &= ~(uint32_t)(SMTP_EXT_CHUNKING | SMTP_EXT_BINARYMIME);
	if (d->may_rename)
		o->ext |= SMTP_EXT_XCLIENT;
	if (d->tls != DIALOG_CLEAR)
		return;
	if (d->env->starttls)
		o->ext |= SMTP_EXT_STARTTLS;
	if (d->env->tls_for_login)
		o->ext &= ~(uint32_t)SMTP_EXT_AUTH;
}

void dialog_starttls(struct dialog *d)
{
	smtp_order_starts_tls(&d->server);
	d->tls = DIALOG_ASKED;
}

bool dialog_tls_is_asked(const struct dialog *d)
{
	return d->tls == DIALOG_ASKED && d->end == END_RUNS &&
	       (!d->work || (d->work->count == 0 && buf_len(&d->work->to_client) == 0));
}

void dialog_tls_begins(struct dialog *d)
{
	dialog_say_good(d, smtp_words(WORD_START_TLS));
	d->tls = DIALOG_SHAKING;
}

void dialog_tls_later(struct dialog *d)
{
	d->tls = DIALOG_CLEAR;
	smtp_order_tls_refused(&d->server);
	dialog_say(d, span_str(smtp_words(WORD_TLS_LATER)),
		   dialog_asked(d, SMTP_VERB_STARTTLS, false));
}

void dialog_tls_injected(struct dialog *d)
{
	dialog_end_as(d, END_PROTOCOL, REASON_STARTTLS_INJECTION);
}

void dialog_tls_comes_first(struct dialog *d)
{
	d->tls = DIALOG_SHAKING;
}

void dialog_tls_done(struct dialog *d, const struct dialog_secure *how)
{
	d->tls = DIALOG_SECURE;
	dialog_keep_secure(d, how);
	if (d->server.state == SMTP_ORDER_CONNECT) {
		smtp_order_tls_first(&d->server);
		return;
	}
	dialog_message_is_given_up(d);
	dialog_note_helo(d, SPAN(""));
	smtp_order_tls_done(&d->server);
}
