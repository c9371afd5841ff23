/* SPDX-License-Identifier: ISC */
/* counted: see counted.h. */
#include "session/counted.h"

#include "base/diag.h"
#include "io/acked.h"
#include "session/session.h"

void counted_reset(struct session *s)
{
	s->counted_body = (struct counted){ .message = s->dialog.transactions };
}

/* The dialog's message goes on in chunks, and they are these: a message that was refused early
 * leaves its own behind until the next one begins. */
static bool is_under_way(const struct session *s)
{
	return dialog_counts(&s->dialog) && s->counted_body.message == s->dialog.transactions;
}

/* What cannot be asked is never acknowledged: then the destination's answer is taken for one that
 * came too early. */
void counted_begin(struct session *s)
{
	struct counted *c = &s->counted_body;

	if (!c->begun && stream_can_count(&s->dest.stream))
		c->begun = stream_octets_acked(&s->dest.stream, &c->before) == 0;
}

void counted_sent(struct session *s, uint32_t size)
{
	struct counted *c = &s->counted_body;

	CHECK(c->open < COUNTED_MOST);
	c->size[c->open++] = size;
}

bool counted_waits(const struct session *s)
{
	const struct dialog *d = &s->dialog;
	unsigned most =
		d->destination.ext & SMTP_EXT_PIPELINING && stream_can_count(&s->dest.stream)
			? COUNTED_MOST
			: 1;

	return dialog_counts(d) && !message_is_discarded(&d->message) &&
	       s->counted_body.open + dialog_chunks_unanswered(d) >= most;
}

static void reached(struct session *s, unsigned n)
{
	struct counted *c = &s->counted_body;

	for (unsigned i = 0; i < n; i++)
		c->done += c->size[i];
	for (unsigned i = n; i < c->open; i++)
		c->size[i - n] = c->size[i];
	c->open = (uint8_t)(c->open - n);
	dialog_chunks_reached(&s->dialog, n);
}

/* How many of them, the oldest first. */
static unsigned reached_by_count(const struct session *s)
{
	const struct counted *c = &s->counted_body;
	uint64_t acked, end = c->done;
	unsigned n = 0;

	if (!c->begun || stream_octets_acked(&s->dest.stream, &acked) < 0)
		return 0;
	while (n < c->open && acked - c->before >= end + c->size[n])
		end += c->size[n++];
	return n;
}

void counted_look(struct session *s)
{
	const struct counted *c = &s->counted_body;

	if (!is_under_way(s) || c->open == 0)
		return;
	if (stream_can_count(&s->dest.stream))
		reached(s, reached_by_count(s));
	else if (stream_acked(&s->dest.stream) == STREAM_ACKED_ALL)
		reached(s, c->open);
}

void counted_all(struct session *s)
{
	if (is_under_way(s))
		reached(s, s->counted_body.open);
}
