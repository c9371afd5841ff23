/* SPDX-License-Identifier: ISC */
/*
 * Who tells the operator of a 4xx or 5xx that a client gets: the record of a recipient, of a
 * message or of a login, or else a `refusal`, which is written where replies are said
 * (dialog_say()). Each caller says what its reply answers and whether a record tells of it already.
 */
#include "dialog/inner.h"

#include "dialog/records.h"

const struct dialog_asked dialog_told = { .command = RECORD_TOLD };

static bool in_transaction(enum smtp_order_state state)
{
	switch (state) {
	case SMTP_ORDER_MAIL:
	case SMTP_ORDER_DATA:
	case SMTP_ORDER_BODY:
	case SMTP_ORDER_CHUNK:
	case SMTP_ORDER_CHUNKED:
	case SMTP_ORDER_EOD:
		return true;
	default:
		return false;
	}
}

struct dialog_asked dialog_asked(const struct dialog *d, enum smtp_verb verb, bool destination)
{
	static const uint8_t commands[SMTP_VERB_COUNT] = {
		[SMTP_VERB_HELO] = RECORD_HELO, [SMTP_VERB_EHLO] = RECORD_HELO,
		[SMTP_VERB_MAIL] = RECORD_MAIL, [SMTP_VERB_RCPT] = RECORD_RCPT,
		[SMTP_VERB_DATA] = RECORD_DATA, [SMTP_VERB_BDAT] = RECORD_BDAT,
	};
	uint8_t command = commands[verb] ? commands[verb] : RECORD_OTHER;

	return (struct dialog_asked){
		.command = command,
		.destination = destination,
		.transaction = in_transaction(d->server.state),
	};
}

struct dialog_asked dialog_asked_now(const struct dialog *d, bool destination)
{
	const struct dialog_pending *p = dialog_oldest(d->work);
	struct dialog_asked what = dialog_asked(d, SMTP_VERB_UNKNOWN, destination);

	if (p) {
		what = dialog_asked(d, (enum smtp_verb)p->verb, destination);
		what.address = p->address;
		return what;
	}
	switch (d->server.state) {
	case SMTP_ORDER_CONNECT:
		what.command = RECORD_CONNECT;
		break;
	case SMTP_ORDER_BODY:
		what.command = RECORD_DATA;
		break;
	case SMTP_ORDER_CHUNK:
		what.command = RECORD_BDAT;
		break;
	default:
		break;
	}
	return what;
}

void dialog_refused(struct dialog *d, struct span reply, struct dialog_asked what)
{
	dialog_keep_refusal(d, reply);
	if (what.command != RECORD_TOLD)
		record_refusal(d, reply, &what);
}
