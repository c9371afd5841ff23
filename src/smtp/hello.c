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
	enum smtp_verb say; /* UNKNOWN: nothing */
	bool named;	    /* … and then our name */
	bool offers;	    /* a good reply says what the destination can do (RFC 5321 4.1.1.1) */
	uint16_t good;	    /* the one reply that is good; 0: each 2xx */
	uint8_t then;	    /* after a good reply */
	uint8_t otherwise;
};

static const struct row rows[] = {
	/* clang-format off */
	/*                        say                named  offers good then     otherwise */
	[SMTP_HELLO_GREETING] = { SMTP_VERB_UNKNOWN, false, false, 0,   SMTP_HELLO_EHLO, REFUSAL },
	[SMTP_HELLO_EHLO]     = { SMTP_VERB_EHLO,    true,  true,  0,   WELCOME, SMTP_HELLO_HELO },
	[SMTP_HELLO_HELO]     = { SMTP_VERB_HELO,    true,  false, 0,   WELCOME, REFUSAL },
	[SMTP_HELLO_RSET]     = { SMTP_VERB_RSET,    false, false, 250, WELCOME, REFUSAL },
	[SMTP_HELLO_QUIT]     = { SMTP_VERB_QUIT,    false, false, 221, WELCOME, REFUSAL },
	[SMTP_HELLO_CLEAR_GREETING] =
		{ SMTP_VERB_UNKNOWN,  false, false, 0,   SMTP_HELLO_CLEAR_EHLO, REFUSAL },
	[SMTP_HELLO_CLEAR_EHLO] =
		{ SMTP_VERB_EHLO,     true,  true,  0,   SMTP_HELLO_STARTTLS,   REFUSAL },
	[SMTP_HELLO_STARTTLS] = { SMTP_VERB_STARTTLS, false, false, 220, WELCOME, REFUSAL },
	[SMTP_HELLO_OWN_GREETING] =
		{ SMTP_VERB_UNKNOWN,  false, false, 0,   SMTP_HELLO_OWN_EHLO,   REFUSAL },
	[SMTP_HELLO_OWN_EHLO] =
		{ SMTP_VERB_EHLO,     true,  true,  0,   SMTP_HELLO_XCLIENT,    REFUSAL },
	[SMTP_HELLO_XCLIENT] =  { SMTP_VERB_XCLIENT,  false, false, 220, WELCOME, REFUSAL },
	/* clang-format on */
};

static bool is_good(enum smtp_hello_step step, unsigned code)
{
	return rows[step].good ? code == rows[step].good : code / 100 == 2;
}

enum smtp_verb smtp_hello_says(enum smtp_hello_step step)
{
	return rows[step].say;
}

enum smtp_hello_result smtp_hello_next(enum smtp_hello_step *step, unsigned code)
{
	const struct row *row = &rows[*step];
	unsigned next = is_good(*step, code) ? row->then : code == 421 ? REFUSAL : row->otherwise;

	if (next >= SMTP_HELLO_STEPS)
		return next == WELCOME ? SMTP_HELLO_GOOD : SMTP_HELLO_BAD;
	*step = (enum smtp_hello_step)next;
	return SMTP_HELLO_ON;
}

static void write_xclient(struct smtp_hello *h)
{
	struct buf out;
	int res;

	buf_init(&out, h->line, sizeof(h->line) - 1);
	res = smtp_identity_xclient(h->xclient, h->client, h->to, &out);
	CHECK(res == 0);
	h->line[buf_len(&out)] = '\0';
}

static void write_line(struct smtp_hello *h)
{
	const struct row *row = &rows[h->step];
	int n = 0;

	h->line[0] = '\0';
	if (row->say == SMTP_VERB_XCLIENT) {
		if (smtp_hello_can_present(h))
			write_xclient(h);
		return;
	}
	if (row->say != SMTP_VERB_UNKNOWN)
		n = snprintf(h->line, sizeof(h->line), "%s%s%s\r\n", smtp_verb_name(row->say),
			     row->named ? " " : "", row->named ? h->name : "");
	CHECK(n >= 0 && (size_t)n < sizeof(h->line));
}

void smtp_hello_begin(struct smtp_hello *h, enum smtp_hello_step step, const char *name)
{
	*h = (struct smtp_hello){ .name = name, .step = step };
	write_line(h);
}

void smtp_hello_begin_xclient(struct smtp_hello *h, uint32_t xclient, const struct addr *client,
			      const struct addr *to)
{
	*h = (struct smtp_hello){
		.step = SMTP_HELLO_XCLIENT,
		.xclient = xclient,
		.client = client,
		.to = to,
	};
	write_line(h);
}

enum smtp_hello_result smtp_hello_heard(struct smtp_hello *h, const struct smtp_reply *reply)
{
	bool good = is_good(h->step, reply->code);
	enum smtp_hello_result result;

	/* What a good answer says besides is no statement about the port. */
	if (!good || rows[h->step].say == SMTP_VERB_UNKNOWN)
		h->lmtp = h->lmtp || smtp_greeting_is_lmtp(reply);
	smtp_greeting_refusal(h->words, sizeof(h->words), reply, h->lmtp);
	if (good && rows[h->step].offers) {
		smtp_offer_read(&h->offer, reply);
		h->xclient = smtp_identity_offered(reply, SPAN("XCLIENT"));
		h->forward = smtp_identity_offered(reply, SPAN("XFORWARD"));
	}
	result = smtp_hello_next(&h->step, reply->code);
	if (result == SMTP_HELLO_ON)
		write_line(h);
	return result;
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
