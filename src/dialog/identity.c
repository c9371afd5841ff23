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
	d->unforwarded = false;
}

const char *dialog_own_name(const struct dialog *d)
{
	const char *helo = dialog_helo(d);
	bool speaks_as_client = d->told == DIALOG_TOLD_AHEAD || d->told == DIALOG_TOLD;

	return speaks_as_client && *helo ? helo : d->env->name;
}

/* … whoever the client is, if the destination is UNFIT: no client has had a part in that. */
static void unidentified(struct dialog *d, struct span said, bool unfit)
{
	dialog_note_odd(d, said);
	d->work->unfit = unfit;
	link_part(d, LINK_CLOSES);
	dialog_close(d, smtp_words(WORD_NO_IDENTITY), END_LOST_DESTINATION, REASON_IDENTITY);
}

static void note_words(struct dialog_work *w, const struct smtp_reply *reply)
{
	w->words[smtp_reply_log_text(reply, w->words, sizeof(w->words) - 1)] = '\0';
}

void dialog_cannot_forward(struct dialog *d)
{
	const struct smtp_owed *c = &d->destination;

	/* (One that offers nothing may have been told HELO, for the client's own name.) */
	unidentified(d, span_str(smtp_identity_no_xforward), c->ext != 0 || c->forward != 0);
}

/* A header that it took for a command is answered in place of the command behind it, and perhaps
 * before that is said. */
static bool ahead_reply(struct dialog *d, const struct smtp_reply *reply, enum smtp_owes owed)
{
	if (reply->code / 100 != 2 || owed == SMTP_OWES_NOTHING) {
		note_words(d->work, reply);
		unidentified(d, span_str(d->work->words), owed == SMTP_OWES_NOTHING);
		return true;
	}
	d->told = DIALOG_TOLD;
	return false;
}

/* XFORWARD is refused where MAIL would be too, within a transaction, say: what counts is the answer
 * to MAIL, which comes next. */
static bool forward_reply(struct dialog *d, const struct smtp_reply *reply, enum smtp_owes owed)
{
	struct dialog_work *w = d->work;
	bool good = reply->code / 100 == 2;

	if (owed == SMTP_OWES_FORWARD) {
		d->unforwarded = !good;
		if (!good)
			note_words(w, reply);
		return false;
	}
	if (!d->unforwarded)
		return false;
	d->unforwarded = false;
	if (good)
		unidentified(d, span_str(w->words), false);
	return good;
}

bool dialog_identity_reply(struct dialog *d, const struct smtp_reply *reply, enum smtp_owes owed)
{
	if (reply->code == 421 || owed == SMTP_OWES_GREETING)
		return false;
	if (d->told == DIALOG_TOLD_AHEAD)
		return ahead_reply(d, reply, owed);
	return d->told == DIALOG_FORWARDS && forward_reply(d, reply, owed);
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

void dialog_rename(struct dialog *d, const struct smtp_identity *said)
{
	smtp_order_renamed(&d->server);
	d->work->identity = *said;
	d->renamed = true;
}

void dialog_end_renamed(struct dialog *d)
{
	link_part(d, LINK_CLOSES);
	dialog_end_as(d, END_XCLIENT, REASON_NONE);
}
