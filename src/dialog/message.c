/* SPDX-License-Identifier: ISC */
/*
 * Where the client's message stands (message.h).
 */
#include "dialog/message.h"

#include "base/diag.h"
#include "dialog/inner.h"
#include "dialog/records.h"

static const char *const state_names[MESSAGE_STATES] = {
	[MESSAGE_NONE] = "NONE",   [MESSAGE_COMING] = "COMING", [MESSAGE_DISCARDED] = "DISCARDED",
	[MESSAGE_WHOLE] = "WHOLE", [MESSAGE_GIVEN] = "GIVEN",
};

/* What may follow a state: a set. */
#define MAY(state) (1u << (state))
static const uint8_t follows[MESSAGE_STATES] = {
	[MESSAGE_NONE] = MAY(MESSAGE_COMING) | MAY(MESSAGE_DISCARDED),
	[MESSAGE_COMING] = MAY(MESSAGE_DISCARDED) | MAY(MESSAGE_WHOLE) | MAY(MESSAGE_NONE),
	[MESSAGE_DISCARDED] = MAY(MESSAGE_NONE),
	[MESSAGE_WHOLE] = MAY(MESSAGE_GIVEN) | MAY(MESSAGE_NONE),
	[MESSAGE_GIVEN] = MAY(MESSAGE_COMING) | MAY(MESSAGE_NONE),
};

const char *message_state_name(enum message_state state)
{
	return state_names[state];
}

/* The one writer of the state. */
static void enter(struct dialog *d, enum message_state state)
{
	struct message *m = &d->message;

	CHECK(follows[m->state] & MAY(state));
	record_transition(d, "message", message_state_name(m->state), message_state_name(state));
	m->state = (uint8_t)state;
}

void dialog_message_begins(struct dialog *d, enum message_way way)
{
	d->message = (struct message){ .state = d->message.state, .way = (uint8_t)way };
	d->work->letter.id = (struct smtp_message_id){ 0 };
	enter(d, MESSAGE_COMING);
}

void dialog_message_is_whole(struct dialog *d)
{
	enter(d, MESSAGE_WHOLE);
}

void dialog_message_given(struct dialog *d)
{
	if (d->message.state == MESSAGE_WHOLE)
		enter(d, MESSAGE_GIVEN);
}

void dialog_message_reached(struct dialog *d)
{
	if (d->end != END_RUNS || !dialog_message_leaves(d))
		return;
	if (d->message.way == MESSAGE_BY_CHUNKS)
		smtp_owed_chunk_sent(&d->destination, d->message.last);
	else
		smtp_owed_body_sent(&d->destination);
}

void dialog_message_goes_on(struct dialog *d)
{
	enter(d, MESSAGE_COMING);
}

/* … or, where it is refused already, in another way. */
void dialog_message_is_refused(struct dialog *d, enum message_discard how, enum reason why)
{
	if (!message_is_discarded(&d->message))
		enter(d, MESSAGE_DISCARDED);
	d->message.discard = (uint8_t)how;
	d->message.why = (uint8_t)why;
}

void dialog_message_is_given_up(struct dialog *d)
{
	if (d->message.state != MESSAGE_NONE)
		enter(d, MESSAGE_NONE);
}

void dialog_record_message(struct dialog *d, struct span reply)
{
	if (message_is_open(&d->message))
		record_message(d, reply);
	if (d->message.state != MESSAGE_NONE)
		enter(d, MESSAGE_NONE);
}

bool dialog_chunk_awaits(const struct dialog *d)
{
	return d->server.state == SMTP_ORDER_CHUNKED &&
	       (d->message.state == MESSAGE_WHOLE || d->message.state == MESSAGE_GIVEN);
}

void dialog_message_copied(struct dialog *d)
{
	d->message.moved |= MESSAGE_COPIED;
}
