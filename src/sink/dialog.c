/* SPDX-License-Identifier: ISC */
/*
 * dialog: the commands (RFC 5321 4.1) as a table. Each has a judge, which says what a plain server
 * would answer, and an effect, which comes about when what is really answered (a rule may have
 * replaced it) begins with the digit that the effect belongs to. So a scripted `550` to RCPT counts
 * no recipient, and a scripted `250` to DATA opens no body.
 *
 * Addresses are not judged: it takes everything. Parameters are, against what it has offered (555),
 * so that a client that uses an extension unasked is seen.
 */
#include "sink/inner.h"
#include "smtp/command.h"
#include "smtp/line.h"
#include "smtp/proxy.h"

static struct span skip_blanks(struct span s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_from(s, 1);
	return s;
}

/* Cuts the first word, which ends at a blank, off S, and the blanks behind it. */
static struct span take_word(struct span *s)
{
	struct span word = *s;

	word.n = 0;
	while (word.n < s->n && s->p[word.n] != ' ' && s->p[word.n] != '\t')
		word.n++;
	*s = skip_blanks(span_from(*s, word.n));
	return word;
}

static bool take_number(struct span s, uint64_t *out)
{
	*out = 0;
	if (s.n == 0 || s.n > 18)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		*out = *out * 10 + (uint64_t)(s.p[i] - '0');
	}
	return true;
}

/* Judges and effects. */

#define OUT_OF_ORDER SPAN("503 5.5.1 Bad sequence of commands\r\n")
#define NOT_HERE     SPAN("502 5.5.1 Command not implemented\r\n")

static struct span judge_unknown(struct sink_session *s, struct span arg)
{
	(void)s, (void)arg;
	return SPAN("500 5.5.2 Command not recognized\r\n");
}

static struct span judge_helo(struct sink_session *s, struct span arg)
{
	return arg.n ? s->sink->opt->helo : SPAN("501 5.5.4 A name is missing\r\n");
}

static void do_helo(struct sink_session *s)
{
	sink_transaction_reset(s);
	s->greeted = true;
	s->offered = 0;
}

static struct span judge_ehlo(struct sink_session *s, struct span arg)
{
	return arg.n ? s->sink->opt->ehlo : SPAN("501 5.5.4 A name is missing\r\n");
}

static void do_ehlo(struct sink_session *s)
{
	do_helo(s);
	s->offered = s->sink->opt->offered;
}

/* Cuts off the path behind "FROM:" or "TO:", without judging it; empty: there is none. */
static struct span take_path(struct span *arg)
{
	bool quoted = false;
	struct span path;
	size_t n = 1;

	*arg = skip_blanks(*arg);
	if (!arg->n || arg->p[0] != '<')
		return take_word(arg);
	for (; n < arg->n && (quoted || arg->p[n] != '>'); n++) {
		if (arg->p[n] == '\\')
			n++;
		else if (arg->p[n] == '"')
			quoted = !quoted;
	}
	if (n >= arg->n)
		return span_of(arg->p, 0);
	path = span_of(arg->p, n + 1);
	*arg = skip_blanks(span_from(*arg, n + 1));
	return path;
}

static struct span param_size(struct sink_session *s, struct span value)
{
	uint64_t size;

	if (!take_number(value, &size))
		return SPAN("501 5.5.4 Bad SIZE\r\n");
	if (s->sink->opt->size_max && size > s->sink->opt->size_max)
		return SPAN("552 5.3.4 Message too big\r\n");
	return SPAN("");
}

static struct span param_body(struct sink_session *s, struct span value)
{
	bool seven = span_eq_nocase(value, SPAN("7BIT"));

	s->binary = span_eq_nocase(value, SPAN("BINARYMIME"));
	s->seven |= seven && s->sink->opt->line_ends == SINK_LAX;
	if (s->binary && !(s->offered & SMTP_EXT_BINARYMIME))
		return SPAN("555 5.5.4 BINARYMIME was not offered\r\n");
	if (!s->binary && !seven && !span_eq_nocase(value, SPAN("8BITMIME")))
		return SPAN("501 5.5.4 Bad BODY\r\n");
	return SPAN("");
}

static const struct param {
	const char *name;
	enum sink_event event;
	uint32_t ext; /* any of these */
	struct span (*judge)(struct sink_session *s, struct span value);
} params[] = {
	{ "SIZE", SINK_EV_MAIL, SMTP_EXT_SIZE, param_size },
	{ "BODY", SINK_EV_MAIL, SMTP_EXT_8BITMIME | SMTP_EXT_BINARYMIME, param_body },
	{ "SMTPUTF8", SINK_EV_MAIL, SMTP_EXT_SMTPUTF8, NULL },
	{ "RET", SINK_EV_MAIL, SMTP_EXT_DSN, NULL },
	{ "ENVID", SINK_EV_MAIL, SMTP_EXT_DSN, NULL },
	{ "AUTH", SINK_EV_MAIL, SMTP_EXT_AUTH, NULL },
	{ "NOTIFY", SINK_EV_RCPT, SMTP_EXT_DSN, NULL },
	{ "ORCPT", SINK_EV_RCPT, SMTP_EXT_DSN, NULL },
};

/* The refusal of one parameter, or nothing. */
static struct span judge_param(struct sink_session *s, enum sink_event event, struct span word)
{
	const uint8_t *eq = memchr(word.p, '=', word.n);
	struct span name = span_of(word.p, eq ? (size_t)(eq - word.p) : word.n);
	struct span value = span_from(word, eq ? name.n + 1 : word.n);

	for (size_t i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
		const struct param *p = &params[i];

		if (p->event != event || !span_eq_nocase(name, span_str(p->name)))
			continue;
		if (!(p->ext & s->offered))
			return SPAN("555 5.5.4 That extension was not offered\r\n");
		return p->judge ? p->judge(s, value) : SPAN("");
	}
	return SPAN("555 5.5.4 Unknown parameter\r\n");
}

/* MAIL and RCPT: KEYWORD, a path, parameters. */
static struct span judge_path(struct sink_session *s, enum sink_event event, struct span keyword,
			      struct span arg, struct span good)
{
	struct span fault;

	if (!span_starts_nocase(arg, keyword))
		return SPAN("501 5.5.4 Syntax error\r\n");
	arg = span_from(arg, keyword.n);
	if (!take_path(&arg).n)
		return SPAN("501 5.1.3 Bad address syntax\r\n");
	while (arg.n) {
		fault = judge_param(s, event, take_word(&arg));
		if (fault.n)
			return fault;
	}
	return good;
}

static struct span judge_mail(struct sink_session *s, struct span arg)
{
	if (!s->greeted || s->mail)
		return OUT_OF_ORDER;
	s->binary = false;
	s->seven = s->sink->opt->line_ends == SINK_7BIT;
	return judge_path(s, SINK_EV_MAIL, SPAN("FROM:"), arg, SPAN("250 2.1.0 Ok\r\n"));
}

static void do_mail(struct sink_session *s)
{
	s->mail = true;
}

static struct span judge_rcpt(struct sink_session *s, struct span arg)
{
	if (!s->mail || s->chunked)
		return OUT_OF_ORDER;
	return judge_path(s, SINK_EV_RCPT, SPAN("TO:"), arg, SPAN("250 2.1.5 Ok\r\n"));
}

static void do_rcpt(struct sink_session *s)
{
	s->recipients++;
}

static struct span judge_data(struct sink_session *s, struct span arg)
{
	if (!s->mail || !s->recipients || s->chunked || s->binary)
		return OUT_OF_ORDER;
	return arg.n ? SPAN("501 5.5.4 DATA takes no argument\r\n")
		     : SPAN("354 End data with <CR><LF>.<CR><LF>\r\n");
}

static void do_data(struct sink_session *s)
{
	s->phase = SINK_DATA;
	s->watch_early = true;
	sink_body_begin(s);
}

/* The answer to a BDAT that opens no chunk; nothing: a chunk follows, and is answered after it. */
static struct span judge_bdat(struct sink_session *s, struct span arg)
{
	uint64_t octets;
	struct span number;

	if (!(s->offered & SMTP_EXT_CHUNKING))
		return NOT_HERE;
	number = take_word(&arg);
	if (!take_number(number, &octets) || (arg.n && !span_eq_nocase(arg, SPAN("LAST"))))
		return SPAN("501 5.5.4 Syntax: BDAT octets [LAST]\r\n");
	sink_chunk_begin(s, octets, arg.n > 0);
	return SPAN("");
}

static struct span judge_ok(struct sink_session *s, struct span arg)
{
	(void)s, (void)arg;
	return SPAN("250 2.0.0 Ok\r\n");
}

static struct span judge_help(struct sink_session *s, struct span arg)
{
	(void)s, (void)arg;
	return SPAN("214 2.0.0 caronte-sink takes all mail\r\n");
}

static struct span judge_vrfy(struct sink_session *s, struct span arg)
{
	(void)s, (void)arg;
	return SPAN("252 2.0.0 Send some mail, it will be taken\r\n");
}

static struct span judge_not_here(struct sink_session *s, struct span arg)
{
	(void)s, (void)arg;
	return NOT_HERE;
}

static struct span judge_quit(struct sink_session *s, struct span arg)
{
	(void)arg;
	return s->sink->opt->bye;
}

static void do_quit(struct sink_session *s)
{
	s->said_quit = true;
	s->ending = SINK_POLITE;
	s->why = "quit";
}

static const struct {
	struct span (*judge)(struct sink_session *s, struct span arg);
	void (*effect)(struct sink_session *s);
	uint8_t digit; /* of the answer that brings the effect about */
} verbs[SINK_EV_VERBS] = {
	[SINK_EV_UNKNOWN] = { judge_unknown, NULL, 0 },
	[SINK_EV_HELO] = { judge_helo, do_helo, '2' },
	[SINK_EV_EHLO] = { judge_ehlo, do_ehlo, '2' },
	[SINK_EV_MAIL] = { judge_mail, do_mail, '2' },
	[SINK_EV_RCPT] = { judge_rcpt, do_rcpt, '2' },
	[SINK_EV_DATA] = { judge_data, do_data, '3' },
	[SINK_EV_BDAT] = { judge_bdat, NULL, 0 },
	[SINK_EV_RSET] = { judge_ok, sink_transaction_reset, '2' },
	[SINK_EV_NOOP] = { judge_ok, NULL, 0 },
	[SINK_EV_HELP] = { judge_help, NULL, 0 },
	[SINK_EV_VRFY] = { judge_vrfy, NULL, 0 },
	[SINK_EV_AUTH] = { sink_auth_begin, NULL, 0 },
	[SINK_EV_STARTTLS] = { judge_not_here, NULL, 0 },
	[SINK_EV_QUIT] = { judge_quit, do_quit, '2' },
};

static void on_command(struct sink_session *s, struct span line)
{
	struct span arg = line, text;
	enum sink_event event = sink_event_of_verb(take_word(&arg));
	uint8_t digit;

	while (arg.n && (arg.p[arg.n - 1] == ' ' || arg.p[arg.n - 1] == '\t'))
		arg.n--;
	s->commands++;
	s->seen[event]++;
	s->sink->stats->commands++;
	text = verbs[event].judge(s, arg);
	if (s->phase == SINK_CHUNK)
		return;
	digit = sink_answer(s, event, line, text);
	if (event == SINK_EV_AUTH)
		sink_auth_done(s, digit);
	else if (verbs[event].effect && digit == verbs[event].digit)
		verbs[event].effect(s);
}

static void on_authdata(struct sink_session *s, struct span line)
{
	struct span text;

	s->seen[SINK_EV_AUTHDATA]++;
	text = sink_auth_go_on(s, line);
	sink_auth_done(s, sink_answer(s, SINK_EV_AUTHDATA, line, text));
}

/* A line as a lenient server takes it: up to LF, the CRs before that not counted. */
static enum smtp_line_result lax_line(struct span in, struct span *line, size_t *used)
{
	const uint8_t *lf = in.n ? memchr(in.p, '\n', in.n) : NULL;

	if (!lf)
		return in.n >= SMTP_AUTH_LINE_MAX ? SMTP_LINE_BAD : SMTP_LINE_MORE;
	*line = span_of(in.p, (size_t)(lf - in.p));
	*used = line->n + 1;
	while (line->n && line->p[line->n - 1] == '\r')
		line->n--;
	return SMTP_LINE_OK;
}

static bool line_step(struct sink_session *s)
{
	struct span in = buf_span(&s->in), line;
	enum smtp_line_result r;
	size_t used;

	r = s->sink->opt->line_ends == SINK_LAX
		    ? lax_line(in, &line, &used)
		    : smtp_line_cut(in, SMTP_AUTH_LINE_MAX, &line, &used);
	if (r == SMTP_LINE_MORE)
		return false;
	if (r == SMTP_LINE_BAD) {
		sink_note(s, 'N', "bad line, %zu octets not read as commands", in.n);
		buf_clear(&s->in);
		sink_answer(s, SINK_EV_UNKNOWN, in, SPAN("500 5.5.2 Bad line\r\n"));
		if (!s->ending) {
			s->ending = SINK_POLITE;
			s->why = "bad line";
		}
		return true;
	}
	buf_consume(&s->in, used); /* the octets stay where they are until more are received */
	sink_transcript(s, 'C', line);
	if (s->phase == SINK_AUTHDATA)
		on_authdata(s, line);
	else
		on_command(s, line);
	return true;
}

/* --proxy: whoever does not begin with a header is not served. */
static bool header_step(struct sink_session *s)
{
	struct smtp_proxy header;
	char from[ADDR_TEXT_MAX];
	const char *why;

	switch (smtp_proxy_parse(buf_span(&s->in), &header, &why)) {
	case SMTP_PROXY_MORE:
		return false;
	case SMTP_PROXY_BAD:
		sink_note(s, 'N', "no PROXY header: %s", why);
		buf_clear(&s->in);
		s->ending = SINK_POLITE;
		s->why = "no PROXY header";
		return true;
	case SMTP_PROXY_OK:
		break;
	}
	addr_format(&header.from, from);
	sink_note(s, 'N', "a PROXY header, of %s", header.local ? "the proxy itself" : from);
	buf_consume(&s->in, header.n);
	s->phase = SINK_CONNECTED;
	return true;
}

static bool greet_step(struct sink_session *s)
{
	s->phase = SINK_COMMAND;
	s->seen[SINK_EV_GREETING] = 1;
	s->watch_early = true;
	sink_answer(s, SINK_EV_GREETING, SPAN(""), s->sink->opt->greeting);
	return true;
}

void sink_dialog_connect(struct sink_session *s)
{
	s->seen[SINK_EV_CONNECT] = 1;
	if (s->sink->opt->proxy)
		s->phase = SINK_HEADER;
	sink_answer(s, SINK_EV_CONNECT, SPAN(""), SPAN(""));
}

bool sink_dialog_step(struct sink_session *s)
{
	static bool (*const steps[SINK_PHASES])(struct sink_session * s) = {
		[SINK_CONNECTED] = greet_step,	   [SINK_HEADER] = header_step,
		[SINK_COMMAND] = line_step,	   [SINK_AUTHDATA] = line_step,
		[SINK_DATA] = sink_body_data_step, [SINK_CHUNK] = sink_body_chunk_step,
	};

	return steps[s->phase](s);
}
