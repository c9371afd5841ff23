/* SPDX-License-Identifier: ISC */
/* The commands that the client has not been answered yet, oldest first (dialog.h). */
#include "dialog/inner.h"

#include "base/diag.h"

struct dialog_pending *dialog_oldest(struct dialog_work *w)
{
	return w->count ? &w->pending[w->head] : NULL;
}

struct dialog_pending *dialog_youngest(struct dialog_work *w)
{
	return &w->pending[(w->head + w->count - 1) % SMTP_OPEN_MAX];
}

struct dialog_pending *dialog_add_pending(struct dialog *d, enum smtp_verb verb)
{
	struct dialog_work *w = d->work;

	CHECK(w->count < SMTP_OPEN_MAX);
	struct dialog_pending *p = &w->pending[(w->head + w->count++) % SMTP_OPEN_MAX];

	p->verb = (uint8_t)verb;
	p->answered_by = ANSWERED_BY_DESTINATION;
	p->as_ehlo = false;
	p->address[0] = '\0';
	return p;
}

void dialog_answer_here(struct dialog_pending *p, const char *reply, enum reason why, bool told)
{
	p->answered_by = ANSWERED_BY_US;
	p->reply = reply;
	p->why = (uint8_t)why;
	p->told = told;
}

void dialog_take_oldest(struct dialog_work *w)
{
	w->head = (uint8_t)((w->head + 1) % SMTP_OPEN_MAX);
	w->count--;
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
