/* SPDX-License-Identifier: ISC */
/* counted: see counted.h. */
#include "session/counted.h"

#include "base/diag.h"
#include "session/session.h"

void counted_reset(struct session *s)
{
	s->counted_body = (struct counted){ .message = s->dialog.transactions };
}

/* The dialog's message goes on in chunks, and this is one of them: a message that was refused early
 * leaves its own behind until the next one begins. */
static bool is_under_way(const struct session *s)
{
	return s->counted_body.open && dialog_counts(&s->dialog) &&
	       s->counted_body.message == s->dialog.transactions;
}

void counted_sent(struct session *s)
{
	struct counted *c = &s->counted_body;

	CHECK(!c->open);
	c->open = true;
}

bool counted_waits(const struct session *s)
{
	const struct dialog *d = &s->dialog;

	return dialog_counts(d) && !message_is_discarded(&d->message) &&
	       (s->counted_body.open || dialog_chunk_unanswered(d));
}

void counted_all(struct session *s)
{
	if (!is_under_way(s))
		return;
	s->counted_body.open = false;
	dialog_chunk_reached(&s->dialog);
}

void counted_look(struct session *s)
{
	if (is_under_way(s) && stream_acked(&s->dest.stream) == STREAM_ACKED_ALL)
		counted_all(s);
}
