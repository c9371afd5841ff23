/* SPDX-License-Identifier: ISC */
/*
 * command: verbs and their arguments (RFC 5321 4.1.1). See command.h; paths are in path.c,
 * parameters in param.c, the way back to octets in build.c.
 */
#include "smtp/command.h"

#include "smtp/base64.h"
#include "smtp/param.h"
#include "smtp/words.h"

/* An EHLO name; RFC 5321 4.5.3.1.2. */
#define HELO_NAME_MAX 255
/* NOOP's and HELP's text, in a line of 512 octets: a server that cuts longer lines in two
 * (4.5.3.1.4) would take the second part for a command that nobody has judged. */
#define TEXT_MAX      (512 - 5 - 2)
#define MECHANISM_MAX 20 /* RFC 4422 3.1 */

struct verb {
	const char *name;
	enum smtp_verb verb;
	const char *(*parse)(struct smtp_command *cmd, struct span arg, uint32_t offered);
};

/* Devices call themselves "(none)" or "M\xdcLLER-PC". Nothing is done with the name but to pass it
 * on and to log it. */
static const char *parse_name(struct smtp_command *cmd, struct span arg, uint32_t offered)
{
	(void)offered;
	if (arg.n < 1 || arg.n > HELO_NAME_MAX)
		return smtp_words(WORD_BAD_NAME);
	for (size_t i = 0; i < arg.n; i++)
		if (arg.p[i] < 0x21 || arg.p[i] == 0x7f)
			return smtp_words(WORD_BAD_NAME);
	cmd->arg = arg;
	return NULL;
}

static const char *parse_path(struct smtp_command *cmd, struct span arg, uint32_t offered,
			      struct span prefix)
{
	bool reverse = cmd->verb == SMTP_VERB_MAIL;
	enum smtp_path_fault wrong;
	const char *fault;
	size_t used;

	if (!span_starts_nocase(arg, prefix))
		return smtp_words(reverse ? WORD_NO_FROM : WORD_NO_TO);
	arg = span_from(arg, prefix.n);
	wrong = smtp_path_parse(&cmd->path, arg, reverse, &used);
	if (wrong != SMTP_PATH_OK)
		return smtp_path_reply(wrong, reverse);
	fault = smtp_params_parse(cmd, span_from(arg, used), offered);
	if (fault)
		return fault;
	if (!cmd->path.eight_bit)
		return NULL;
	/* RFC 6531 3.4: MAIL says so itself; whether RCPT's MAIL has is the dialog's to know. */
	if (!(offered & SMTP_EXT_SMTPUTF8) || (reverse && !cmd->smtputf8))
		return smtp_path_reply(SMTP_PATH_NEEDS_UTF8, reverse);
	cmd->ext |= SMTP_EXT_SMTPUTF8;
	return NULL;
}

static const char *parse_mail(struct smtp_command *cmd, struct span arg, uint32_t offered)
{
	return parse_path(cmd, arg, offered, SPAN("FROM:"));
}

static const char *parse_rcpt(struct smtp_command *cmd, struct span arg, uint32_t offered)
{
	return parse_path(cmd, arg, offered, SPAN("TO:"));
}

static const char *parse_nothing(struct smtp_command *cmd, struct span arg, uint32_t offered)
{
	(void)cmd, (void)offered;
	return arg.n == 0 ? NULL : smtp_words(WORD_NO_ARGUMENT);
}

static const char *parse_text(struct smtp_command *cmd, struct span arg, uint32_t offered)
{
	(void)offered;
	if (arg.n > TEXT_MAX)
		return smtp_words(WORD_BAD_TEXT);
	for (size_t i = 0; i < arg.n; i++)
		if (arg.p[i] < 0x20 || arg.p[i] > 0x7e)
			return smtp_words(WORD_BAD_TEXT);
	cmd->arg = arg;
	return NULL;
}

static const char *parse_bdat(struct smtp_command *cmd, struct span arg, uint32_t offered)
{
	struct span rest = span_from(cmd->line, 4), digits;

	(void)arg, (void)offered;
	/* To the letter (RFC 3030 2): "BDAT", a blank, digits, and perhaps a blank and "LAST". One
	 * blank more at the end means nothing else to anybody, and clients there are that send it.
	 */
	if (rest.n == 0 || rest.p[0] != ' ')
		return smtp_words(WORD_BAD_ARGUMENT);
	rest = span_from(rest, 1);
	digits = span_of(rest.p, 0);
	while (digits.n < rest.n && rest.p[digits.n] >= '0' && rest.p[digits.n] <= '9')
		digits.n++;
	if (!smtp_number(digits, &cmd->chunk_size) || cmd->chunk_size > SMTP_CHUNK_MAX)
		return smtp_words(WORD_BAD_ARGUMENT);
	rest = span_from(rest, digits.n);
	if (rest.n > 0 && rest.p[rest.n - 1] == ' ')
		rest.n--;
	cmd->chunk_last = span_eq_nocase(rest, SPAN(" LAST"));
	return rest.n == 0 || cmd->chunk_last ? NULL : smtp_words(WORD_BAD_ARGUMENT);
}

static bool mechanism_valid(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = ascii_lower(s.p[i]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
	}
	return s.n >= 1 && s.n <= MECHANISM_MAX;
}

static const char *parse_auth(struct smtp_command *cmd, struct span arg, uint32_t offered)
{
	struct span mechanism = smtp_word(&arg);

	(void)offered;
	if (!mechanism_valid(mechanism))
		return smtp_words(WORD_BAD_ARGUMENT);
	cmd->arg = mechanism;
	if (arg.n == 0)
		return NULL;
	/* "*" cancels, so it is no response to begin with. */
	if (!smtp_base64_valid(arg) || span_eq(arg, SPAN("*")))
		return smtp_words(WORD_BAD_ARGUMENT);
	cmd->rest = arg;
	return NULL;
}

static const char *parse_identity(struct smtp_command *cmd, struct span arg, uint32_t offered)
{
	(void)offered;
	cmd->arg = arg;
	return smtp_identity_parse(arg, &cmd->identity) ? NULL : smtp_words(WORD_BAD_ARGUMENT);
}

static const struct verb verbs[] = {
	{ "HELO", SMTP_VERB_HELO, parse_name },
	{ "EHLO", SMTP_VERB_EHLO, parse_name },
	{ "MAIL", SMTP_VERB_MAIL, parse_mail },
	{ "RCPT", SMTP_VERB_RCPT, parse_rcpt },
	{ "DATA", SMTP_VERB_DATA, parse_nothing },
	{ "BDAT", SMTP_VERB_BDAT, parse_bdat },
	{ "RSET", SMTP_VERB_RSET, parse_nothing },
	{ "NOOP", SMTP_VERB_NOOP, parse_text },
	{ "HELP", SMTP_VERB_HELP, parse_text },
	{ "AUTH", SMTP_VERB_AUTH, parse_auth },
	{ "STARTTLS", SMTP_VERB_STARTTLS, parse_nothing },
	{ "QUIT", SMTP_VERB_QUIT, parse_nothing },
	{ "ETRN", SMTP_VERB_REFUSED, NULL },
	{ "TURN", SMTP_VERB_REFUSED, NULL },
	{ "ATRN", SMTP_VERB_REFUSED, NULL },
	{ "SEND", SMTP_VERB_REFUSED, NULL },
	{ "SOML", SMTP_VERB_REFUSED, NULL },
	{ "SAML", SMTP_VERB_REFUSED, NULL },
	{ "BURL", SMTP_VERB_REFUSED, NULL },
	{ "XCLIENT", SMTP_VERB_XCLIENT, parse_identity },
	{ "XFORWARD", SMTP_VERB_XFORWARD, NULL },
	{ "VRFY", SMTP_VERB_REFUSED, NULL },
	{ "EXPN", SMTP_VERB_REFUSED, NULL },
};

/* A line that means to be BDAT and is none: octets follow it all the same. */
static bool resembles_bdat(struct span line)
{
	uint8_t next;

	while (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
		line = span_from(line, 1);
	if (!span_starts_nocase(line, SPAN("BDAT")))
		return false;
	next = line.n > 4 ? ascii_lower(line.p[4]) : ' ';
	return !(next >= 'a' && next <= 'z');
}

const char *smtp_command_parse(struct smtp_command *cmd, struct span line, uint32_t offered)
{
	struct span arg = line, word;

	*cmd = (struct smtp_command){ .verb = SMTP_VERB_UNKNOWN, .line = line };
	while (arg.n > 0 && (arg.p[arg.n - 1] == ' ' || arg.p[arg.n - 1] == '\t'))
		arg.n--;
	word = smtp_word(&arg);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (!span_eq_nocase(word, span_str(verbs[i].name)))
			continue;
		cmd->verb = verbs[i].verb;
		return verbs[i].parse ? verbs[i].parse(cmd, arg, offered)
				      : smtp_words(WORD_NOT_SERVED);
	}
	if (!resembles_bdat(line))
		return smtp_words(WORD_UNKNOWN);
	cmd->verb = SMTP_VERB_BDAT;
	return smtp_words(WORD_BAD_ARGUMENT);
}

const char *smtp_verb_name(enum smtp_verb verb)
{
	if (verb == SMTP_VERB_REFUSED)
		return "REFUSED";
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (verbs[i].verb == verb)
			return verbs[i].name;
	return "UNKNOWN";
}
