/* SPDX-License-Identifier: ISC */
/* records: see records.h. */
#include "dialog/records.h"

#include <stdio.h>

#include "shared/stats.h"
#include "smtp/mechanism.h"

_Static_assert(STATS_RULES == POLICY_RULES + 1, "the destination's own refusal is the last");
_Static_assert(STATS_END_STOP == END_STOP, "what counts ends has one for each");

static const struct span credentials = { (const uint8_t *)"<credentials>", 13 };

/* A reply with its lines joined by LF, as the log has it. */
static void put_reply(struct xmllog *log, enum xmllog_attr attr, struct span text)
{
	char out[SMTP_REPLY_MAX];
	size_t n = 0;

	for (size_t i = 0; i < text.n && n < sizeof(out); i++)
		if (text.p[i] != '\r')
			out[n++] = (char)text.p[i];
	while (n > 0 && out[n - 1] == '\n')
		n--;
	if (n > 0)
		xmllog_span(log, attr, span_of(out, n));
}

void record_transition(struct dialog *d, const char *machine, const char *from, const char *to)
{
	struct xmllog *log = d->env->log;
	char text[64];

	if (!xmllog_begin(log, XMLLOG_DEBUG, &d->id))
		return;
	snprintf(text, sizeof(text), "%s -> %s", from, to);
	xmllog_text(log, XMLLOG_A_WHAT, machine);
	xmllog_text(log, XMLLOG_A_DETAIL, text);
	xmllog_end(log);
}

static void record_command(struct dialog *d, const char *way, const char *whom, struct span line)
{
	struct xmllog *log = d->env->log;

	if (!xmllog_begin(log, XMLLOG_COMMAND, &d->id))
		return;
	xmllog_text(log, *way == 'f' ? XMLLOG_A_FROM : XMLLOG_A_TO, whom);
	xmllog_span(log, XMLLOG_A_LINE, line);
	xmllog_end(log);
}

/* SHOWN is how the line begins; what follows it are credentials. */
static void record_beginning(struct dialog *d, const char *way, const char *whom, struct span shown)
{
	char text[64];

	CHECK(shown.n + credentials.n <= sizeof(text));
	if (shown.n)
		memcpy(text, shown.p, shown.n);
	memcpy(text + shown.n, credentials.p, credentials.n);
	record_command(d, way, whom, span_of(text, shown.n + credentials.n));
}

/* "AUTH PLAIN <credentials>": the mechanism may stand, what follows it may not. */
static void record_auth(struct dialog *d, const struct smtp_command *cmd)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "AUTH %.*s%s", (int)cmd->arg.n,
			 (const char *)cmd->arg.p, cmd->rest.p ? " " : "");

	if (!smtp_mechanism_known(cmd->arg))
		n = 0;
	if (n > 0 && !cmd->rest.p)
		record_command(d, "from", "client", span_of(text, (size_t)n));
	else
		record_beginning(d, "from", "client", span_of(text, (size_t)n));
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* The next word of *LINE, which goes on behind it. */
static struct span next_word(struct span *line)
{
	size_t n = 0;

	while (line->n > 0 && is_blank(line->p[0]))
		*line = span_from(*line, 1);
	while (n < line->n && !is_blank(line->p[n]))
		n++;
	struct span word = span_of(line->p, n);

	*line = span_from(*line, n);
	return word;
}

/* A line that means to be AUTH and is none carries what an AUTH line carries; so do the ways of
 * other protocols, whose clients come to the wrong port: POP3's and FTP's PASS, APOP, and IMAP's
 * LOGIN and AUTHENTICATE, which stand behind a tag. */
static bool resembles_auth(struct span line)
{
	struct span first = next_word(&line), second = next_word(&line);

	return span_starts_nocase(first, SPAN("AUTH")) || span_eq_nocase(first, SPAN("PASS")) ||
	       span_eq_nocase(first, SPAN("APOP")) || span_eq_nocase(first, SPAN("LOGIN")) ||
	       span_eq_nocase(second, SPAN("LOGIN")) ||
	       span_eq_nocase(second, SPAN("AUTHENTICATE"));
}

void record_received(struct dialog *d, const struct smtp_command *cmd, struct span line)
{
	if (cmd && (cmd->verb == SMTP_VERB_AUTH ||
		    (cmd->verb == SMTP_VERB_UNKNOWN && resembles_auth(line))))
		d->auth_seen = true;
	if (!xmllog_wants(d->env->log, 3))
		return;
	if (!cmd || (d->auth_seen && cmd->verb == SMTP_VERB_UNKNOWN))
		record_command(d, "from", "client", credentials);
	else if (cmd->verb == SMTP_VERB_AUTH)
		record_auth(d, cmd);
	else
		record_command(d, "from", "client", line);
}

size_t record_shows(const struct smtp_command *cmd, size_t n)
{
	if (cmd->verb != SMTP_VERB_AUTH)
		return n;
	if (!smtp_mechanism_known(cmd->arg))
		return 0;
	return cmd->rest.p ? n - cmd->rest.n : n; /* (the initial response comes last) */
}

void record_given(struct dialog *d, struct span line, size_t shown)
{
	if (!xmllog_wants(d->env->log, 3))
		return;
	if (shown == line.n && line.n > 0) /* (an empty continuation is one too) */
		record_command(d, "to", "destination", line);
	else
		record_beginning(d, "to", "destination", span_of(line.p, shown));
}

void record_reply(struct dialog *d, struct span reply, const char *way, const char *whom)
{
	struct xmllog *log = d->env->log;

	if (*way == 't')
		stats_reply(d->env->stats, reply);
	if (!xmllog_begin(log, XMLLOG_REPLY, &d->id))
		return;
	xmllog_text(log, *way == 'f' ? XMLLOG_A_FROM : XMLLOG_A_TO, whom);
	put_reply(log, XMLLOG_A_LINE, reply);
	xmllog_end(log);
}

void record_recipient(struct dialog *d, const char *recipient, enum policy_rule rule,
		      struct span reply, bool accepted)
{
	struct xmllog *log = d->env->log;
	bool ours = !policy_accepts(rule);

	stats_count(d->env->stats, recipients[accepted || ours ? rule : STATS_RULE_DESTINATION], 1);
	if (!xmllog_begin(log, XMLLOG_RECIPIENT, &d->id))
		return;
	xmllog_num(log, XMLLOG_A_MESSAGE, d->transactions);
	xmllog_addr(log, XMLLOG_A_CLIENT, &d->client_addr);
	xmllog_text(log, XMLLOG_A_SENDER, d->work->letter.sender);
	xmllog_text(log, XMLLOG_A_RECIPIENT, recipient);
	xmllog_text(log, XMLLOG_A_VERDICT, accepted ? "accept" : "refuse");
	xmllog_text(log, XMLLOG_A_RULE, accepted || ours ? policy_rule_name(rule) : "destination");
	put_reply(log, XMLLOG_A_REPLY, reply);
	xmllog_end(log);
}

/* None, while there is none. */
static void put_destination(struct xmllog *log, const struct dialog *d)
{
	if (d->destination_addr.family == ADDR_UNIX)
		xmllog_text(log, XMLLOG_A_DESTINATION, d->destination_name);
	else
		xmllog_addr(log, XMLLOG_A_DESTINATION, &d->destination_addr);
}

static const char *way_of(const struct message *m)
{
	if (m->way == MESSAGE_BY_CHUNKS)
		return "bdat";
	if (!(m->moved & MESSAGE_SPLICED))
		return "copy";
	return m->moved & MESSAGE_COPIED ? "mixed" : "splice";
}

void record_message(struct dialog *d, struct span reply)
{
	struct xmllog *log = d->env->log;

	stats_message(d->env->stats, d->at, reply);
	if (!xmllog_begin(log, XMLLOG_MESSAGE, &d->id))
		return;
	xmllog_num(log, XMLLOG_A_MESSAGE, d->transactions);
	xmllog_addr(log, XMLLOG_A_CLIENT, &d->client_addr);
	if (*dialog_login(d))
		xmllog_text(log, XMLLOG_A_LOGIN, dialog_login(d));
	xmllog_text(log, XMLLOG_A_SENDER, d->work->letter.sender);
	xmllog_num(log, XMLLOG_A_RECIPIENTS, d->recipients);
	if (d->work->letter.to_len)
		xmllog_span(log, XMLLOG_A_TO, span_of(d->work->letter.to, d->work->letter.to_len));
	if (d->work->letter.id.n)
		xmllog_text(log, XMLLOG_A_ID, d->work->letter.id.text);
	xmllog_num(log, XMLLOG_A_BYTES, d->message.bytes);
	xmllog_text(log, XMLLOG_A_BODY, way_of(&d->message));
	put_destination(log, d);
	put_reply(log, XMLLOG_A_REPLY, reply);
	xmllog_end(log);
}

void record_login(struct dialog *d, bool accepted, struct span reply)
{
	struct xmllog *log = d->env->log;
	const char *mechanism;

	if (!d->auth_open)
		return;
	mechanism = d->work->auth_mechanism;
	d->auth_open = false;
	stats_count(d->env->stats, logins[accepted], 1);
	if (!xmllog_begin(log, XMLLOG_LOGIN, &d->id))
		return;
	xmllog_addr(log, XMLLOG_A_CLIENT, &d->client_addr);
	xmllog_text(log, XMLLOG_A_MECHANISM,
		    accepted || smtp_mechanism_known(span_str(mechanism)) ? mechanism : "unknown");
	if (d->work->auth_name[0])
		xmllog_text(log, XMLLOG_A_NAME, d->work->auth_name);
	xmllog_text(log, XMLLOG_A_VERDICT, accepted ? "accept" : "refuse");
	if (d->env->starttls)
		xmllog_text(log, XMLLOG_A_TLS, d->tls == DIALOG_SECURE ? "yes" : "no");
	put_reply(log, XMLLOG_A_REPLY, reply);
	xmllog_end(log);
}

void record_refusal(struct dialog *d, struct span reply, const struct dialog_asked *what)
{
	static const char *const commands[] = {
		[RECORD_CONNECT] = "connect", [RECORD_HELO] = "helo", [RECORD_MAIL] = "mail",
		[RECORD_RCPT] = "rcpt",	      [RECORD_DATA] = "data", [RECORD_BDAT] = "bdat",
		[RECORD_OTHER] = "other",
	};
	struct xmllog *log = d->env->log;
	bool named = what->address && *what->address;

	if (!xmllog_begin(log, XMLLOG_REFUSAL, &d->id))
		return;
	if (what->transaction)
		xmllog_num(log, XMLLOG_A_MESSAGE, d->transactions);
	xmllog_addr(log, XMLLOG_A_CLIENT, &d->client_addr);
	xmllog_text(log, XMLLOG_A_COMMAND, commands[what->command]);
	if (named && what->command == RECORD_MAIL)
		xmllog_text(log, XMLLOG_A_SENDER, what->address);
	else if (what->transaction)
		xmllog_text(log, XMLLOG_A_SENDER, d->work->letter.sender);
	if (named && what->command == RECORD_RCPT)
		xmllog_text(log, XMLLOG_A_RECIPIENT, what->address);
	xmllog_text(log, XMLLOG_A_BY, what->destination ? "destination" : "caronte");
	put_reply(log, XMLLOG_A_REPLY, reply);
	xmllog_end(log);
}

static void put_tls(struct xmllog *log, const struct dialog *d)
{
	const struct dialog_secure *how;

	if (d->tls != DIALOG_SECURE || !d->more)
		return;
	how = &d->more->secure;
	xmllog_text(log, XMLLOG_A_TLS, how->version);
	xmllog_text(log, XMLLOG_A_CIPHER, how->cipher);
	xmllog_text(log, XMLLOG_A_START, how->first ? "implicit" : "starttls");
	if (how->name)
		xmllog_text(log, XMLLOG_A_SNI, how->name);
	if (how->resumed)
		xmllog_text(log, XMLLOG_A_RESUMED, "yes");
	if (how->kernel)
		xmllog_text(log, XMLLOG_A_KERNEL, "yes");
	if (*how->client)
		xmllog_text(log, XMLLOG_A_PEER, how->client);
}

static void put_peer(struct xmllog *log, const struct dialog *d)
{
	const struct dialog_peer *peer = d->more ? &d->more->peer : NULL;

	if (!peer || !peer->version)
		return;
	xmllog_text(log, XMLLOG_A_DESTINATION_TLS, peer->version);
	xmllog_text(log, XMLLOG_A_DESTINATION_CIPHER, peer->cipher);
	xmllog_text(log, XMLLOG_A_DESTINATION_TRUST, peer->trust);
}

void record_session(struct dialog *d, uint64_t us)
{
	struct xmllog *log = d->env->log;

	stats_count(d->env->stats, ends[d->end], 1);
	if (!xmllog_begin(log, XMLLOG_SESSION, &d->id))
		return;
	xmllog_addr(log, XMLLOG_A_CLIENT, &d->client_addr);
	if (d->proxy_addr.family)
		xmllog_addr(log, XMLLOG_A_PROXY, &d->proxy_addr);
	if (*dialog_helo(d))
		xmllog_text(log, XMLLOG_A_HELO, dialog_helo(d));
	if (*dialog_login(d))
		xmllog_text(log, XMLLOG_A_LOGIN, dialog_login(d));
	put_tls(log, d);
	put_destination(log, d);
	put_peer(log, d);
	xmllog_num(log, XMLLOG_A_MESSAGES, d->messages);
	xmllog_num(log, XMLLOG_A_REFUSALS, d->refusals);
	xmllog_num(log, XMLLOG_A_BYTES, d->bytes);
	xmllog_seconds(log, XMLLOG_A_SECONDS, us);
	xmllog_text(log, XMLLOG_A_END, session_end_name(d->end));
	if (d->reason != REASON_NONE)
		xmllog_text(log, XMLLOG_A_REASON, reason_name(d->reason));
	if (d->errors)
		xmllog_num(log, XMLLOG_A_ERRORS, d->errors);
	put_reply(log, XMLLOG_A_REPLY, dialog_last_refusal(d));
	xmllog_end(log);
}
