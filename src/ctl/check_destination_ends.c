/* SPDX-License-Identifier: ISC */
/*
 * Which other ends of data a destination takes than CR LF dot CR LF (RFC 5321 4.1.1.4). For each,
 * in a connection of its own, one message goes to the recipient that the operator has named:
 *
 *   head, text, the end in question, NOOP CR LF dot CR LF
 *
 * Who does not take it reads one message, of which NOOP is the last line. Who takes it reads the
 * message, then NOOP and a dot as commands: harmless ones, and nothing else ever stands there. The
 * replies tell which, without a guess at time: QUIT is sent behind the first, and only one that has
 * read one message answers it next.
 *
 * One that does not know PIPELINING may refuse the message and go away for no other reason than
 * that something came behind its end, whichever that was (OpenSMTPD does), and an attacker who
 * waits would have smuggled all the same. So it gets the end in question alone, too, and has the
 * time of a step to answer that.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/check_destination.h"

/* Caronte lets through only what has the eighth bit set. */
#define CURE_NEWLINES                                                                              \
	"keep BARE_NEWLINE_REJECT of Caronte, and have it refused by the server too: Postfix "     \
	"smtpd_forbid_bare_newline = yes; newer versions of others do by themselves"
#define CURE_EIGHTH "do not let it stand behind a proxy before that is off: sendmail SevenBitInput"

static const struct end {
	const char *name;
	const char *cure;
	bool lf_head; /* the head's lines end in LF alone: some servers then take it everywhere */
	struct span octets;
} ends[DESTINATION_ENDS] = {
	{ "LF . LF", CURE_NEWLINES, false, { (const uint8_t *)"\n.\n", 3 } },
	{ "LF . LF behind a head with LF", CURE_NEWLINES, true, { (const uint8_t *)"\n.\n", 3 } },
	{ "LF . CR LF", CURE_NEWLINES, false, { (const uint8_t *)"\n.\r\n", 4 } },
	{ "CR LF . LF", CURE_NEWLINES, false, { (const uint8_t *)"\r\n.\n", 4 } },
	{ "CR LF . CR", CURE_NEWLINES, false, { (const uint8_t *)"\r\n.\r", 4 } },
	{ "CR . CR", CURE_NEWLINES, false, { (const uint8_t *)"\r.\r", 3 } },
	{ "CR LF . CR CR LF", CURE_NEWLINES, false, { (const uint8_t *)"\r\n.\r\r\n", 6 } },
	{ "CR LF . NUL CR LF", CURE_NEWLINES, false, { (const uint8_t *)"\r\n.\0\r\n", 6 } },
	{ "CR LF . CR LF with the eighth bit",
	  CURE_EIGHTH,
	  false,
	  { (const uint8_t *)"\x8d\x8a\xae\x8d\x8a", 5 } },
};

/* The message up to the end in question; its length. */
static size_t make_head(const struct destination_check *k, const struct end *e, char *out,
			size_t cap)
{
	const char *eol = e->lf_head ? "\n" : "\r\n";
	size_t n = destination_head(k, e->name, eol, out, cap);
	int more = snprintf(out + n, cap - n,
			    "%sA test of what ends a message. Nothing needs to be done.", eol);

	return n > 0 && more > 0 && n + (size_t)more < cap ? n + (size_t)more : 0;
}

/* The message with the end in question, and what stands behind that. */
static bool send_message(struct destination_check *k, const struct end *e, const char *behind)
{
	char text[2048];
	size_t n;

	if (!destination_begin(k, e->name, SMTP_HELLO_EHLO) ||
	    (n = make_head(k, e, text, sizeof(text) - 64)) == 0)
		return false;
	memcpy(text + n, e->octets.p, e->octets.n);
	n += e->octets.n;
	memcpy(text + n, behind, strlen(behind));
	probe_send(&k->smtp, text, n + strlen(behind));
	return true;
}

static void say_taken(struct destination_check *k, const struct end *e)
{
	destination_warn(k, e->cure, "it takes %s as the end of a message", e->name);
}

static void say_refused(struct destination_check *k, const struct end *e, const char *words)
{
	if (destination_is_gone(words))
		destination_good(k, "%s gets %s", e->name, words);
	else
		destination_good(k, "it refuses a message with %s in it, and goes away: %s",
				 e->name, words);
}

/* Whoever has refused a message and stays may have taken the end in question, and not liked the
 * rest. */
static bool goes_away(struct destination_check *k)
{
	char words[DESTINATION_TEXT];

	return destination_hear(k, words) == 0 && destination_is_gone(words);
}

/* It went away, with these words. */
static void judge_refusal(struct destination_check *k, const struct end *e, const char *words)
{
	char alone[DESTINATION_TEXT];
	struct smtp_reply reply;
	enum probe_heard heard;

	if (k->pipelining) {
		say_refused(k, e, words);
		return;
	}
	probe_hang_up(&k->smtp);
	if (!send_message(k, e, ""))
		return;
	heard = probe_hear(&k->smtp, &reply);
	destination_words(heard, &reply, alone);
	if (heard == PROBE_SILENT)
		say_refused(k, e, words); /* it waits for another end */
	else if (heard == PROBE_REPLY && reply.code / 100 == 2)
		say_taken(k, e);
	else if (destination_is_gone(alone) || (heard == PROBE_REPLY && goes_away(k)))
		say_refused(k, e, alone);
	else
		destination_warn(k, NULL, "%s gets %s: not known", e->name, alone);
}

static void judge(struct destination_check *k, const struct end *e)
{
	char first[DESTINATION_TEXT], next[DESTINATION_TEXT];
	unsigned answer = destination_hear(k, first);
	unsigned behind;

	if (destination_is_gone(first)) {
		judge_refusal(k, e, first);
		return;
	}
	if (answer == 0) {
		destination_warn(k, NULL, "%s gets %s", e->name, first);
		return;
	}
	probe_say(&k->smtp, "QUIT");
	behind = destination_hear(k, next);
	if (behind != 0 && behind != 221 && behind != 421)
		say_taken(k, e);
	else if (behind == 221)
		destination_good(k, "it does not take %s as the end of a message%s%s", e->name,
				 answer / 100 == 2 ? "" : ": ", answer / 100 == 2 ? "" : first);
	else if (answer / 100 == 5)
		judge_refusal(k, e, first);
	else
		destination_warn(k, NULL, "%s gets %s, and then %s: not known", e->name, first,
				 next);
}

static void try_end(struct destination_check *k, const struct end *e)
{
	if (send_message(k, e, "NOOP\r\n.\r\n"))
		judge(k, e);
	probe_hang_up(&k->smtp);
}

void destination_check_ends(struct destination_check *k)
{
	for (unsigned i = 0; i < DESTINATION_ENDS; i++)
		try_end(k, &ends[i]);
}
