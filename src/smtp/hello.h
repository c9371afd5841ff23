/* SPDX-License-Identifier: ISC */
/*
 * hello: what Caronte itself says to a destination, and what its replies mean: its greeting, EHLO,
 * HELO where EHLO is refused (RFC 5321 3.2), RSET, QUIT, STARTTLS (RFC 3207), XCLIENT (identity.h).
 * A step is a row of the table in hello.c: what is said, and what comes next after a good reply and
 * after another one.
 *
 * struct smtp_hello goes through the steps outside of a client's session. Sends and receives
 * nothing: the owner says LINE, waits for the one reply, gives it to smtp_hello_heard(), and does
 * so again while the answer is SMTP_HELLO_ON. Within a session the dialog writes, judges and
 * records, and asks the table alone: smtp_hello_next().
 *
 * A 421 ends it whatever was asked, as does a connection that is lost or says what is no reply.
 * WORDS says for a record what came last.
 */
#ifndef SMTP_HELLO_H
#define SMTP_HELLO_H

#include "smtp/command.h"
#include "smtp/identity.h"
#include "smtp/offer.h"

enum smtp_hello_step {
	SMTP_HELLO_GREETING, /* nothing is said: the destination begins */
	SMTP_HELLO_EHLO,
	SMTP_HELLO_HELO,
	SMTP_HELLO_RSET,
	SMTP_HELLO_QUIT,
	/* The way to TLS: what is said in clear, and counts for nothing afterwards. */
	SMTP_HELLO_CLEAR_GREETING,
	SMTP_HELLO_CLEAR_EHLO,
	SMTP_HELLO_STARTTLS,
	/* The way to a client's identity: a good answer to XCLIENT is another greeting, and what
	 * was offered before counts no more. */
	SMTP_HELLO_OWN_GREETING,
	SMTP_HELLO_OWN_EHLO,
	SMTP_HELLO_XCLIENT,
	SMTP_HELLO_STEPS
};

enum smtp_hello_result {
	SMTP_HELLO_ON,	 /* there is a next step */
	SMTP_HELLO_GOOD, /* the last step was taken well: of EHLO and HELO, we are welcome */
	SMTP_HELLO_BAD,	 /* we were turned away */
};

/* The table: what is said in STEP (UNKNOWN: nothing), and how it goes on after a reply of CODE. ON:
 * STEP is the next one from then on. */
enum smtp_verb smtp_hello_says(enum smtp_hello_step step);
enum smtp_hello_result smtp_hello_next(enum smtp_hello_step *step, unsigned code);

#define SMTP_HELLO_NAME_MAX  255 /* RFC 5321 4.5.3.1.2 */
#define SMTP_HELLO_LINE_MAX  (SMTP_IDENTITY_LINE_MAX + 1)
#define SMTP_HELLO_WORDS_MAX 256 /* with their NUL; longer ones are cut off */

struct smtp_hello {
	const char *name; /* ours */
	enum smtp_hello_step step;
	bool lmtp;		 /* the destination has said that it speaks LMTP (greeting.h) */
	struct smtp_offer offer; /* after SMTP_HELLO_GOOD: nothing where it took HELO alone */
	/* enum smtp_attribute: what its answer to EHLO offers of these */
	uint32_t xclient, forward;
	const struct addr *client, *to; /* SMTP_HELLO_XCLIENT: see smtp_identity_xclient() */
	char words[SMTP_HELLO_WORDS_MAX];
	char line[SMTP_HELLO_LINE_MAX]; /* of this step, with CR LF and NUL; empty: only listen */
};

/* The line of QUIT, for those who do not wait for the reply. */
extern const char smtp_hello_quit[];

/* Begins with STEP. NAME is ours, at most SMTP_HELLO_NAME_MAX octets, and must stay; NULL where the
 * steps that follow need none. */
void smtp_hello_begin(struct smtp_hello *h, enum smtp_hello_step step, const char *name);
/* Begins with SMTP_HELLO_XCLIENT, of a destination that has offered XCLIENT: see
 * smtp_identity_xclient(). CLIENT and TO must stay. */
void smtp_hello_begin_xclient(struct smtp_hello *h, uint32_t xclient, const struct addr *client,
			      const struct addr *to);
/* The reply to this step. */
enum smtp_hello_result smtp_hello_heard(struct smtp_hello *h, const struct smtp_reply *reply);
/* The destination offers what SMTP_HELLO_XCLIENT needs. */
static inline bool smtp_hello_can_present(const struct smtp_hello *h)
{
	return h->xclient & SMTP_ATTRIBUTE_ADDR;
}
/* IN came, which is no reply, or not that of this step. */
enum smtp_hello_result smtp_hello_malformed(struct smtp_hello *h, struct span in);
/* No reply came: the connection was closed, or the time is over. */
enum smtp_hello_result smtp_hello_lost(struct smtp_hello *h, bool timed_out);

#endif
