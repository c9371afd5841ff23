/* SPDX-License-Identifier: ISC */
/* link: see link.h. */
#include "dialog/link.h"

#include "base/diag.h"
#include "dialog/dialog.h"
#include "dialog/records.h"

/* A destination slows down and sends away who has been refused too often (Postfix from the tenth
 * time on, unless a message was taken in between): what one client has earned is not for the next.
 */
#define REFUSALS_MAX 8

static const char *const names[LINK_STATES] = {
	[LINK_APART] = "APART",	      [LINK_WANTED] = "WANTED",	  [LINK_FULL] = "FULL",
	[LINK_REACHING] = "REACHING", [LINK_GREETED] = "GREETED", [LINK_HELLO] = "HELLO",
	[LINK_TOGETHER] = "TOGETHER", [LINK_PARTING] = "PARTING", [LINK_CLOSING] = "CLOSING",
};

/* What may follow a state: a set. */
#define MAY(state) (1u << (state))
static const uint16_t follows[LINK_STATES] = {
	[LINK_APART] = MAY(LINK_WANTED) | MAY(LINK_FULL) | MAY(LINK_REACHING),
	[LINK_WANTED] = MAY(LINK_APART) | MAY(LINK_REACHING),
	[LINK_FULL] = MAY(LINK_APART) | MAY(LINK_REACHING),
	[LINK_REACHING] = MAY(LINK_APART) | MAY(LINK_FULL) | MAY(LINK_GREETED) | MAY(LINK_TOGETHER),
	[LINK_GREETED] = MAY(LINK_HELLO) | MAY(LINK_TOGETHER) | MAY(LINK_PARTING),
	[LINK_HELLO] = MAY(LINK_HELLO) | MAY(LINK_TOGETHER) | MAY(LINK_PARTING),
	[LINK_TOGETHER] = MAY(LINK_PARTING),
	[LINK_PARTING] = MAY(LINK_CLOSING) | MAY(LINK_APART),
	[LINK_CLOSING] = MAY(LINK_APART),
};

const char *link_state_name(enum link_state state)
{
	return names[state];
}

void link_enter(struct dialog *d, enum link_state state)
{
	struct link *l = &d->link;

	CHECK(follows[l->state] & MAY(state));
	record_transition(d, "link", names[l->state], names[state]);
	l->state = (uint8_t)state;
}

void link_part(struct dialog *d, enum link_parting how)
{
	struct link *l = &d->link;

	if (link_talks(l)) {
		l->parting = (uint8_t)how;
		link_enter(d, LINK_PARTING);
	} else if (l->state != LINK_APART && l->state < LINK_GREETED) {
		link_enter(d, LINK_APART);
	}
}

void link_meets_as(struct dialog *d, enum link_kind kind, enum link_state state, uint32_t refusals)
{
	struct link *l = &d->link;

	l->kind = (uint8_t)kind;
	l->heard = LINK_HEARD_NOTHING;
	l->given = LINK_GIVEN_NOTHING;
	l->refusals = refusals;
	link_enter(d, state);
}

void link_was_given(struct link *l, enum smtp_verb verb)
{
	if (verb == SMTP_VERB_AUTH)
		l->refusals = REFUSALS_MAX;
	if (verb == SMTP_VERB_MAIL)
		l->given = LINK_GIVEN_MAIL;
}

void link_heard(struct link *l)
{
	if (l->state == LINK_TOGETHER && l->heard == LINK_HEARD_NOTHING)
		l->heard = LINK_HEARD_OCTETS;
}

void link_replied(struct link *l)
{
	if (l->state == LINK_TOGETHER)
		l->heard = LINK_HEARD_REPLY;
}

void link_was_answered(struct link *l, unsigned code, bool message)
{
	if (message)
		l->given = LINK_GIVEN_NOTHING;
	if (message && code / 100 == 2)
		l->refusals = 0;
	else if (code >= 400)
		l->refusals++;
	/* A destination that gave the message up may still take octets of it for commands, and what
	 * it says to those must answer nobody else. */
	if (message && code / 100 != 2)
		l->refusals = REFUSALS_MAX;
}

bool link_is_worn(const struct link *l)
{
	return l->refusals >= REFUSALS_MAX;
}
