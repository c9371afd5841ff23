/* SPDX-License-Identifier: ISC */
/* dialog: see dialog.h. */
#include "dialog/dialog.h"

#include "base/diag.h"
#include "dialog/inner.h"
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

void dialog_connected(struct dialog *d, const struct addr *destination)
{
	d->destination_addr = *destination;
	link_enter(d, LINK_GREETED);
	smtp_owed_start(&d->destination);
	dialog_learn_nothing(d);
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
	case SMTP_ORDER_TLS:
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
	case SMTP_ORDER_TLS:
		return false;
	default:
		return true;
	}
}

void dialog_flushed(struct dialog *d, unsigned n)
{
	smtp_owed_flushed(&d->destination, n);
}
