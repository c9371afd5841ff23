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

void dialog_note_address(struct dialog_pending *p, const struct smtp_command *cmd)
{
	struct span text = cmd->line;
	const uint8_t *colon, *end;

	if (cmd->verb != SMTP_VERB_MAIL && cmd->verb != SMTP_VERB_RCPT)
		return;
	colon = memchr(text.p, ':', text.n); /* there is a verb, so there are octets */
	if (!colon)
		return;
	text = span_from(text, (size_t)(colon + 1 - text.p));
	while (text.n > 0 && text.p[0] == ' ')
		text = span_from(text, 1);
	if (text.n > 0 && text.p[0] == '<') {
		text = span_from(text, 1);
		end = memchr(text.p, '>', text.n);
	} else {
		end = memchr(text.p, ' ', text.n);
	}
	if (end)
		text.n = (size_t)(end - text.p);
	if (text.n >= sizeof(p->address))
		text.n = sizeof(p->address) - 1;
	if (text.n)
		memcpy(p->address, text.p, text.n);
	p->address[text.n] = '\0';
}

/* The beginning of REPLY that is kept for the session's record: never half of a UTF-8 character. */
static size_t kept(struct span reply)
{
	size_t n = reply.n;

	if (n <= DIALOG_REPLY_KEPT)
		return n;
	n = DIALOG_REPLY_KEPT;
	while (n > 0 && (reply.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void keep_reply(struct dialog *d, struct span reply)
{
	size_t n = kept(reply);

	dialog_borrow_more(d);
	memcpy(d->more->reply, reply.p, n);
	d->more->reply_len = (uint16_t)n;
}

struct span dialog_last_refusal(const struct dialog *d)
{
	return d->more ? span_of(d->more->reply, d->more->reply_len) : SPAN("");
}

void dialog_refused(struct dialog *d, struct span reply, struct dialog_asked what)
{
	keep_reply(d, reply);
	if (what.command != RECORD_TOLD)
		record_refusal(d, reply, &what);
}
