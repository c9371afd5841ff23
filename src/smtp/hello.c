/* SPDX-License-Identifier: ISC */
/* hello: see hello.h. */
#include "smtp/hello.h"

#include <stdio.h>

#include "base/diag.h"
#include "smtp/greeting.h"

const char smtp_hello_quit[] = "QUIT\r\n";

/* What comes next: a step, or one of these. */
enum { WELCOME = SMTP_HELLO_STEPS, REFUSAL };

struct row {
	const char *say;
	bool named;    /* … and then our name and CR LF */
	bool offers;   /* a good reply says what the destination can do (RFC 5321 4.1.1.1) */
	uint16_t good; /* the one reply that is good; 0: each 2xx */
	uint8_t then;  /* after a good reply */
	uint8_t otherwise;
};

static const struct row rows[] = {
	/* clang-format off */
	/*                        say              named  offers good then     otherwise */
	[SMTP_HELLO_GREETING] = { "",              false, false, 0,   SMTP_HELLO_EHLO, REFUSAL },
	[SMTP_HELLO_EHLO]     = { "EHLO ",         true,  true,  0,   WELCOME, SMTP_HELLO_HELO },
	[SMTP_HELLO_HELO]     = { "HELO ",         true,  false, 0,   WELCOME, REFUSAL },
	[SMTP_HELLO_RSET]     = { "RSET\r\n",      false, false, 250, WELCOME, REFUSAL },
	[SMTP_HELLO_QUIT]     = { smtp_hello_quit, false, false, 221, WELCOME, REFUSAL },
	/* clang-format on */
};

static enum smtp_hello_result go(struct smtp_hello *h, unsigned next)
{
	const struct row *row;
	int n;

	if (next >= SMTP_HELLO_STEPS)
		return next == WELCOME ? SMTP_HELLO_GOOD : SMTP_HELLO_BAD;
	row = &rows[next];
	h->step = (enum smtp_hello_step)next;
	n = snprintf(h->line, sizeof(h->line), "%s%s%s", row->say, row->named ? h->name : "",
		     row->named ? "\r\n" : "");
	CHECK(n >= 0 && (size_t)n < sizeof(h->line));
	return SMTP_HELLO_ON;
}

void smtp_hello_begin(struct smtp_hello *h, enum smtp_hello_step step, const char *name)
{
	*h = (struct smtp_hello){ .name = name };
	go(h, step);
}

enum smtp_hello_result smtp_hello_heard(struct smtp_hello *h, const struct smtp_reply *reply)
{
	const struct row *row = &rows[h->step];
	bool good = row->good ? reply->code == row->good : reply->code / 100 == 2;

	/* What a good answer says besides is no statement about the port. */
	if (!good || h->step == SMTP_HELLO_GREETING)
		h->lmtp = h->lmtp || smtp_greeting_is_lmtp(reply);
	smtp_greeting_refusal(h->words, sizeof(h->words), reply, h->lmtp);
	if (good && row->offers)
		smtp_offer_read(&h->offer, reply);
	if (good)
		return go(h, row->then);
	return go(h, reply->code == 421 ? REFUSAL : row->otherwise);
}

enum smtp_hello_result smtp_hello_malformed(struct smtp_hello *h, struct span in)
{
	smtp_greeting_malformed(h->words, sizeof(h->words), in);
	return SMTP_HELLO_BAD;
}

enum smtp_hello_result smtp_hello_lost(struct smtp_hello *h, bool timed_out)
{
	snprintf(h->words, sizeof(h->words), "%s",
		 timed_out ? smtp_greeting_none : smtp_greeting_closed);
	return SMTP_HELLO_BAD;
}
