/* SPDX-License-Identifier: ISC */
/* identity: see identity.h. */
#include "dialog/identity.h"

#include "base/diag.h"
#include "dialog/inner.h"
#include "smtp/identity.h"
#include "smtp/words.h"

void dialog_note_told(struct dialog *d, enum dialog_told told)
{
	d->told = (uint8_t)told;
}

const char *dialog_own_name(const struct dialog *d)
{
	const char *helo = dialog_helo(d);
	bool speaks_as_client = d->told == DIALOG_TOLD_AHEAD || d->told == DIALOG_TOLD;

	return speaks_as_client && *helo ? helo : d->env->name;
}

void dialog_unidentified(struct dialog *d, struct span said)
{
	dialog_note_odd(d, said);
	link_part(d, LINK_CLOSES);
	dialog_close(d, smtp_words(WORD_NO_IDENTITY), END_LOST_DESTINATION, REASON_IDENTITY);
}

bool dialog_identity_reply(struct dialog *d, const struct smtp_reply *reply, enum smtp_owes owed)
{
	bool good = reply->code / 100 == 2;

	if (reply->code == 421 || owed == SMTP_OWES_GREETING)
		return false;
	if (owed != SMTP_OWES_FORWARD && d->told != DIALOG_TOLD_AHEAD)
		return false;
	if (!good || owed == SMTP_OWES_NOTHING) {
		dialog_unidentified(d, reply->text);
		return true;
	}
	if (d->told == DIALOG_TOLD_AHEAD)
		d->told = DIALOG_TOLD;
	return false;
}

bool dialog_can_forward(const struct dialog *d)
{
	const struct smtp_owed *c = &d->destination;

	return d->told != DIALOG_FORWARDS ||
	       (c->forward & SMTP_ATTRIBUTE_ADDR && c->ext & SMTP_EXT_PIPELINING);
}

size_t dialog_forward(struct dialog *d)
{
	struct buf *out = &d->work->to_destination;
	size_t before = buf_len(out);
	char id[XMLLOG_SESSION_TEXT_MAX];
	int res;

	if (d->told != DIALOG_FORWARDS)
		return 0;
	xmllog_session_text(&d->id, id);
	res = smtp_identity_xforward(d->destination.forward, &d->client_addr, dialog_helo(d),
				     d->server.offered != 0, id, out);
	CHECK(res == 0); /* there is room: room_for_command(), dialog_give_held() */
	return buf_len(out) - before;
}
