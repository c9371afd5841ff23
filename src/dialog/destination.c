/* SPDX-License-Identifier: ISC */
/* The replies of the destination: which command they answer, or that the two sides disagree
 * (destination.h). */
#include "dialog/destination.h"

#include "base/diag.h"
#include "dialog/inner.h"
#include "dialog/records.h"

static void on_message_answer(struct dialog *d, const struct smtp_reply *reply)
{
	bool good = reply->code / 100 == 2;

	smtp_order_message_answered(&d->server);
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
	if (dialog_identity_reply(d, reply, owed))
		return;
	switch (smtp_owed_judge(&d->destination, reply, owed)) {
	case SMTP_OWED_ANSWER:
		if (owed == SMTP_OWES_FORWARD)
			break;
		link_replied(&d->link);
		link_was_answered(&d->link, reply->code, owed == SMTP_OWES_EOD);
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

size_t dialog_from_destination(struct dialog *d, struct span in)
{
	size_t consumed = 0;

	if (in.n > 0)
		link_heard(&d->link);
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
