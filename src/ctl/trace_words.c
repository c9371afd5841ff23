/* SPDX-License-Identifier: ISC */
/* trace_words: see trace_words.h. A sentence that a setting can change names the setting. */
#include "ctl/trace_words.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "smtp/words.h"

struct word {
	const char *word, *sentence;
};

static const struct word ends[] = {
	{ "quit", "the client said QUIT" },
	{ "refused", "the destination greeted with a refusal" },
	{ "xclient",
	  "the client is a proxy, and has said whose session it is (XCLIENT_FROM): it goes "
	  "on as another one" },
	{ "lost-client", "the client's connection broke, or was closed without QUIT" },
	{ "lost-destination",
	  "the destination was gone, broke the protocol, or was out of time (TIMEOUT_REPLY)" },
	{ "timeout", "the client was out of time (TIMEOUT_COMMAND, TIMEOUT_DATA, MIN_RATE)" },
	{ "limit", "a limit of the configuration was reached" },
	{ "protocol", "the protocol was broken in a way that ends a session" },
	{ "stop", "the daemon was stopped, and STOP_GRACE was over" },
	{ NULL, NULL },
};

static const struct word reasons[] = {
	{ "MAX_ERRORS", "the client had MAX_ERRORS errors and refusals" },
	{ "MAX_IDLE_COMMANDS", "the client sent MAX_IDLE_COMMANDS commands without a message" },
	{ "MAX_SESSIONS", "MAX_SESSIONS were open, or this seat was needed in stress" },
	{ "MAX_SESSIONS_PER_ADDRESS",
	  "the client's address or network had MAX_SESSIONS_PER_ADDRESS sessions open" },
	{ "MAX_MESSAGE_MIB", "a message was larger than MAX_MESSAGE_MIB" },
	{ "MAX_HEADER_KIB", "the header of a message was larger than MAX_HEADER_KIB" },
	{ "MAX_LINE_KIB", "a line of a message was longer than MAX_LINE_KIB" },
	{ "SIZE", "a message was larger than the SIZE that the destination announces" },
	{ "mail-lines", "more than 100 lines of a message looked like a MAIL command" },
	{ "unread-replies", "the client did not read the replies that it got" },
	{ "no-resources", "descriptors, ports or memory were used up" },
	{ "early-auth", "the client sent something before the answer to its AUTH" },
	{ "early-data", "the client sent a message before the answer to its DATA" },
	{ "bad-line", "a command was too long, or held a NUL, or a CR or LF on its own" },
	{ "bare-newline",
	  "a message held a CR, LF or NUL on its own (BARE_NEWLINE_NORMALIZE would repair it)" },
	{ "bad-continuation", "what the client sent after AUTH was no base64" },
	{ "bdat-unoffered", "the client sent BDAT, which was not offered" },
	{ "bdat-size", "the client sent BDAT without a size that can be read" },
	{ "bdat-alone", "the client sent BDAT where no message can begin" },
	{ "http", "the client spoke HTTP" },
	{ "proxy-header", "the client sent a PROXY header, which is not expected from it" },
	{ "tls-hello", "the client began TLS on a port where plain SMTP is spoken" },
	{ "starttls-injection",
	  "the client sent more behind STARTTLS, which would have been taken for words of TLS" },
	{ "xclient", "the client is a proxy, and did not name its client as it must, or more came "
		     "behind that (XCLIENT_FROM)" },
	{ "unknown-verb", "the client sent unknown commands, as programs that speak no SMTP do" },
	{ "TLS_HANDSHAKES_PER_ADDRESS",
	  "its address has made too many full TLS handshakes in this minute" },
	{ "no-connection",
	  "no destination accepted a TCP connection, or all were drained (DESTINATIONS, "
	  "TIMEOUT_CONNECT)" },
	{ "destination-tls",
	  "there was no TLS with the destination, which must have it (tls= in DESTINATIONS): the "
	  "fault destination-tls says why" },
	{ "identity",
	  "the destination does not take the client's identity (identity= in DESTINATIONS): the fault "
	  "identity says why" },
	{ "full",
	  "all destinations had their max= sessions: it waited for TIMEOUT_CONNECT in vain, "
	  "or another one waited, and it had gone longest without being of use" },
	{ "closed", "the destination closed the connection" },
	{ "timeout", "the destination was out of time (TIMEOUT_GREETING, TIMEOUT_REPLY, "
		     "TIMEOUT_DATA, TIMEOUT_DATA_DONE)" },
	{ "malformed-reply", "the destination sent a reply that is no SMTP" },
	{ "out-of-order",
	  "the destination sent one reply too many, or answered what was not asked" },
	{ "421", "the destination ended the session itself, by 421" },
	{ "refused-data", "the destination refused a message before its end" },
	{ "no-recipients",
	  "the destination asked for a message for which it had accepted no recipient" },
	{ NULL, NULL },
};

static const struct word rules[] = {
	{ "login", "accepted: the client has logged in" },
	{ "relay-network", "accepted: the client is in RELAY_NETWORKS" },
	{ "recipient", "accepted: the recipient is in RECIPIENTS" },
	{ "guard-off", "accepted: RELAY_GUARD is off, so everybody may send to anybody" },
	{ "relaying-denied",
	  "refused here: the recipient is not in RECIPIENTS and the client is no "
	  "relay client (no login, not in RELAY_NETWORKS)" },
	{ "unknown-user",
	  "refused here: the recipient's domain is in RECIPIENTS, but not its user" },
	{ "destination", "refused by the destination" },
	{ NULL, NULL },
};

static const struct word commands[] = {
	{ "connect", "the connection" },
	{ "helo", "HELO or EHLO" },
	{ "mail", "MAIL" },
	{ "rcpt", "RCPT" },
	{ "data", "the message (DATA)" },
	{ "bdat", "a part of the message (BDAT)" },
	{ "other", "a command" },
	{ NULL, NULL },
};

static const struct word parties[] = {
	{ "caronte", "here" },
	{ "destination", "by the destination" },
	{ NULL, NULL },
};

static bool is_postmaster(struct span recipient)
{
	static const char name[] = "postmaster";
	size_t n = sizeof(name) - 1;

	return recipient.n >= n && (recipient.n == n || recipient.p[n] == '@') &&
	       strncasecmp((const char *)recipient.p, name, n) == 0;
}

/* As recipients.h has it: the local part names another place. */
static bool is_routed(struct span recipient)
{
	const uint8_t *sign = memrchr(recipient.p, '@', recipient.n);
	size_t n = sign ? (size_t)(sign - recipient.p) : 0;

	for (size_t i = 0; i < n; i++)
		if (strchr("%!@:\\", recipient.p[i]) && recipient.p[i])
			return true;
	return false;
}

const char *trace_verdict(struct span rule, struct span recipient, struct span reply)
{
	if (span_eq(rule, SPAN("recipient")) && is_postmaster(recipient))
		return "accepted: the recipient is in RECIPIENTS, or the postmaster of a domain in it";
	if (span_eq(rule, SPAN("relaying-denied")) && recipient.n && is_routed(recipient))
		return "refused here: the client is no relay client (no login, not in "
		       "RELAY_NETWORKS), and the local part carries routing, so that only this "
		       "very address in RECIPIENTS would let it through";
	if (!span_eq(rule, SPAN("destination")))
		return trace_words(TRACE_RULE, rule);
	if (!reply.n)
		return "no answer, since the session ended before there was one";
	if (smtp_words_are(WORD_UNCOVERED, reply))
		return "refused here, for now: this destination lacks what the message needs";
	if (smtp_words_ended(reply))
		return "not accepted: there was no answer of the destination to it";
	return reply.p[0] == '4' ? "refused by the destination, for now"
				 : trace_words(TRACE_RULE, rule);
}

const char *trace_words(enum trace_words kind, struct span word)
{
	static const struct word *const kinds[] = {
		[TRACE_END] = ends,	    [TRACE_REASON] = reasons, [TRACE_RULE] = rules,
		[TRACE_COMMAND] = commands, [TRACE_BY] = parties,
	};

	for (const struct word *w = kinds[kind]; w->word; w++)
		if (span_eq(word, span_str(w->word)))
			return w->sentence;
	return NULL;
}
